//! Sockets around the server, on this machine or in a modelled network: UDP, TCP and TLS listeners, and relay ports.
//!
//! Every socket has a task that waits until it is readable. What there is to read is then handled under one lock, and what
//! comes out of it is sent at once: the server itself never waits.

mod bind;
mod stream;
mod udp;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::stream::StreamHandle;
use super::config::Config;
use super::core::Server;
use super::counters::Counters;
use super::io::{Client, ClientTransport, Inbound, Output};
use super::misbehaviour::Misbehaviour;
use crate::lab::place::{Datagrams, Machine, Place};
use crate::signaling::Identity;

/// Where the server listens, and how it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server listens at each of these addresses, on the same ports. They must be the machine's own, and not
    /// `0.0.0.0`: an answer must come from the address that the client sent to.
    pub addresses: Vec<IpAddr>,
    /// UDP ports; 0 takes one that is free. Two ports on two addresses let clients find out about their NAT (RFC 5780).
    pub udp_ports: Vec<u16>,
    /// TCP ports; 0 takes one that is free.
    pub tcp_ports: Vec<u16>,
    /// TCP ports that speak TLS; 0 takes one that is free.
    pub tls_ports: Vec<u16>,
    /// The certificate for them.
    pub identity: Option<Identity>,
    /// How many streams may be open at a time.
    pub streams: usize,
    /// Everything else. Its listeners are filled in.
    pub config: Config,
}

impl Settings {
    /// A server at one address, on one free port for UDP and one for TCP.
    pub fn new(address: IpAddr, config: Config) -> Self {
        Self {
            addresses: vec![address],
            udp_ports: vec![0],
            tcp_ports: vec![0],
            tls_ports: Vec::new(),
            identity: None,
            streams: 4096,
            config,
        }
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address or port is not to be had.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS ports are asked for, and there is no certificate.
    #[error("TURN over TLS needs a certificate")]
    NoIdentity,
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// Where the server listens: for each port of the settings all addresses, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// For `turn:HOST:PORT` and `stun:HOST:PORT`.
    pub udp: Vec<SocketAddr>,
    /// For `turn:HOST:PORT?transport=tcp`.
    pub tcp: Vec<SocketAddr>,
    /// For `turns:HOST:PORT`.
    pub tls: Vec<SocketAddr>,
}

/// A server that runs. It ends when this is dropped; [`stop`](Self::stop) also waits until its sockets are closed.
#[derive(Debug)]
pub struct RunningServer {
    shared: Arc<Shared>,
    addresses: Addresses,
}

/// Starts a server on this machine, within a tokio runtime.
///
/// # Errors
///
/// An address that is not to be had, or TLS without a certificate.
pub fn start(settings: Settings) -> Result<RunningServer, StartError> {
    start_at(settings, Arc::new(Machine))
}

/// Starts a server at a place, within a tokio runtime.
///
/// # Errors
///
/// An address that is not to be had, or TLS without a certificate.
pub fn start_at(settings: Settings, place: Arc<dyn Place>) -> Result<RunningServer, StartError> {
    let Settings { addresses, udp_ports, tcp_ports, tls_ports, identity, streams, mut config } = settings;
    let acceptor = match (&identity, tls_ports.is_empty()) {
        (_, true) => None,
        (Some(identity), false) => Some(stream::acceptor(identity)),
        (None, false) => return Err(StartError::NoIdentity),
    };
    let listen = |address| place.listen_tcp(address).map(|listener| (listener.local_addr(), listener));
    let bind_udp = |address| place.bind_udp(address).map(|socket| (socket.local_addr(), socket));
    let udp = bind::all(&addresses, &udp_ports, bind_udp)?;
    let tcp = bind::all(&addresses, &tcp_ports, listen)?;
    let tls = bind::all(&addresses, &tls_ports, listen)?;
    let addresses = Addresses {
        udp: udp.iter().map(|(address, _)| *address).collect(),
        tcp: tcp.iter().map(|(address, _)| *address).collect(),
        tls: tls.iter().map(|(address, _)| *address).collect(),
    };

    config.listeners = addresses.udp.clone();
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| StartError::Random)?;
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let udp: HashMap<_, _> = udp.into_iter().collect();
    let shared = Arc::new(Shared {
        place: Arc::clone(&place),
        state: Mutex::new(State {
            server: Server::new(config, seed, Instant::now(), unix),
            listeners: udp.clone(),
            relays: HashMap::new(),
            closing: HashMap::new(),
            streams: HashMap::new(),
            stream_count: 0,
            armed: None,
            scratch: vec![0; udp::DATAGRAM_BYTES],
        }),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        rearm: Notify::new(),
        free_streams: Arc::new(Semaphore::new(streams)),
    });
    for (local, socket) in udp {
        shared.tasks.spawn(udp::serve_listener(shared.clone(), socket, local));
    }
    for (local, listener) in tcp {
        shared.tasks.spawn(stream::accept(shared.clone(), listener, local, None));
    }
    for (local, listener) in tls {
        shared.tasks.spawn(stream::accept(shared.clone(), listener, local, acceptor.clone()));
    }
    shared.tasks.spawn(keep_time(shared.clone()));
    Ok(RunningServer { shared, addresses })
}

