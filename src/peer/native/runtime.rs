//! The [`Runtime`] that the stack runs on: every work-around of the stack's defects that can be mended from outside.
//!
//! The stack (`webrtc` 0.21.1) sleeps until its next protocol timer without being woken for work that its own core
//! creates, which quantises DTLS and SCTP set-up to 200 ms steps. While a peer connects, [`Runtime::sleep`] is therefore
//! capped at [`CONNECTING_SLEEP`]; `upstream.rs` tells when that is no longer needed. Its sockets have the
//! system's default buffers, which a burst of data-channel packets overflows; they are enlarged here. It reaches TURN
//! servers over UDP only: what it sends to the others is diverted here, see [`relays`](super::relays).

use std::future::Future;
#[cfg(target_os = "linux")]
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::sockopt;
use tracing::debug;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::divert::Diverter;
use super::modelled::ModelledSocket;
use super::observe::Observer;
use super::wire::{is_dtls, unwrapped};
#[cfg(target_os = "linux")]
use crate::lab::kernel::HostHandle;
use crate::peer::network::PeerHost;

/// The longest sleep of the stack's driver while its peer connects: the granularity of the phases that are measured.
pub(crate) const CONNECTING_SLEEP: Duration = Duration::from_millis(5);

/// What is asked of the kernel for each direction; it grants at most `rmem_max` and `wmem_max`.
const SOCKET_BUFFER: usize = 4 << 20;

/// Tokio, with the cap on sleeps while connecting, larger socket buffers, and a look at what crosses the wire.
#[derive(Debug)]
pub(super) struct HarnessRuntime {
    host: PeerHost,
    observer: Observer,
    cap_sleeps: bool,
}

impl HarnessRuntime {
    /// The runtime of one peer. `cap_sleeps` is false only for the test that watches for the upstream fix.
    pub(super) fn new(host: PeerHost, observer: Observer, cap_sleeps: bool) -> Self {
        Self { host, observer, cap_sleeps }
    }
}

impl Runtime for HarnessRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        #[cfg(target_os = "linux")]
        if let PeerHost::Namespace(host) = &self.host {
            return TokioRuntime.spawn(Box::pin(begun_at(host.clone(), future)));
        }
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner: Arc<dyn AsyncUdpSocket> = match &self.host {
            PeerHost::Modelled(host) => Arc::new(ModelledSocket::bind(host, socket, Arc::clone(&self.observer.wire))?),
            // It is in the namespace that it was opened in.
            _ => kernel_socket(socket)?,
        };
        let address = inner.local_addr()?;
        self.observer.relays.add_socket(address);
        let diverter = Diverter::new(Arc::clone(&self.observer.relays), address.ip());
        let observer = self.observer.clone();
        let [dtls_read, relayed, burst_ended] = [const { AtomicBool::new(false) }; 3];
        Ok(Arc::new(ObservedSocket { inner, observer, diverter, dtls_read, relayed, burst_ended }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(async move { TokioRuntime.connect_tcp(remote).await })
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let lookup = async |host: String| TokioRuntime.resolve_host(&host).await;
        Box::pin(self.observer.relays.resolve(host, lookup))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let cap = self.cap_sleeps && self.observer.wire.is_connecting();
        let duration = if cap { duration.min(CONNECTING_SLEEP) } else { duration };
        Box::pin(tokio::time::sleep(duration))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(tokio::task::yield_now())
    }

    fn name(&self) -> &'static str {
        "harness"
    }
}

/// Runs a task of the stack, as far as its first wait on the host's thread: there the driver opens its sockets, without
/// asking the runtime for them.
#[cfg(target_os = "linux")]
async fn begun_at(host: HostHandle, mut task: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let begin = async move || {
        let first = poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await;
        (task, first)
    };
    match host.run(begin).await {
        Ok((task, Poll::Pending)) => task.await,
        Ok((_, Poll::Ready(()))) => {}
        // The lab is gone, and the stack's task with it: its owner is told so by the channels between them.
        Err(error) => debug!(%error, "a task does not begin"),
    }
}

fn kernel_socket(socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    enlarge_buffers(&socket);
    TokioRuntime.wrap_udp_socket(socket)
}

/// Asks for large buffers. A kernel that refuses leaves the default, which the health of the run shows as receive-buffer
/// errors.
pub(super) fn enlarge_buffers(socket: &std::net::UdpSocket) {
    if let Err(error) = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER)
        .and_then(|()| sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER))
    {
        debug!(%error, "socket buffers keep their default size");
    }
}

