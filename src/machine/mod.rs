//! What the system tells of the machine and of this process: counters, levels and limits. On other systems than Linux what
//! `/proc` would tell is absent.

mod control_group;
mod limits;
#[cfg(target_os = "linux")]
mod linux;

use std::collections::HashMap;

pub(crate) use limits::{Limits, MORE_MEMORY, MORE_OPEN_FILES, MORE_PORTS, limits, raise_open_files};
#[cfg(target_os = "linux")]
pub(crate) use linux::{counters, levels};

/// Counters that only grow, read at one instant. What the system does not tell is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// CPU time of the whole machine, in ticks, over all cores.
    pub(crate) cpu: Option<CpuTicks>,
    /// CPU time of this process and every descendant, in seconds.
    pub(crate) tree_seconds: Option<f64>,
    /// CPU time of this process alone, in seconds.
    pub(crate) own_seconds: Option<f64>,
    /// The threads of this process, by their ids.
    pub(crate) threads: Option<HashMap<i32, Thread>>,
    /// UDP errors of every network namespace that a thread of this process is in, IPv4 and IPv6 together.
    pub(crate) udp: Option<UdpErrors>,
    /// Time for which the control group was denied CPU, in seconds.
    pub(crate) throttled_seconds: Option<f64>,
}

/// CPU time of the whole machine, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTicks {
    pub(crate) total: u64,
    pub(crate) idle: u64,
    pub(crate) stolen: u64,
    /// Ticks per second of one core.
    pub(crate) per_second: f64,
}

/// A thread of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Thread {
    pub(crate) name: String,
    /// CPU time, in seconds.
    pub(crate) ran: f64,
    /// Time for which it was ready to run but had no core, in seconds.
    pub(crate) waited: f64,
}

/// UDP errors (`/proc/net/snmp`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct UdpErrors {
    /// Datagrams that came and were dropped because a receive buffer was full.
    pub(crate) receive_buffer: u64,
    /// Datagrams that came and were dropped for another reason, such as a wrong checksum or want of memory.
    pub(crate) receive_other: u64,
    /// Datagrams that found a full send buffer.
    pub(crate) send_buffer: u64,
}

/// Levels at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    /// Descriptors that this process has open.
    pub(crate) open_files: Option<u64>,
    /// How many it may have open: the soft `RLIMIT_NOFILE`.
    pub(crate) open_files_limit: Option<u64>,
    /// Memory that this process has in RAM.
    pub(crate) resident_bytes: Option<u64>,
    /// Memory of the machine, or of the control group where that is less.
    pub(crate) memory: Option<Memory>,
}

/// Memory that programs share.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Memory {
    /// All of it, in bytes.
    pub(crate) total: u64,
    /// What programs can still have without swapping, in bytes.
    pub(crate) available: u64,
}

impl Memory {
    /// The one of which less is available.
    fn tighter(self, other: Self) -> Self {
        if other.available < self.available { other } else { self }
    }

    /// The share that is in use, between 0 and 1.
    pub(crate) fn used_ratio(self) -> f64 {
        1.0 - self.available.min(self.total) as f64 / self.total.max(1) as f64
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn counters(_before: &Counters) -> Counters {
    Counters::default()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn levels() -> Levels {
    Levels::default()
}