impl RunningServer {
    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().server.counters()
    }

    /// Does other things wrong from now on.
    pub fn misbehave(&self, misbehaviour: Misbehaviour) {
        self.shared.lock().server.misbehave(misbehaviour);
    }

    /// Ends the server, and returns once all of its sockets are closed.
    pub async fn stop(self) -> Counters {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let mut state = self.shared.lock();
        state.listeners.clear();
        state.relays.clear();
        state.server.counters()
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[derive(Debug)]
struct Shared {
    place: Arc<dyn Place>,
    state: Mutex<State>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// A timer ends earlier than the one that is waited for.
    rearm: Notify,
    free_streams: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    server: Server,
    listeners: HashMap<SocketAddr, Arc<dyn Datagrams>>,
    relays: HashMap<SocketAddr, Relay>,
    /// Relay ports that are closed already, but for the task that still holds the socket.
    closing: HashMap<SocketAddr, Weak<dyn Datagrams>>,
    streams: HashMap<Client, StreamHandle>,
    stream_count: u64,
    armed: Option<Instant>,
    /// One buffer for all sockets: thousands of relay ports would need a lot of them.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Relay {
    socket: Arc<dyn Datagrams>,
    stop: CancellationToken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn input(self: &Arc<Self>, state: &mut State, now: Instant, input: Inbound<'_>) {
        state.server.handle_input(now, input);
        self.drain(state, now);
    }

    /// Does all that the server wants done.
    fn drain(self: &Arc<Self>, state: &mut State, now: Instant) {
        while let Some(output) = state.server.poll_output() {
            match output {
                Output::ToClient { client, data } => {
                    let sent = match client.transport {
                        ClientTransport::Udp => state
                            .listeners
                            .get(&client.local)
                            .is_some_and(|socket| socket.send_to(&data, client.remote).is_ok()),
                        ClientTransport::Tcp | ClientTransport::Tls => {
                            state.streams.get(&client).is_some_and(|stream| stream.send(data))
                        }
                    };
                    if !sent {
                        state.server.count_unsent();
                    }
                }
                Output::ToPeer { relay, peer, data } => {
                    let sent = state.relays.get(&relay).is_some_and(|relay| relay.socket.send_to(&data, peer).is_ok());
                    if !sent {
                        state.server.count_unsent();
                    }
                }
                Output::OpenRelay { relay } => {
                    let result = self.open_relay(state, relay);
                    state.server.handle_input(now, Inbound::RelayOpened { relay, result });
                }
                Output::CloseRelay { relay } => {
                    if let Some(Relay { socket, stop }) = state.relays.remove(&relay) {
                        stop.cancel();
                        state.closing.insert(relay, Arc::downgrade(&socket));
                    }
                }
                Output::CloseStream { client } => {
                    if let Some(stream) = state.streams.remove(&client) {
                        stream.close();
                    }
                }
            }
        }
        let next = state.server.poll_timeout();
        if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
            state.armed = next;
            self.rearm.notify_one();
        }
    }

    fn open_relay(self: &Arc<Self>, state: &mut State, relay: SocketAddr) -> std::io::Result<()> {
        // The task of a relay port that was just closed may hold its socket for another moment.
        let leftover = state.closing.remove(&relay).and_then(|socket| socket.upgrade());
        let socket = match leftover {
            Some(socket) => socket,
            None => self.place.bind_udp(relay)?,
        };
        let stop = self.stop.child_token();
        self.tasks.spawn(udp::serve_relay(self.clone(), socket.clone(), relay, stop.clone()));
        state.relays.insert(relay, Relay { socket, stop });
        Ok(())
    }
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut state = shared.lock();
            state.armed = state.server.poll_timeout();
            state.armed
        };
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.rearm.notified() => {}
            () = due => {
                let now = Instant::now();
                let mut state = shared.lock();
                state.server.handle_timeout(now);
                shared.drain(&mut state, now);
            }
        }
    }
}
