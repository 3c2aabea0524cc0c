//! The verdict: each rule, and that each turns it.

use crate::support::{Run, bad, gate, good};
use harness::gate::{GateVerdict, Judgement, Verdict, judge};
use harness::record::{Event, EventKind, Failure, Mark, Metric, Outcome, Phase, Record, RunStarted, reading};

fn verdict(run: &Run) -> (Verdict, u8, String) {
    let Judgement { verdict, exit_code, reasons, .. } = judge(&run.record());
    (verdict, exit_code, reasons.join("; "))
}

fn end(run: &mut Run, outcome: Outcome) {
    run.events.last_mut().unwrap().kind = EventKind::RunEnded { outcome };
}

#[test]
fn a_run_whose_gates_hold_passes_though_something_optional_was_skipped() {
    assert_eq!(verdict(&good()), (Verdict::Pass, 0, String::new()));
}

#[test]
fn a_gate_that_cannot_hold_fails_and_names_its_place_and_the_value() {
    let mut run = good();
    run.plan.gates.push(gate(Metric::ConnectionTimeMs, Some("native-native"), "p95 < 1ms", "a.toml:3:1"));
    let (verdict, code, reasons) = verdict(&run);
    assert_eq!((verdict, code), (Verdict::Fail, 1));
    assert!(
        reasons.contains("connection_time_ms p95 < 1ms")
            && reasons.contains("a.toml:3:1")
            && reasons.contains(" ms over 12 samples"),
        "{reasons}"
    );
}

#[test]
fn a_gate_without_samples_or_with_too_few_fails() {
    for (metric, expect, least) in
        [(Metric::FirstRelayMs, "p95 < 500ms", 1), (Metric::CallSetupMs, "p95 < 9000ms", 500)]
    {
        let mut run = good();
        run.plan.gates.push(harness::gate::Gate { min_samples: least, ..gate(metric, None, expect, "a.toml:3:1") });
        let judgement = judge(&run.record());
        assert_eq!((judgement.verdict, judgement.gates[2].verdict), (Verdict::Fail, GateVerdict::NoData));
        assert!(judgement.reasons[0].contains("at least"), "{:?}", judgement.reasons);
    }
}

#[test]
fn calls_that_were_started_late_or_not_at_all_make_the_result_invalid_never_a_failure() {
    let call = "native-native/7";
    let mut late = bad();
    late.sample(400, Metric::StartLatenessMs, 251.0, call, None);
    let mut dropped = bad();
    dropped.at(400, EventKind::Dropped { call: call.into(), late_ms: 2_100.0 });
    for (run, said) in [
        (late, "is past its limit 250; let calls arrive at a lower rate"),
        (dropped, "arrivals_dropped total 1.000 is past its limit 0; let calls arrive at a lower rate"),
    ] {
        let (verdict, code, reasons) = verdict(&run);
        assert_eq!((verdict, code), (Verdict::Invalid, 3));
        assert!(reasons.contains(said), "{reasons}");
    }
}

#[test]
fn many_failures_are_counted_by_phase_and_reason() {
    let mut run = bad();
    for peer in ["native/x", "native/y"] {
        let (peer, call) = (peer.to_owned(), "native-native/4".to_owned());
        let failure = Failure { peer, call, phase: Phase::Signaling, reason: "refused".into() };
        run.at(9_400, EventKind::Failure(failure));
    }
    let record = run.record();
    let counts = record.failure_counts();
    let counts: Vec<_> = counts.iter().map(|of| (of.count, of.example.phase, of.example.peer.as_str())).collect();
    assert_eq!(counts, [(2, Phase::Signaling, "native/x"), (1, Phase::Ice, "native/a4")]);
}

#[test]
fn a_saturated_generator_never_blames_the_service() {
    let mut run = bad();
    run.events.retain(|event| !matches!(event.kind, EventKind::Interval(_)));
    (1..=9).for_each(|second| run.interval(second, 0.99, 1.5));
    let (verdict, code, reasons) = verdict(&run);
    assert_eq!((verdict, code), (Verdict::Invalid, 3));
    assert!(reasons.contains("machine_cpu_ratio median 0.990 is past its limit 0.9"), "{reasons}");
}

#[test]
fn one_busy_second_is_no_saturation_but_late_timers_are() {
    let mut run = good();
    run.interval(10, 1.0, 1.5);
    assert_eq!(verdict(&run).0, Verdict::Pass);
    run.interval(11, 0.3, 5_000.0);
    let (verdict, _, reasons) = verdict(&run);
    assert!(verdict == Verdict::Invalid && reasons.contains(reading::SCHEDULING_LAG_P99_MS), "{reasons}");
}

