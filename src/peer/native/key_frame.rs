//! Requests for a key frame: PLI (RFC 4585, section 6.3.1) and FIR (RFC 5104, section 4.3.1) on their way from the
//! wire to the video sender.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtc::interceptor::{Packet, Slot, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

use super::interceptor::Watch;

/// How many key frames the other end has asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyFrameRequests(Arc<AtomicU64>);

impl KeyFrameRequests {
    /// Requests so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the requests among the incoming RTCP.
pub(super) struct KeyFrameWatch(pub(super) KeyFrameRequests);

impl KeyFrameWatch {
    /// Furthest from the wire, where the other interceptors have seen the packet already.
    pub(super) const SLOT: Slot = Slot::Custom(usize::MAX);
}

impl Watch for KeyFrameWatch {
    fn incoming(&mut self, message: &TaggedPacket) {
        if let Packet::Rtcp(packets) = &message.message.packet {
            let requests = packets
                .iter()
                .filter(|packet| {
                    packet.as_any().is::<PictureLossIndication>() || packet.as_any().is::<FullIntraRequest>()
                })
                .count();
            self.0.0.fetch_add(requests as u64, Ordering::Relaxed);
        }
    }
}
