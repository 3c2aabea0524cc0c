//! Made-up searches for the tests of this room and of its reports.

use std::collections::BTreeMap;

use super::{Capacity, CutShort, Finding, Probe, Range, Reading, Search, Statistics, Step};
use crate::gate::{Gate, GateResult, GateVerdict, Verdict};
use crate::record::Metric;

/// A service that takes longer with every call, and much longer from 25 calls on; the generator ends at `fit` calls.
pub(crate) fn search(range: &str, slow_from: u64, fit: u64) -> Capacity {
    let range: Range = range.parse().unwrap();
    let mut search = Search::new(range);
    let mut capacity = begun(range, search.most_runs());
    loop {
        match search.next() {
            Step::Done(answer) => {
                capacity.conclude(answer, None);
                return capacity;
            }
            Step::Try(load) => {
                let probe = probe(capacity.probes.len() as u32 + 1, range, load, slow_from, fit);
                search.tell(load, probe.finding);
                capacity.probes.push(probe);
            }
        }
    }
}

/// The same search, ended by a signal after some runs.
pub(crate) fn interrupted(range: &str, slow_from: u64, runs: usize) -> Capacity {
    let mut whole = search(range, slow_from, u64::MAX);
    let mut so_far = Search::new(range.parse().unwrap());
    whole.probes.truncate(runs);
    for probe in &whole.probes {
        so_far.tell(probe.calls, probe.finding);
    }
    whole.conclude(so_far.so_far(), Some(&CutShort::Signal("SIGINT".into())));
    whole
}

fn begun(range: Range, most_runs: u32) -> Capacity {
    Capacity {
        schema_version: Capacity::SCHEMA_VERSION,
        scenario: "capacity".into(),
        scenario_file: "scenarios/capacity.toml".into(),
        scenario_digest: "ab".repeat(32),
        seed: 7,
        command: vec!["harness".into(), "run".into(), "--find-capacity".into(), range.to_string()],
        started_at: "2026-11-21T12:00:00Z".into(),
        duration_ms: 61_500.0,
        range: range.to_string(),
        quantity: range.quantity,
        low: range.quantity.value(range.low),
        high: range.quantity.value(range.high),
        most_runs,
        answer: super::AnswerKind::Unfinished,
        holds: None,
        fails: None,
        settled: false,
        limits: Vec::new(),
        verdict: Verdict::Error,
        exit_code: 4,
        cut_short: None,
        probes: Vec::new(),
    }
}

fn probe(number: u32, range: Range, load: u64, slow_from: u64, fit: u64) -> Probe {
    let value = range.quantity.value(load);
    let slow = load >= slow_from;
    let p95 = 40.0 + value + if slow { 600.0 } else { 0.0 };
    let cpu = 0.9 * load as f64 / fit as f64;
    let finding = match (load > fit, slow) {
        (true, _) => Finding::Unfit,
        (false, true) => Finding::Broke,
        (false, false) => Finding::Held,
    };
    let message = format!("connection_time_ms p95 < 200ms: observed {p95:.3} ms over {load} samples");
    let reasons = match finding {
        Finding::Held => Vec::new(),
        Finding::Broke => vec![format!("{message} (scenarios/capacity.toml:30:1)")],
        Finding::Unfit => vec![format!(
            "the generator was not fit to judge: machine_cpu_ratio median {cpu:.3} is past its limit 0.9; use more cores"
        )],
    };
    let statistics = |p50: f64, p95: f64| Statistics { count: load, mean: p50, p50, p95, p99: p95, max: p95 };
    let gate = GateResult {
        gate: Gate {
            metric: Metric::ConnectionTimeMs,
            group: None,
            set: None,
            expect: "p95 < 200ms".into(),
            min_samples: 1,
            abort: false,
            place: "scenarios/capacity.toml:30:1".into(),
        },
        observed: Some(p95),
        samples: load,
        verdict: if slow { GateVerdict::Fail } else { GateVerdict::Pass },
        message,
    };
    Probe {
        number,
        load: value,
        calls: load,
        seed: u64::from(number),
        record: format!("runs/{number:02}-{value}"),
        finding,
        verdict: match finding {
            Finding::Held => Verdict::Pass,
            Finding::Broke => Verdict::Fail,
            Finding::Unfit => Verdict::Invalid,
        },
        reasons,
        duration_ms: 2_400.0,
        gates: vec![gate],
        metrics: BTreeMap::from([
            ("connection_time_ms".into(), statistics(30.0 + value / 2.0, p95)),
            ("data_channel_latency_ms".into(), statistics(1.0, 2.0 + value / 10.0)),
            ("setup_success_ratio".into(), statistics(1.0, 1.0)),
            ("packet_loss_ratio".into(), statistics(0.0, if slow { 0.02 } else { 0.0 })),
        ]),
        health: vec![Reading {
            name: "machine_cpu_ratio".into(),
            statistic: "median".into(),
            observed: Some(cpu),
            limit: 0.9,
        }],
        left_open: None,
    }
}
