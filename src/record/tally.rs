//! Metrics with more values than the event stream should carry one by one.
//!
//! A sender that measures every packet records into a [`Tally`]: a value costs a lock and an increment, no allocation and
//! no event. Once per [interval](super::interval_length) whatever was collected becomes one event per metric, peer group and call set, so that the
//! stream's rate depends on the plan's shape and not on its size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Distribution, Event, EventKind, Metric, TallyReport};

/// Every tally of a run.
#[derive(Clone, Debug)]
pub struct Tallies {
    start: Instant,
    slots: Arc<Mutex<HashMap<Key, Arc<Mutex<Distribution>>>>>,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Key {
    metric: Metric,
    group: String,
    set: String,
}

impl Tallies {
    /// No tallies yet, for a run that started at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self { start, slots: Arc::default() }
    }

    /// The start of the run.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// The tally of a metric over the peers of a group in the calls of a set. Ask once per peer, not once per value.
    pub fn tally(&self, metric: Metric, group: &str, set: &str) -> Tally {
        let key = Key { metric, group: group.to_owned(), set: set.to_owned() };
        let mut slots = lock(&self.slots);
        let slot = slots.entry(key).or_insert_with(|| Arc::new(Mutex::new(Distribution::new(metric.unit()))));
        Tally(Arc::clone(slot))
    }

    /// What was collected since the last call, as events stamped now.
    pub fn drain(&self) -> Vec<Event> {
        let at_us = self.start.elapsed().as_micros() as u64;
        let mut events: Vec<(Key, TallyReport)> = Vec::new();
        for (key, slot) in lock(&self.slots).iter() {
            let mut distribution = lock(slot);
            if let (Some(min), Some(max)) = (distribution.min(), distribution.max()) {
                events.push((
                    key.clone(),
                    TallyReport {
                        metric: key.metric,
                        group: key.group.clone(),
                        set: key.set.clone(),
                        sum: distribution.sum(),
                        min,
                        max,
                        histogram: distribution.encode(),
                    },
                ));
                distribution.clear();
            }
        }
        events.sort_by(|(a, _), (b, _)| a.cmp(b));
        events.into_iter().map(|(_, report)| Event { at_us, kind: EventKind::Tally(Box::new(report)) }).collect()
    }
}

/// Where one peer records the values of one metric. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tally(Arc<Mutex<Distribution>>);

impl Tally {
    /// Records a value in the metric's unit.
    pub fn record(&self, value: f64) {
        lock(&self.0).record(value);
    }
}

/// A distribution is valid after every step of its own, so that a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_group_and_set_become_one_event() {
        let tallies = Tallies::new(Instant::now());
        for _peer in 0..10 {
            let tally = tallies.tally(Metric::JitterMs, "native", "native-native");
            (0..100).for_each(|value| tally.record(f64::from(value)));
        }
        tallies.tally(Metric::JitterMs, "firefox", "native-firefox").record(3.0);
        let events = tallies.drain();
        let [first, second] = &events[..] else { panic!("{events:?}") };
        let EventKind::Tally(firefox) = &first.kind else { panic!("{first:?}") };
        assert_eq!((firefox.group.as_str(), firefox.sum), ("firefox", 3.0));
        let EventKind::Tally(native) = &second.kind else { panic!("{second:?}") };
        assert_eq!((native.min, native.max, native.sum), (0.0, 99.0, 49_500.0));
        assert!(tallies.drain().is_empty(), "a value is told once");
    }
}
