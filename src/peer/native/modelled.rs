//! The stack's UDP sockets in a network that is modelled in this process.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::wire::Wire;
use crate::lab::in_process::{Host, UdpPort};
use crate::lab::place::Datagrams;

/// A socket whose datagrams cross the model. The stack takes the address of its host candidate from a socket of the
/// kernel's, which is kept only so that nobody else has that address.
#[derive(Debug)]
pub(super) struct ModelledSocket {
    port: UdpPort,
    wire: Arc<Wire>,
    _address: std::net::UdpSocket,
}

impl ModelledSocket {
    /// The socket at the same address of the host.
    pub(super) fn bind(host: &Host, address: std::net::UdpSocket, wire: Arc<Wire>) -> io::Result<Self> {
        Ok(Self { port: host.bind_udp(address.local_addr()?)?, wire, _address: address })
    }
}

impl AsyncUdpSocket for ModelledSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.port.local_addr())
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let datagrams = transmit.contents.chunks(segment).map(Bytes::copy_from_slice);
        self.port.send_all_to(datagrams, transmit.destination);
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // The stack asks for no ICMP errors, as it would have to of a kernel: they are only noted.
        while let Some((destination, reason)) = self.port.take_error() {
            self.wire.unreachable(destination, reason);
        }
        ready!(self.port.poll_readable(cx))?;
        let mut received = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Ok((length, source)) = self.port.try_recv_from(buf) else { break };
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (source, length, length.max(1));
            received += 1;
        }
        Poll::Ready(Ok(received))
    }

    fn max_gso_segments(&self) -> usize {
        64
    }

    fn max_gro_segments(&self) -> usize {
        1
    }
}
