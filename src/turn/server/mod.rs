//! The bundled STUN and TURN server.
//!
//! [`Server`] holds all that a TURN server knows (RFC 8656, RFC 8489, RFC 5780) and has neither sockets nor a clock:
//! packets and time are passed in, and what is to be sent comes back. [`start`] puts real sockets around it; the
//! in-process network model is another driver. It can be told to do things wrong: see [`Misbehaviour`].
//!
//! Left out, because no browser asks for it: TCP relay ports (RFC 6062), DTLS, mobility (RFC 8016), and the parts of
//! RFC 8489 that replace MD5 and SHA-1.

mod allocate;
mod allocation;
mod auth;
mod binding;
mod config;
mod core;
mod counters;
mod io;
mod misbehaviour;
mod nonce;
mod rate;
mod refusal;
mod relay;
mod requests;
mod sockets;

pub use self::config::{Config, Lifetimes, Limits, Prefix};
pub use self::core::Server;
pub use self::counters::{Counters, Dropped, Traffic};
pub use self::io::{Client, ClientTransport, Inbound, Output};
pub use self::misbehaviour::{AllocationError, Flaw, Misbehaviour};
pub use self::sockets::{Addresses, RunningServer, Settings, StartError, start, start_at};

#[cfg(test)]
mod tests;
