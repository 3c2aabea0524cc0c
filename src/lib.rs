//! Proves that a WebRTC service connects people and carries their media.
//!
//! Data flows one way: **scenario → plan → run → record → report and gate → exit code.**
//! `ARCHITECTURE.md` is the map; each module's documentation says what it owns and what it may not do.

pub mod capacity;
pub mod cli;
pub mod gate;
pub mod lab;
mod machine;
pub mod media;
pub mod net;
pub mod peer;
pub mod people;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod signaling;
pub mod turn;
