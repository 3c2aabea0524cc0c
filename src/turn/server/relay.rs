//! Data: from clients to peers and back (RFC 8656, sections 11 and 12).

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand::Rng;

use super::core::Server;
use super::io::{Client, Output};
use super::refusal::unknown_attributes;
use crate::turn::message::{
    Attribute, Builder, Class, Message, Method, TransactionId, channel_data, parse_channel_data,
};

/// What a Send indication may hold. DONT-FRAGMENT is not among it: what is marked with it is dropped, as RFC 8656,
/// section 11.2 has it of servers that cannot set the bit.
const KNOWN: &[Attribute] = &[Attribute::XOR_PEER_ADDRESS, Attribute::DATA];
/// More than this does not fit into a datagram together with what is wrapped around it.
const DATA_BYTES: usize = 65_000;

impl Server {
    pub(super) fn handle_send(&mut self, now: Instant, client: Client, message: &Message<'_>) {
        let peer = message.xor_address(Attribute::XOR_PEER_ADDRESS);
        let (Some(peer), Some(data)) = (peer, message.get(Attribute::DATA)) else {
            self.counters.dropped.malformed += 1;
            return;
        };
        if !unknown_attributes(message, KNOWN).is_empty() {
            self.counters.dropped.malformed += 1;
            return;
        }
        match self.allocations.get(&client).filter(|allocation| allocation.permits(peer.ip(), now)) {
            Some(allocation) => self.send_to_peer(now, allocation.relay, peer, data),
            None => self.counters.dropped.no_permission += 1,
        }
    }

    pub(super) fn handle_channel_data(&mut self, now: Instant, client: Client, bytes: &[u8]) {
        let Some((number, data)) = parse_channel_data(bytes) else {
            self.counters.dropped.malformed += 1;
            return;
        };
        let allocation = self.allocations.get(&client);
        match allocation.and_then(|allocation| Some((allocation.relay, allocation.channel_peer(number, now)?))) {
            Some((relay, peer)) => self.send_to_peer(now, relay, peer, data),
            None => self.counters.dropped.no_permission += 1,
        }
    }

    pub(super) fn handle_peer(&mut self, now: Instant, relay: SocketAddr, peer: SocketAddr, data: &[u8]) {
        if self.config.misbehaviour.silent || self.loses_relayed() {
            return;
        }
        let Some(client) = self.owner_of(relay, peer, now) else {
            self.counters.dropped.no_permission += 1;
            return;
        };
        if data.len() > DATA_BYTES {
            self.counters.dropped.malformed += 1;
            return;
        }
        let allocation = self.allocations.get(&client);
        let number = allocation.and_then(|allocation| allocation.channel_number(peer, now));
        let wrapped = number.and_then(|number| channel_data(number, data, client.transport.is_stream()));
        let wrapped = wrapped.unwrap_or_else(|| {
            let mut indication = self.data_indication(peer);
            indication.bytes(Attribute::DATA, data);
            indication.finish()
        });
        self.counters.to_clients.count(data);
        self.output(Output::ToClient { client, data: wrapped.into() });
    }

    /// RFC 8656, sections 11.5 and 18.13.
    pub(super) fn handle_unreachable(
        &mut self,
        now: Instant,
        relay: SocketAddr,
        peer: SocketAddr,
        icmp_type: u8,
        icmp_code: u8,
        data: u32,
    ) {
        if self.config.misbehaviour.silent {
            return;
        }
        let Some(client) = self.owner_of(relay, peer, now) else { return };
        let mut value = [0; 8];
        value[2..4].copy_from_slice(&[icmp_type, icmp_code]);
        value[4..].copy_from_slice(&data.to_be_bytes());
        let mut indication = self.data_indication(peer);
        indication.bytes(Attribute::ICMP, &value);
        self.output(Output::ToClient { client, data: indication.finish().into() });
    }

    /// The client that a peer may reach through a relay port.
    fn owner_of(&self, relay: SocketAddr, peer: SocketAddr, now: Instant) -> Option<Client> {
        let client = (*self.relays.get(&relay)?)?;
        self.allocations.get(&client)?.permits(peer.ip(), now).then_some(client)
    }

    fn send_to_peer(&mut self, now: Instant, relay: SocketAddr, peer: SocketAddr, data: &[u8]) {
        if peer.port() == 0 {
            self.counters.dropped.malformed += 1;
            return;
        }
        if self.loses_relayed() {
            return;
        }
        self.counters.to_peers.count(data);
        if self.relays.contains_key(&peer) {
            // Both ends use this server: what leaves one relay port is there at the other.
            self.handle_peer(now, peer, relay, data);
        } else {
            self.output(Output::ToPeer { relay, peer, data: Bytes::copy_from_slice(data) });
        }
    }

    fn data_indication(&mut self, peer: SocketAddr) -> Builder {
        let mut transaction = TransactionId([0; 12]);
        self.rng.fill_bytes(&mut transaction.0);
        let mut indication = Builder::new(Class::Indication, Method::DATA, transaction);
        indication.xor_address(Attribute::XOR_PEER_ADDRESS, peer);
        indication
    }
}
