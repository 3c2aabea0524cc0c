//! The limits of the machine, for how many peers each suffices, and what to do where that is few.

use super::{Finding, Found, State};
use crate::machine::{Limits, MORE_MEMORY, MORE_OPEN_FILES, MORE_PORTS, limits};
use crate::peer::host_addresses;
use crate::plan::{PeerNeeds, peers_of_descriptors, peers_of_memory};

/// Fewer peers than this, and runs of the size of `scenarios/load.toml` do not work.
const PEERS: u64 = 600;
/// A burst of bulk data, or of a key frame, fits into this.
const SOCKET_BUFFER_BYTES: u64 = 1 << 20;
/// From this share of the cores on a quota is worth no word.
const WHOLE: f64 = 0.99;

/// What was found, in the order of the table.
pub(super) fn checks() -> Vec<Finding> {
    let limits = limits();
    let peer = PeerNeeds::new(host_addresses().len() as u64, 0, true);
    vec![
        open_files(&limits, peer).named("open files"),
        ports(&limits).named("ports"),
        socket_buffer(limits.receive_buffer, "rmem_max").named("udp receive buffer"),
        socket_buffer(limits.send_buffer, "wmem_max").named("udp send buffer"),
        cores(&limits).named("cores"),
        memory(&limits, peer).named("memory"),
    ]
}

fn open_files(limits: &Limits, peer: PeerNeeds) -> Found {
    let told = match (limits.open_files_soft, limits.open_files_hard) {
        (None, _) => return Found::ok("no limit".into()),
        (Some(soft), Some(hard)) if soft == hard => format!("{soft}"),
        (Some(soft), Some(hard)) => format!("{soft}, which a run raises to {hard} where it must"),
        (Some(soft), None) => return Found::ok(format!("{soft}, which a run raises where it must")),
    };
    let peers = peers_of_descriptors(limits.open_files_hard, peer).unwrap_or(u64::MAX);
    let found = format!("{told}: enough for {peers} native peers");
    enough(peers, found, format!("raise the hard limit: {MORE_OPEN_FILES}"))
}

fn ports(limits: &Limits) -> Found {
    match limits.ports {
        None => Found::unknown("this system does not tell its range"),
        Some(ports) => enough(ports, format!("{ports} per address: enough for {ports} peers"), MORE_PORTS),
    }
}

fn memory(limits: &Limits, peer: PeerNeeds) -> Found {
    let Some(memory) = limits.memory else { return Found::unknown("this system does not tell") };
    let peers = peers_of_memory(Some(memory.available), peer).unwrap_or(0);
    let megabytes = memory.available / 1_000_000;
    let found = format!("{megabytes} MB available: enough for {peers} native peers; a browser takes 400 to 550 MB");
    enough(peers, found, MORE_MEMORY)
}

fn enough(peers: u64, found: String, remedy: impl Into<String>) -> Found {
    if peers >= PEERS { Found::ok(found) } else { Found::bad(State::Warn, found, remedy) }
}

fn socket_buffer(bytes: Option<u64>, name: &str) -> Found {
    match bytes {
        // A network namespace other than the first does not show it.
        None => Found::unknown(&format!("/proc/sys/net/core/{name} cannot be read")),
        Some(bytes) if bytes >= SOCKET_BUFFER_BYTES => Found::ok(format!("up to {} KiB", bytes / 1024)),
        Some(bytes) => Found::bad(
            State::Warn,
            format!("up to {} KiB; bursts of video or bulk data may be dropped", bytes / 1024),
            format!("sysctl -w net.core.{name}=4194304"),
        ),
    }
}

fn cores(limits: &Limits) -> Found {
    let Some(cores) = limits.cores else { return Found::unknown("this system does not tell") };
    if let Some(quota) = limits.quota_cores.filter(|quota| *quota < cores as f64 * WHOLE) {
        let found = format!("{cores}, of whose time the control group's quota gives {quota:.1}");
        return Found::bad(State::Warn, found, "raise the quota (cpu.max): a run that it stops sends late");
    }
    if let Some(governor) = limits.governor.as_deref().filter(|governor| *governor == "powersave") {
        let found = format!("{cores}, governed by {governor}");
        return Found::bad(
            State::Warn,
            found,
            "cpupower frequency-set -g performance: the clock follows load too late",
        );
    }
    if cores < 2 {
        return Found::bad(State::Warn, format!("{cores}"), "use two or more for calls with browsers");
    }
    Found::ok(format!("{cores}; a call between two browsers takes about half of one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;

    fn peer() -> PeerNeeds {
        PeerNeeds::new(1, 0, true)
    }

    #[test]
    fn each_limit_says_for_how_many_peers_it_suffices() {
        let files = |soft, hard| {
            let limits = Limits { open_files_soft: Some(soft), open_files_hard: Some(hard), ..Limits::default() };
            open_files(&limits, peer())
        };
        let few = files(1024, 1024);
        assert_eq!((few.state, few.found.as_str()), (State::Warn, "1024: enough for 320 native peers"));
        assert!(few.remedy.is_some_and(|remedy| remedy.contains("LimitNOFILE")));
        let raised = files(1024, 65_536);
        assert_eq!(raised.state, State::Ok);
        assert!(raised.found.contains("which a run raises to 65536"), "{}", raised.found);
        let ports = ports(&Limits { ports: Some(100), ..Limits::default() });
        assert_eq!((ports.state, ports.found.as_str()), (State::Warn, "100 per address: enough for 100 peers"));
        let little = Some(Memory { total: 1 << 30, available: 1 << 28 });
        assert_eq!(memory(&Limits { memory: little, ..Limits::default() }, peer()).state, State::Warn);
    }

    #[test]
    fn what_slows_the_cores_is_told() {
        let limits = Limits { cores: Some(4), quota_cores: Some(1.5), ..Limits::default() };
        assert!(cores(&limits).found.contains("gives 1.5"));
        let limits = Limits { cores: Some(4), governor: Some("powersave".into()), ..Limits::default() };
        assert_eq!(cores(&limits).state, State::Warn);
        assert_eq!(cores(&Limits { cores: Some(4), quota_cores: Some(4.0), ..Limits::default() }).state, State::Ok);
    }
}
