//! STUN and TURN against coturn: the prober, and calls of native peers.

#[path = "probe/calls.rs"]
mod calls;
mod common;
#[path = "probe/coturn.rs"]
mod coturn;
#[path = "probe/server.rs"]
mod server;
