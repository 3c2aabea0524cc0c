//! The STUN and TURN servers of a peer: what the stack is told of them, and what became of each.
//!
//! The stack's TURN client knows UDP only, and skips other URLs with a log line. For a server over TCP or TLS it is
//! therefore told the address of a UDP server that does not exist, and [`divert`](super::divert) carries what it sends
//! there. The stack also says nothing of a server that refuses or is silent; this remembers why, per URL.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtc::peer_connection::transport::RTCIceServer;

use crate::lab::place::{Place, Stream};
use crate::peer::network::{IceServer, IceServers};
use crate::record::RelayTried;
use crate::turn::client::{ClientError, IceUrl, Scheme, Transport, Trust, UrlError, connect_stream, resolve};
use crate::turn::message::{Class, Message, Method};

/// How long each of resolving, TCP and TLS may take. The stack gives up on an allocation after about as long.
const DEADLINE: Duration = Duration::from_secs(8);

/// How much later than a relay over TLS one over TCP may come, and how much later than that one over UDP, at least.
const PATIENCE: Duration = Duration::from_millis(50);

/// The port of servers that do not exist. The stack takes only 5353 for something else.
const PSEUDO_PORT: u16 = 3478;

/// The servers of one peer.
#[derive(Debug)]
pub(super) struct Relays {
    /// Where streams to servers begin.
    place: Arc<dyn Place>,
    servers: Vec<RTCIceServer>,
    relays: Vec<Relay>,
    trust: Option<Arc<Trust>>,
    /// What became of each of `relays`.
    states: Mutex<Vec<State>>,
    /// The addresses of the peer's own sockets.
    sockets: Mutex<Vec<SocketAddr>>,
}

/// A TURN server.
#[derive(Debug)]
struct Relay {
    url: IceUrl,
    /// As the stack knows it.
    told: String,
}

/// What became of a TURN server.
#[derive(Clone, Debug, Default)]
struct State {
    /// Where it is, if it is reached over UDP.
    addresses: Vec<SocketAddr>,
    /// Why it cannot be reached.
    fault: Option<String>,
    /// When the first of `fault` and `refused` was known.
    lost: Option<Instant>,
    /// When Allocate was sent first.
    asked: Option<Instant>,
    /// When the stream to it was there.
    reached: Option<Instant>,
    answered: bool,
    /// When a relayed address was given.
    allocated: Option<Instant>,
    /// When the first permission was asked for.
    permission_asked: Option<Instant>,
    /// When it was given.
    permitted: Option<Instant>,
    /// Whether connectivity checks have crossed it.
    checked: bool,
    unauthorized: u32,
    refused: Option<String>,
}

impl Relays {
    /// The servers of a plan.
    ///
    /// # Errors
    ///
    /// One that a native peer cannot use at all; a password that the environment does not have; no CA to trust.
    pub(super) fn new(ice: &IceServers, place: Arc<dyn Place>) -> Result<Self, String> {
        let mut relays: Vec<Relay> = Vec::new();
        let mut servers = Vec::new();
        for server in &ice.servers {
            let mut urls = Vec::new();
            for text in &server.urls {
                let unusable = |UrlError { url, reason, remedy }| format!("{url}: {reason}; {remedy}");
                let url: IceUrl = text.parse().map_err(unusable)?;
                url.check_for_native_peers().map_err(unusable)?;
                let told = match url.transport {
                    Transport::Udp => url.to_string(),
                    Transport::Tcp | Transport::Tls => {
                        format!("turn:{}:{PSEUDO_PORT}?transport=udp", pseudo_v4(relays.len()))
                    }
                };
                urls.push(told.clone());
                if url.scheme == Scheme::Turn {
                    relays.push(Relay { url, told });
                }
            }
            servers.push(ice_server(server, urls));
        }
        let tls = relays.iter().any(|relay| relay.url.transport == Transport::Tls);
        let trust = tls.then(|| ice.trust()).transpose()?;
        let states = Mutex::new(vec![State::default(); relays.len()]);
        Ok(Self { place, servers, relays, trust, states, sockets: Mutex::default() })
    }

    /// The servers as the stack is told of them.
    pub(super) fn servers(&self) -> Vec<RTCIceServer> {
        self.servers.clone()
    }

    /// Whether there is no TURN server.
    pub(super) fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// Notes the address of a socket of the peer.
    pub(super) fn add_socket(&self, address: SocketAddr) {
        if let Ok(mut sockets) = self.sockets.lock() {
            sockets.push(address);
        }
    }

