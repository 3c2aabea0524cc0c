//! STUN and TURN servers: the prober against coturn and the bundled one, and calls of native peers through coturn.

#[path = "probe/bundled.rs"]
mod bundled;
#[path = "probe/calls.rs"]
mod calls;
mod common;
#[path = "probe/coturn.rs"]
mod coturn;
#[path = "probe/faults.rs"]
mod faults;
#[path = "probe/serve.rs"]
mod serve;
#[path = "probe/server.rs"]
mod server;
