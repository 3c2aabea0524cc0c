//! A host: a thread that lives in a network and a mount namespace of its own, and does there what it is asked to.
//!
//! Namespaces belong to threads. Whatever a thread starts or opens in its namespace stays there: programs with all they
//! start in turn, and sockets wherever they are used later. The thread lives as long as the lab, so that a program with a
//! parent-death signal is not killed by the end of the thread that started it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, mpsc};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use tokio::net::{TcpSocket, TcpStream};

use super::ip_tool::ip;
use super::{LabError, LabHost};

/// The interface of every host.
pub(super) const INTERFACE: &str = "eth0";

const HOSTS: &str = "/etc/hosts";

type Job = Box<dyn FnOnce() + Send>;

/// A host of the lab, as something to work in. Clones work in the same host.
#[derive(Clone, Debug)]
pub struct HostHandle {
    name: Arc<str>,
    addresses: Arc<[IpAddr]>,
    jobs: mpsc::Sender<Job>,
}

/// A host and its namespace, which lives as long as a handle or a program does.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) handle: HostHandle,
    /// Where its network namespace can be found.
    pub(super) namespace: PathBuf,
}

impl Host {
    /// Starts the thread in namespaces of its own, without any interface but the loopback one.
    pub(super) fn start(spec: &LabHost) -> Result<Self, LabError> {
        let ipv6 = spec.addresses.iter().any(|(address, _)| address.is_ipv6());
        let (jobs, queue) = mpsc::channel::<Job>();
        let (started, ready) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("host {}", spec.name));
        let thread = thread.spawn(move || {
            let separate = separate(ipv6);
            let working = separate.is_ok();
            if started.send(separate).is_ok() && working {
                queue.iter().for_each(|job| job());
            }
        });
        thread.map_err(LabError::system("start a thread"))?;
        let name: Arc<str> = spec.name.as_str().into();
        let namespace = ready.recv().map_err(|_| LabError::NoHost(spec.name.clone()))??;
        let addresses = spec.addresses.iter().map(|(address, _)| *address).collect();
        Ok(Self { handle: HostHandle { name, addresses, jobs }, namespace })
    }

    /// Gives the interface, which must be there, its addresses, and the programs of this host their names.
    pub(super) fn configure(&self, spec: &LabHost, names: &NameFiles) -> Result<(), LabError> {
        let (name, batch, names) = (spec.name.clone(), batch(&spec.addresses), names.clone());
        self.handle.enter(move || {
            ip(&name, &batch)?;
            names.mount()
        })?
    }
}

impl HostHandle {
    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses, in the order of the lab's description.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Does something in the host's namespaces, after what was asked for earlier; returns once it is done. It should not
    /// take long. Sockets and programs that it opens stay in the host.
    ///
    /// # Errors
    ///
    /// When the lab has been stopped.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        let (done, result) = mpsc::channel();
        self.begin(move || {
            let _ = done.send(work());
        })?;
        result.recv().map_err(|_| LabError::NoHost(self.name.to_string()))
    }

    /// As [`enter`](Self::enter), without waiting for it.
    pub(super) fn begin(&self, work: impl FnOnce() + Send + 'static) -> Result<(), LabError> {
        self.jobs.send(Box::new(work)).map_err(|_| LabError::NoHost(self.name.to_string()))
    }

    /// Starts a program in the host. It ends with the lab's namespaces at the latest, not with [`Lab::stop`](super::Lab::stop).
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn spawn(&self, mut command: Command) -> Result<Child, LabError> {
        self.enter(move || command.spawn())?.map_err(LabError::system("start a program"))
    }

    /// Starts a program in the host, for use with the asynchronous runtime that the caller is in.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn spawn_async(&self, mut command: tokio::process::Command) -> Result<tokio::process::Child, LabError> {
        let runtime = tokio::runtime::Handle::current();
        let spawn = move || {
            let _entered = runtime.enter();
            command.spawn()
        };
        self.enter(spawn)?.map_err(LabError::system("start a program"))
    }

    /// A UDP socket of the host, bound to `address`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, LabError> {
        self.enter(move || UdpSocket::bind(address))?.map_err(LabError::system("bind a UDP socket"))
    }

    /// A TCP socket of the host that listens on `address`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, LabError> {
        self.enter(move || TcpListener::bind(address))?.map_err(LabError::system("listen for TCP"))
    }

    /// Connects to `address` from the host, such as to a driver on its loopback interface.
    ///
    /// # Errors
    ///
    /// When it does not answer, or refuses.
    pub async fn connect_tcp(&self, address: SocketAddr) -> Result<TcpStream, LabError> {
        let open = move || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        // Connecting takes time, and needs the namespace no more.
        let connected = match self.enter(open)? {
            Ok(socket) => socket.connect(address).await,
            Err(error) => Err(error),
        };
        connected.map_err(LabError::system("connect"))
    }
}

