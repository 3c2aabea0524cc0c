//! The bundled server: HTTPS and secure WebSocket on one port.

mod accept;
mod connection;
mod http;
mod hub;
mod incoming;
mod limits;
mod metrics;
mod outbox;
mod peerjs;
mod remote;
mod socketio;
mod tongue;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use limits::Limits;
pub use remote::{Guest, GuestError, Invitation, Reception};

use super::address::{authority, host_name, lan_addresses, outward_address};
use super::dialect::{Meeting, Protocol};
use super::{Endpoint, Identity};
use http::App;
use hub::Hub;

/// Beyond the good-byes of the clients, for tasks that have not noticed yet.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What a server is started with.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its certificate.
    pub identity: Identity,
    /// Its pages. The CA is added as `/ca.pem`.
    pub pages: Vec<Page>,
    /// What clients may do.
    pub limits: Limits,
}

/// Something static that the server serves.
#[derive(Clone, Debug)]
pub struct Page {
    /// The absolute path, such as `/` or `/app.js`.
    pub path: String,
    /// The MIME type, such as `text/html; charset=utf-8`.
    pub content_type: String,
    /// The content.
    pub body: bytes::Bytes,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program has the port.
    #[error("{0} is in use by another program: stop it, or listen on another port (port 0 takes a free one)")]
    PortInUse(SocketAddr),
    /// The port needs privileges.
    #[error("not permitted to listen on {0}: take a port from 1024 on")]
    NotPermitted(SocketAddr),
    /// The address belongs to another machine.
    #[error("{0} is not an address of this machine: listen on 127.0.0.1, on 0.0.0.0, or on one of its own")]
    NotLocal(IpAddr),
    /// It cannot listen for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate fits no name under which the server can be reached.
    #[error("the certificate names no host: give one with a DNS name or the address {0} among its alternative names")]
    NoName(IpAddr),
}

/// A running server. Dropping it ends everything at once; [`shutdown`](Self::shutdown) says good-bye first.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    hosts: Vec<String>,
    identity: Identity,
    app: Arc<App>,
    stop: CancellationToken,
    _kill: DropGuard,
}

impl Server {
    /// Starts to listen and to serve, on tasks of the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on, or the certificate is for nobody.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let ServerConfig { listen, identity, mut pages, limits } = config;
        let hosts = hosts(listen.ip(), &identity);
        if hosts.is_empty() {
            return Err(ServerError::NoName(listen.ip()));
        }
        let fault = |error| listen_error(listen, error);
        let listener = TcpListener::bind(listen).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        if let Some(pem) = identity.ca_pem() {
            let (path, content_type) = ("/ca.pem".into(), "application/x-x509-ca-cert".into());
            pages.push(Page { path, content_type, body: pem.to_owned().into() });
        }