    /// Whether what comes to this address comes to a socket of the peer, rather than to a relay.
    pub(super) fn is_socket(&self, address: SocketAddr) -> bool {
        self.sockets.lock().is_ok_and(|sockets| sockets.contains(&address))
    }

    /// The index of the server that a datagram to this address is diverted to.
    pub(super) fn diverted(&self, destination: SocketAddr) -> Option<usize> {
        let index = match destination.ip() {
            IpAddr::V4(ip) if ip.octets()[0] == 240 => u32::from(ip) & 0xffff,
            IpAddr::V6(ip) if ip.segments()[..4] == [0x100, 0, 0, 0] => u32::from(ip.segments()[7]),
            _ => return None,
        };
        let index = usize::try_from(index).ok()?.checked_sub(1)?;
        self.relays.get(index).filter(|relay| relay.url.transport != Transport::Udp).map(|_| index)
    }

    /// The addresses of `host:port` as the stack asks for them: those of a server that does not exist are known.
    ///
    /// # Errors
    ///
    /// Those of the resolver.
    pub(super) async fn resolve(
        &self,
        host: &str,
        lookup: impl AsyncFnOnce(String) -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Some(index) = host.parse().ok().and_then(|address| self.diverted(address)) {
            let pseudo = [pseudo_v4(index).into(), pseudo_v6(index).into()];
            return Ok(pseudo.map(|ip: IpAddr| SocketAddr::new(ip, PSEUDO_PORT)).to_vec());
        }
        let found = lookup(bracketed(host)).await;
        self.update(|index, state| {
            let IceUrl { transport, host: name, port, .. } = &self.relays[index].url;
            if *transport == Transport::Udp && host == format!("{name}:{port}") {
                match &found {
                    Ok(addresses) => {
                        state.addresses.clone_from(addresses);
                        if !addresses.iter().any(SocketAddr::is_ipv4) {
                            state.fault = Some(format!("{name} has no IPv4 address, and native peers use no other"));
                        }
                    }
                    Err(error) => state.fault = Some(format!("the host name {name} has no address: {error}")),
                }
            }
        });
        found
    }

    /// A stream to a server over TCP or TLS, from an address of this machine.
    pub(super) async fn connect(&self, index: usize, from: IpAddr) -> Result<Box<dyn Stream>, String> {
        let Some(Relay { url, .. }) = self.relays.get(index) else { return Err("no such server".into()) };
        let connected = self.try_connect(url, from).await.map_err(|error| error.to_string());
        match &connected {
            Ok(_) => self.update_one(index, |state| {
                state.reached.get_or_insert_with(Instant::now);
            }),
            Err(error) => self.fail(index, error.clone()),
        }
        connected
    }

