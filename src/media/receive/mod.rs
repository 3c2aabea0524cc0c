//! Receivers: they put packets in order, rebuild frames, and verify that what arrived is what was sent.
//!
//! A receiver is told the fixture that the other end sends, and then compares every frame with it, byte by byte; or it is
//! told nothing (a browser's encoder), and then checks that frames are complete and well-formed.

mod assemble;
mod audio;
mod playout;
mod reorder;
mod sequence;
mod video;

pub use audio::{AudioReceiver, AudioReport};
pub(super) use sequence::Window;
pub use video::{VideoReceiver, VideoReport};
