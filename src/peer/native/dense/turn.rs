//! The relays of a peer: allocations, permissions, and what goes through them (RFC 8656), over the client of `rtc`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rtc::crypto::RTCCryptoProvider;
use rtc::peer_connection::transport::{CandidateRelayConfig, RTCIceCandidate, RTCIceCandidateInit};
use rtc::sansio::Protocol;
use rtc::shared::error::{Error, Result};
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::stun::message::TransactionId;
use rtc::turn::client::{Client, ClientConfig, Event};

use super::gather::{Server, base};
use crate::turn::message::{Class, Message, parse_channel_data};

/// Datagrams to one peer that wait for its permission; the oldest is dropped first.
const WAITING: usize = 64;

/// The relays of one peer.
#[derive(Default)]
pub(super) struct Turn {
    relays: Vec<Relay>,
}

struct Relay {
    client: Client,
    /// The URL of the server as the core knows it.
    told: String,
    local: SocketAddr,
    server: SocketAddr,
    allocate: TransactionId,
    /// The server has answered, or has not in time.
    settled: bool,
    relayed: Option<SocketAddr>,
    /// Datagrams that wait for a permission, and to whom.
    waiting: VecDeque<(SocketAddr, BytesMut)>,
    /// Permissions that were asked for.
    asked: Vec<(TransactionId, SocketAddr)>,
}

impl Turn {
    /// Asks a server for a relay.
    pub(super) fn allocate(
        &mut self,
        server: &Server,
        local: SocketAddr,
        address: SocketAddr,
        crypto: Arc<dyn RTCCryptoProvider>,
        now: Instant,
    ) -> Result<()> {
        if self.relays.iter().any(|relay| (relay.local, relay.server) == (local, address)) {
            return Ok(());
        }
        let config = ClientConfig {
            stun_serv_addr: address.to_string(),
            turn_serv_addr: address.to_string(),
            local_addr: local,
            transport_protocol: TransportProtocol::UDP,
            username: server.username.clone(),
            password: server.password.clone(),
            ..ClientConfig::default()
        };
        let mut client = Client::new(config, crypto)?;
        let allocate = client.allocate(now)?;
        self.relays.push(Relay {
            client,
            told: server.told.clone(),
            local,
            server: address,
            allocate,
            settled: false,
            relayed: None,
            waiting: VecDeque::new(),
            asked: Vec::new(),
        });
        Ok(())
    }

    /// Whether every server has answered, or has not in time.
    pub(super) fn is_done(&self) -> bool {
        self.relays.iter().all(|relay| relay.settled)
    }

    /// Whether this is the address of a relay.
    pub(super) fn has(&self, relayed: SocketAddr) -> bool {
        self.relays.iter().any(|relay| relay.relayed == Some(relayed))
    }

    /// Takes a datagram of a server. False if it is none of theirs.
    pub(super) fn handle_read(&mut self, source: SocketAddr, local: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        let ours = |relay: &&mut Relay| (relay.server, relay.local) == (source, local);
        let Some(relay) = self.relays.iter_mut().find(ours) else { return false };
        let takes = match Message::parse(datagram) {
            // A STUN server may have the same address: answers belong to whoever asked.
            Ok(message) if matches!(message.class(), Class::Success | Class::Error) => {
                relay.client.has_transaction(&TransactionId(message.transaction_id().0))
            }
            Ok(message) => message.class() == Class::Indication,
            Err(_) => parse_channel_data(datagram).is_some(),
        };
        if takes {
            let message = tagged(relay.local, source, datagram, now);
            if let Err(error) = relay.client.handle_read(message) {
                tracing::debug!(%error, "a message of a TURN server");
            }
        }
        takes
    }

    /// Sends a datagram of the core's through the relay that it names as its own address.
    pub(super) fn handle_write(&mut self, message: TaggedBytesMut) {
        let TaggedBytesMut { now, transport, message } = message;
        let from = |relay: &&mut Relay| relay.relayed == Some(transport.local_addr);
        if let Some(relay) = self.relays.iter_mut().find(from)
            && let Err(error) = relay.send(transport.peer_addr, message, now)
        {
            tracing::debug!(%error, "a datagram is not relayed");
        }
    }

    /// What is to be told to the core next.
    pub(super) fn poll_event(&mut self, now: Instant) -> Option<Told> {
        self.relays.iter_mut().find_map(|relay| relay.poll_event(now))
    }

