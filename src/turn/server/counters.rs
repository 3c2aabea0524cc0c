//! What the server has done so far.

use std::collections::BTreeMap;

/// A snapshot of what the server has done so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Allocations that exist now.
    pub allocations: u64,
    /// Allocations that were ever made.
    pub allocations_made: u64,
    /// Streams that are open now.
    pub streams: u64,
    /// What went from clients to peers.
    pub to_peers: Traffic,
    /// What went from peers to clients.
    pub to_clients: Traffic,
    /// Answers that say success.
    pub successes: u64,
    /// Answers that say failure, by their code.
    pub errors: BTreeMap<u16, u64>,
    /// Packets that were not acted upon, by why.
    pub dropped: Dropped,
}

/// Packets and what they carry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, data: &[u8]) {
        self.packets += 1;
        self.bytes += data.len() as u64;
    }
}

/// Packets that were not acted upon, by why.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// Neither STUN nor ChannelData, or malformed.
    pub malformed: u64,
    /// More than a client without credentials is answered.
    pub rate: u64,
    /// For or from a peer without a permission, an unbound channel, or a client without an allocation.
    pub no_permission: u64,
    /// The client reads its stream too slowly, or the operating system did not take it.
    pub unsent: u64,
    /// As told: see [`Misbehaviour`](super::Misbehaviour).
    pub told: u64,
}
