//! What a network is, as it shows from inside: the NAT's behaviour by RFC 5780, and what its links do to packets.
//!
//! No verdict is based on a network that was not looked at this way before.

mod nat;
mod way;

pub use nat::{Behaviour, Discovery, StunServer, answers, discover};
pub use way::{Arrival, Direction, Flight, Sent, Way};