    /// The next message to a server.
    pub(super) fn poll_write(&mut self) -> Option<TaggedBytesMut> {
        self.relays.iter_mut().find_map(|relay| relay.client.poll_write())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for relay in &mut self.relays {
            if let Err(error) = relay.client.handle_timeout(now) {
                tracing::debug!(%error, "a timer of a TURN client");
            }
        }
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        self.relays.iter_mut().filter_map(|relay| relay.client.poll_timeout()).min()
    }

    /// Gives the allocations back (RFC 8656, section 7).
    pub(super) fn close(&mut self, now: Instant) {
        for relay in &mut self.relays {
            // Requests that are repeated until they are answered would come before the last one.
            let _ = relay.client.close();
            if let Some(Ok(mut allocation)) = relay.relayed.map(|relayed| relay.client.relay(relayed)) {
                let _ = allocation.close(now);
            }
        }
    }
}

/// What the relays tell the core.
pub(super) enum Told {
    Candidate(RTCIceCandidateInit),
    /// A datagram that came through a relay, as if the relay's address were the peer's own.
    Datagram(TaggedBytesMut),
}

impl Relay {
    fn send(&mut self, to: SocketAddr, datagram: BytesMut, now: Instant) -> Result<()> {
        let Some(relayed) = self.relayed else { return Ok(()) };
        match self.client.relay(relayed)?.send_to(now, &datagram, to) {
            Err(Error::ErrNoPermission) => {}
            sent => return sent,
        }
        if !self.asked.iter().any(|(_, peer)| *peer == to)
            && let Some(transaction) = self.client.relay(relayed)?.create_permission(now, to)?
        {
            self.asked.push((transaction, to));
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((to, datagram));
        Ok(())
    }

    fn poll_event(&mut self, now: Instant) -> Option<Told> {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::AllocateResponse(transaction, relayed) if transaction == self.allocate => {
                    (self.settled, self.relayed) = (true, Some(relayed));
                    match self.candidate(relayed) {
                        Ok(candidate) => return Some(Told::Candidate(candidate)),
                        Err(error) => tracing::debug!(%error, %relayed, "a relay is of no use"),
                    }
                }
                Event::AllocateError(transaction, error) if transaction == self.allocate => {
                    tracing::debug!(%error, server = self.told, "no relay");
                    self.settled = true;
                }
                Event::CreatePermissionResponse(transaction, _) => self.permitted(transaction, now),
                Event::CreatePermissionError(transaction, error) => {
                    tracing::debug!(%error, server = self.told, "no permission");
                    self.refused(transaction);
                }
                Event::TransactionTimeout(transaction) => {
                    self.settled |= transaction == self.allocate;
                    self.refused(transaction);
                }
                Event::DataIndicationOrChannelData(_, peer, data) => {
                    if let Some(relayed) = self.relayed {
                        let transport = transport(relayed, peer);
                        return Some(Told::Datagram(TaggedBytesMut { now, transport, message: data }));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn permitted(&mut self, transaction: TransactionId, now: Instant) {
        let Some(peer) = self.take_asked(transaction) else { return };
        for (to, datagram) in std::mem::take(&mut self.waiting) {
            if to != peer {
                self.waiting.push_back((to, datagram));
            } else if let Err(error) = self.send(to, datagram, now) {
                tracing::debug!(%error, "a datagram is not relayed");
            }
        }
    }

    fn refused(&mut self, transaction: TransactionId) {
        if let Some(peer) = self.take_asked(transaction) {
            self.waiting.retain(|(to, _)| *to != peer);
        }
    }

    fn take_asked(&mut self, transaction: TransactionId) -> Option<SocketAddr> {
        let at = self.asked.iter().position(|(asked, _)| *asked == transaction)?;
        Some(self.asked.swap_remove(at).1)
    }

    fn candidate(&self, relayed: SocketAddr) -> Result<RTCIceCandidateInit> {
        let config = CandidateRelayConfig {
            base_config: base(relayed),
            rel_addr: self.local.ip().to_string(),
            rel_port: self.local.port(),
            url: Some(self.told.clone()),
        };
        let candidate = RTCIceCandidate::from(&config.new_candidate_relay()?).to_json()?;
        Ok(RTCIceCandidateInit { url: Some(self.told.clone()), ..candidate })
    }
}

/// A datagram as the core takes it.
pub(super) fn tagged(local: SocketAddr, peer: SocketAddr, datagram: &[u8], now: Instant) -> TaggedBytesMut {
    TaggedBytesMut { now, transport: transport(local, peer), message: BytesMut::from(datagram) }
}

fn transport(local_addr: SocketAddr, peer_addr: SocketAddr) -> TransportContext {
    TransportContext { local_addr, peer_addr, ecn: None, transport_protocol: TransportProtocol::UDP }
}