/// A UDP socket that shows the [`Observer`] what crosses it, and diverts what is for TURN servers over streams.
///
/// The driver reads datagrams in bursts, and installs the SRTP keys only after the burst in which the handshake ended:
/// media behind the last DTLS record would be dropped. While connecting, a burst therefore ends with each DTLS record.
///
/// What comes through a relay enters the driver's core late in a pass, and what the core answers leaves only in the next,
/// which a timer begins: each flight of a handshake, and each acknowledgement, would wait for it. An empty datagram,
/// which the driver ignores, begins it at once.
#[derive(Debug)]
struct ObservedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    observer: Observer,
    diverter: Diverter,
    dtls_read: AtomicBool,
    /// Something that may be answered came through a relay since the last empty datagram.
    relayed: AtomicBool,
    /// The burst in which it came has ended.
    burst_ended: AtomicBool,
}

impl ObservedSocket {
    fn poll_diverted(&self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        loop {
            let (source, message) = ready!(self.diverter.poll_receive(cx));
            let may_cross = |server| self.observer.may_cross(server, &message);
            if self.observer.relays.diverted(source).is_none_or(may_cross)
                && self.observer.may_be_heard(source, &message)
                && !self.observer.is_repeat(unwrapped(&message))
            {
                return Poll::Ready((source, message));
            }
        }
    }

    fn received(&self, source: SocketAddr, datagram: &[u8]) {
        let payload = unwrapped(datagram);
        // Media is not answered at once.
        if payload.len() != datagram.len() && !matches!(payload, [128..=191, ..]) {
            self.relayed.store(true, Ordering::Relaxed);
            self.burst_ended.store(false, Ordering::Relaxed);
        }
        self.observer.received(source, datagram, payload);
        if self.observer.wire.is_connecting() && is_dtls(payload) {
            self.dtls_read.store(true, Ordering::Relaxed);
        }
    }

    /// With nothing to receive: the end of the burst, then the empty datagram that begins another pass.
    fn poll_idle(&self, cx: &mut Context<'_>, meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        if !self.relayed.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        if !self.burst_ended.swap(true, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(meta) = meta.first_mut() else { return Poll::Pending };
        self.burst_ended.store(false, Ordering::Relaxed);
        self.relayed.store(false, Ordering::Relaxed);
        *meta = RecvMeta::default();
        meta.stride = 1;
        Poll::Ready(Ok(1))
    }
}

impl AsyncUdpSocket for ObservedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = match self.observer.relays.diverted(transmit.destination) {
            Some(server) => {
                let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
                let mut segments = transmit.contents.chunks(segment);
                let sent = segments.try_for_each(|it| match self.observer.may_cross(server, it) {
                    true => {
                        self.observer.sent(transmit.destination, it);
                        self.diverter.send(server, transmit.destination, it)
                    }
                    false => Ok(()),
                });
                return Poll::Ready(sent.map(|()| transmit.contents.len()));
            }
            None => self.inner.poll_send(cx, transmit),
        };
        if let Poll::Ready(Ok(_)) = sent {
            self.observer.sent(transmit.destination, transmit.contents);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.dtls_read.swap(false, Ordering::Relaxed) {
            self.burst_ended.store(true, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut())
            && let Poll::Ready((source, message)) = self.poll_diverted(cx)
        {
            self.received(source, &message);
            let length = message.len().min(buf.len());
            buf[..length].copy_from_slice(&message[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (source, length, length.max(1));
            return Poll::Ready(Ok(1));
        }
        let received = self.inner.poll_recv(cx, bufs, meta);
        match received {
            Poll::Pending => return self.poll_idle(cx, meta),
            Poll::Ready(Ok(count)) => {
                let repeats = |all: &[u8], stride: usize| {
                    all.chunks(stride.max(1)).all(|datagram| self.observer.is_repeat(unwrapped(datagram)))
                };
                for (buf, meta) in bufs.iter().zip(meta.iter_mut()).take(count) {
                    let all = &buf[..meta.len.min(buf.len())];
                    if !self.observer.may_be_heard(meta.addr, all) || repeats(all, meta.stride) {
                        // The stack makes nothing of an empty datagram.
                        (meta.len, meta.stride) = (0, 1);
                    }
                    // Several datagrams of one flow may have been coalesced (GRO); each is `stride` bytes long.
                    for datagram in buf[..meta.len.min(buf.len())].chunks(meta.stride.max(1)) {
                        self.received(meta.addr, datagram);
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}
