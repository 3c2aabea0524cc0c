//! The drivers of the networks: what sets the model going, and gives the hosts in which sockets are opened.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::StartError;
use super::model::{Model, SERVER, SIGNALING};
use crate::lab::in_process::InProcessLab;
use crate::net::{Captured, HostId, KeptPacket, World};
use crate::peer::network::PeerHost;
use crate::plan::NetworkDriver;
use crate::record::LabCheck;

#[cfg(target_os = "linux")]
use crate::lab::kernel;

/// The names of the servers, for programs that want one.
pub(super) const TURN_NAME: &str = "turn.lab";
pub(super) const STUN_NAME: &str = "stun.lab";
const SIGNALING_NAME: &str = "signaling.lab";

/// A model that runs.
pub(super) enum Lab {
    InProcess(InProcessLab),
    #[cfg(target_os = "linux")]
    Kernel(kernel::Lab),
}

/// What is left of a model that has stopped.
pub(super) struct Ended {
    /// What crossed it, if it was asked to capture.
    pub(super) captured: Vec<Captured>,
    /// How many packets were not captured, since too many had been.
    pub(super) uncaptured: u64,
    /// What was kept of the packets of hosts that were asked for.
    pub(super) kept: BTreeMap<String, Vec<KeptPacket>>,
    /// Whether the driver did its part.
    pub(super) checks: Vec<LabCheck>,
}

impl Lab {
    /// Sets the model going. Also gives its hosts, in its own order.
    ///
    /// # Errors
    ///
    /// The kernel refuses something, or the process is outside of the namespaces in which it would not.
    pub(super) async fn start(
        driver: NetworkDriver,
        world: World,
        model: &Model,
    ) -> Result<(Self, Vec<PeerHost>), StartError> {
        match driver {
            NetworkDriver::InProcess => {
                let lab = InProcessLab::start(world);
                let host = |host: &super::model::ModelHost| {
                    let addresses: Vec<IpAddr> = host.addresses.iter().map(|(address, _)| *address).collect();
                    PeerHost::Modelled(lab.host(host.id, addresses))
                };
                let hosts = model.hosts.iter().map(host).collect();
                Ok((Self::InProcess(lab), hosts))
            }
            #[cfg(target_os = "linux")]
            NetworkDriver::Kernel => kernel_lab(world, model).await,
            #[cfg(not(target_os = "linux"))]
            NetworkDriver::Kernel => Err(StartError::Missing {
                reason: "the kernel driver needs Linux".into(),
                remedy: "use driver = \"in-process\" with native peers".into(),
            }),
        }
    }

    /// Ends it, and takes what was kept of the packets of these hosts.
    ///
    /// # Errors
    ///
    /// It had broken off before.
    pub(super) async fn stop(self, hosts: BTreeMap<String, HostId>) -> Result<Ended, String> {
        match self {
            Self::InProcess(lab) => Ok(lab.with_world(|world| Ended::of(world, hosts, Vec::new()))),
            #[cfg(target_os = "linux")]
            Self::Kernel(lab) => {
                let stopped = tokio::task::spawn_blocking(|| lab.stop()).await.map_err(|error| error.to_string())?;
                let kernel::LabReport { mut world, driver } = stopped.map_err(|error| error.to_string())?;
                Ok(Ended::of(&mut world, hosts, lost(&driver).into()))
            }
        }
    }
}

impl Ended {
    fn of(world: &mut World, hosts: BTreeMap<String, HostId>, checks: Vec<LabCheck>) -> Self {
        Self {
            captured: std::iter::from_fn(|| world.poll_capture()).collect(),
            uncaptured: world.uncaptured(),
            kept: hosts.into_iter().map(|(name, host)| (name, world.take_kept_packets(host))).collect(),
            checks,
        }
    }
}

/// A TCP socket of the operating system's that listens at a host.
///
/// # Errors
///
/// Those of `bind` and `listen`.
pub(super) fn listen(host: &PeerHost, address: SocketAddr) -> io::Result<TcpListener> {
    match host {
        #[cfg(target_os = "linux")]
        PeerHost::Namespace(host) => Ok(host.listen_tcp(address)?),
        _ => TcpListener::bind(address),
    }
}

#[cfg(target_os = "linux")]
async fn kernel_lab(world: World, model: &Model) -> Result<(Lab, Vec<PeerHost>), StartError> {
    let hosts = model.hosts.iter().map(|host| kernel::LabHost {
        name: host.name.clone(),
        id: host.id,
        addresses: host.addresses.clone(),
        mtu: host.mtu,
    });
    let names = [(TURN_NAME, SERVER[0]), (STUN_NAME, SERVER[1]), (SIGNALING_NAME, SIGNALING)];
    let names = names.map(|(name, address)| (name.to_owned(), address)).into();
    let setup = kernel::LabSetup { world, hosts: hosts.collect(), names };
    let said = |error: kernel::LabError| StartError::Missing {
        reason: format!("the kernel driver cannot be used: {error}"),
        remedy: error.remedy().to_owned(),
    };
    let started = tokio::task::spawn_blocking(|| kernel::Lab::start(setup)).await.map_err(|error| error.to_string())?;
    let lab = started.map_err(said)?;
    let hosts = model.hosts.iter().map(|host| lab.host(&host.name).map(PeerHost::Namespace).map_err(said));
    let hosts = hosts.collect::<Result<_, _>>()?;
    Ok((Lab::Kernel(lab), hosts))
}

/// Packets that were lost without the model's doing.
#[cfg(target_os = "linux")]
fn lost(driver: &kernel::DriverCounters) -> [LabCheck; 2] {
    [("packets lost before the model", driver.overrun), ("packets lost behind the model", driver.refused)].map(
        |(what, lost)| LabCheck {
            site: "the kernel driver".into(),
            what: what.into(),
            expected: "0".into(),
            measured: lost.to_string(),
            ok: lost == 0,
        },
    )
}
