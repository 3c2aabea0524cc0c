//! What Linux tells about the machine and this process, through `/proc`. On other systems every reading is absent.

/// Counters that only grow, read at one instant. What the system does not tell is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// CPU time of the whole machine, in ticks, over all cores.
    pub(super) cpu: Option<CpuTicks>,
    /// CPU time of this process and every descendant, in seconds.
    pub(super) tree_seconds: Option<f64>,
    /// CPU time of this process alone, in seconds.
    pub(super) own_seconds: Option<f64>,
    /// Time that threads of this process were ready to run but waited for a core, in seconds.
    pub(super) waited_seconds: Option<f64>,
    /// Datagrams dropped because a receive buffer was full, in every network namespace that a thread of this process is in.
    pub(super) udp_dropped: Option<u64>,
    /// Time for which the control group was denied CPU, in seconds.
    pub(super) throttled_seconds: Option<f64>,
}

/// CPU time of the whole machine, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTicks {
    pub(super) total: u64,
    pub(super) idle: u64,
    pub(super) stolen: u64,
    /// Ticks per second of one core.
    pub(super) per_second: f64,
}

/// Levels at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub(super) open_files: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
}

#[cfg(target_os = "linux")]
pub(super) use linux::{counters, levels};

#[cfg(not(target_os = "linux"))]
pub(super) fn counters() -> Counters {
    Counters::default()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn levels() -> Levels {
    Levels::default()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
    use std::fs;

    use procfs::net::{Snmp, Snmp6};
    use procfs::process::{Process, all_processes};
    use procfs::{CurrentSI, FromRead, KernelStats};

    use super::{Counters, CpuTicks, Levels};

    pub(in super::super) fn counters() -> Counters {
        let own = Process::myself().ok();
        Counters {
            cpu: cpu(),
            tree_seconds: tree_seconds(),
            own_seconds: own.as_ref().and_then(|own| own.stat().ok()).map(|stat| seconds(stat.utime + stat.stime)),
            waited_seconds: own.as_ref().and_then(waited_seconds),
            udp_dropped: udp_dropped(),
            throttled_seconds: throttled_seconds(),
        }
    }

    pub(in super::super) fn levels() -> Levels {
        let own = Process::myself().ok();
        Levels {
            open_files: own.as_ref().and_then(|own| own.fd_count().ok()).map(|count| count as u64),
            resident_bytes: own
                .as_ref()
                .and_then(|own| own.statm().ok())
                .map(|memory| memory.resident * procfs::page_size()),
        }
    }

    fn cpu() -> Option<CpuTicks> {
        let time = KernelStats::current().ok()?.total;
        let waiting = time.iowait.unwrap_or(0);
        let stolen = time.steal.unwrap_or(0);
        let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
        Some(CpuTicks {
            // Guest time is part of user time already (proc(5)).
            total: time.user + time.nice + time.system + time.idle + waiting + interrupts + stolen,
            idle: time.idle + waiting,
            stolen,
            per_second: procfs::ticks_per_second() as f64,
        })
    }

    /// CPU time of this process and all its descendants, those that ended included once they were waited for.
    fn tree_seconds() -> Option<f64> {
        let mut parents = HashMap::new();
        let mut ticks = HashMap::new();
        for stat in all_processes().ok()?.flatten().filter_map(|process| process.stat().ok()) {
            parents.insert(stat.pid, stat.ppid);
            let waited_for = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            ticks.insert(stat.pid, stat.utime + stat.stime + waited_for);
        }
        let own = i32::try_from(std::process::id()).ok()?;
        let is_ours = |pid: i32| {
            let mut ancestors = std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(64);
            ancestors.any(|pid| pid == own)
        };
        Some(seconds(ticks.iter().filter(|(pid, _)| is_ours(**pid)).map(|(_, ticks)| ticks).sum()))
    }

    fn waited_seconds(own: &Process) -> Option<f64> {
        let waits = own.tasks().ok()?.flatten().filter_map(|task| task.schedstat().ok());
        Some(waits.map(|wait| wait.run_delay as f64 / 1e9).sum())
    }

    fn udp_dropped() -> Option<u64> {
        let mut namespaces = HashSet::new();
        let mut dropped = None;
        for task in fs::read_dir("/proc/self/task").ok()?.flatten().map(|task| task.path()) {
            // A thread that has just ended has none any more.
            let Ok(namespace) = fs::read_link(task.join("ns/net")) else { continue };
            if namespaces.insert(namespace)
                && let Ok(v4) = Snmp::from_file(task.join("net/snmp"))
            {
                // Without IPv6 there is no file for it.
                let v6 = Snmp6::from_file(task.join("net/snmp6")).map_or(0, |table| table.udp_rcvbuf_errors);
                *dropped.get_or_insert(0) += v4.udp_rcvbuf_errors + v6;
            }
        }
        dropped
    }

    /// `cpu.stat` of the control group (cgroup v2) that this process is in.
    fn throttled_seconds() -> Option<f64> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let text = fs::read_to_string(format!("/sys/fs/cgroup{}/cpu.stat", path.trim_end_matches('/'))).ok()?;
        let microseconds: f64 = text.lines().find_map(|line| line.strip_prefix("throttled_usec "))?.parse().ok()?;
        Some(microseconds / 1e6)
    }

    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / procfs::ticks_per_second() as f64
    }
}
