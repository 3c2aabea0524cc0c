//! The fast path of media packets: what a packet needs once the keys are known, and nothing else.
//!
//! A full stack looks at every packet several times: it is marshalled, passed through five interceptors, sealed into a
//! new buffer, queued four times; and the same on the other side. That costs several times what the packet costs the
//! operating system, and proves nothing more about the service under test. Here a sender writes header and payload to
//! where the operating system takes them from and seals them there ([`send`]); a receiver opens them where they arrived,
//! and hands them to the same receivers that verify every frame of the slow path ([`receive`]).
//!
//! # When it is used
//!
//! ICE, DTLS, SCTP, SRTCP and the negotiation stay with the core. Its interceptors see neither the packets that are sent
//! nor those that arrive, so their reports would say that there were none: connections on the fast path are made without
//! them, and [`rtcp`] makes the sender reports, receiver reports and NACKs from the true counts. The core seals and opens
//! them.
//!
//! Not made here is the feedback of transport-wide congestion control: a peer on the fast path does not offer
//! `transport-cc`, and accepts it from nobody. A fixture is sent at its own rate, whatever the feedback says, so between
//! native peers nothing is lost by that. A browser's rate does depend on it: towards browsers and foreign programs the slow
//! path is used, with everything the core offers. The profile is AEAD_AES_128_GCM only, which every native peer offers
//! first.
//!
//! A stream that arrives begins in the core, which reports its track with the first packet; from then on its packets come
//! this way. [`path`] is all that a connection's loop has to call. A loop gains most if it leaves the core alone while only
//! media comes and goes: polling a core that has nothing to say costs more than the packet.
//!
//! Everything in this room is sans-IO: packets and time are passed in.

mod batch;
pub mod keys;
pub mod path;
pub mod receive;
pub mod rtcp;
pub mod send;
pub mod srtp;

pub use batch::{Batch, Run};
