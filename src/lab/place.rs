//! Places where sockets are opened: this machine, or a host of a lab. Whoever opens sockets through a [`Place`] runs on
//! the real network and in a modelled one alike.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use rustix::net::SendFlags;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// What is asked of the kernel for received datagrams that wait; it grants at most `rmem_max`.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where sockets are opened.
#[async_trait]
pub trait Place: Debug + Send + Sync {
    /// A UDP socket. Port 0 takes a free one. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of `bind`.
    fn bind_udp(&self, local: SocketAddr) -> io::Result<Arc<dyn Datagrams>>;

    /// A TCP listener. Port 0 takes a free one. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of `bind` and `listen`.
    fn listen_tcp(&self, local: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// A TCP connection, from the address `from` if there is one; resolves once it is established.
    ///
    /// # Errors
    ///
    /// Those of `connect`.
    async fn connect_tcp(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Box<dyn Stream>>;
}

/// A UDP socket.
pub trait Datagrams: Debug + Send + Sync {
    /// Its address.
    fn local_addr(&self) -> SocketAddr;

    /// Sends a datagram at once, or not at all.
    ///
    /// # Errors
    ///
    /// It is not sent.
    fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Ready once there may be a datagram to receive. One task at a time is woken.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Receives a datagram: its length, and where it comes from.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; others are those of earlier sends.
    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

/// The next datagram: its length, and where it comes from. What earlier sends came to is passed over.
///
/// # Errors
///
/// The socket is of no use any more.
pub async fn receive(socket: &dyn Datagrams, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        poll_fn(|cx| socket.poll_readable(cx)).await?;
        match socket.try_recv_from(buffer) {
            Ok(received) => return Ok(received),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

/// A TCP listener.
#[async_trait]
pub trait Listener: Debug + Send {
    /// Its address.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection, and the address of its other end.
    ///
    /// # Errors
    ///
    /// No connection can be taken now.
    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;
}

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

#[async_trait]
impl Place for Machine {
    fn bind_udp(&self, local: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        from_std_udp(StdUdpSocket::bind(local)?)
    }

    fn listen_tcp(&self, local: SocketAddr) -> io::Result<Box<dyn Listener>> {
        from_std_listener(StdTcpListener::bind(local)?)
    }

    async fn connect_tcp(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(to).await?;
        // What such streams carry is datagrams in a hurry.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// A socket of the kernel's, in whatever network namespace it was opened.
///
/// # Errors
///
/// The runtime cannot watch it.
pub fn from_std_udp(socket: StdUdpSocket) -> io::Result<Arc<dyn Datagrams>> {
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for is no reason not to start.
    let _ = set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    let local = socket.local_addr()?;
    Ok(Arc::new(SystemUdp { socket: UdpSocket::from_std(socket)?, local }))
}

/// A listener of the kernel's, in whatever network namespace it was opened.
///
/// # Errors
///
/// The runtime cannot watch it.
pub fn from_std_listener(listener: StdTcpListener) -> io::Result<Box<dyn Listener>> {
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    Ok(Box::new(SystemListener { listener: TcpListener::from_std(listener)?, local }))
}

#[derive(Debug)]
struct SystemUdp {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Datagrams for SystemUdp {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        // Unlike tokio's own way, this works on a socket that was opened a moment ago.
        rustix::net::sendto(&self.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to)?;
        Ok(())
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(cx)
    }

    fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }
}

#[derive(Debug)]
struct SystemListener {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for SystemListener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = self.listener.accept().await?;
        // Media does not wait for more of it.
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }
}
