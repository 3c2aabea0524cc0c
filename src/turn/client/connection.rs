//! The way to a server: name, TCP, TLS, each step timed and with its own error, then whole messages in both directions.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::error::{ClientError, TlsFault};
use super::tls::{Shown, Trust};
use super::url::{IceUrl, Transport};
use crate::lab::place::{Machine, Place, Stream};
use crate::turn::framing::{Framer, FramingError};

/// How the way to a server went, as far as it went.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// The TCP connection; `None` over UDP, or if it failed.
    pub tcp: Option<Duration>,
    /// The TLS handshake, whether or not it succeeded.
    pub tls: Option<(Duration, Shown)>,
}

/// The addresses of a server's host, in the order in which to try them.
///
/// # Errors
///
/// The name does not resolve, or not in time.
pub async fn resolve(url: &IceUrl, deadline: Duration) -> Result<Vec<SocketAddr>, ClientError> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let dns = |source| ClientError::Dns { host: url.host.clone(), source };
    let lookup = timeout(deadline, tokio::net::lookup_host((url.host.as_str(), url.port)));
    let found = lookup.await.map_err(|_| dns(std::io::Error::other(format!("no answer within {deadline:?}"))))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map_err(dns)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(dns(std::io::Error::other("the resolver gives none")));
    }
    Ok(addresses)
}

/// Connects a stream over TCP or TLS from a place, from the local address `from` if there is one. Each step has `deadline`;
/// TLS needs somebody to trust.
pub(crate) async fn connect_stream(
    place: &dyn Place,
    url: &IceUrl,
    address: SocketAddr,
    from: Option<IpAddr>,
    trust: Option<&Trust>,
    deadline: Duration,
) -> (Steps, Result<Box<dyn Stream>, ClientError>) {
    let mut steps = Steps::default();
    let started = Instant::now();
    let late = |what| ClientError::TimedOut { address, what, after: deadline };
    let stream = match timeout(deadline, place.connect_tcp(from, address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (steps, Err(ClientError::from_io(address, error))),
        Err(_) => return (steps, Err(late("TCP connection"))),
    };
    steps.tcp = Some(started.elapsed());
    if url.transport != Transport::Tls {
        return (steps, Ok(stream));
    }
    let Some(trust) = trust else {
        return (steps, Err(TlsFault::Handshake("nobody is trusted".into()).into()));
    };
    let started = Instant::now();
    let Ok((shown, connected)) = timeout(deadline, trust.connect(&url.host, stream)).await else {
        return (steps, Err(late("TLS handshake")));
    };
    steps.tls = Some((started.elapsed(), shown));
    match connected {
        Ok(stream) => (steps, Ok(stream)),
        Err(fault) => (steps, Err(ClientError::Tls(fault))),
    }
}

/// Whole messages to and from a server.
pub(super) enum Connection {
    Datagrams { socket: UdpSocket, server: SocketAddr },
    Stream { reader: FrameReader<ReadHalf<Box<dyn Stream>>>, writer: WriteHalf<Box<dyn Stream>>, server: SocketAddr },
}

impl Connection {
    pub(super) async fn open(
        url: &IceUrl,
        server: SocketAddr,
        trust: Option<&Trust>,
        deadline: Duration,
    ) -> (Steps, Result<Self, ClientError>) {
        if url.transport == Transport::Udp {
            return (Steps::default(), Self::datagrams(server).await.map_err(|e| ClientError::from_io(server, e)));
        }
        let (steps, stream) = connect_stream(&Machine, url, server, None, trust, deadline).await;
        let connection = stream.map(|stream| {
            let (reader, writer) = tokio::io::split(stream);
            Self::Stream { reader: FrameReader::new(reader), writer, server }
        });
        (steps, connection)
    }

    async fn datagrams(server: SocketAddr) -> std::io::Result<Self> {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        // Connected, so that a closed port shows as a refused connection.
        socket.connect(server).await?;
        Ok(Self::Datagrams { socket, server })
    }

    pub(super) fn server(&self) -> SocketAddr {
        match self {
            Self::Datagrams { server, .. } | Self::Stream { server, .. } => *server,
        }
    }

    pub(super) fn is_reliable(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), ClientError> {
        let server = self.server();
        let sent = match self {
            Self::Datagrams { socket, .. } => socket.send(message).await.map(drop),
            Self::Stream { writer, .. } => match writer.write_all(message).await {
                Ok(()) => writer.flush().await,
                error => error,
            },
        };
        sent.map_err(|error| ClientError::from_io(server, error))
    }

    /// The next message. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<Bytes, ClientError> {
        let server = self.server();
        match self {
            Self::Datagrams { socket, .. } => {
                let mut buffer = BytesMut::with_capacity(2048);
                socket.recv_buf(&mut buffer).await.map_err(|error| ClientError::from_io(server, error))?;
                Ok(buffer.freeze())
            }
            Self::Stream { reader, .. } => match reader.next().await {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(ClientError::Closed { address: server }),
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    Err(ClientError::Protocol { address: server, detail: error.to_string() })
                }
                Err(error) => Err(ClientError::from_io(server, error)),
            },
        }
    }
}

/// Cuts what comes in on a stream into STUN messages and channel data (RFC 8656, section 12.5).
pub(crate) struct FrameReader<R> {
    reader: R,
    framer: Framer,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, framer: Framer::default(), buffer: BytesMut::with_capacity(16 << 10) }
    }

    /// The next message, without its padding; `None` at the end of the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            let invalid = |error: FramingError| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            if let Some(message) = self.framer.pull().map_err(invalid)? {
                return Ok(Some(message));
            }
            self.buffer.clear();
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
            self.framer.push(&self.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::message::channel_data;

    #[tokio::test]
    async fn messages_come_out_of_a_stream_whole_however_it_is_cut() {
        let mut stun = vec![0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42];
        stun.extend([9; 16]);
        let data = channel_data(0x4000, b"abcde", true).unwrap();
        let bytes: Vec<u8> = stun.iter().chain(&data).copied().collect();
        for cut in 1..bytes.len() {
            let (near, mut far) = tokio::io::duplex(64);
            let mut reader = FrameReader::new(near);
            let (head, tail) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
            tokio::spawn(async move {
                far.write_all(&head).await.unwrap();
                tokio::task::yield_now().await;
                far.write_all(&tail).await.unwrap();
            });
            assert_eq!(reader.next().await.unwrap(), Some(stun.clone().into()));
            assert_eq!(reader.next().await.unwrap(), Some(Bytes::copy_from_slice(&data[..9])));
            assert_eq!(reader.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn another_protocol_on_the_stream_is_an_error() {
        let mut reader = FrameReader::new(&b"\xffHTTP/1.1 400 Bad Request\r\n"[..]);
        assert_eq!(reader.next().await.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let url: IceUrl = "turn:[::1]:5000".parse().unwrap();
        assert_eq!(resolve(&url, Duration::ZERO).await.unwrap(), ["[::1]:5000".parse::<SocketAddr>().unwrap()]);
    }
}
