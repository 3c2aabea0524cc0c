//! Taking addresses and ports.

use std::io::Result;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::os::fd::AsFd;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::net::{TcpListener, UdpSocket};

use super::StartError;

/// Room for what comes in while the server is at something else. The operating system may give less.
const LISTENER_BUFFER_BYTES: usize = 4 << 20;
const RELAY_BUFFER_BYTES: usize = 1 << 20;
/// So often a free port is looked for that all addresses have.
const ATTEMPTS: usize = 64;

pub(super) fn udp(
    addresses: &[IpAddr],
    ports: &[u16],
) -> std::result::Result<Vec<(SocketAddr, UdpSocket)>, StartError> {
    let bind = |address| {
        let socket = StdUdpSocket::bind(address)?;
        Ok((socket.local_addr()?, socket))
    };
    let sockets = all(addresses, ports, bind)?.into_iter().map(|(address, socket)| {
        let socket = to_tokio(socket, LISTENER_BUFFER_BYTES).map_err(|source| StartError::Bind { address, source })?;
        Ok((address, socket))
    });
    sockets.collect()
}

pub(super) fn tcp(
    addresses: &[IpAddr],
    ports: &[u16],
) -> std::result::Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let bind = |address| {
        let listener = StdTcpListener::bind(address)?;
        Ok((listener.local_addr()?, listener))
    };
    let listeners = all(addresses, ports, bind)?.into_iter().map(|(address, listener)| {
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        Ok((address, listener.map_err(|source| StartError::Bind { address, source })?))
    });
    listeners.collect()
}

pub(super) fn relay(address: SocketAddr) -> Result<UdpSocket> {
    to_tokio(StdUdpSocket::bind(address)?, RELAY_BUFFER_BYTES)
}

fn to_tokio(socket: StdUdpSocket, buffer: usize) -> Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for is no reason not to start.
    let _ = set_socket_recv_buffer_size(socket.as_fd(), buffer);
    UdpSocket::from_std(socket)
}

/// Every port on every address. Port 0 becomes one that is free on all of them.
fn all<S>(
    addresses: &[IpAddr],
    ports: &[u16],
    bind: impl Fn(SocketAddr) -> Result<(SocketAddr, S)>,
) -> std::result::Result<Vec<(SocketAddr, S)>, StartError> {
    let mut sockets = Vec::new();
    for port in ports {
        let attempts = if *port == 0 { ATTEMPTS } else { 1 };
        let mut result = Ok(Vec::new());
        for _ in 0..attempts {
            result = row(addresses, *port, &bind);
            if result.is_ok() {
                break;
            }
        }
        sockets.extend(result?);
    }
    Ok(sockets)
}

/// One port on every address.
fn row<S>(
    addresses: &[IpAddr],
    mut port: u16,
    bind: impl Fn(SocketAddr) -> Result<(SocketAddr, S)>,
) -> std::result::Result<Vec<(SocketAddr, S)>, StartError> {
    let mut sockets = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let bound = bind(address).map_err(|source| StartError::Bind { address, source })?;
        port = bound.0.port();
        sockets.push(bound);
    }
    Ok(sockets)
}
