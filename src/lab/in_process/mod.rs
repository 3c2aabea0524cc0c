//! The in-process driver: sockets of native peers and of the bundled servers whose packets cross a [`World`] in memory.
//!
//! No privileges, any operating system. UDP is carried datagram by datagram; TCP is a real stack of its own per host, so
//! that the model sees segments, losses and handshakes as it would on a wire. Time is the machine's: one task sleeps
//! until the model's next timer.

mod stack;
mod tcp;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
mod udp;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::place::{Datagrams, Listener, Place, Stream};
use crate::net::{Counters, HostId, Packet, SiteId, Transport, UnreachableReason, World};
use stack::Stack;
pub use tcp::{TcpListener, TcpStream};
use udp::Inbox;
pub use udp::UdpPort;

/// A running model, with sockets at its hosts. Nothing of it remains once it is dropped.
#[derive(Debug)]
pub struct InProcessLab {
    core: Arc<Core>,
    clock: JoinHandle<()>,
}

/// A host of the model, as a place for sockets.
#[derive(Clone, Debug)]
pub struct Host {
    core: Arc<Core>,
    id: HostId,
    addresses: Arc<[IpAddr]>,
}

impl InProcessLab {
    /// Sets the model going. Must be called within a tokio runtime.
    pub fn start(world: World) -> Self {
        let state = State { world, addresses: HashMap::new(), udp: HashMap::new(), stacks: HashMap::new() };
        let core = Arc::new(Core { state: Mutex::new(state), earlier: Notify::new() });
        let clock = tokio::spawn(keep_time(Arc::clone(&core)));
        Self { core, clock }
    }

    /// A host that the model has, with the addresses that it was given there.
    pub fn host(&self, id: HostId, addresses: impl Into<Arc<[IpAddr]>>) -> Host {
        let addresses = addresses.into();
        self.core.lock().addresses.insert(id, Arc::clone(&addresses));
        Host { core: Arc::clone(&self.core), id, addresses }
    }

    /// What a site has forwarded and dropped so far.
    pub fn counters(&self, site: SiteId) -> Counters {
        self.core.lock().world.counters(site).clone()
    }

    /// Lets `work` look at the model.
    pub fn with_world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.core.lock().world)
    }
}

impl Drop for InProcessLab {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

impl Host {
    /// The addresses that it has in its own network.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// A UDP socket. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When the address is not the host's, or the port is taken.
    pub fn bind_udp(&self, local: SocketAddr) -> io::Result<UdpPort> {
        self.check(local)?;
        let mut state = self.core.lock();
        let local = match local.port() {
            0 => (49_152..=u16::MAX)
                .map(|port| SocketAddr::new(local.ip(), port))
                .find(|free| !state.udp.contains_key(&(self.id, *free)))
                .ok_or(io::ErrorKind::AddrInUse)?,
            _ if state.udp.contains_key(&(self.id, local)) => return Err(io::ErrorKind::AddrInUse.into()),
            _ => local,
        };
        let inbox = Arc::new(Inbox::default());
        state.udp.insert((self.id, local), Arc::clone(&inbox));
        drop(state);
        Ok(UdpPort::new(Arc::clone(&self.core), self.id, local, inbox))
    }

    /// A TCP connection, from the address `from` if it is of the right family; resolves once it is established.
    ///
    /// # Errors
    ///
    /// When it is refused, or nobody answers within the stack's own deadline.
    pub async fn connect_tcp(&self, from: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
        let usable = |address: &&IpAddr| {
            address.is_ipv4() == remote.is_ipv4()
                && from.is_none_or(|from| from.is_ipv6() != address.is_ipv6() || from == **address)
        };
        let local = *self.addresses.iter().find(usable).ok_or(io::ErrorKind::AddrNotAvailable)?;
        TcpStream::connect(Arc::clone(&self.core), self.id, local, remote).await
    }

    /// A listener for TCP connections.
    ///
    /// # Errors
    ///
    /// When the address is not the host's.
    pub fn listen_tcp(&self, local: SocketAddr) -> io::Result<TcpListener> {
        self.check(local)?;
        TcpListener::new(Arc::clone(&self.core), self.id, local)
    }

    fn check(&self, local: SocketAddr) -> io::Result<()> {
        if self.addresses.contains(&local.ip()) { Ok(()) } else { Err(io::ErrorKind::AddrNotAvailable.into()) }
    }
}

#[async_trait]
impl Place for Host {
    fn bind_udp(&self, local: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        Ok(Arc::new(Self::bind_udp(self, local)?))
    }

    fn listen_tcp(&self, local: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(Self::listen_tcp(self, local)?))
    }

    async fn connect_tcp(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Self::connect_tcp(self, from, to).await?))
    }
}

/// What the sockets of a lab share.
#[derive(Debug)]
struct Core {
    state: Mutex<State>,
    /// The next timer has become an earlier one.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    world: World,
    addresses: HashMap<HostId, Arc<[IpAddr]>>,
    udp: HashMap<(HostId, SocketAddr), Arc<Inbox>>,
    /// Of the hosts that have had to do with TCP.
    stacks: HashMap<HostId, Stack>,
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking thread left is still a model of packets under way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `act` change the state, then moves what it set going.
    fn act<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.next_timeout();
        let result = act(&mut state, now);
        state.settle(now);
        let after = state.next_timeout();
        drop(state);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.earlier.notify_one();
        }
        result
    }
}

impl State {
    fn stack(&mut self, host: HostId) -> &mut Stack {
        let addresses = self.addresses.get(&host);
        self.stacks.entry(host).or_insert_with(|| Stack::new(addresses.map_or(&[], |addresses| addresses)))
    }

    fn next_timeout(&self) -> Option<Instant> {
        let stacks = self.stacks.values().filter_map(Stack::poll_timeout);
        stacks.chain(self.world.poll_timeout()).min()
    }

    /// Hands out what the model delivers and what the stacks send, until nothing moves any more at this instant.
    fn settle(&mut self, now: Instant) {
        loop {
            for (host, stack) in &mut self.stacks {
                for packet in stack.poll(now) {
                    self.world.handle_input(now, *host, packet);
                }
            }
            let mut moved = false;
            while let Some((host, packet)) = self.world.poll_output() {
                moved |= self.deliver(now, host, packet);
            }
            if !moved {
                return;
            }
        }
    }

    /// Returns whether a stack may have something to send now.
    fn deliver(&mut self, now: Instant, host: HostId, packet: Packet) -> bool {
        match &packet.transport {
            Transport::Udp(payload) => {
                match self.udp.get(&(host, packet.destination)) {
                    Some(inbox) => inbox.push(packet.source, payload.clone()),
                    None => {
                        let refusal = packet.unreachable(packet.destination.ip(), UnreachableReason::Port);
                        refusal.into_iter().for_each(|refusal| self.world.handle_input(now, host, refusal));
                    }
                }
                false
            }
            // A host that nobody listens on resets what is sent to it, so it has a stack too.
            Transport::Tcp(_) => {
                self.stack(host).receive(&packet);
                true
            }
            Transport::Unreachable(error) => {
                // An unconnected UDP socket hears of ICMP errors only if it asks for them, as in every system.
                if let Some(inbox) = self.udp.get(&(host, error.source)) {
                    inbox.refuse(error);
                }
                self.stacks.get_mut(&host).is_some_and(|stack| stack.refuse(error))
            }
        }
    }
}

async fn keep_time(core: Arc<Core>) {
    loop {
        let next = core.lock().next_timeout();
        let elapsed = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = elapsed => core.act(|state, now| state.world.handle_timeout(now)),
            () = core.earlier.notified() => {}
        }
    }
}
