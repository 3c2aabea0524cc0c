//! Streams of clients: TCP, and TLS over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::lab::place::{Listener, Stream};
use crate::signaling::Identity;
use crate::turn::server::io::{Client, ClientTransport, Inbound};

/// What a client that does not read may leave in the server. More is dropped, as on a path with a full queue.
const QUEUE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 16 << 10;
/// For the handshake of TLS, and for the last bytes of a stream that the server closes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before another connection is accepted, where the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(50);

/// The way into a stream.
#[derive(Debug)]
pub(super) struct StreamHandle {
    id: u64,
    sender: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    closing: CancellationToken,
}

impl StreamHandle {
    /// All of it or nothing.
    pub(super) fn send(&self, data: Bytes) -> bool {
        let length = data.len();
        if self.queued.load(Ordering::Relaxed) + length > QUEUE_BYTES {
            return false;
        }
        self.queued.fetch_add(length, Ordering::Relaxed);
        self.sender.send(data).is_ok()
    }

    pub(super) fn close(self) {
        self.closing.cancel();
    }
}

/// TLS as for the signaling server, but for its application protocol.
pub(super) fn acceptor(identity: &Identity) -> TlsAcceptor {
    let mut config = ServerConfig::clone(&identity.server_config());
    config.alpn_protocols.clear();
    TlsAcceptor::from(Arc::new(config))
}

pub(super) async fn accept(
    shared: Arc<Shared>,
    mut listener: Box<dyn Listener>,
    local: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) {
    let transport = if acceptor.is_some() { ClientTransport::Tls } else { ClientTransport::Tcp };
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, remote)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Beyond the limit the client sees its connection closed at once.
        let Ok(permit) = shared.free_streams.clone().try_acquire_owned() else { continue };
        let client = Client { transport, remote, local };
        let (tasks, stop, acceptor) = (shared.tasks.clone(), shared.stop.clone(), acceptor.clone());
        let serving = serve(shared.clone(), tcp, client, acceptor);
        tasks.spawn(async move {
            stop.run_until_cancelled(serving).await;
            drop(permit);
        });
    }
}

async fn serve(shared: Arc<Shared>, tcp: Box<dyn Stream>, client: Client, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => serve_stream(shared, tcp, client).await,
        Some(acceptor) => {
            if let Ok(Ok(tls)) = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)).await {
                serve_stream(shared, tls, client).await;
            }
        }
    }
}

async fn serve_stream(shared: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin, client: Client) {
    let (reader, writer) = tokio::io::split(stream);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (queued, closing) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let id = {
        let now = Instant::now();
        let mut state = shared.lock();
        state.stream_count += 1;
        let id = state.stream_count;
        let handle = StreamHandle { id, sender, queued: queued.clone(), closing: closing.clone() };
        if state.streams.insert(client, handle).is_some() {
            // The client has used the same port again before the end of its last stream was noticed.
            shared.input(&mut state, now, Inbound::StreamClosed { client });
        }
        shared.input(&mut state, now, Inbound::StreamOpened { client });
        id
    };

    let mut writing = std::pin::pin!(write(writer, receiver, &queued));
    tokio::select! {
        () = read(&shared, reader, client, &closing) => {}
        () = &mut writing => {}
        () = closing.cancelled() => {
            let _ = tokio::time::timeout(PATIENCE, &mut writing).await;
        }
    }

    let mut state = shared.lock();
    if state.streams.get(&client).is_some_and(|stream| stream.id == id) {
        state.streams.remove(&client);
        shared.input(&mut state, Instant::now(), Inbound::StreamClosed { client });
    }
}

async fn read(shared: &Arc<Shared>, mut reader: ReadHalf<impl AsyncRead>, client: Client, closing: &CancellationToken) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        let mut state = shared.lock();
        if closing.is_cancelled() {
            drop(state);
            return std::future::pending().await;
        }
        shared.input(&mut state, Instant::now(), Inbound::FromClient { client, data: &buffer[..length] });
    }
}

/// Writes until nobody can send any more. Each message is a record of TLS, as it is with coturn, whose client reads but one
/// message of a record.
async fn write(
    mut writer: WriteHalf<impl AsyncWrite>,
    mut receiver: mpsc::UnboundedReceiver<Bytes>,
    queued: &AtomicUsize,
) {
    while let Some(first) = receiver.recv().await {
        let mut next = Some(first);
        while let Some(data) = next {
            let written = writer.write_all(&data).await.is_ok();
            queued.fetch_sub(data.len(), Ordering::Relaxed);
            if !written {
                return;
            }
            next = receiver.try_recv().ok();
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
