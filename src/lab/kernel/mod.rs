//! The kernel driver: real programs, each in a network namespace of its own, behind the modelled networks.
//!
//! ```text
//! harness run                      what a person starts
//!   harness lab                    outside: makes the user, pid and mount namespaces, passes signals on, waits
//!     harness run                  inside, as process 1: run, signaling, reports, as without a lab
//!       thread "host alice"        in a network and a mount namespace: eth0 ─┐
//!       thread "host turn"         in a network and a mount namespace: eth0 ─┤ veth
//!       thread "wire"              in a network namespace: w0, w1 … AF_PACKET ─ net::World
//! ```
//!
//! - **The run goes inside as a whole** ([`enter`]), so that the model, the servers and the WebDriver connections live in
//!   one process that can open a socket in any host's namespace. It keeps the network namespace that it was started in: what
//!   is outside of the lab stays reachable, and the hosts have interfaces that lead to the model and nowhere else.
//! - **Without root** a user namespace gives the rights; root does without one, if it has the rights already.
//! - **Nothing remains.** The process inside is the first of its pid namespace, and dies with the one outside
//!   (`PR_SET_PDEATHSIG`): the kernel then kills every other process in there, and with the last of them the namespaces go.
//!   Temporary files lie on a file system of the lab's own (`TMPDIR`) and go too.
//! - **Frames are whole and plain.** Hosts segment before they send (`gso_max_segs 1`, which needs no `ethtool`) and may
//!   leave checksums to their interface: the codec ignores those of what it reads, and computes those of what it writes.
//! - **No address resolution.** Interfaces are `arp off`, with a default route without a router, in IPv4 and IPv6: what a
//!   host sends, to whomever, reaches the model, which alone decides what becomes of it.

mod error;
mod forward;
mod host;
mod ip_tool;
mod place;
mod space;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, setpriority_process};

use crate::net::{HostId, World};
use forward::{Endpoint, Forwarder, Shared, lock};
use host::{Host, INTERFACE, NameFiles};
use ip_tool::ip;
use wire::{HOST_ADDRESS, WIRE_ADDRESS, Wire};

pub use error::LabError;
pub use forward::DriverCounters;
pub use host::HostHandle;
pub use space::{enclose, enter, exit_code, inside, settle};

/// The nice value of the thread of the wire.
const WIRE_PRIORITY: i32 = -10;

/// What a lab is made of.
pub struct LabSetup {
    /// The model, with all its hosts.
    pub world: World,
    /// Those of its hosts that programs run in.
    pub hosts: Vec<LabHost>,
    /// Names that programs can look up, in every host.
    pub names: Vec<(String, IpAddr)>,
}

/// A host of the model that becomes a network namespace.
#[derive(Clone, Debug)]
pub struct LabHost {
    /// Unique in the lab.
    pub name: String,
    /// The host in the model.
    pub id: HostId,
    /// Its addresses, as the model knows them, each with the length of its network's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The longest IP packet that it sends or takes, in bytes: 68 or more, with IPv6 1,280 or more.
    pub mtu: u16,
}

/// A running lab. It ends when it is stopped or dropped; programs that run in it do not end with it.
pub struct Lab {
    hosts: BTreeMap<String, HostHandle>,
    threads: Vec<Host>,
    shared: Arc<Mutex<Shared>>,
    wake: Arc<OwnedFd>,
    forwarder: Option<JoinHandle<io::Result<()>>>,
    directory: PathBuf,
}

/// What is left of a lab that has stopped.
pub struct LabReport {
    /// The model, with its counters.
    pub world: World,
    /// What the driver did to packets.
    pub driver: DriverCounters,
}

