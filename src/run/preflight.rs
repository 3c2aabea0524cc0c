//! Before anything starts: whether the machine has what the plan needs at its peak. The limit of open descriptors, which a
//! process may raise by itself, is raised.

use crate::machine::{self, Limits, MORE_MEMORY, MORE_OPEN_FILES, MORE_PORTS};
use crate::plan::{Needs, Plan};

/// What the machine lacks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Lack {
    /// What is needed and what is there, in numbers.
    pub(super) reason: String,
    /// What to do about it.
    pub(super) remedy: String,
}

/// Raises what may be raised, and says what the machine lacks all the same.
pub(super) fn check(plan: &Plan) -> Result<(), Lack> {
    let needs = Needs::of(plan, crate::peer::host_addresses().len() as u64);
    let limits = machine::limits();
    if let Some(lack) = lack(&needs, &limits) {
        return Err(lack);
    }
    let wanted = wanted_descriptors(&needs, plan);
    if limits.open_files_soft.is_some_and(|soft| soft < wanted) {
        machine::raise_open_files(wanted).map_err(|error| Lack {
            reason: format!("the limit of open files cannot be raised to {wanted}: {error}"),
            remedy: format!("raise it before the run: ulimit -n {wanted}"),
        })?;
    }
    Ok(())
}

/// With as much room that even a slow service keeps the run within `[health] open_files`.
fn wanted_descriptors(needs: &Needs, plan: &Plan) -> u64 {
    (needs.descriptors_if_slow as f64 / plan.health.open_files_ratio.clamp(0.1, 1.0)).ceil() as u64
}

fn lack(needs: &Needs, limits: &Limits) -> Option<Lack> {
    let Needs { native_peers, signaling_peers, browsers, descriptors, ports, memory_bytes, .. } = *needs;
    let who = [(native_peers, "native peers"), (signaling_peers, "signaling peers"), (browsers, "browsers")];
    let who = who.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let who = format!("{} at once", who.collect::<Vec<_>>().join(" and "));
    if let Some(memory) = limits.memory.filter(|memory| memory.available < memory_bytes) {
        let [needed, available] = [memory_bytes, memory.available].map(|bytes| bytes / 1_000_000);
        return Some(Lack {
            reason: format!("{who} need {needed} MB of memory at the least, and {available} MB are available"),
            remedy: format!("{MORE_MEMORY}; or use more machines, or ask for fewer peers at once"),
        });
    }
    if let Some(hard) = limits.open_files_hard.filter(|hard| *hard < descriptors) {
        return Some(Lack {
            reason: format!("{who} need {descriptors} open files, and this process may have {hard} at most"),
            remedy: format!("raise the hard limit to {descriptors}: {MORE_OPEN_FILES}; or ask for fewer peers at once"),
        });
    }
    if let Some(range) = limits.ports.filter(|range| *range < ports) {
        return Some(Lack {
            reason: format!("{who} need {ports} ports, and the system gives {range} per address"),
            remedy: format!("widen the range: {MORE_PORTS}; or ask for fewer peers at once"),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;

    const NEEDS: Needs = Needs {
        native_peers: 600,
        descriptors: 1864,
        descriptors_if_slow: 1864,
        signaling_peers: 0,
        browsers: 0,
        ports: 600,
        memory_bytes: 700_000_000,
    };

    fn enough() -> Limits {
        Limits {
            open_files_soft: Some(1024),
            open_files_hard: Some(4096),
            ports: Some(28_232),
            memory: Some(Memory { total: 8_000_000_000, available: 2_000_000_000 }),
            ..Limits::default()
        }
    }

    #[test]
    fn what_can_be_raised_and_what_is_not_limited_suffices() {
        assert_eq!(lack(&NEEDS, &enough()), None);
        assert_eq!(lack(&NEEDS, &Limits::default()), None);
    }

    #[test]
    fn each_limit_that_is_too_low_is_told_with_both_numbers_and_a_remedy() {
        let few_files = Limits { open_files_hard: Some(1000), ..enough() };
        let few_ports = Limits { ports: Some(100), ..enough() };
        let memory = Some(Memory { total: 8_000_000_000, available: 300_000_000 });
        let little_memory = Limits { memory, ..enough() };
        for (limits, needed, there, remedy) in [
            (few_files, "need 1864 open files", "1000 at most", "LimitNOFILE"),
            (few_ports, "need 600 ports", "gives 100", "ip_local_port_range"),
            (little_memory, "need 700 MB", "300 MB are available", "fewer peers"),
        ] {
            let lack = lack(&NEEDS, &limits).unwrap();
            assert!(lack.reason.contains(needed) && lack.reason.contains(there), "{lack:?}");
            assert!(lack.reason.contains("600 native peers at once") && lack.remedy.contains(remedy), "{lack:?}");
        }
    }
}
