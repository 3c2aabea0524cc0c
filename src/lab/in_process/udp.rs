//! UDP sockets at hosts of the model.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Core;
use crate::lab::place::Datagrams;
use crate::net::{HostId, Packet, Protocol, Unreachable, UnreachableReason};

/// Bytes that wait to be read at most, as a kernel's receive buffer of the size that native peers ask for.
const CAPACITY: usize = 4 << 20;

/// ICMP errors that wait to be taken at most.
const ERRORS: usize = 64;

/// A UDP socket. Its port is free again once it is dropped.
#[derive(Debug)]
pub struct UdpPort {
    core: Arc<Core>,
    host: HostId,
    local: SocketAddr,
    inbox: Arc<Inbox>,
}

impl UdpPort {
    pub(super) fn new(core: Arc<Core>, host: HostId, local: SocketAddr, inbox: Arc<Inbox>) -> Self {
        Self { core, host, local, inbox }
    }

    /// Its address in the host's own network.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram. What becomes of it is the network's to decide.
    pub fn send_to(&self, payload: Bytes, to: SocketAddr) {
        let packet = Packet::udp(self.local, to, payload);
        self.core.act(|state, now| state.world.handle_input(now, self.host, packet));
    }

    /// Sends several datagrams to one destination at once.
    pub fn send_all_to(&self, payloads: impl Iterator<Item = Bytes>, to: SocketAddr) {
        self.core.act(|state, now| {
            for payload in payloads {
                state.world.handle_input(now, self.host, Packet::udp(self.local, to, payload));
            }
        });
    }

    /// The next ICMP error about what the socket sent: to whom, and what is wrong. One that comes counts as something to
    /// read.
    pub fn take_error(&self) -> Option<(SocketAddr, UnreachableReason)> {
        self.inbox.lock().errors.pop_front()
    }

    /// How many datagrams found the receive buffer full.
    pub fn overflows(&self) -> u64 {
        self.inbox.lock().overflows
    }
}

impl Datagrams for UdpPort {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        Self::send_to(self, Bytes::copy_from_slice(payload), to);
        Ok(())
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.inbox.lock();
        if waiting.datagrams.is_empty() {
            waiting.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (from, payload) = self.inbox.pop().ok_or(io::ErrorKind::WouldBlock)?;
        // What does not fit is lost, as with recvfrom.
        let length = payload.len().min(buffer.len());
        buffer[..length].copy_from_slice(&payload[..length]);
        Ok((length, from))
    }
}

impl Drop for UdpPort {
    fn drop(&mut self) {
        self.core.lock().udp.remove(&(self.host, self.local));
    }
}

/// What has arrived at a socket and was not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    bytes: usize,
    overflows: u64,
    errors: VecDeque<(SocketAddr, UnreachableReason)>,
    reader: Option<Waker>,
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, source: SocketAddr, payload: Bytes) {
        let mut waiting = self.lock();
        if waiting.bytes + payload.len() > CAPACITY {
            waiting.overflows += 1;
            return;
        }
        waiting.bytes += payload.len();
        waiting.datagrams.push_back((source, payload));
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
    }

    /// An ICMP error about a datagram of the socket. Those that nobody takes are lost.
    pub(super) fn refuse(&self, error: &Unreachable) {
        let mut waiting = self.lock();
        if error.protocol == Protocol::Udp && waiting.errors.len() < ERRORS {
            waiting.errors.push_back((error.destination, error.reason));
            if let Some(reader) = waiting.reader.take() {
                reader.wake();
            }
        }
    }

    fn pop(&self) -> Option<(SocketAddr, Bytes)> {
        let mut waiting = self.lock();
        let (source, payload) = waiting.datagrams.pop_front()?;
        waiting.bytes -= payload.len();
        Some((source, payload))
    }
}
