//! Where a peer is on the network, and what it is given to gather candidates there.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::lab::in_process;
#[cfg(target_os = "linux")]
use crate::lab::kernel::HostHandle;
use crate::lab::place::{Machine, Place};
use crate::plan::IcePlan;
use crate::signaling::{Endpoint, Pin};
use crate::turn::client::Trust;
use crate::turn::credentials::Secret;

/// A peer's place in the network, and its servers.
#[derive(Clone, Debug)]
pub struct PeerNetwork {
    /// Where its sockets are.
    pub host: PeerHost,
    /// Its STUN and TURN servers.
    pub ice: Arc<IceServers>,
    /// The signaling server under test, as it is reached from there, and whom to trust.
    pub signaling: Arc<Endpoint>,
    /// The server of a browser's page, as it is reached from there: the one under test, if that has the page.
    pub pages: Arc<Endpoint>,
    /// The server of the page as it is reached from this process, which then joins the page to the one under test; absent if
    /// both are the same.
    pub stand_in: Option<Arc<Endpoint>>,
}

impl PeerNetwork {
    /// On this machine, with a signaling server that has the page of browsers, too.
    pub fn of_machine(ice: Arc<IceServers>, signaling: Arc<Endpoint>) -> Self {
        Self { host: PeerHost::Machine, ice, pages: Arc::clone(&signaling), signaling, stand_in: None }
    }
}

/// Where a peer's sockets are.
#[derive(Clone, Debug)]
pub enum PeerHost {
    /// On this machine.
    Machine,
    /// At a host of a network that is modelled in this process.
    Modelled(in_process::Host),
    /// At a host of a modelled network that is a network namespace.
    #[cfg(target_os = "linux")]
    Namespace(HostHandle),
}

/// STUN and TURN servers, with their secrets.
#[derive(Debug, Default)]
pub struct IceServers {
    /// The servers.
    pub servers: Vec<IceServer>,
    /// PEM file of a CA that is trusted for `turns:` beside those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificates of `turns:` servers that browsers are to trust beside those that they trust anyway.
    pub pins: Vec<Pin>,
    trust: OnceLock<Result<Arc<Trust>, String>>,
}

/// A STUN or TURN server (W3C `RTCIceServer`).
#[derive(Clone, Debug)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// The user name for TURN.
    pub username: Option<String>,
    /// The password for TURN.
    pub credential: Option<Secret>,
}

impl PeerHost {
    /// The name of the namespace, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Namespace(host) => Some(host.name()),
            _ => None,
        }
    }

    /// The addresses that it has in its network; of this machine, none is told.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Machine => &[],
            Self::Modelled(host) => host.addresses(),
            #[cfg(target_os = "linux")]
            Self::Namespace(host) => host.addresses(),
        }
    }

    /// The place where its sockets are opened.
    pub fn place(&self) -> Arc<dyn Place> {
        match self {
            Self::Machine => Arc::new(Machine),
            Self::Modelled(host) => Arc::new(host.clone()),
            #[cfg(target_os = "linux")]
            Self::Namespace(host) => Arc::new(host.clone()),
        }
    }
}

impl IceServers {
    /// These servers.
    pub fn new(servers: Vec<IceServer>, ca: Option<PathBuf>) -> Self {
        Self { servers, ca, pins: Vec::new(), trust: OnceLock::new() }
    }

    /// The servers of a plan, with the secrets that it takes from the environment.
    ///
    /// # Errors
    ///
    /// A variable that the environment does not have.
    pub fn of_plan(ice: &IcePlan) -> Result<Self, String> {
        let server = |server: &crate::plan::IceServer| {
            Ok(IceServer {
                urls: server.urls.clone(),
                username: server.username.clone(),
                credential: server.credential.as_deref().map(secret).transpose()?,
            })
        };
        let servers = ice.servers.iter().map(server).collect::<Result<_, String>>()?;
        Ok(Self::new(servers, ice.ca.as_ref().map(PathBuf::from)))
    }

    /// Whom `turns:` servers are trusted by; read once for all peers.
    ///
    /// # Errors
    ///
    /// A CA that cannot be read, or none at all.
    pub fn trust(&self) -> Result<Arc<Trust>, String> {
        let read = || Trust::new(self.ca.as_deref()).map(Arc::new).map_err(|error| error.to_string());
        self.trust.get_or_init(read).clone()
    }
}

/// The value of the variable that a `${NAME}` names.
fn secret(reference: &str) -> Result<Secret, String> {
    let name = reference.trim_start_matches("${").trim_end_matches('}');
    let value = std::env::var(name);
    value.map(Secret::from).map_err(|error| format!("the environment variable {name} of a TURN password: {error}"))
}