impl Lab {
    /// Makes the namespaces, joins them to the model, and starts to forward.
    ///
    /// # Errors
    ///
    /// When the process is not [`inside`], the kernel refuses something, or the hosts contradict each other.
    pub fn start(LabSetup { world, hosts, names }: LabSetup) -> Result<Self, LabError> {
        check_hosts(&hosts)?;
        let directory = space::scratch()?.join(format!("lab-{:08x}", rand::random::<u32>()));
        fs::create_dir(&directory).map_err(LabError::system("make its directory"))?;
        let names = NameFiles::write(&directory, &names)?;
        let threads = parallel(&hosts, Host::start)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| LabError::System { what: "make an event", source: error.into() })?;
        let (shared, wake) = (Shared::new(world)?, Arc::new(wake));
        let starting = start_forwarder(&hosts, &threads, shared.clone(), wake.clone())?;
        let mut lab = Self {
            hosts: threads.iter().map(|host| (host.handle.name().to_owned(), host.handle.clone())).collect(),
            threads,
            shared,
            wake,
            forwarder: None,
            directory,
        };
        let pairs: Vec<_> = lab.threads.iter().zip(&hosts).collect();
        parallel(&pairs, |(host, spec)| host.configure(spec, &names))?;
        lab.forwarder = Some(starting.finish()?);
        Ok(lab)
    }

    /// A host, to work in.
    ///
    /// # Errors
    ///
    /// When the lab has none of this name.
    pub fn host(&self, name: &str) -> Result<HostHandle, LabError> {
        self.hosts.get(name).cloned().ok_or_else(|| LabError::NoHost(name.to_owned()))
    }

    /// Works with the model between two packets, such as to cut a link or to read a counter. Forwarding waits for it.
    pub fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let result = work(&mut lock(&self.shared).world);
        self.wake();
        result
    }

    /// What the driver has done to packets until now.
    pub fn counters(&self) -> DriverCounters {
        lock(&self.shared).counters.clone()
    }

    /// Stops forwarding and lets the hosts go.
    ///
    /// # Errors
    ///
    /// When forwarding had broken off before.
    pub fn stop(mut self) -> Result<LabReport, LabError> {
        let forwarded = self.end();
        let mut shared = lock(&self.shared);
        forwarded.map_err(LabError::system("forward packets"))?;
        let world = std::mem::replace(&mut shared.world, World::new(0));
        Ok(LabReport { world, driver: shared.counters.clone() })
    }

    fn end(&mut self) -> io::Result<()> {
        lock(&self.shared).stop = true;
        self.wake();
        let forwarded = match self.forwarder.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the forwarder panicked")),
        };
        self.hosts.clear();
        // Handles that others still hold keep their thread.
        self.threads.clear();
        let _ = fs::remove_dir_all(&self.directory);
        forwarded
    }

    fn wake(&self) {
        // It fails only while the counter is at its end, and then the forwarder is awake.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Whether a lab can run here: starts one with one host, and stops it.
///
/// # Errors
///
/// What hinders it.
pub fn check() -> Result<(), LabError> {
    let mut world = World::new(0);
    let address = IpAddr::from([11, 0, 0, 1]);
    let problem = |_| LabError::Host { name: "check".into(), problem: "the model does not take it" };
    let id = world.add_public_host(&[address]).map_err(problem)?;
    let host = LabHost { name: "check".into(), id, addresses: vec![(address, 32)], mtu: 1500 };
    Lab::start(LabSetup { world, hosts: vec![host], names: Vec::new() })?.stop().map(drop)
}

/// The thread of the wire before it forwards.
struct Starting {
    thread: JoinHandle<io::Result<()>>,
    /// Tells it that the hosts' ends are up.
    configured: mpsc::Sender<()>,
    /// How far it has come.
    progress: mpsc::Receiver<Result<(), LabError>>,
}

impl Starting {
    /// Returns once the thread forwards.
    fn finish(self) -> Result<JoinHandle<io::Result<()>>, LabError> {
        let _ = self.configured.send(());
        self.progressed()?;
        Ok(self.thread)
    }

    fn progressed(&self) -> Result<(), LabError> {
        let dead = |_| LabError::System { what: "open the wire", source: io::Error::other("its thread panicked") };
        self.progress.recv().map_err(dead)?
    }
}

/// Starts the thread of the wire, and returns once all interfaces are there.
fn start_forwarder(
    hosts: &[LabHost],
    threads: &[Host],
    shared: Arc<Mutex<Shared>>,
    wake: Arc<OwnedFd>,
) -> Result<Starting, LabError> {
    let names: Vec<_> = (0..hosts.len()).map(|number| format!("w{number}")).collect();
    let batch = batch(&names, hosts, threads);
    let endpoints: Vec<_> = hosts.iter().map(|LabHost { id, mtu, .. }| Endpoint { id: *id, mtu: *mtu }).collect();
    let longest = hosts.iter().map(|host| host.mtu).max().unwrap_or_default();
    let ipv6 = hosts.iter().any(|host| host.addresses.iter().any(|(address, _)| address.is_ipv6()));
    let (report, progress) = mpsc::channel();
    let (configured, hosts_up) = mpsc::channel();
    let thread = thread::Builder::new().name("wire".into()).spawn(move || {
        let wire = open_wire(&names, &batch, longest, ipv6).and_then(|wire| {
            let _ = report.send(Ok(()));
            // The owner may have given up meanwhile.
            hosts_up.recv().map_err(|_| LabError::Outside)?;
            wire::wait_until_up(&names)?;
            Ok(wire)
        });
        match wire {
            Ok(wire) => {
                let _ = report.send(Ok(()));
                Forwarder::new(wire, shared, wake, endpoints).run()
            }
            Err(error) => {
                let _ = report.send(Err(error));
                Ok(())
            }
        }
    });
    let thread = thread.map_err(LabError::system("start a thread"))?;
    let starting = Starting { thread, configured, progress };
    starting.progressed()?;
    Ok(starting)
}

fn open_wire(names: &[String], batch: &str, longest: u16, ipv6: bool) -> Result<Wire, LabError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| LabError::Namespace { what: "make a network namespace", source: error.into() })?;
    // Otherwise the kernel would send router solicitations of its own.
    host::set_ipv6("disable_ipv6", "1")?;
    // Where it is allowed, before all the programs of the lab: they would otherwise delay each other's packets.
    let _ = setpriority_process(Pid::from_raw(gettid().as_raw()), WIRE_PRIORITY);
    ip("the wire", batch)?;
    Wire::open(names, longest, ipv6)
}

