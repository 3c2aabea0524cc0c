//! STUN and TURN: messages, credentials, the bundled server, the client, and the prober behind `harness probe`.
//!
//! [`server`] is sans-IO at heart: the same code answers on real sockets and in the in-process network model.

pub mod client;
pub mod credentials;
pub mod framing;
pub mod message;
pub mod probe;
pub mod server;
