//! STUN and TURN: messages, credentials, and the bundled server.
//!
//! [`server`] is sans-IO at heart: the same code answers on real sockets and in the in-process network model.

pub mod credentials;
pub mod framing;
pub mod message;
pub mod server;
