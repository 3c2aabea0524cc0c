//! Drivers of the network model: they bring the packets of real programs to [`net::World`](crate::net::World) and back.

pub mod discover;
pub mod in_process;
#[cfg(target_os = "linux")]
pub mod kernel;
mod pcap;
pub mod place;

pub use pcap::{Clock, pcap, pcap_of_kept};
