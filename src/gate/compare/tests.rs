use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const SETUP: Metric = Metric::ConnectionTimeMs;

/// Runs whose metrics lie around these levels, with this spread as a share of the level.
fn side(name: &str, runs: usize, levels: &[(Metric, f64)], spread: f64, random: &mut ChaCha8Rng) -> Side {
    let mut run = || {
        let metrics = levels.iter().map(|(metric, level)| {
            let p50 = level * (1.0 + spread * (random.random::<f64>() + random.random::<f64>() - 1.0));
            let summary = MetricSummary { count: 20, mean: p50, p50, p95: p50 * 1.5, histogram: String::new() };
            (*metric, summary)
        });
        RunSummary {
            started_at: String::new(),
            verdict: Verdict::Pass,
            metrics: metrics.collect(),
            facts: BTreeMap::from([("calls connected".to_owned(), 20), ("calls failed".to_owned(), 0)]),
            record: None,
        }
    };
    Side {
        name: name.to_owned(),
        schema_version: 1,
        scenario: "lan".into(),
        scenario_digest: "d".into(),
        plan_digest: "p".into(),
        environment: BTreeMap::from([("host".to_owned(), "a".to_owned())]),
        seed: Some(1),
        command: Vec::new(),
        runs: (0..runs).map(|_| run()).collect(),
    }
}

fn all_at(level: f64) -> Vec<(Metric, f64)> {
    Metric::ALL.iter().map(|metric| (*metric, level)).collect()
}

fn found(comparison: &Comparison, metric: Metric) -> Vec<Change> {
    comparison.metrics.iter().filter(|it| it.metric == metric).map(|it| it.change).collect()
}

fn compared(base: &Side, new: &Side) -> Comparison {
    compare(base, new, Policy::default(), Allowed::default()).unwrap()
}

#[test]
fn equals_give_no_false_alarm_in_hundreds_of_comparisons() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for spread in [0.05, 0.3, 1.0] {
        let alarms = (0..200).filter(|_| {
            let (base, new) = (
                side("base", 10, &all_at(50.0), spread, &mut random),
                side("new", 10, &all_at(50.0), spread, &mut random),
            );
            compared(&base, &new).verdict != Verdict::Pass
        });
        assert!(alarms.count() <= 2, "{spread}");
    }
}

#[test]
fn a_fifth_more_is_found_and_named_and_nothing_else_is() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..50 {
        let base = side("base", 10, &all_at(50.0), 0.05, &mut random);
        let mut levels = all_at(50.0);
        levels.iter_mut().filter(|(metric, _)| *metric == SETUP).for_each(|(_, level)| *level *= 1.2);
        let new = side("new", 10, &levels, 0.05, &mut random);
        let comparison = compared(&base, &new);
        assert_eq!(comparison.verdict, Verdict::Fail);
        assert_eq!(found(&comparison, SETUP), [Change::Regressed; 2], "{:?}", comparison.reasons);
        assert_eq!(comparison.reasons.len(), 2, "{:?}", comparison.reasons);
        let back = compared(&new, &base);
        assert_eq!((back.verdict, found(&back, SETUP)), (Verdict::Pass, vec![Change::Improved; 2]));
    }
}

#[test]
fn a_tenth_of_a_millisecond_is_nothing_however_great_a_share_it_is() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (base, new) =
        (side("base", 10, &[(SETUP, 0.1)], 0.01, &mut random), side("new", 10, &[(SETUP, 0.2)], 0.01, &mut random));
    assert_eq!(found(&compared(&base, &new), SETUP), [Change::Unchanged; 2]);
}

#[test]
fn few_repeats_are_inconclusive_and_say_how_many_would_tell() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let (base, new) =
        (side("base", 3, &[(SETUP, 50.0)], 0.05, &mut random), side("new", 3, &[(SETUP, 80.0)], 0.05, &mut random));
    let comparison = compared(&base, &new);
    let change = &comparison.metrics[0];
    assert_eq!((comparison.verdict, change.change, change.smallest), (Verdict::Pass, Change::Inconclusive, None));
    assert!(change.repeats.is_some_and(|repeats| (5..=8).contains(&repeats)), "{change:?}");
    assert!(change.sentence.contains("repeats a side would tell"), "{}", change.sentence);
}

#[test]
fn what_is_missing_cannot_have_become_better() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let base = side("base", 10, &[(SETUP, 50.0)], 0.05, &mut random);
    let mut new = side("new", 10, &[(SETUP, 20.0)], 0.05, &mut random);
    new.runs.iter_mut().flat_map(|run| run.metrics.values_mut()).for_each(|summary| summary.count /= 2);
    let comparison = compared(&base, &new);
    assert_eq!(comparison.verdict, Verdict::Fail);
    assert!(comparison.reasons[0].contains("10.0 samples in a run, before 20.0"), "{:?}", comparison.reasons);
    new.runs.iter_mut().for_each(|run| run.metrics.clear());
    assert_eq!(compared(&base, &new).verdict, Verdict::Fail);
}

#[test]
fn a_failed_call_is_one_too_many_from_a_single_run_on() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let base = side("base", 1, &[(SETUP, 50.0)], 0.05, &mut random);
    let mut new = base.clone();
    new.runs[0].facts.insert("calls failed".into(), 1);
    let comparison = compared(&base, &new);
    assert_eq!((comparison.verdict, comparison.reasons.len()), (Verdict::Fail, 1));
    assert!(comparison.reasons[0].contains("calls failed: 1 times in a run, before 0"), "{:?}", comparison.reasons);
    let back = compared(&new, &base);
    assert_eq!(back.verdict, Verdict::Pass);
    assert!(!back.facts[0].is_worse);
}

#[test]
fn runs_that_nothing_follows_from_are_never_green() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let base = side("base", 5, &[(SETUP, 50.0)], 0.05, &mut random);
    let mut new = base.clone();
    new.runs[2].verdict = Verdict::Invalid;
    let comparison = compared(&base, &new);
    assert_eq!(comparison.verdict, Verdict::Invalid);
    assert!(comparison.reasons[0].starts_with("1 of the 5 runs of"), "{:?}", comparison.reasons);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let base = side("base", 2, &[(SETUP, 50.0)], 0.05, &mut random);
    let with = |change: &dyn Fn(&mut Side)| {
        let mut new = base.clone();
        change(&mut new);
        compare(&base, &new, Policy::default(), Allowed::default())
    };
    assert!(matches!(with(&|new| new.plan_digest = "q".into()), Err(Mismatch::Plan { .. })));
    assert!(matches!(with(&|new| new.scenario_digest = "q".into()), Err(Mismatch::Plan { .. })));
    assert!(matches!(with(&|new| new.schema_version = 2), Err(Mismatch::Schema { .. })));
    assert!(matches!(with(&|new| new.runs.clear()), Err(Mismatch::Empty(_))));
    let elsewhere = |new: &mut Side| drop(new.environment.insert("host".into(), "b".into()));
    assert!(matches!(with(&elsewhere), Err(Mismatch::Host { .. })));
    let mut new = base.clone();
    elsewhere(&mut new);
    assert!(compare(&base, &new, Policy::default(), Allowed { any_host: true, ..Allowed::default() }).is_ok());
}
