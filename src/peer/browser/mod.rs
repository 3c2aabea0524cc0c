//! Browser peers.

pub mod guard;
