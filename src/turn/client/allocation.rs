//! The client: binding, allocation, permissions, channels, and datagrams through the relay.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout_at;

use super::connection::{Connection, Steps};
use super::credentials::Credentials;
use super::error::ClientError;
use super::exchange::{Answer, Session, Step};
use super::message::{Incoming, Request, channel_data, send_indication};
use super::tls::Trust;
use super::url::IceUrl;

/// The first channel number (RFC 8656, section 12).
const FIRST_CHANNEL: u16 = 0x4000;

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
        credentials: Option<Credentials>,
        trust: Option<&Trust>,
        deadline: Duration,
    ) -> (Steps, Result<Self, ClientError>) {
        let (steps, connection) = Connection::open(url, address, trust, deadline).await;
        let client = connection.and_then(|connection| {
            let session = Session::new(address, credentials, connection.is_reliable(), deadline)?;
            Ok(Self { connection, session, channels: BTreeMap::new(), inbox: VecDeque::new() })
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
        let (Answer { response, .. }, rtt) = self.request(Request::Binding).await?;
        let mapped = response.mapped.ok_or_else(|| self.missing("Binding", "XOR-MAPPED-ADDRESS"))?;
        Ok(Binding { mapped, rtt, software: response.software })
    }

    /// Allocates an address that relays UDP: of IPv6 if `ipv6`, otherwise of IPv4.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refusal`] with the server's code; no answer.
    pub async fn allocate(&mut self, ipv6: bool) -> Result<Allocation, ClientError> {
        let started = Instant::now();
        let (Answer { response, unauthorized, stale_nonces }, _) = self.request(Request::Allocate { ipv6 }).await?;
        let elapsed = started.elapsed();
        let relayed = response.relayed.ok_or_else(|| self.missing("Allocate", "XOR-RELAYED-ADDRESS"))?;
        let lifetime = response.lifetime.ok_or_else(|| self.missing("Allocate", "LIFETIME"))?;
        let (mapped, software) = (response.mapped, response.software);
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
        let channel = self.channels.last_key_value().map_or(FIRST_CHANNEL, |(last, _)| last + 1);
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
            Some((number, _)) => channel_data(*number, payload),
            None => send_indication(peer, payload).map_err(|error| ClientError::Internal(error.to_string()))?,
        };
        self.connection.send(&message).await
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
            self.sort(Incoming::parse(&message));
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
        let mut exchange = session.begin(request, Instant::now())?;
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
            let Ok(message) = timeout_at(until.into(), connection.receive()).await else { continue };
            match Incoming::parse(&message?) {
                Some(Incoming::Response(response)) => {
                    if let Some(answer) = exchange.handle(response, Instant::now())? {
                        return Ok((answer, sent.elapsed()));
                    }
                }
                other => deliver(channels, inbox, other),
            }
        }
    }

    fn sort(&mut self, incoming: Option<Incoming>) {
        deliver(&self.channels, &mut self.inbox, incoming);
    }

    fn missing(&self, method: &str, attribute: &str) -> ClientError {
        let detail = format!("its answer to {method} has no {attribute}");
        ClientError::Protocol { address: self.server(), detail }
    }
}

/// Puts a datagram of a peer into the inbox; a late response is dropped.
fn deliver(
    channels: &BTreeMap<u16, SocketAddr>,
    inbox: &mut VecDeque<(SocketAddr, Bytes)>,
    incoming: Option<Incoming>,
) {
    let datagram = match incoming {
        Some(Incoming::Data { peer, payload }) => Some((peer, payload)),
        Some(Incoming::Channel { number, payload }) => channels.get(&number).map(|peer| (*peer, payload)),
        Some(Incoming::Response(_)) | None => None,
    };
    if let Some(datagram) = datagram.filter(|_| inbox.len() < INBOX) {
        inbox.push_back(datagram);
    }
}