fn batch(names: &[String], hosts: &[LabHost], threads: &[Host]) -> String {
    let (here, there) = (hardware(WIRE_ADDRESS), hardware(HOST_ADDRESS));
    let mut batch = "link set dev lo up\n".to_owned();
    for ((name, LabHost { mtu, .. }), Host { namespace, .. }) in names.iter().zip(hosts).zip(threads) {
        let namespace = namespace.display();
        // This end takes whatever the host's sends.
        let _ = writeln!(
            batch,
            "link add name {name} mtu 65535 address {here} type veth peer name {INTERFACE} mtu {mtu} address {there} \
             gso_max_segs 1 netns {namespace}\nlink set dev {name} up"
        );
    }
    batch
}

fn hardware(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn check_hosts(hosts: &[LabHost]) -> Result<(), LabError> {
    let mut names = BTreeSet::new();
    for LabHost { name, addresses: own, mtu, .. } in hosts {
        let shortest = if own.iter().any(|(address, _)| address.is_ipv6()) { 1280 } else { 68 };
        let problem = if own.is_empty() {
            "it has no address"
        } else if !names.insert(name) {
            "another one has its name"
        } else if own.iter().any(|(address, length)| *length > if address.is_ipv4() { 32 } else { 128 }) {
            "the prefix of an address is longer than the address"
        } else if *mtu < shortest {
            "its MTU is shorter than IP allows"
        } else {
            continue;
        };
        return Err(LabError::Host { name: name.clone(), problem });
    }
    Ok(())
}

/// Does the same for all, each in a thread of its own: most of the time goes into waiting for the kernel.
fn parallel<A: Sync, B: Send>(all: &[A], work: impl Fn(&A) -> Result<B, LabError> + Sync) -> Result<Vec<B>, LabError> {
    thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            let dead = || LabError::System { what: "start", source: io::Error::other("a thread panicked") };
            thread.join().unwrap_or_else(|_| Err(dead()))
        };
        threads.into_iter().map(join).collect()
    })
}
