//! Seconds in which the generator was past a limit, and what failed in them.
//!
//! A run as a whole may keep its limits and still have seconds in which packets left late or were dropped. Nobody can tell
//! whether what failed then failed because of the service.

use std::ops::RangeInclusive;

use crate::plan::HealthLimits;
use crate::record::{Mark, Record, reading};

/// A gate is in doubt from this share of strained time on: what it looks at may all be from then.
const FREQUENT: f64 = 0.05;

/// The intervals in which the generator was past a limit.
#[derive(Debug)]
pub(super) struct Strain {
    times: Vec<RangeInclusive<u64>>,
    strained_us: u64,
    all_us: u64,
    worst: Option<(&'static str, f64, f64)>,
}

impl Strain {
    pub(super) fn of(record: &Record, limits: &HealthLimits) -> Self {
        // Only what shows harm: a second of busy cores does none by itself.
        let harmful = [
            (reading::SCHEDULING_LAG_P99_MS, limits.scheduling_lag_p99_ms),
            (reading::SEND_LATENESS_P99_MS, limits.send_lateness_p99_ms),
            (reading::UDP_RECEIVE_BUFFER_ERRORS, limits.udp_receive_buffer_errors as f64),
            (reading::UDP_SEND_BUFFER_ERRORS, limits.udp_send_buffer_errors as f64),
            (reading::STEAL_RATIO, limits.steal_ratio),
            (reading::THROTTLED_RATIO, limits.throttled_ratio),
        ];
        let mut strain = Self { times: Vec::new(), strained_us: 0, all_us: 0, worst: None };
        for at in record.intervals() {
            let covers = at.what.covers_us;
            strain.all_us += covers;
            let past = harmful.iter().filter_map(|(name, limit)| {
                let observed = *at.what.health.get(*name)?;
                (observed > *limit).then_some((*name, observed, *limit))
            });
            if let Some(worst) = past.reduce(|a, b| if excess(&b) > excess(&a) { b } else { a }) {
                strain.times.push(at.at_us.saturating_sub(covers)..=at.at_us);
                strain.strained_us += covers;
                if strain.worst.as_ref().is_none_or(|known| excess(&worst) > excess(known)) {
                    strain.worst = Some(worst);
                }
            }
        }
        strain
    }

    /// Whether the generator was past a limit at any time between the intended start of a call and its failure.
    pub(super) fn clouds(&self, record: &Record, call: &str, failed_us: u64) -> bool {
        let intended = record.call(call).and_then(|(plan, call)| {
            let starts = [crate::plan::Role::Offerer, crate::plan::Role::Answerer]
                .map(|role| call.end(role).get(Mark::Intended));
            starts.into_iter().flatten().min().filter(|_| plan.hold_us > 0)
        });
        let from = intended.unwrap_or(failed_us).min(failed_us);
        self.times.iter().any(|time| *time.start() <= failed_us && *time.end() >= from)
    }

    /// Whether so much of the run was strained that a gate's samples may be from then.
    pub(super) fn is_frequent(&self) -> bool {
        self.strained_us as f64 >= FREQUENT * self.all_us.max(1) as f64
    }

    /// Why the service is not to blame, given how many failures fall into strained time; absent without any.
    pub(super) fn reason(&self, failures: usize) -> Option<String> {
        let (name, observed, limit) = self.worst.as_ref()?;
        let seconds = self.strained_us as f64 / 1e6;
        let what = match failures {
            0 => "gates were broken in a run".to_owned(),
            1 => "the one failure came".to_owned(),
            count => format!("all {count} failures came"),
        };
        Some(format!(
            "{what} with {seconds:.0} s in which the generator was past a limit ({name} up to {observed:.3}, limit {limit}), so \
             that nobody can tell whether the service is to blame; end the other programs on this machine, ask for less load, \
             or use more cores or machines"
        ))
    }
}

/// How many times the limit; a limit of 0 is passed by as much as was observed.
fn excess((_, observed, limit): &(&str, f64, f64)) -> f64 {
    if *limit > 0.0 { observed / limit } else { *observed }
}
