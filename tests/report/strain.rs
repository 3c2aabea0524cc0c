//! What fails in seconds in which the generator was past a limit is not the service's fault, as far as anybody can tell.

use std::collections::BTreeMap;

use crate::support::{Run, bad, gate, good};
use harness::gate::{Verdict, judge};
use harness::record::*;

/// The made-up run lasts from second 1 to 9; its failure comes at 6.2 s, of a call that begins at 0.08 s.
fn with_second(mut run: Run, second: u64, name: &str, value: f64) -> Run {
    let interval = run.events.iter_mut().find_map(|event| match &mut event.kind {
        EventKind::Interval(interval) if event.at_us == second * 1_000_000 => Some(interval),
        _ => None,
    });
    interval.unwrap().health.insert(name.into(), value);
    run
}

fn verdict(run: &Run) -> (Verdict, String) {
    let judgement = judge(&run.record());
    (judgement.verdict, judgement.reasons.first().cloned().unwrap_or_default())
}

#[test]
fn a_failure_after_a_second_of_late_packets_is_invalid_and_names_the_limit() {
    for (name, value) in
        [(reading::SEND_LATENESS_P99_MS, 400.0), (reading::SCHEDULING_LAG_P99_MS, 400.0), (reading::STEAL_RATIO, 0.5)]
    {
        let (verdict, reason) = verdict(&with_second(bad(), 4, name, value));
        assert_eq!(verdict, Verdict::Invalid, "{reason}");
        assert!(reason.contains("the one failure came") && reason.contains(name), "{reason}");
    }
}

#[test]
fn a_failure_before_it_and_a_busy_second_without_harm_leave_the_service_to_blame() {
    assert_eq!(verdict(&with_second(bad(), 9, reading::SEND_LATENESS_P99_MS, 400.0)).0, Verdict::Fail);
    assert_eq!(verdict(&with_second(bad(), 4, reading::MACHINE_CPU_RATIO, 1.0)).0, Verdict::Fail);
}

#[test]
fn without_a_failure_such_a_second_changes_nothing() {
    assert_eq!(verdict(&with_second(good(), 4, reading::SEND_LATENESS_P99_MS, 400.0)).0, Verdict::Pass);
}

#[test]
fn a_broken_gate_is_in_doubt_if_enough_of_the_run_was_strained() {
    let broken = || {
        let mut run = good();
        run.plan.gates.push(gate(Metric::ConnectionTimeMs, None, "p95 < 1ms", "a.toml:3:1"));
        run
    };
    assert_eq!(verdict(&broken()).0, Verdict::Fail);
    let (strained, reason) = verdict(&with_second(broken(), 4, reading::SEND_LATENESS_P99_MS, 400.0));
    assert_eq!(strained, Verdict::Invalid, "1 of 9 seconds: {reason}");
    let mut long = with_second(broken(), 4, reading::SEND_LATENESS_P99_MS, 400.0);
    let end = long.events.pop().unwrap();
    (10..60).for_each(|second| long.interval(second, 0.35, 1.5));
    long.events.push(end);
    assert_eq!(verdict(&long).0, Verdict::Fail, "1 of 59 seconds");
}

#[test]
fn descriptors_memory_and_full_send_buffers_have_limits() {
    for (name, value, advice) in [
        (reading::OPEN_FILES_RATIO, 0.97, "ulimit"),
        (reading::MEMORY_RATIO, 0.97, "end the other programs"),
        (reading::UDP_SEND_BUFFER_ERRORS, 3.0, "net.core.wmem_max"),
        (reading::UDP_RECEIVE_BUFFER_ERRORS, 3.0, "net.core.rmem_max"),
    ] {
        let (verdict, reason) = verdict(&with_second(good(), 4, name, value));
        assert_eq!(verdict, Verdict::Invalid, "{reason}");
        assert!(reason.contains(name) && reason.contains(advice), "{reason}");
    }
}

#[test]
fn a_record_from_before_intervals_had_a_length_is_read_as_seconds() {
    let mut value = serde_json::to_value(Interval::default()).unwrap();
    value.as_object_mut().unwrap().remove("covers_us");
    let interval: Interval = serde_json::from_value(value).unwrap();
    assert_eq!((interval.covers_us, interval.threads), (1_000_000, BTreeMap::new()));
    let mut plan = serde_json::to_value(&good().plan).unwrap();
    let health = plan["health"].as_object_mut().unwrap();
    health.retain(|name, _| !name.contains("growth") && name != "throttled_ratio" && name != "memory_ratio");
    let plan: harness::plan::Plan = serde_json::from_value(plan).unwrap();
    assert_eq!(plan.health.memory_growth_ratio, 0.1);
}
