//! Synthetic media: fixtures, senders on an exact schedule, and receivers that verify what arrived.
//!
//! Everything here is sans-IO: packets, messages and time are passed in, and come back as values. The one exception is
//! [`fixture`], which reads a directory of the user's own fixtures.
//!
//! Senders and receivers speak [`Packet`], the type of the `webrtc` crate's tracks. Retransmission is left to that stack:
//! its NACK responder (in `register_default_interceptors`) answers from the last 1024 packets of every stream whose codec
//! was negotiated with `nack` feedback, and its endpoint unwraps RTX (RFC 4588) before a packet gets here. Receivers
//! therefore see a recovered packet as a late one.

mod bitstream;
mod container;
pub mod data;
pub mod fixture;
mod packetize;
pub mod receive;
mod schedule;
pub mod send;
pub mod tone;

pub use rtc::rtp::Packet;
