//! The client: binding, allocation, permissions, channels, and datagrams through the relay.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use super::connection::{Connection, Steps};
use super::error::ClientError;
use super::exchange::{Answer, Session, Step};
use super::request::Request;
use super::tls::Trust;
use super::url::IceUrl;
use crate::turn::credentials::Login;
use crate::turn::message::{
    Attribute, Builder, CHANNEL_NUMBERS, Class, Message, Method, TransactionId, channel_data, parse_channel_data,
};

/// Datagrams of peers that wait for [`Client::receive`]; more are dropped, as a full socket buffer would.
const INBOX: usize = 4096;

/// A connection to a STUN or TURN server. It holds at most one allocation, which dropping it leaves to expire; nothing
/// is refreshed, so it is for uses shorter than the lifetime of a permission (5 minutes).
pub struct Client {
    connection: Connection,
    session: Session,
    /// Peers by channel number.
    channels: BTreeMap<u16, SocketAddr>,
    inbox: VecDeque<(SocketAddr, Bytes)>,
}

/// What a server says to a Binding request.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The address that the server sees.
    pub mapped: SocketAddr,
    /// From the last request that was sent to its answer.
    pub rtt: Duration,
    /// The server's software, if it tells.
    pub software: Option<String>,
}

/// An allocation.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// The address at which peers reach this client.
    pub relayed: SocketAddr,
    /// The address that the server sees, if it tells.
    pub mapped: Option<SocketAddr>,
    /// The lifetime that it granted.
    pub lifetime: Duration,
    /// From the first request to the allocation.
    pub elapsed: Duration,
    /// How often the request was answered with 401: once is how it starts.
    pub unauthorized: u32,
    /// How often it was answered with 438.
    pub stale_nonces: u32,
    /// The server's software, if it tells.
    pub software: Option<String>,
}

impl Client {
    /// Connects to one address of a server. `deadline` is for TCP, for TLS, and later for each request. TLS needs somebody
    /// to trust.
    pub async fn connect(
        url: &IceUrl,
        address: SocketAddr,
        login: Option<Login>,
        trust: Option<&Trust>,
        deadline: Duration,
    ) -> (Steps, Result<Self, ClientError>) {
        let (steps, connection) = Connection::open(url, address, trust, deadline).await;
        let client = connection.map(|connection| {
            let session = Session::new(address, login, connection.is_reliable(), deadline);
            Self { connection, session, channels: BTreeMap::new(), inbox: VecDeque::new() }
        });
        (steps, client)
    }

    /// The address of the server.
    pub fn server(&self) -> SocketAddr {
        self.connection.server()
    }

    /// Asks which address the server sees.
    ///
    /// # Errors
    ///
    /// No answer, or one without the address.
    pub async fn bind(&mut self) -> Result<Binding, ClientError> {
        let (Answer { mapped, software, .. }, rtt) = self.request(Request::Binding).await?;
        let mapped = mapped.ok_or_else(|| self.missing(Method::BINDING, "XOR-MAPPED-ADDRESS"))?;
        Ok(Binding { mapped, rtt, software })
    }

    /// Allocates an address that relays UDP: of IPv6 if `ipv6`, otherwise of IPv4.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refusal`] with the server's code; no answer.
    pub async fn allocate(&mut self, ipv6: bool) -> Result<Allocation, ClientError> {
        let started = Instant::now();
        let (answer, _) = self.request(Request::Allocate { ipv6 }).await?;
        let elapsed = started.elapsed();
        let Answer { mapped, relayed, lifetime, software, unauthorized, stale_nonces } = answer;
        let relayed = relayed.ok_or_else(|| self.missing(Method::ALLOCATE, "XOR-RELAYED-ADDRESS"))?;
        let lifetime = lifetime.ok_or_else(|| self.missing(Method::ALLOCATE, "LIFETIME"))?;
        Ok(Allocation { relayed, mapped, lifetime, elapsed, unauthorized, stale_nonces, software })
    }

    /// Lets a host send to the allocation, for 5 minutes.
    ///
    /// # Errors
    ///
    /// As of [`allocate`](Self::allocate).
    pub async fn permit(&mut self, peer: IpAddr) -> Result<Duration, ClientError> {
        let (_, rtt) = self.request(Request::CreatePermission { peer }).await?;
        Ok(rtt)
    }

    /// Lets a peer send to the allocation, and makes its datagrams cost 4 bytes more instead of 36, for 10 minutes.
    ///
    /// # Errors
    ///
    /// As of [`allocate`](Self::allocate).
    pub async fn bind_channel(&mut self, peer: SocketAddr) -> Result<(), ClientError> {
        let channel = self.channels.last_key_value().map_or(*CHANNEL_NUMBERS.start(), |(last, _)| last + 1);
        self.request(Request::ChannelBind { peer, channel }).await?;
        self.channels.insert(channel, peer);
        Ok(())
    }