        let kill = CancellationToken::new();
        let stop = kill.child_token();
        let app = Arc::new(App::new(Arc::new(Hub::new(limits)), pages, kill.clone()));
        let server = Self { address, hosts, identity, app, stop, _kill: kill.drop_guard() };
        server.accept_from(listener);
        Ok(server)
    }

    /// Takes connections from another socket as well, such as one in another network namespace; gives what clients need
    /// to use it there. Its address should be among those that the certificate is for.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch the socket.
    pub fn also_listen(&self, listener: std::net::TcpListener) -> io::Result<Endpoint> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        self.accept_from(TcpListener::from_std(listener)?);
        Ok(self.endpoint_at(&authority(address.ip(), address.port())))
    }

    fn accept_from(&self, listener: TcpListener) {
        let acceptor = TlsAcceptor::from(self.identity.server_config());
        let router = http::router(self.app.clone(), self.stop.clone());
        self.app.tasks.spawn(accept::run(listener, acceptor, router, self.app.clone(), self.stop.clone()));
    }

    /// Where it listens, with the port that it has got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients need to use it.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint_at(&url_authority(&self.hosts[0], self.address.port()))
    }

    fn endpoint_at(&self, authority: &str) -> Endpoint {
        // Whom the machine trusts anyway needs no pin.
        let pinned = self.identity.ca_pem().is_some();
        Endpoint {
            url: format!("wss://{authority}/ws"),
            protocol: Protocol::default(),
            meeting: Meeting::default(),
            page_url: format!("https://{authority}/"),
            tls: self.identity.client_config(),
            leaf_sha256: pinned.then(|| self.identity.leaf_sha256()),
            spki_sha256: pinned.then(|| self.identity.spki_sha256()),
        }
    }

    /// `https://…/` under every name and address that leads to it and that its certificate is valid for.
    pub fn urls(&self) -> Vec<String> {
        let url = |host: &String| format!("https://{}/", url_authority(host, self.address.port()));
        self.hosts.iter().map(url).collect()
    }

    /// Those of [`urls`](Self::urls) that other machines can use, the best first; none if only this machine can.
    pub fn lan_urls(&self) -> Vec<String> {
        if self.address.ip().is_loopback() {
            return Vec::new();
        }
        let hosts = lan_hosts(&self.hosts, outward_address());
        hosts.into_iter().map(|host| format!("https://{}/", url_authority(host, self.address.port()))).collect()
    }

    /// Invites people to the run of this name, one to each place; a server has one such run at most.
    ///
    /// # Errors
    ///
    /// The system has no random bits for the invitations, or a run has invited people already.
    pub fn invite(&self, run: &str, places: Vec<String>) -> io::Result<Reception> {
        let reception = Reception::open(run, places)?;
        let taken = |_| io::Error::new(io::ErrorKind::AlreadyExists, "another run has invited people to this server");
        self.app.door.set(reception.door()).map_err(taken)?;
        Ok(reception)
    }

    /// Its certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Stops listening, says good-bye to every client, and returns once no task and no socket is left: within
    /// [`Limits::farewell`] and a second.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.app.hub.shut_down();
        self.app.tasks.close();
        let patience = self.app.hub.limits.farewell + SHUTDOWN_GRACE;
        if tokio::time::timeout(patience, self.app.tasks.wait()).await.is_err() {
            self.app.kill.cancel();
            self.app.tasks.wait().await;
        }
    }
}

/// The hosts for URLs, the best first: those that lead to `listen` and that the certificate is valid for. That the DNS
/// names of the user's own certificate lead here is the user's promise.
fn hosts(listen: IpAddr, identity: &Identity) -> Vec<String> {
    let mut hosts = Vec::new();
    if listen.is_unspecified() {
        hosts.extend(["127.0.0.1".to_owned(), "localhost".to_owned()]);
        hosts.extend(host_name());
        hosts.extend(
            lan_addresses().iter().filter(|address| address.is_ipv4() || listen.is_ipv6()).map(IpAddr::to_string),
        );
    } else {
        hosts.push(listen.to_string());
        if listen.is_loopback() {
            hosts.push("localhost".to_owned());
        }
    }
    if hosts.iter().all(|host| !identity.covers(host)) {
        hosts.extend(identity.dns_names());
    }
    hosts.retain(|host| identity.covers(host));
    hosts
}

/// The hosts that mean this machine elsewhere, too: its addresses, that of its default route first; without any, the names
/// of its certificate.
fn lan_hosts(hosts: &[String], outward: Option<IpAddr>) -> Vec<&String> {
    let address = |host: &&String| host.parse::<IpAddr>().ok();
    let mut lan: Vec<_> = hosts.iter().filter(|host| address(host).is_some_and(|ip| !ip.is_loopback())).collect();
    lan.sort_by_key(|host| outward.is_none() || address(host) != outward);
    if lan.is_empty() {
        let is_name = |host: &&String| address(host).is_none() && *host != "localhost";
        lan.extend(hosts.iter().filter(is_name));
    }
    lan
}

fn url_authority(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(address) => authority(address, port),
        Err(_) => format!("{host}:{port}"),
    }
}

fn listen_error(address: SocketAddr, source: io::Error) -> ServerError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortInUse(address),
        io::ErrorKind::PermissionDenied => ServerError::NotPermitted(address),
        io::ErrorKind::AddrNotAvailable => ServerError::NotLocal(address.ip()),
        _ => ServerError::Listen { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_sent_to_the_address_of_the_default_route_first() {
        let hosts = ["127.0.0.1", "localhost", "box", "172.17.0.1", "192.168.1.5"].map(String::from);
        let outward = Some("192.168.1.5".parse().unwrap());
        assert_eq!(lan_hosts(&hosts, outward), ["192.168.1.5", "172.17.0.1"]);
        assert_eq!(lan_hosts(&hosts, None), ["172.17.0.1", "192.168.1.5"]);
        let named = ["localhost", "calls.example.org"].map(String::from);
        assert_eq!(lan_hosts(&named, outward), ["calls.example.org"]);
    }
}
