//! Browser peers.

mod capabilities;
mod clock;
mod driver;
pub mod guard;
mod guarded;
mod session;

pub use driver::{Installation, Unavailable, find};