/// Leaves the network and the mount namespace of the process; gives the path of the new network namespace.
fn separate(ipv6: bool) -> Result<PathBuf, LabError> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|error| LabError::Namespace { what: "make a network namespace", source: error.into() })?;
    // Addresses are those of the lab alone. Without IPv6 in the kernel there is nothing to set.
    let settings: &[_] = if ipv6 { &[("accept_ra", "0"), ("addr_gen_mode", "1")] } else { &[("disable_ipv6", "1")] };
    for (setting, value) in settings {
        set_ipv6(setting, value)?;
    }
    Ok(format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid()).into())
}

/// Sets something for all interfaces to come of the calling thread's network namespace.
pub(super) fn set_ipv6(setting: &str, value: &str) -> Result<(), LabError> {
    let path = format!("/proc/sys/net/ipv6/conf/default/{setting}");
    match fs::write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::System { what: "configure IPv6", source: error })
        }
        _ => Ok(()),
    }
}

/// What `ip` does in the host. There is nobody to resolve addresses, nor a router: everything goes to the model.
fn batch(addresses: &[(IpAddr, u8)]) -> String {
    let mut batch = format!("link set dev lo up\nlink set dev {INTERFACE} arp off up\n");
    for (address, length) in addresses {
        // Duplicate address detection would only delay the start.
        let detection = if address.is_ipv6() { " nodad" } else { "" };
        let _ = writeln!(batch, "addr add {address}/{length} dev {INTERFACE}{detection}");
    }
    // The default route is what Firefox gathers candidates by, and coturn gives up when sending to nowhere fails.
    if addresses.iter().any(|(address, _)| address.is_ipv4()) {
        let _ = writeln!(batch, "route add default dev {INTERFACE}");
    }
    if addresses.iter().any(|(address, _)| address.is_ipv6()) {
        let _ = writeln!(batch, "route add ::/0 dev {INTERFACE}");
    }
    batch
}

/// The files by which programs look up names: what is in them, and where they belong.
#[derive(Clone, Debug)]
pub(super) struct NameFiles(Arc<[(PathBuf, &'static str)]>);

impl NameFiles {
    /// Writes the files into `directory`. Names that are not among `names` are refused at once by a name server that is
    /// not there; one that does not answer would hold a browser up for seconds.
    pub(super) fn write(directory: &Path, names: &[(String, IpAddr)]) -> Result<Self, LabError> {
        let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, address) in names {
            let _ = writeln!(hosts, "{address} {name}");
        }
        let files = [
            (HOSTS, hosts.as_str()),
            ("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
            // Without the machine's own daemons, which know nothing of the lab's names.
            ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ];
        let write = |(target, text): (&'static str, &str)| {
            let path = directory.join(Path::new(target).file_name()?);
            Some(fs::write(&path, text).map(|()| (path, target)))
        };
        let files = files.into_iter().filter_map(write).collect::<io::Result<_>>();
        files.map(Self).map_err(LabError::system("write its files"))
    }

    /// Mounts them in the calling thread's mount namespace.
    fn mount(&self) -> Result<(), LabError> {
        let none = None::<&str>;
        for (file, target) in &*self.0 {
            match mount(Some(file), *target, none, MsFlags::MS_BIND, none) {
                Ok(()) => {}
                // What is missing is not used; but names that programs are to know must be somewhere.
                Err(nix::Error::ENOENT) if *target != HOSTS => {}
                Err(error) => {
                    let source = error.into();
                    return Err(LabError::Mount { what: "a file", target: (*target).to_owned(), source });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_both_families_has_both_default_routes() {
        let batch = batch(&[("192.168.1.2".parse().unwrap(), 24), ("2a0f::2".parse().unwrap(), 64)]);
        let expected = "link set dev lo up\nlink set dev eth0 arp off up\n\
                        addr add 192.168.1.2/24 dev eth0\naddr add 2a0f::2/64 dev eth0 nodad\n\
                        route add default dev eth0\nroute add ::/0 dev eth0\n";
        assert_eq!(batch, expected);
    }

    #[test]
    fn names_are_written_as_a_hosts_file() {
        let directory = tempfile::tempdir().unwrap();
        NameFiles::write(directory.path(), &[("turn.lab".into(), "11.0.0.20".parse().unwrap())]).unwrap();
        let hosts = fs::read_to_string(directory.path().join("hosts")).unwrap();
        assert!(hosts.ends_with("\n11.0.0.20 turn.lab\n"), "{hosts}");
    }
}
