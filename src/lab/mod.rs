//! Drivers of the network model: they bring the packets of real programs to [`net::World`](crate::net::World) and back.

#[cfg(target_os = "linux")]
pub mod kernel;
mod pcap;

pub use pcap::pcap;
