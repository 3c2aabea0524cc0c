//! The TCP stack of one host: turns what its sockets want into segments that cross the model.

use std::collections::VecDeque;
use std::fmt::{self, Formatter};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{self, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::net::{Packet, Unreachable, ip};

/// As on Ethernet.
const MTU: usize = 1500;

/// Bytes that a connection buffers in each direction.
const BUFFER: usize = 256 << 10;

/// How long a connection attempt, or data, may stay unanswered.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The TCP side of a host.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    origin: Instant,
    /// Something came in or was asked for since the last poll.
    changed: bool,
    due: Option<Instant>,
    /// Connections whose owner is gone; they end in their own time.
    orphans: Vec<SocketHandle>,
    next_port: u16,
}

impl Stack {
    pub(super) fn new(addresses: &[IpAddr]) -> Self {
        let mut wire = Wire::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|own| {
            for address in addresses {
                let length = if address.is_ipv4() { 32 } else { 128 };
                // The number of addresses is limited at compile time.
                let _ = own.push(IpCidr::new(IpAddress::from(*address), length));
            }
        });
        // A host may have more of them; the model delivers none but its own. The stack wants a route by way of one that it
        // knows, so the first of each family comes last.
        interface.set_any_ip(true);
        for address in addresses.iter().rev() {
            match address {
                IpAddr::V4(own) => drop(interface.routes_mut().add_default_ipv4_route(*own)),
                IpAddr::V6(own) => drop(interface.routes_mut().add_default_ipv6_route(*own)),
            }
        }
        Self {
            interface,
            sockets: SocketSet::new(vec![]),
            wire,
            origin: Instant::now(),
            changed: false,
            due: None,
            orphans: Vec::new(),
            next_port: 49_152,
        }
    }

    /// A packet of TCP arrives.
    pub(super) fn receive(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        if ip::encode(packet, 0, &mut bytes).is_ok() {
            self.wire.incoming.push_back(bytes);
            self.changed = true;
        }
    }

    /// An ICMP error arrives. Returns whether it ended a connection that was being established.
    pub(super) fn refuse(&mut self, error: &Unreachable) -> bool {
        let concerned = self.sockets.iter_mut().find_map(|(_, socket)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            let (local, remote) = (endpoint(socket.local_endpoint()?), endpoint(socket.remote_endpoint()?));
            let is_it = socket.state() == State::SynSent && local == error.source && remote == error.destination;
            is_it.then_some(socket)
        });
        let Some(socket) = concerned else { return false };
        socket.abort();
        self.changed = true;
        true
    }

    /// Lets the stack work; what it sends.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Packet> {
        if !self.changed && self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.changed = false;
        let at = self.at(now);
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
        self.orphans.retain(|handle| {
            let over = matches!(self.sockets.get::<Socket<'_>>(*handle).state(), State::Closed | State::TimeWait);
            if over {
                self.sockets.remove(*handle);
            }
            !over
        });
        self.due = self.interface.poll_delay(at, &self.sockets).map(|delay| now + Duration::from(delay));
        self.wire.outgoing.drain(..).filter_map(|bytes| ip::decode(&bytes).ok()).collect()
    }

    /// When [`poll`](Self::poll) is next due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Begins a connection.
    pub(super) fn connect(&mut self, local: IpAddr, remote: SocketAddr) -> io::Result<SocketHandle> {
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(49_152);
        let mut socket = new_socket();
        socket
            .connect(
                self.interface.context(),
                (IpAddress::from(remote.ip()), remote.port()),
                (IpAddress::from(local), port),
            )
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        self.changed = true;
        Ok(self.sockets.add(socket))
    }

    /// A socket that takes the next connection to this address.
    pub(super) fn listen(&mut self, local: SocketAddr) -> io::Result<SocketHandle> {
        let mut socket = new_socket();
        socket
            .listen((IpAddress::from(local.ip()), local.port()))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        Ok(self.sockets.add(socket))
    }

    /// The socket; whatever is done to it, the stack looks at it afterwards.
    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.changed = true;
        self.sockets.get_mut(handle)
    }

    /// The owner of a connection is gone: what it has written is still sent.
    pub(super) fn release(&mut self, handle: SocketHandle) {
        let socket = self.socket(handle);
        if matches!(socket.state(), State::Listen | State::SynSent) {
            socket.abort();
        } else {
            socket.close();
        }
        self.orphans.push(handle);
    }

    fn at(&self, now: Instant) -> smoltcp::time::Instant {
        let elapsed = now.saturating_duration_since(self.origin);
        smoltcp::time::Instant::from_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("sockets", &self.sockets.iter().count()).finish_non_exhaustive()
    }
}

/// Wakes whoever waits for the socket to become readable, writable or established.
pub(super) fn wake_on_change(socket: &mut Socket<'_>, waker: &Waker) {
    socket.register_recv_waker(waker);
    socket.register_send_waker(waker);
}

/// An endpoint of the stack as a socket address.
pub(super) fn endpoint(endpoint: smoltcp::wire::IpEndpoint) -> SocketAddr {
    SocketAddr::new(IpAddr::from(endpoint.addr), endpoint.port)
}

fn new_socket() -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
    socket.set_timeout(Some(DEADLINE.into()));
    // What a TURN client frames is a datagram in a hurry.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_congestion_control(tcp::CongestionControl::None);
    socket
}

/// Both ends of a wire, as queues of IP packets.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmit<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // Packets never leave this process, and what they lose on the way is lost whole.
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Received(packet), Transmit(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        Some(Transmit(&mut self.outgoing))
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Transmit<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push_back(packet);
        result
    }
}
