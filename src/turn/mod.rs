//! STUN and TURN: the client, and the prober behind `harness probe`.

pub mod client;
pub mod probe;