    /// Sends a datagram to a peer: over its channel, if it has one.
    ///
    /// # Errors
    ///
    /// The connection to the server is gone. A datagram that the server drops is no error.
    pub async fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), ClientError> {
        let channel = self.channels.iter().find(|(_, bound)| **bound == peer);
        let message = match channel {
            // Padded as streams need it and datagrams allow it (RFC 8656, section 12.5).
            Some((number, _)) => channel_data(*number, payload, true),
            None => send_indication(peer, payload),
        };
        let too_long = || ClientError::Internal(format!("{} bytes do not fit into a datagram", payload.len()));
        self.connection.send(&message.ok_or_else(too_long)?).await
    }

    /// The next datagram of a peer. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection to the server is gone.
    pub async fn receive(&mut self) -> Result<(SocketAddr, Bytes), ClientError> {
        loop {
            if let Some(datagram) = self.inbox.pop_front() {
                return Ok(datagram);
            }
            let message = self.connection.receive().await?;
            deliver(&self.channels, &mut self.inbox, &message);
        }
    }

    /// Gives the allocation back. What the server answers does not matter any more.
    pub async fn release(mut self) {
        if let Err(error) = self.request(Request::Refresh { lifetime: Duration::ZERO }).await {
            tracing::debug!(%error, "releasing an allocation");
        }
    }

    /// The answer to a request, and the time from the last sending to it.
    async fn request(&mut self, request: Request) -> Result<(Answer, Duration), ClientError> {
        let Self { connection, session, channels, inbox } = self;
        let mut exchange = session.begin(request, Instant::now());
        let mut sent = Instant::now();
        loop {
            let until = match exchange.poll(Instant::now())? {
                Step::Send(bytes) => {
                    sent = Instant::now();
                    connection.send(&bytes).await?;
                    continue;
                }
                Step::Wait(until) => until,
            };
            let Ok(received) = timeout_at(until.into(), connection.receive()).await else { continue };
            let received = received?;
            match Message::parse(&received) {
                Ok(message) if matches!(message.class(), Class::Success | Class::Error) => {
                    if let Some(answer) = exchange.handle(&message, Instant::now())? {
                        return Ok((answer, sent.elapsed()));
                    }
                }
                _ => deliver(channels, inbox, &received),
            }
        }
    }

    fn missing(&self, method: Method, attribute: &str) -> ClientError {
        let detail = format!("its answer to {} has no {attribute}", method.name());
        ClientError::Protocol { address: self.server(), detail }
    }
}

/// Puts a datagram of a peer into the inbox. Anything else, such as a late response, is dropped.
fn deliver(channels: &BTreeMap<u16, SocketAddr>, inbox: &mut VecDeque<(SocketAddr, Bytes)>, message: &Bytes) {
    if let Some((peer, payload)) = unwrap(channels, message)
        && inbox.len() < INBOX
    {
        inbox.push_back((peer, message.slice_ref(payload)));
    }
}

/// The datagram of a peer in channel data or in a Data indication.
fn unwrap<'a>(channels: &BTreeMap<u16, SocketAddr>, message: &'a [u8]) -> Option<(SocketAddr, &'a [u8])> {
    if let Some((number, payload)) = parse_channel_data(message) {
        return Some((*channels.get(&number)?, payload));
    }
    let message = Message::parse(message).ok()?;
    if (message.class(), message.method()) != (Class::Indication, Method::DATA) {
        return None;
    }
    Some((message.xor_address(Attribute::XOR_PEER_ADDRESS)?, message.get(Attribute::DATA)?))
}

/// A datagram for a peer; `None` if it is too long.
fn send_indication(peer: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let mut message = Builder::new(Class::Indication, Method::SEND, TransactionId::random());
    message.xor_address(Attribute::XOR_PEER_ADDRESS, peer).bytes(Attribute::DATA, payload);
    (message.length() > payload.len()).then(|| message.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_of_channels_and_of_indications() {
        let peer: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        let channels = BTreeMap::from([(0x4001, peer)]);
        let channel = channel_data(0x4001, b"abcde", true).unwrap();
        assert_eq!(channel.len(), 12);
        assert_eq!(unwrap(&channels, &channel), Some((peer, &b"abcde"[..])), "without the padding");
        assert_eq!(unwrap(&channels, &channel[..6]), None, "truncated");
        assert_eq!(unwrap(&BTreeMap::new(), &channel), None, "of another client");

        let mut indication = send_indication(peer, b"hello").unwrap();
        assert_eq!(unwrap(&channels, &indication), None, "in the other direction");
        indication[1] = 0x17;
        assert_eq!(unwrap(&channels, &indication), Some((peer, &b"hello"[..])));
        assert_eq!(send_indication(peer, &[0; 70_000]), None);
        for noise in [&b""[..], b"\x40", b"\x80\x00\x00\x00", &[0; 20]] {
            assert_eq!(unwrap(&channels, noise), None, "{noise:?}");
        }
    }
}
