//! Saves the first media of a relayed track, which the stack drops.
//!
//! What comes through a relay enters the stack's core in the same pass in which the driver takes packets out of it,
//! before it has heard of the track that the first packet opens: all packets of that pass are lost, usually the first key
//! frame. They are therefore given to the core's far end once more in the next pass. The interceptors before this one,
//! which acknowledge and count packets, see each packet once.

use std::collections::VecDeque;
use std::sync::Arc;

use rtc::interceptor::{Packet, Slot, TaggedPacket};

use super::interceptor::Watch;
use super::relays::Relays;

/// Passes everything on, and the first packets of each relayed track twice.
pub(super) struct FirstMedia {
    relays: Arc<Relays>,
    /// SSRCs of the tracks that the driver knows.
    known: Vec<u32>,
    /// What came in the pass in which its track is opened.
    kept: VecDeque<TaggedPacket>,
}

impl FirstMedia {
    /// Behind the interceptors that acknowledge and count.
    pub(super) const SLOT: Slot = Slot::Custom(usize::MAX - 1);

    pub(super) fn new(relays: Arc<Relays>) -> Self {
        Self { relays, known: Vec::new(), kept: VecDeque::new() }
    }
}

impl Watch for FirstMedia {
    fn incoming(&mut self, message: &TaggedPacket) {
        if let Packet::Rtp(packet) = &message.message.packet
            && !self.known.contains(&packet.header.ssrc)
        {
            if self.relays.is_socket(message.transport.local_addr) {
                self.known.push(packet.header.ssrc);
            } else {
                let TaggedPacket { now, transport, message } = message;
                self.kept.push_back(TaggedPacket { now: *now, transport: *transport, message: message.clone() });
            }
        }
    }

    fn pass_begins(&mut self, reads: &mut VecDeque<TaggedPacket>) {
        while let Some(message) = self.kept.pop_front() {
            if let Packet::Rtp(packet) = &message.message.packet
                && !self.known.contains(&packet.header.ssrc)
            {
                self.known.push(packet.header.ssrc);
            }
            reads.push_back(message);
        }
    }
}
