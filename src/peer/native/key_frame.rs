//! Requests for a key frame: PLI (RFC 4585, section 6.3.1) and FIR (RFC 5104, section 4.3.1) on their way from the
//! wire to the video sender.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::interceptor::{Packet, Slot, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

use super::interceptor::Watch;

/// How many key frames the other end has asked for, of each stream by its SSRC.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyFrameRequests(Arc<Mutex<HashMap<u32, u64>>>);

impl KeyFrameRequests {
    /// Requests so far, whatever stream they name: some servers name none that there is.
    pub(super) fn count(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Requests so far that name this stream.
    pub(super) fn count_of(&self, ssrc: u32) -> u64 {
        self.counts().get(&ssrc).copied().unwrap_or(0)
    }

    /// One more, of this stream.
    pub(super) fn note(&self, ssrc: u32) {
        *self.counts().entry(ssrc).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Packet::Rtcp(packets) = &message.message.packet else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                self.0.note(pli.media_ssrc);
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                // The SSRC of the message itself means nothing (RFC 5104, section 4.3.1.2).
                fir.fir.iter().for_each(|entry| self.0.note(entry.ssrc));
            }
        }
    }
}
