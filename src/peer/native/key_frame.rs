//! Requests for a key frame: PLI (RFC 4585, section 6.3.1) and FIR (RFC 5104, section 4.3.1) on their way from the
//! wire to the video sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// How many key frames the other end has asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyFrameRequests(Arc<AtomicU64>);

impl KeyFrameRequests {
    /// Requests so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the requests among the incoming RTCP; passes everything on unchanged.
pub(super) struct KeyFrameWatch {
    requests: KeyFrameRequests,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl KeyFrameWatch {
    /// Furthest from the wire, where the other interceptors have seen the packet already.
    pub(super) const SLOT: Slot = Slot::Custom(usize::MAX);

    pub(super) fn new(requests: KeyFrameRequests) -> Self {
        Self { requests, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyFrameWatch {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            let requests = packets
                .iter()
                .filter(|packet| {
                    packet.as_any().is::<PictureLossIndication>() || packet.as_any().is::<FullIntraRequest>()
                })
                .count();
            self.requests.0.fetch_add(requests as u64, Ordering::Relaxed);
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

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.writes.pop_front()
    }
}

impl Interceptor for KeyFrameWatch {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