#[test]
fn a_generator_that_was_never_looked_at_and_a_run_without_calls_are_invalid() {
    let mut run = good();
    run.events.retain(|event| !matches!(event.kind, EventKind::Interval(_)));
    assert_eq!(verdict(&run).0, Verdict::Invalid);
    let mut run = good();
    run.events.retain(|event| matches!(event.kind, EventKind::Interval(_) | EventKind::RunEnded { .. }));
    let (verdict, _, reasons) = verdict(&run);
    assert!(verdict == Verdict::Invalid && reasons.contains("no call was attempted"), "{reasons}");
}

#[test]
fn a_required_skip_is_invalid_unless_other_calls_failed() {
    let mut run = bad();
    assert_eq!(verdict(&run).0, Verdict::Fail);
    run = good();
    for event in &mut run.events {
        if let EventKind::Skipped(skip) = &mut event.kind {
            skip.optional = false;
        }
    }
    // A gate about what was skipped has no samples: that is no failure of the service.
    run.plan.gates.push(gate(Metric::CallSetupMs, Some("native-firefox"), "p95 < 9000ms", "a.toml:3:1"));
    let (verdict, code, reasons) = verdict(&run);
    assert_eq!((verdict, code), (Verdict::Invalid, 3));
    assert!(reasons.contains("calls native-firefox was skipped (2 calls)"), "{reasons}");
}

#[test]
fn a_gate_on_setup_success_says_how_many_calls_may_fail_to_be_set_up() {
    let mut run = bad();
    run.plan.gates.truncate(1);
    run.events.retain(|event| !matches!(event.kind, EventKind::Skipped(_)));
    let (verdict_strict, _, reasons) = verdict(&run);
    assert!(verdict_strict == Verdict::Fail && reasons.contains("setup_success_ratio"), "{reasons}");
    run.plan.gates[0].expect = "mean >= 0.9".into();
    assert_eq!(verdict(&run).0, Verdict::Pass);
    run.at(
        7_000,
        EventKind::Failure(Failure {
            peer: "native/o1".into(),
            call: "native-native/1".into(),
            phase: Phase::Media,
            reason: "no packet for 2 s".into(),
        }),
    );
    let (verdict, _, reasons) = verdict(&run);
    assert!(verdict == Verdict::Fail && reasons.contains("1 call failed, first: native/o1"), "{reasons}");
}

#[test]
fn signals_and_errors_have_their_codes() {
    let mut run = good();
    end(&mut run, Outcome::Interrupted { signal: "SIGINT".into() });
    assert_eq!((verdict(&run).0, verdict(&run).1), (Verdict::Interrupted, 130));
    end(&mut run, Outcome::Interrupted { signal: "SIGTERM".into() });
    assert_eq!(verdict(&run).1, 143);
    end(&mut run, Outcome::Error { message: "port 443 is in use".into() });
    assert_eq!(verdict(&run), (Verdict::Error, 4, "port 443 is in use".into()));
    assert_eq!(judge(&Record::default()).exit_code, 4);
}

#[test]
fn a_record_that_was_cut_off_is_an_error_and_shows_what_was_measured() {
    let text = good().ndjson();
    let cut = &text[..text.len() - 40];
    let record = Record::read(cut.as_bytes()).unwrap();
    let judgement = judge(&record);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Error, 4));
    assert!(judgement.reasons[0].contains("cut off"), "{:?}", judgement.reasons);
    let page = harness::report::Format::Html.render(&record, &judgement).unwrap();
    assert!(page.contains("connection_time_ms") && page.contains("cut off"));
}

#[test]
fn a_record_read_back_is_the_record() {
    let run = bad();
    let (told, read) = (run.record(), Record::read(run.ndjson().as_bytes()).unwrap());
    let json = |record: &Record| harness::report::Format::Json.render(record, &judge(record)).unwrap();
    assert_eq!(json(&told), json(&read));
}

#[test]
fn a_line_that_is_no_event_is_named() {
    let error = Record::read(format!("{}nonsense\n{{}}\n", good().ndjson()).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("is not an event"), "{error}");
    let own = RunStarted::SCHEMA_VERSION;
    let of = |version: u32| format!("\"schema_version\":{version}");
    let newer = good().ndjson().replacen(&of(own), &of(own + 1), 1);
    let error = Record::read(newer.as_bytes()).unwrap_err().to_string();
    assert!(error.contains(&format!("schema version {}", own + 1)), "{error}");
    assert!(Record::read(&b"not a record"[..]).is_err());
}

#[test]
fn marks_of_strangers_do_not_count() {
    let mut record = good().record();
    let kind = EventKind::Mark { peer: "nobody".into(), call: "native-native/0".into(), mark: Mark::Left };
    record.apply(&Event { at_us: 1, kind });
    assert_eq!(record.call("native-native/0").unwrap().1.offerer.get(Mark::Left), None);
}
