//! Carries what the stack sends to a TURN server over TCP or TLS, and what comes back: the stack believes it is UDP.
//!
//! One stream for each socket and server, as TURN has one allocation for each 5-tuple. What the stream cannot take at
//! once waits in a bounded queue; beyond it datagrams are dropped, as a network would.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, split};
use tokio::sync::mpsc;

use super::relays::Relays;
use crate::turn::client::FrameReader;
use crate::turn::message::{Class, Message, TransactionId};

/// Messages that wait for the stream, and for the stack: a burst of several video frames.
const QUEUE: usize = 1024;

/// Requests whose repetition is recognised. The stack has at most a few in flight.
const REQUESTS: usize = 32;

/// The streams of one socket.
#[derive(Debug)]
pub(super) struct Diverter {
    relays: Arc<Relays>,
    from: IpAddr,
    streams: Mutex<HashMap<usize, Outgoing>>,
    arrive: mpsc::Sender<Datagram>,
    arrived: Mutex<mpsc::Receiver<Datagram>>,
}

/// A message, and the address of the server that the stack knows.
type Datagram = (SocketAddr, Bytes);

/// The sending end of a stream.
#[derive(Debug)]
struct Outgoing {
    messages: mpsc::Sender<Vec<u8>>,
    /// The transactions of the requests that were sent last.
    requests: VecDeque<TransactionId>,
}

impl Diverter {
    /// For the socket with this address.
    pub(super) fn new(relays: Arc<Relays>, from: IpAddr) -> Self {
        let (arrive, arrived) = mpsc::channel(QUEUE);
        Self { relays, from, streams: Mutex::default(), arrive, arrived: Mutex::new(arrived) }
    }

    /// Sends a message to a server over its stream, which the first one opens.
    ///
    /// # Errors
    ///
    /// The stream cannot be opened, or is gone: the stack gives up on the server.
    pub(super) fn send(&self, index: usize, to: SocketAddr, message: &[u8]) -> io::Result<()> {
        let Ok(mut streams) = self.streams.lock() else { return Err(io::ErrorKind::Other.into()) };
        let outgoing = streams.entry(index).or_insert_with(|| self.open(index, to));
        if outgoing.is_repeated(message) {
            return Ok(());
        }
        match outgoing.messages.try_send(padded(message)) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The next message of a server.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Datagram> {
        let Ok(mut arrived) = self.arrived.lock() else { return Poll::Pending };
        // This end of the queue lives as long as `self`, so that it never ends.
        match arrived.poll_recv(cx) {
            Poll::Ready(Some(datagram)) => Poll::Ready(datagram),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn open(&self, index: usize, server: SocketAddr) -> Outgoing {
        let (messages, queue) = mpsc::channel(QUEUE);
        let (relays, arrive, from) = (Arc::clone(&self.relays), self.arrive.clone(), self.from);
        // Ends when this diverter is dropped, once the stack's good-bye has been written.
        tokio::spawn(async move {
            if let Err(fault) = carry(&relays, index, from, server, queue, arrive).await {
                relays.fail(index, fault);
            }
        });
        Outgoing { messages, requests: VecDeque::new() }
    }
}

impl Outgoing {
    /// Whether a message repeats a request, which streams must not (RFC 8489, section 6.2.2).
    fn is_repeated(&mut self, message: &[u8]) -> bool {
        let Ok(message) = Message::parse(message) else { return false };
        if message.class() != Class::Request {
            return false;
        }
        let transaction = message.transaction_id();
        if self.requests.contains(&transaction) {
            return true;
        }
        if self.requests.len() == REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(transaction);
        false
    }
}

/// Opens a stream and carries messages both ways until the diverter is gone or the stream ends.
async fn carry(
    relays: &Relays,
    index: usize,
    from: IpAddr,
    server: SocketAddr,
    mut queue: mpsc::Receiver<Vec<u8>>,
    arrive: mpsc::Sender<Datagram>,
) -> Result<(), String> {
    let (reader, mut writer) = split(relays.connect(index, from).await?);
    let mut frames = FrameReader::new(reader);
    let write = async {
        while let Some(message) = queue.recv().await {
            writer.write_all(&message).await?;
            // What waits already goes in one segment, and in one TLS record.
            while let Ok(message) = queue.try_recv() {
                writer.write_all(&message).await?;
            }
            writer.flush().await?;
        }
        writer.shutdown().await
    };
    let read = async {
        while let Some(message) = frames.next().await? {
            if let Err(mpsc::error::TrySendError::Closed(_)) = arrive.try_send((server, message)) {
                break;
            }
        }
        Ok::<_, io::Error>(())
    };
    // Apart, so that a server that reads only while it can write does not lock up.
    tokio::select! {
        written = write => written.map_err(|error| format!("the connection broke: {error}")),
        read = read => match read {
            Ok(()) => Err("the server closed the connection".into()),
            Err(error) => Err(format!("the connection broke: {error}")),
        },
    }
}

/// A message as a stream needs it: channel data fills up to four bytes (RFC 8656, section 12.5).
fn padded(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len().next_multiple_of(4));
    bytes.extend(message);
    bytes.resize(message.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::lab::place::Machine;
    use crate::peer::network::{IceServer, IceServers};

    const SERVER: &str = "240.0.0.1:3478";

    fn diverter(port: u16) -> Diverter {
        let server = IceServer {
            urls: vec![format!("turn:127.0.0.1:{port}?transport=tcp")],
            username: Some("u".into()),
            credential: Some("p".into()),
        };
        let relays = Relays::new(&IceServers::new(vec![server], None), Arc::new(Machine)).unwrap();
        Diverter::new(Arc::new(relays), [127, 0, 0, 1].into())
    }

    fn request(id: u8) -> Vec<u8> {
        let mut message = vec![0x00, 0x03, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend([id; 12]);
        message
    }

    #[tokio::test]
    async fn datagrams_cross_a_stream_both_ways_and_requests_only_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let diverter = diverter(listener.local_addr().unwrap().port());
        let server = SERVER.parse().unwrap();
        for message in [&request(1), &request(1), &request(2)] {
            diverter.send(0, server, message).unwrap();
        }
        diverter.send(0, server, &[0x40, 0, 0, 1, 7]).unwrap();
        let (mut stream, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 1]));
        let mut received = vec![0; 48];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, [request(1), request(2), vec![0x40, 0, 0, 1, 7, 0, 0, 0]].concat());

        stream.write_all(&[0x40, 0, 0, 2, 8, 9, 0, 0]).await.unwrap();
        let (source, message) = poll_fn(|cx| diverter.poll_receive(cx)).await;
        assert_eq!((source, &message[..]), (server, &[0x40, 0, 0, 2, 8, 9][..]), "without the padding");

        diverter.send(0, server, &request(3)).unwrap();
        drop(diverter);
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it ends").unwrap();
        assert_eq!(rest, request(3), "what was sent before the end still goes out");
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_given_up_with_its_reason() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let diverter = diverter(port);
        let server = SERVER.parse().unwrap();
        for id in 0..=255 {
            if diverter.send(0, server, &request(id)).is_err() {
                let faults = diverter.relays.faults();
                assert!(faults[0].contains("refuses the connection"), "{faults:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the stream is still taken for open");
    }
}
