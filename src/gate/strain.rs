//! Seconds in which the generator was past a limit, and what failed in them.
//!
//! A run as a whole may keep its limits and still have seconds in which packets left late or were dropped. Nobody can tell
//! whether what failed then failed because of the service.

use std::ops::RangeInclusive;

use super::HealthCheck;
use crate::plan::Role;
use crate::record::{Mark, Record, reading};

/// A gate is in doubt from this share of strained time on: what it looks at may all be from then.
const FREQUENT: f64 = 0.05;

/// What shows harm within a second: busy cores do none by themselves.
const HARMFUL: [&str; 6] = [
    reading::SCHEDULING_LAG_P99_MS,
    reading::SEND_LATENESS_P99_MS,
    reading::UDP_RECEIVE_BUFFER_ERRORS,
    reading::UDP_SEND_BUFFER_ERRORS,
    reading::STEAL_RATIO,
    reading::THROTTLED_RATIO,
];

/// The intervals in which the generator was past a limit.
#[derive(Debug)]
pub(super) struct Strain {
    times: Vec<RangeInclusive<u64>>,
    strained_us: f64,
    all_us: f64,
    worst: Option<(&'static str, f64, f64)>,
}

impl Strain {
    /// By the limits of these checks.
    pub(super) fn of(record: &Record, checks: &[HealthCheck]) -> Self {
        let harmful: Vec<_> = checks.iter().filter(|check| HARMFUL.contains(&check.name)).collect();
        let mut strain = Self { times: Vec::new(), strained_us: 0.0, all_us: 0.0, worst: None };
        for at in record.intervals() {
            let covers = at.what.covers_us;
            strain.all_us += covers as f64;
            let past = harmful.iter().filter_map(|check| {
                let observed = *at.what.health.get(check.name)?;
                (observed > check.limit).then_some((check.name, observed, check.limit))
            });
            if let Some(worst) = past.reduce(|a, b| if excess(&b) > excess(&a) { b } else { a }) {
                strain.times.push(at.at_us.saturating_sub(covers)..=at.at_us);
                strain.strained_us += covers as f64;
                if strain.worst.as_ref().is_none_or(|known| excess(&worst) > excess(known)) {
                    strain.worst = Some(worst);
                }
            }
        }
        strain
    }

    /// Whether the generator was past a limit at any time between the intended start of a call and its failure.
    pub(super) fn clouds(&self, record: &Record, call: &str, failed_us: u64) -> bool {
        let intended = record.call(call).and_then(|(_, call)| {
            let starts = [Role::Offerer, Role::Answerer].map(|role| call.end(role).get(Mark::Intended));
            starts.into_iter().flatten().min()
        });
        let from = intended.unwrap_or(failed_us).min(failed_us);
        self.times.iter().any(|time| *time.start() <= failed_us && *time.end() >= from)
    }

    /// Whether so much of the run was strained that a gate's samples may be from then.
    pub(super) fn is_frequent(&self) -> bool {
        self.strained_us >= FREQUENT * self.all_us.max(1.0)
    }

    /// Why the service is not to blame, given how many failures fall into strained time; absent without any.
    pub(super) fn reason(&self, failures: usize) -> Option<String> {
        let (name, observed, limit) = self.worst.as_ref()?;
        let seconds = self.strained_us / 1e6;
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
