//! Datagrams, of clients and on relay ports.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{Shared, State};
use crate::lab::place::Datagrams;
use crate::turn::server::io::{Client, ClientTransport, Inbound};

/// No datagram is longer.
pub(super) const DATAGRAM_BYTES: usize = 65_536;
/// So many datagrams of one socket are handled before others have their turn.
const BATCH: usize = 32;

pub(super) async fn serve_listener(shared: Arc<Shared>, socket: Arc<dyn Datagrams>, local: SocketAddr) {
    let stop = shared.stop.clone();
    serve(&shared, &socket, &stop, |remote, data| Inbound::FromClient {
        client: Client { transport: ClientTransport::Udp, remote, local },
        data,
    })
    .await;
}

pub(super) async fn serve_relay(
    shared: Arc<Shared>,
    socket: Arc<dyn Datagrams>,
    relay: SocketAddr,
    stop: CancellationToken,
) {
    serve(&shared, &socket, &stop, |peer, data| Inbound::FromPeer { relay, peer, data }).await;
    let mut state = shared.lock();
    // Unless the port was opened again in the meantime, this closes it: under the lock, so that nobody finds it neither
    // closing nor free.
    if Arc::strong_count(&socket) == 1 {
        state.closing.remove(&relay);
    }
    drop(socket);
}

async fn serve(
    shared: &Arc<Shared>,
    socket: &Arc<dyn Datagrams>,
    stop: &CancellationToken,
    inbound: impl Fn(SocketAddr, &[u8]) -> Inbound<'_>,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ready = poll_fn(|cx| socket.poll_readable(cx)) => {
                if ready.is_err() {
                    return;
                }
            }
        }
        let mut state = shared.lock();
        if stop.is_cancelled() {
            return;
        }
        receive(shared, &mut state, socket, &inbound);
    }
}

fn receive(
    shared: &Arc<Shared>,
    state: &mut State,
    socket: &Arc<dyn Datagrams>,
    inbound: impl Fn(SocketAddr, &[u8]) -> Inbound<'_>,
) {
    let now = Instant::now();
    let mut buffer = std::mem::take(&mut state.scratch);
    for _ in 0..BATCH {
        match socket.try_recv_from(&mut buffer) {
            Ok((length, from)) => shared.input(state, now, inbound(from, &buffer[..length])),
            // Nothing is left, or the system reports what became of an earlier datagram.
            Err(_) => break,
        }
    }
    state.scratch = buffer;
}
