//! The dense engine.

pub mod fast;
