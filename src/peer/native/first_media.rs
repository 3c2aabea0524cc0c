//! Saves the first media of a relayed track, which the stack drops.
//!
//! What comes through a relay enters the stack's core in the same pass in which the driver takes packets out of it,
//! before it has heard of the track that the first packet opens: all packets of that pass are lost, usually the first key
//! frame. They are therefore given to the core's far end once more in the next pass. The interceptors before this one,
//! which acknowledge and count packets, see each packet once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

use super::relays::Relays;

/// Passes everything on, and the first packets of each relayed track twice.
pub(super) struct FirstMedia {
    relays: Arc<Relays>,
    /// SSRCs of the tracks that the driver knows.
    known: Vec<u32>,
    /// What came in the pass in which its track is opened.
    kept: VecDeque<TaggedPacket>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl FirstMedia {
    /// Behind the interceptors that acknowledge and count.
    pub(super) const SLOT: Slot = Slot::Custom(usize::MAX - 1);

    pub(super) fn new(relays: Arc<Relays>) -> Self {
        Self { relays, known: Vec::new(), kept: VecDeque::new(), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for FirstMedia {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtp(packet) = &message.message.packet
            && !self.known.contains(&packet.header.ssrc)
        {
            if self.relays.is_socket(message.transport.local_addr) {
                self.known.push(packet.header.ssrc);
            } else {
                let TaggedPacket { now, transport, message } = &message;
                self.kept.push_back(TaggedPacket { now: *now, transport: *transport, message: message.clone() });
            }
        }
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.writes.push_back(message);
        Ok(())
    }

    /// Each pass of the driver begins with this.
    fn poll_write(&mut self) -> Option<Self::Wout> {
        while let Some(message) = self.kept.pop_front() {
            if let Packet::Rtp(packet) = &message.message.packet
                && !self.known.contains(&packet.header.ssrc)
            {
                self.known.push(packet.header.ssrc);
            }
            self.reads.push_back(message);
        }
        self.writes.pop_front()
    }
}

impl Interceptor for FirstMedia {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
