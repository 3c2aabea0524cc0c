//! Taking addresses and ports.

use std::io::Result;
use std::net::{IpAddr, SocketAddr};

use super::StartError;

/// So often a free port is looked for that all addresses have.
const ATTEMPTS: usize = 64;

/// Every port on every address. Port 0 becomes one that is free on all of them.
pub(super) fn all<S>(
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
