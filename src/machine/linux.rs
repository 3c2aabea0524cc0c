//! Counters and levels from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;

use procfs::net::{Snmp, Snmp6};
use procfs::process::{Process, Stat, all_processes};
use procfs::{Current, CurrentSI, FromRead, KernelStats, Meminfo};
use rustix::process::{Resource, WaitId, WaitIdOptions, getrlimit, waitid};

use super::control_group::ControlGroup;
use super::{Counters, CpuTicks, Levels, Memory, Thread, UdpErrors};

/// The counters now. `before` are the last ones: what cannot have changed since is not read again.
pub(crate) fn counters(before: &Counters) -> Counters {
    let own = Process::myself().ok();
    let stat = own.as_ref().and_then(|own| own.stat().ok());
    Counters {
        cpu: cpu(),
        tree_seconds: stat.as_ref().and_then(tree_seconds),
        own_seconds: stat.as_ref().map(|stat| seconds(stat.utime + stat.stime)),
        threads: own.as_ref().and_then(|own| threads(own, before)),
        udp: udp_errors(),
        throttled_seconds: ControlGroup::own().throttled_seconds(),
    }
}

/// The levels now.
pub(crate) fn levels() -> Levels {
    let own = Process::myself().ok();
    let resident = own.as_ref().and_then(|own| own.statm().ok()).map(|memory| memory.resident * procfs::page_size());
    Levels {
        open_files: own.as_ref().and_then(|own| own.fd_count().ok()).map(|count| count as u64),
        open_files_limit: getrlimit(Resource::Nofile).current,
        resident_bytes: resident,
        memory: memory(),
    }
}

/// Memory of the machine, or of the control group where less of that is available.
pub(super) fn memory() -> Option<Memory> {
    let memory = Meminfo::current().ok()?;
    let machine = Memory { total: memory.mem_total, available: memory.mem_available.unwrap_or(memory.mem_free) };
    Some(ControlGroup::own().memory().map_or(machine, |group| machine.tighter(group)))
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
///
/// Only a process that has children pays for a look at every process of the machine: not every kernel tells the children
/// of a process.
fn tree_seconds(own: &Stat) -> Option<f64> {
    if !has_children() {
        return Some(seconds(with_waited_for(own)));
    }
    let mut parents = HashMap::new();
    let mut ticks = HashMap::new();
    for stat in all_processes().ok()?.flatten().filter_map(|process| process.stat().ok()) {
        parents.insert(stat.pid, stat.ppid);
        ticks.insert(stat.pid, with_waited_for(&stat));
    }
    let is_ours = |pid: i32| {
        let mut ancestors = std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(64);
        ancestors.any(|pid| pid == own.pid)
    };
    Some(seconds(ticks.iter().filter(|(pid, _)| is_ours(**pid)).map(|(_, ticks)| ticks).sum()))
}

/// Looks without taking: whoever waits for a child that has ended still finds it.
fn has_children() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD))
}

fn with_waited_for(stat: &Stat) -> u64 {
    stat.utime + stat.stime + u64::try_from(stat.cutime + stat.cstime).unwrap_or(0)
}

fn threads(own: &Process, before: &Counters) -> Option<HashMap<i32, Thread>> {
    let tasks = own.tasks().ok()?.flatten();
    let thread = |task: procfs::process::Task| {
        let times = task.schedstat().ok()?;
        let known = before.threads.as_ref().and_then(|threads| threads.get(&task.tid));
        let name = match known {
            Some(thread) => thread.name.clone(),
            None => {
                let comm = fs::read_to_string(format!("/proc/self/task/{}/comm", task.tid)).ok()?;
                comm.trim_end().to_owned()
            }
        };
        let [ran, waited] = [times.sum_exec_runtime, times.run_delay].map(|nanoseconds| nanoseconds as f64 / 1e9);
        Some((task.tid, Thread { name, ran, waited }))
    };
    Some(tasks.filter_map(thread).collect())
}

fn udp_errors() -> Option<UdpErrors> {
    let mut namespaces = HashSet::new();
    let mut errors: Option<UdpErrors> = None;
    for task in fs::read_dir("/proc/self/task").ok()?.flatten().map(|task| task.path()) {
        // A thread that has just ended has none any more.
        let Ok(namespace) = fs::read_link(task.join("ns/net")) else { continue };
        if namespaces.insert(namespace)
            && let Ok(v4) = Snmp::from_file(task.join("net/snmp"))
        {
            let errors = errors.get_or_insert_default();
            let mut add = |all: u64, buffer: u64, send: u64| {
                errors.receive_buffer += buffer;
                errors.receive_other += all.saturating_sub(buffer);
                errors.send_buffer += send;
            };
            add(v4.udp_in_errors, v4.udp_rcvbuf_errors, v4.udp_sndbuf_errors);
            // Without IPv6 there is no file for it.
            if let Ok(v6) = Snmp6::from_file(task.join("net/snmp6")) {
                add(v6.udp_in_errors, v6.udp_rcvbuf_errors, v6.udp_sndbuf_errors);
            }
        }
    }
    errors
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_every_counter_and_level() {
        let counters = counters(&Counters::default());
        assert!(counters.cpu.is_some() && counters.tree_seconds.is_some() && counters.own_seconds.is_some());
        assert!(counters.threads.is_some_and(|threads| !threads.is_empty()) && counters.udp.is_some());
        let levels = levels();
        assert!(levels.resident_bytes.is_some_and(|bytes| bytes > 1_000_000));
        assert!(levels.open_files.is_some_and(|count| count >= 3));
        assert!(levels.memory.is_some_and(|memory| memory.available > 0 && memory.available <= memory.total));
    }

    #[test]
    fn the_work_of_a_child_that_is_waited_for_counts() {
        let tree = || tree_seconds(&Process::myself().unwrap().stat().unwrap()).unwrap();
        let before = tree();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut child = std::process::Command::new("sh").args(["-c", busy]).spawn().unwrap();
        assert!(has_children());
        child.wait().unwrap();
        assert!(tree() > before, "{before} s, then {} s", tree());
    }
}
