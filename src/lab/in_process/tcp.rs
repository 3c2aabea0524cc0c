//! TCP connections and listeners at hosts of the model.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Core;
use super::stack::{DEADLINE, Stack, endpoint, wake_on_change};
use crate::lab::place::{Listener, Stream};
use crate::net::HostId;

/// How many connections may be on their way to be accepted.
const BACKLOG: usize = 16;

/// A TCP connection. Dropping it closes it once what was written has been sent.
#[derive(Debug)]
pub struct TcpStream {
    core: Arc<Core>,
    host: HostId,
    handle: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
}

/// A listener for TCP connections.
#[derive(Debug)]
pub struct TcpListener {
    core: Arc<Core>,
    host: HostId,
    local: SocketAddr,
    /// Sockets that listen, or have taken a connection that was not accepted yet.
    waiting: Vec<SocketHandle>,
}

impl TcpStream {
    pub(super) async fn connect(core: Arc<Core>, host: HostId, local: IpAddr, remote: SocketAddr) -> io::Result<Self> {
        let (handle, local) = core.act(|state, _| {
            let stack = state.stack(host);
            let handle = stack.connect(local, remote)?;
            let local = stack.socket(handle).local_endpoint().map(endpoint).ok_or(io::ErrorKind::AddrNotAvailable)?;
            io::Result::Ok((handle, local))
        })?;
        let begun = Instant::now();
        let stream = Self { core, host, handle, local, remote };
        poll_fn(|cx| {
            stream.with(|stack| {
                let socket = stack.socket(handle);
                match socket.state() {
                    State::Established | State::CloseWait => Poll::Ready(io::Result::Ok(())),
                    State::SynSent | State::SynReceived => {
                        wake_on_change(socket, cx.waker());
                        Poll::Pending
                    }
                    _ if begun.elapsed() >= DEADLINE => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    _ => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
                }
            })
        })
        .await?;
        Ok(stream)
    }

    /// Its own end.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.remote
    }

    fn with<T>(&self, act: impl FnOnce(&mut Stack) -> T) -> T {
        self.core.act(|state, _| act(state.stack(self.host)))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stack| {
            let socket = stack.socket(self.handle);
            if socket.can_recv() {
                let read = socket.recv_slice(buf.initialize_unfilled()).map_err(|error| lost(&error))?;
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
            match socket.state() {
                State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                // The other end has sent its last.
                _ if !socket.may_recv() => Poll::Ready(Ok(())),
                _ => {
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
            }
        })
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stack| {
            let socket = stack.socket(self.handle);
            if socket.can_send() {
                return Poll::Ready(socket.send_slice(buf).map_err(|error| lost(&error)));
            }
            if socket.may_send() {
                socket.register_send_waker(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stack| stack.socket(self.handle).close());
        Poll::Ready(Ok(()))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.with(|stack| stack.release(self.handle));
    }
}

impl TcpListener {
    pub(super) fn new(core: Arc<Core>, host: HostId, local: SocketAddr) -> io::Result<Self> {
        let listen = |state: &mut super::State| (0..BACKLOG).map(|_| state.stack(host).listen(local)).collect();
        let waiting: io::Result<Vec<_>> = core.act(|state, _| listen(state));
        Ok(Self { waiting: waiting?, core, host, local })
    }

    /// Its address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// When no further connection can be awaited.
    pub async fn accept(&mut self) -> io::Result<TcpStream> {
        poll_fn(|cx| {
            let (core, host, local) = (Arc::clone(&self.core), self.host, self.local);
            let waiting = &mut self.waiting;
            core.act(|state, _| {
                let stack = state.stack(host);
                for slot in waiting.iter_mut() {
                    let handle = *slot;
                    let socket = stack.socket(handle);
                    let remote = socket.remote_endpoint().map(endpoint);
                    match (socket.state(), remote) {
                        (State::Established | State::CloseWait, Some(remote)) => {
                            *slot = stack.listen(local)?;
                            let core = Arc::clone(&self.core);
                            return Poll::Ready(Ok(TcpStream { core, host, handle, local, remote }));
                        }
                        // A handshake that came to nothing leaves the socket as it was, or closed.
                        (State::Closed | State::TimeWait, _) => {
                            stack.release(handle);
                            *slot = stack.listen(local)?;
                        }
                        _ => {}
                    }
                    wake_on_change(stack.socket(*slot), cx.waker());
                }
                Poll::Pending
            })
        })
        .await
    }
}

#[async_trait]
impl Listener for TcpListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let stream = Self::accept(self).await?;
        let remote = stream.peer_addr();
        Ok((Box::new(stream), remote))
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.core.act(|state, _| {
            for handle in self.waiting.drain(..) {
                state.stack(self.host).release(handle);
            }
        });
    }
}

fn lost(error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string())
}
