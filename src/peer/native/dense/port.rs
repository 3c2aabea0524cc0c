//! The UDP sockets of a peer: of the kernel's, in whatever network namespace, or of a modelled network.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mio::net::UdpSocket;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::super::divert::Diverter;
use super::super::observe::Observer;
use super::super::relays::Relays;
use super::super::runtime::enlarge_buffers;
use super::shard::Seat;
use crate::lab::in_process::UdpPort;
use crate::lab::place::Datagrams;
use crate::peer::network::PeerHost;

/// The most that one send carries: the largest UDP datagram, less the headers.
const BATCH: usize = 65_000;

/// Batches that wait for room in the socket's buffer; beyond it datagrams are dropped, as a network would.
const UNSENT: usize = 64;

/// A UDP socket, and the streams to TURN servers that stand in for it.
pub(super) struct Port {
    local: SocketAddr,
    socket: Socket,
    /// Absent without servers.
    diverter: Option<Diverter>,
    /// Woken when there is something to read that the loop does not watch itself.
    waker: Waker,
    /// What the socket's buffer had no room for.
    unsent: VecDeque<Unsent>,
}

enum Socket {
    System(UdpSocket, UdpSocketState),
    Modelled(UdpPort),
}

struct Unsent {
    to: SocketAddr,
    contents: Vec<u8>,
    segment: usize,
}

/// What was received: datagrams of `stride` bytes each, the last perhaps shorter, from one address.
pub(super) struct Received {
    pub(super) source: SocketAddr,
    pub(super) length: usize,
    pub(super) stride: usize,
}

impl Port {
    /// A socket at an address of the host, which the peer's shard reads.
    pub(super) fn bind(host: &PeerHost, address: SocketAddr, seat: &Seat, relays: &Arc<Relays>) -> io::Result<Self> {
        let socket = match host {
            PeerHost::Machine => system(std::net::UdpSocket::bind(address)?, seat)?,
            PeerHost::Modelled(host) => Socket::Modelled(host.bind_udp(address)?),
            #[cfg(target_os = "linux")]
            PeerHost::Namespace(host) => system(host.bind_udp(address)?, seat)?,
        };
        let local = match &socket {
            Socket::System(socket, _) => socket.local_addr()?,
            Socket::Modelled(port) => port.local_addr(),
        };
        relays.add_socket(local);
        let diverter = (!relays.is_empty()).then(|| Diverter::new(Arc::clone(relays), local.ip()));
        Ok(Self { local, socket, diverter, waker: seat.waker(), unsent: VecDeque::new() })
    }

    /// Its address.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many datagrams one send can carry.
    pub(super) fn segments(&self) -> usize {
        match &self.socket {
            Socket::System(_, state) => state.max_gso_segments(),
            Socket::Modelled(_) => 1,
        }
    }

    /// Sends datagrams of `segment` bytes each, the last perhaps shorter, to one address.
    pub(super) fn send(&mut self, to: SocketAddr, contents: &[u8], segment: usize, observer: &Observer) {
        if let Some(server) = observer.relays.diverted(to) {
            for datagram in contents.chunks(segment.max(1)) {
                if observer.may_cross(server, datagram) {
                    observer.sent(to, datagram);
                    let diverted = self.diverter.as_ref().map(|diverter| diverter.send(server, to, datagram));
                    if let Some(Err(error)) = diverted {
                        tracing::debug!(%error, "a stream to a server is gone");
                    }
                }
            }
            return;
        }
        for datagram in contents.chunks(segment.max(1)) {
            observer.sent(to, datagram);
        }
        match &self.socket {
            Socket::Modelled(port) => port.send_to(Bytes::copy_from_slice(contents), to),
            Socket::System(..) if self.unsent.is_empty() => {
                if self.try_send(to, contents, segment) {
                    return;
                }
                self.unsent.push_back(Unsent { to, contents: contents.to_vec(), segment });
            }
            Socket::System(..) if self.unsent.len() < UNSENT => {
                self.unsent.push_back(Unsent { to, contents: contents.to_vec(), segment });
            }
            // The kernel has counted that the buffer was full, which makes the verdict invalid.
            Socket::System(..) => {}
        }
    }

    /// Sends what had to wait, as far as there is room.
    pub(super) fn resend(&mut self) {
        while let Some(Unsent { to, contents, segment }) = self.unsent.pop_front() {
            if !self.try_send(to, &contents, segment) {
                return self.unsent.push_front(Unsent { to, contents, segment });
            }
        }
    }

    /// Whether something waits for room in the socket's buffer.
    pub(super) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// False if the socket's buffer has no room now.
    fn try_send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> bool {
        let Socket::System(socket, state) = &self.socket else { return true };
        let segment_size = (segment < contents.len()).then_some(segment);
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        match socket.try_io(|| state.try_send(UdpSockRef::from(socket), &transmit)) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // The interface segments nothing, which the state remembers: one by one from now on.
            Err(_) if segment_size.is_some() && state.max_gso_segments() == 1 => {
                contents.chunks(segment).all(|datagram| self.try_send(to, datagram, segment))
            }
            Err(error) => {
                // As if the network had lost it.
                tracing::debug!(%error, %to, "a datagram is not sent");
                true
            }
        }
    }

    /// The next datagrams; `None` if there are none now, and the shard is told when there are.
    pub(super) fn receive(&mut self, buffer: &mut [u8], observer: &Observer) -> Option<Received> {
        let mut cx = Context::from_waker(&self.waker);
        if let Some(diverter) = &self.diverter {
            while let Poll::Ready((source, message)) = diverter.poll_receive(&mut cx) {
                if observer.relays.diverted(source).is_none_or(|server| observer.may_cross(server, &message)) {
                    let length = message.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&message[..length]);
                    return Some(Received { source, length, stride: length.max(1) });
                }
            }
        }
        match &self.socket {
            Socket::System(socket, state) => {
                let mut meta = [RecvMeta::default()];
                let mut buffers = [IoSliceMut::new(buffer)];
                let received = socket.try_io(|| state.recv(UdpSockRef::from(socket), &mut buffers, &mut meta));
                match received {
                    Ok(_) => {
                        let [RecvMeta { addr, len, stride, .. }] = meta;
                        Some(Received { source: addr, length: len, stride: stride.max(1) })
                    }
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            tracing::debug!(%error, "a datagram is not received");
                        }
                        None
                    }
                }
            }
            Socket::Modelled(port) => {
                while let Some((destination, reason)) = port.take_error() {
                    observer.wire.unreachable(destination, reason);
                }
                let Poll::Ready(Ok(())) = port.poll_readable(&mut cx) else { return None };
                let (length, source) = port.try_recv_from(buffer).ok()?;
                Some(Received { source, length, stride: length.max(1) })
            }
        }
    }
}

/// The bytes that datagrams of `segment` bytes may have together in one send.
pub(super) fn batch_limit(segment: usize, segments: usize) -> usize {
    BATCH.min(segment.saturating_mul(segments.max(1))).max(segment)
}

fn system(socket: std::net::UdpSocket, seat: &Seat) -> io::Result<Socket> {
    enlarge_buffers(&socket);
    socket.set_nonblocking(true)?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let mut socket = UdpSocket::from_std(socket);
    seat.watch(&mut socket)?;
    Ok(Socket::System(socket, state))
}
