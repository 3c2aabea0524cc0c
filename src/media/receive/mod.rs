//! Receivers: they put packets in order, rebuild frames, and verify that what arrived is what was sent.
//!
//! A receiver is told the fixture that the other end sends, and then compares every frame with it, byte by byte; or it is
//! told nothing (a browser's encoder), and then checks that frames are complete and well-formed.

mod assemble;
mod audio;
mod mix;
mod playout;
mod reorder;
mod sequence;
mod silence;
mod video;

use rtc::shared::marshal::MarshalSize;

use super::Packet;

pub use audio::{AudioReceiver, AudioReport};
pub use mix::{MixListener, MixReport};
pub(super) use sequence::Window;
pub use sequence::{Arrival, Reception};
pub use video::{LayerRequest, Layers, VideoReceiver, VideoReport};

/// A packet that arrived, as far as receivers look at it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// RFC 3550, section 5.1.
    pub marker: bool,
    /// RFC 3550, section 5.1.
    pub sequence_number: u16,
    /// RFC 3550, section 5.1.
    pub timestamp: u32,
    /// The length of the RTP header in bytes, with its CSRCs and extensions.
    pub header_len: usize,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

impl<'a> From<&'a Packet> for Incoming<'a> {
    fn from(packet: &'a Packet) -> Self {
        Self {
            marker: packet.header.marker,
            sequence_number: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            header_len: packet.header.marshal_size(),
            payload: &packet.payload,
        }
    }
}
