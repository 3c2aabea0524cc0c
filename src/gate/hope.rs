//! Whether a gate may still hold, whatever is yet to come.

use super::{Expectation, Gate, Operator, Statistic};
use crate::plan::Plan;
use crate::record::{Distribution, Record, Scope, Selection, Unit};

/// Why a gate cannot hold any more, however good all samples to come are; `None` as long as it may.
///
/// How many samples are to come is known of metrics with one sample per call or peer. Of those that are sampled while media
/// flows only extremes and counts are ever beyond hope.
pub fn beyond_hope(record: &Record, gate: &Gate) -> Option<String> {
    let expectation = Expectation::parse(&gate.expect, gate.metric).ok()?;
    let selection = Selection { group: gate.group.as_deref(), set: gate.set.as_deref() };
    let values = record.distribution(gate.metric, selection);
    let most = most_samples(record.plan()?, gate);
    if may_hold(&expectation, &values, most) {
        return None;
    }
    let samples = match most {
        Some(most) => format!("{} of at most {most} samples", values.count()),
        None => format!("{} samples", values.count()),
    };
    Some(format!("{} {} cannot hold any more after {samples} ({})", gate.metric.name(), gate.expect, gate.place))
}

/// How many samples there can be in the end; `None` if nobody knows.
fn most_samples(plan: &Plan, gate: &Gate) -> Option<u64> {
    let calls = plan.calls.iter().filter(|call| gate.set.as_ref().is_none_or(|set| *set == call.set));
    let is_meant = |group: &str| gate.group.as_ref().is_none_or(|wanted| wanted == group);
    let most = match gate.metric.scope() {
        Scope::Call => calls.count(),
        Scope::Peer => {
            calls.flat_map(|call| [&call.offerer, &call.answerer]).filter(|peer| is_meant(&peer.group)).count()
        }
        Scope::Stream => return None,
    };
    Some(most as u64)
}

/// Whether there are samples, up to `most` in all, with which the expectation would hold.
fn may_hold(expectation: &Expectation, values: &Distribution, most: Option<u64>) -> bool {
    let wants_small = matches!(expectation.operator, Operator::Less | Operator::LessOrEqual | Operator::Equal);
    let wants_big = matches!(expectation.operator, Operator::Greater | Operator::GreaterOrEqual | Operator::Equal);
    let limit = expectation.limit;
    // What no later sample brings back to the limit.
    let is_past =
        |value: f64| (wants_small && value > limit) || (!wants_big && value == limit && !expectation.holds(value));
    let is_short =
        |value: f64| (wants_big && value < limit) || (!wants_small && value == limit && !expectation.holds(value));
    match (expectation.statistic, most) {
        (Statistic::Max, _) => values.max().is_none_or(|max| !is_past(max)),
        (Statistic::Min, _) => values.min().is_none_or(|min| !is_short(min)),
        (Statistic::Count, most) => {
            let reachable = most.is_none_or(|most| !is_short(most.max(values.count()) as f64));
            !is_past(values.count() as f64) && reachable
        }
        (_, None) => true,
        (Statistic::Mean, Some(most)) => {
            // The best to come: nothing at all of a duration, 1 of a ratio; no more is known of the other units.
            let most = most.max(values.count()).max(1) as f64;
            let missing = most - values.count() as f64;
            let least = values.sum() / most;
            let greatest = match values.unit() {
                Unit::Ratio => (values.sum() + missing) / most,
                _ if missing > 0.0 => f64::INFINITY,
                _ => least,
            };
            !is_past(least) && !is_short(greatest)
        }
        (Statistic::Quantile(share), Some(most)) => {
            let most = most.max(values.count());
            let of = |is: &dyn Fn(f64) -> bool| -> u64 {
                values.values().filter(|(value, _)| is(*value)).map(|(_, count)| count).sum()
            };
            // The sample of this rank, counted from the smallest, is the quantile once all have come.
            let rank = ((share * most as f64).ceil() as u64).max(1);
            most - of(&is_past) >= rank && of(&is_short) < rank
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Metric;

    fn after(metric: Metric, expect: &str, samples: &[f64], most: Option<u64>) -> bool {
        let mut values = Distribution::new(metric.unit());
        samples.iter().for_each(|sample| values.record(*sample));
        may_hold(&Expectation::parse(expect, metric).unwrap(), &values, most)
    }

    #[test]
    fn a_mean_of_successes_is_lost_with_the_first_failure_too_many() {
        let success =
            |expect, failures: usize| after(Metric::SetupSuccessRatio, expect, &vec![0.0; failures], Some(100));
        assert!(success("mean >= 99%", 1) && !success("mean >= 99%", 2));
        assert!(success("mean > 99%", 0) && !success("mean > 99%", 1));
        assert!(success("mean >= 100%", 0) && !success("mean >= 100%", 1));
        assert!(success("mean <= 50%", 100) && success("mean == 50%", 50) && !success("mean == 50%", 51));
    }

    #[test]
    fn a_quantile_is_lost_once_too_many_are_beyond_the_limit() {
        let slow = |expect, count: usize| after(Metric::CallSetupMs, expect, &vec![500.0; count], Some(100));
        assert!(slow("p95 < 400ms", 5) && !slow("p95 < 400ms", 6));
        assert!(slow("p100 < 400ms", 0) && !slow("p100 < 400ms", 1));
        assert!(slow("p5 > 600ms", 4) && !slow("p5 > 600ms", 5), "of small ones 4 leave the 5th of 100");
        assert!(slow("p95 > 400ms", 99) && slow("median <= 500ms", 100));
    }

    #[test]
    fn a_mean_of_durations_is_lost_once_the_sum_is_too_great() {
        let of = |expect, samples: &[f64]| after(Metric::CallSetupMs, expect, samples, Some(4));
        assert!(of("mean < 100ms", &[200.0, 199.0]) && !of("mean < 100ms", &[200.0, 200.0]));
        assert!(of("mean > 1s", &[1.0, 1.0, 1.0]) && !of("mean > 1s", &[1.0, 1.0, 1.0, 1.0]));
    }

    #[test]
    fn extremes_and_counts_need_no_end() {
        let of = |expect, samples: &[f64]| after(Metric::RttMs, expect, samples, None);
        assert!(of("max < 100ms", &[]) && of("max < 100ms", &[99.0]) && !of("max < 100ms", &[1.0, 100.0]));
        assert!(of("min > 1ms", &[2.0]) && !of("min > 1ms", &[2.0, 1.0]));
        assert!(of("count <= 2", &[1.0; 2]) && !of("count <= 2", &[1.0; 3]));
        assert!(of("count == 2", &[1.0; 1]) && of("p99 < 1ms", &[500.0; 50]), "more may come");
        assert!(of("max > 100ms", &[1.0]) && of("min < 1ms", &[5.0]));
    }

    #[test]
    fn a_count_is_lost_if_there_cannot_be_so_many() {
        assert!(!after(Metric::CallSetupMs, "count >= 5", &[], Some(4)));
        assert!(after(Metric::CallSetupMs, "count >= 4", &[], Some(4)));
    }
}