    async fn try_connect(&self, url: &IceUrl, from: IpAddr) -> Result<Box<dyn Stream>, ClientError> {
        let mut last = ClientError::Internal("the resolver gives no address".into());
        for address in resolve(url, DEADLINE).await? {
            // The stream leaves from where the socket is that it stands for, where that is possible.
            match connect_stream(&*self.place, url, address, Some(from), self.trust.as_deref(), DEADLINE).await.1 {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether connectivity checks may cross the relay of this server now.
    ///
    /// A relay over UDP is better than one over TCP, and that better than one over TLS, but the stack gives all of them
    /// one priority. So checks wait while a better relay is there, or may still come: one that has not come in twice the
    /// time that this one took, with more round trips to make, is not to be waited for. Where they once went they always
    /// may, or a pair that works would be lost.
    pub(super) fn may_check(&self, index: usize) -> bool {
        let Ok(mut states) = self.states.lock() else { return true };
        let (Some(own), Some(state)) = (self.relays.get(index), states.get(index)) else { return true };
        let took = state.asked.zip(state.allocated).map_or(Duration::MAX, |(asked, allocated)| allocated - asked);
        let may_still_come = state.allocated.is_none_or(|allocated| allocated.elapsed() < took.max(PATIENCE));
        let better = self.relays.iter().zip(&*states).filter(|(relay, _)| rank(relay) < rank(own));
        let none_better = better.into_iter().all(|(_, better)| {
            let lost = better.fault.is_some() || better.refused.is_some();
            lost || (better.allocated.is_none() && !may_still_come)
        });
        let may_check = state.checked || none_better;
        states[index].checked = may_check;
        may_check
    }

    /// A server cannot be used any more.
    pub(super) fn fail(&self, index: usize, fault: String) {
        self.update_one(index, |state| {
            state.fault = Some(fault);
            state.lost.get_or_insert_with(Instant::now);
        });
    }

    /// Looks at a datagram that goes to a server.
    pub(super) fn sent(&self, destination: SocketAddr, datagram: &[u8]) {
        let Ok(message) = Message::parse(datagram) else { return };
        if message.class() != Class::Request {
            return;
        }
        let method = message.method();
        self.update_at(destination, |state| {
            let slot = match method {
                Method::ALLOCATE => &mut state.asked,
                Method::CREATE_PERMISSION => &mut state.permission_asked,
                _ => return,
            };
            slot.get_or_insert_with(Instant::now);
        });
    }

    /// Looks at a datagram that comes from a server.
    pub(super) fn received(&self, source: SocketAddr, datagram: &[u8]) {
        let Ok(message) = Message::parse(datagram) else { return };
        let (class, method) = (message.class(), message.method());
        let told = match class {
            Class::Success => matches!(method, Method::ALLOCATE | Method::CREATE_PERMISSION),
            Class::Error => matches!(method, Method::ALLOCATE | Method::CREATE_PERMISSION | Method::CHANNEL_BIND),
            _ => false,
        };
        if !told {
            return;
        }
        self.update_at(source, |state| {
            state.answered = true;
            if class == Class::Success {
                let slot = if method == Method::ALLOCATE { &mut state.allocated } else { &mut state.permitted };
                slot.get_or_insert_with(Instant::now);
                return;
            }
            let Some((code, reason)) = message.error_code() else { return };
            state.unauthorized += u32::from(code == 401 && method == Method::ALLOCATE);
            // The first 401 and each 438 are how TURN tells realm and nonce.
            if code == 438 || (code == 401 && state.unauthorized < 2) {
                return;
            }
            let advice = if code == 401 { ": wrong user name or password, or expired" } else { "" };
            state.refused = Some(format!("{} is refused with {code} ({reason}){advice}", method.name()));
            state.lost.get_or_insert_with(Instant::now);
        });
    }

    /// The URL and the transport of the server that the stack knows by this URL.
    pub(super) fn origin(&self, told: &str) -> Option<&IceUrl> {
        self.relays.iter().find(|relay| relay.told == told).map(|relay| &relay.url)
    }

    /// What is wrong with the servers, one sentence each.
    pub(super) fn faults(&self) -> Vec<String> {
        let states = self.states.lock().map(|states| states.clone()).unwrap_or_default();
        let fault = |(relay, state): (&Relay, State)| {
            let silent = state.asked.is_some() && !state.answered;
            let fault = state.fault.or(state.refused).or_else(|| silent.then(|| "no answer to Allocate".into()))?;
            Some(format!("{}: {fault}", relay.url))
        };
        self.relays.iter().zip(states).filter_map(fault).collect()
    }

    /// The number of the server with this address.
    pub(super) fn server_at(&self, address: SocketAddr) -> Option<usize> {
        self.diverted(address).or_else(|| {
            let states = self.states.lock().ok()?;
            states.iter().position(|state| state.addresses.contains(&address))
        })
    }

    /// What came of each server but the checks, its instants by `micros`.
    pub(super) fn tried(&self, micros: impl Fn(Instant) -> u64) -> Vec<RelayTried> {
        let states = self.states.lock().map(|states| states.clone()).unwrap_or_default();
        let tried = |(relay, state): (&Relay, State)| RelayTried {
            asked_us: state.asked.map(&micros),
            reached_us: state.reached.map(&micros),
            allocated_us: state.allocated.map(&micros),
            permission_asked_us: state.permission_asked.map(&micros),
            permitted_us: state.permitted.map(&micros),
            fault: state.fault.or(state.refused),
            fault_us: state.lost.map(&micros),
            ..RelayTried::new(relay.url.to_string(), relay.url.transport.into())
        };
        self.relays.iter().zip(states).map(tried).collect()
    }

    fn update(&self, mut change: impl FnMut(usize, &mut State)) {
        if let Ok(mut states) = self.states.lock() {
            states.iter_mut().enumerate().for_each(|(index, state)| change(index, state));
        }
    }

    fn update_one(&self, index: usize, change: impl FnOnce(&mut State)) {
        if let Ok(mut states) = self.states.lock()
            && let Some(state) = states.get_mut(index)
        {
            change(state);
        }
    }

    fn update_at(&self, address: SocketAddr, change: impl FnOnce(&mut State)) {
        if let Some(index) = self.server_at(address) {
            self.update_one(index, change);
        }
    }
}

/// The preference among transports: the less, the better.
fn rank(relay: &Relay) -> u8 {
    match relay.url.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    }
}

fn ice_server(server: &IceServer, urls: Vec<String>) -> RTCIceServer {
    RTCIceServer {
        urls,
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default(),
    }
}

/// An address that no packet can have (240.0.0.0/4: RFC 1112, section 4).
fn pseudo_v4(index: usize) -> Ipv4Addr {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    Ipv4Addr::from(0xf000_0000 | u32::from(number))
}

/// An address whose packets are discarded (100::/64: RFC 6666).
fn pseudo_v6(index: usize) -> Ipv6Addr {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, number)
}

/// `host:port`, with the brackets of an IPv6 address, which the stack's TURN client forgets.
fn bracketed(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((ip, port)) if ip.parse::<Ipv6Addr>().is_ok() => format!("[{ip}]:{port}"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::place::Machine;
    use crate::net::oracle::RelayTransport;
    use crate::turn::message::{Builder, TransactionId};

    fn relays(urls: &[&str]) -> Result<Relays, String> {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let server = IceServer { urls, username: Some("u".into()), credential: Some("p".into()) };
        Relays::new(&IceServers::new(vec![server], None), Arc::new(Machine))
    }

    fn allocate(class: Class) -> Vec<u8> {
        message(class, Method::ALLOCATE)
    }

    fn message(class: Class, method: Method) -> Vec<u8> {
        Builder::new(class, method, TransactionId([0; 12])).finish()
    }

    fn refusal(method: Method, code: u16) -> Vec<u8> {
        let mut message = Builder::new(Class::Error, method, TransactionId([0; 12]));
        message.error_code(code, "no");
        message.finish()
    }

    #[test]
    fn the_stack_is_told_of_udp_servers_that_do_not_exist() {
        let relays = relays(&["stun:a", "turn:a", "turn:a?transport=tcp"]).unwrap();
        let told = &relays.servers()[0].urls;
        assert_eq!(told[..2], ["stun:a:3478", "turn:a:3478?transport=udp"]);
        assert_eq!(told[2], "turn:240.0.0.2:3478?transport=udp");
        assert_eq!(relays.diverted("240.0.0.2:3478".parse().unwrap()), Some(1));
        assert_eq!(relays.diverted("[100::2]:3478".parse().unwrap()), Some(1));
        for other in ["240.0.0.1:3478", "240.0.0.3:3478", "192.0.2.1:3478", "[2001:db8::2]:3478"] {
            assert_eq!(relays.diverted(other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(relays.origin(&told[2]).unwrap().transport, Transport::Tcp);
        assert_eq!(relays.origin(&told[1]).unwrap().transport, Transport::Udp);
    }

    #[test]
    fn a_server_that_cannot_be_used_is_an_error() {
        let error = relays(&["stuns:a"]).unwrap_err();
        assert!(error.contains("stuns:a:5349") && error.contains("write stun:"), "{error}");
        let error = relays(&["turns:a?transport=udp"]).unwrap_err();
        assert!(error.contains("DTLS"), "{error}");
    }

    #[tokio::test]
    async fn each_step_with_a_server_is_noted_once() {
        let relays = relays(&["turn:a:1", "turn:b?transport=tcp"]).unwrap();
        let (udp, tcp) = ("192.0.2.1:1".parse().unwrap(), "240.0.0.2:3478".parse().unwrap());
        relays.resolve("a:1", async |_| Ok(vec![udp])).await.unwrap();
        for method in [Method::ALLOCATE, Method::CREATE_PERMISSION] {
            relays.sent(udp, &message(Class::Request, method));
            relays.received(udp, &message(Class::Success, method));
        }
        relays.sent(tcp, &allocate(Class::Request));
        relays.fail(1, "refused".into());
        let start = Instant::now();
        let tried = relays.tried(|at| at.saturating_duration_since(start).as_micros() as u64);
        let [a, b] = &tried[..] else { panic!("{tried:?}") };
        let steps = [a.asked_us, a.allocated_us, a.permission_asked_us, a.permitted_us];
        assert!(steps.iter().all(Option::is_some) && a.reached_us.is_none() && a.fault.is_none(), "{a:?}");
        assert_eq!((b.transport, b.allocated_us, b.fault.as_deref()), (RelayTransport::Tcp, None, Some("refused")));
        assert!(b.fault_us >= b.asked_us && b.fault_us.is_some());
        assert_eq!((relays.server_at(udp), relays.server_at(tcp)), (Some(0), Some(1)));
    }

    #[tokio::test]
    async fn the_stack_resolves_names_and_servers_that_do_not_exist() {
        let relays = relays(&["turn:[::1]:1000", "turn:a?transport=tcp"]).unwrap();
        let found = relays.resolve("240.0.0.2:3478", async |_| panic!("no resolver is asked")).await.unwrap();
        assert_eq!(found, ["240.0.0.2:3478", "[100::2]:3478"].map(|address| address.parse::<SocketAddr>().unwrap()));
        let found = relays.resolve("::1:1000", async |host| Ok(vec![host.parse().unwrap()])).await.unwrap();
        assert!(relays.faults()[0].contains("no IPv4 address"), "{:?}", relays.faults());
        assert_eq!(found, ["[::1]:1000".parse::<SocketAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn each_fault_is_named_with_its_url() {
        let relays = relays(&["turn:a:1", "turn:b:2", "turn:c:3", "turn:d:4?transport=tcp"]).unwrap();
        for (host, ip) in [("a:1", "192.0.2.1:1"), ("b:2", "192.0.2.2:2")] {
            relays.resolve(host, async |_| Ok(vec![ip.parse().unwrap()])).await.unwrap();
        }
        let unknown = relays.resolve("c:3", async |_| Err(io::Error::other("unknown"))).await;
        assert!(unknown.is_err());
        assert_eq!(relays.faults(), ["turn:c:3?transport=udp: the host name c has no address: unknown"]);

        let (a, b) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        relays.sent(a, &allocate(Class::Request));
        relays.sent(b, &allocate(Class::Request));
        relays.received(a, &refusal(Method::ALLOCATE, 401));
        assert_eq!(relays.faults()[0], "turn:b:2?transport=udp: no answer to Allocate");
        relays.received(a, &refusal(Method::ALLOCATE, 401));
        relays.received(b, &refusal(Method::ALLOCATE, 486));
        relays.fail(3, "certificate is for another name".into());
        let faults = relays.faults();
        assert!(faults[0].ends_with("401 (no): wrong user name or password, or expired"), "{}", faults[0]);
        assert!(faults[1].ends_with("refused with 486 (no)"), "{}", faults[1]);
        assert_eq!(faults[3], "turn:d:4?transport=tcp: certificate is for another name");
    }

    #[test]
    fn the_first_401_and_a_stale_nonce_are_no_faults() {
        let relays = relays(&["turn:a?transport=tcp"]).unwrap();
        let server = "240.0.0.1:3478".parse().unwrap();
        relays.received(server, &refusal(Method::ALLOCATE, 401));
        relays.received(server, &refusal(Method::CREATE_PERMISSION, 438));
        assert!(relays.faults().is_empty());
    }

    /// Over TCP and over TLS, both asked, with a relay over TLS.
    fn tls_came_first() -> (Relays, SocketAddr) {
        let relays = relays(&["turn:a?transport=tcp", "turns:b"]).unwrap();
        let (tcp, tls) = ("240.0.0.1:3478".parse().unwrap(), "240.0.0.2:3478".parse().unwrap());
        relays.sent(tcp, &allocate(Class::Request));
        relays.sent(tls, &allocate(Class::Request));
        relays.received(tls, &allocate(Class::Success));
        assert!(!relays.may_check(1), "TCP may still come");
        (relays, tcp)
    }

    #[test]
    fn checks_leave_it_to_a_better_relay() {
        let (relays, tcp) = tls_came_first();
        relays.received(tcp, &allocate(Class::Success));
        std::thread::sleep(PATIENCE * 2);
        assert!(!relays.may_check(1), "TCP came");
        assert!(relays.may_check(0), "nothing is better than TCP here");
        relays.fail(0, "the server closed the connection".into());
        assert!(relays.may_check(1), "TCP is gone");
    }

    #[test]
    fn checks_do_not_wait_long_and_are_not_stopped_once_they_began() {
        let (relays, tcp) = tls_came_first();
        std::thread::sleep(PATIENCE * 2);
        assert!(relays.may_check(1), "TCP does not come any more");
        relays.received(tcp, &allocate(Class::Success));
        assert!(relays.may_check(1), "a pair over TLS may work already");
    }
}
