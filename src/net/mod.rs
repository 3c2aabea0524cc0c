//! The network model: sites behind NATs, firewalls and links, joined by a fake internet.
//!
//! Pure: packets and time are passed in, packets come out. Nothing here reads a clock, sleeps, or draws a random number that
//! does not derive from the seed of the [`World`], so that the same input gives the same output, packet by packet. One
//! grammar holds everywhere: `handle_input(now, …)`, `handle_timeout(now)`, `poll_output()`, `poll_timeout()`. The drivers
//! that bring real packets in are no part of this room.
//!
//! Behaviour is described in the words of RFC 4787, RFC 5382 and RFC 6888 ([`NatSpec`](spec::NatSpec)); [`presets`] has the
//! names that people know.

mod capture;
mod counters;
mod firewall;
mod hash;
pub mod ip;
mod kept;
mod layer;
mod link;
mod nat;
pub mod oracle;
pub mod packet;
pub mod presets;
pub mod spec;
mod tcp;
mod world;

pub use capture::{Boundary, Captured, pcap_header, pcap_record_header};
pub use counters::{Counters, DropReason};
pub use kept::KeptPacket;
pub use packet::{Packet, Protocol, TcpSegment, Transport, Unreachable, UnreachableReason};
pub use world::{HostId, NetError, SiteId, World};
