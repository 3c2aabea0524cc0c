//! Ticks at exact instants, with bounded catch-up.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A tick may be this late, or two intervals if that is more, before it is dropped.
const CATCH_UP: Duration = Duration::from_millis(100);

/// An endless sequence of ticks: tick k is due at `start + k · interval`, exactly and without drift.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Nanoseconds of `ticks` intervals.
    nanoseconds: u64,
    ticks: u32,
    next: u64,
}

/// A tick that was due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tick {
    /// Its number, from 0.
    pub(super) index: u64,
    /// When it was due.
    pub(super) planned: Instant,
    /// How long after its due time the earliest tick was taken that this one, or a dropped one, stands for.
    pub(super) lateness: Duration,
    /// How many ticks before it were dropped.
    pub(super) skipped: u64,
}

impl Schedule {
    /// `rate` ticks per second.
    pub(super) fn per_second(start: Instant, rate: NonZeroU32) -> Self {
        Self { start, nanoseconds: 1_000_000_000, ticks: rate.get(), next: 0 }
    }

    /// A tick every `interval`; 1 ms if it is shorter than that.
    pub(super) fn every(start: Instant, interval: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self { start, nanoseconds: interval.as_nanos() as u64, ticks: 1, next: 0 }
    }

    /// When the next tick is due.
    pub(super) fn next_due(&self) -> Instant {
        self.due(self.next)
    }

    /// Takes the next tick if it is due.
    ///
    /// A generator that is far behind must not send a burst that no real sender would send: ticks that are too late are
    /// dropped and counted, up to the last one that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Tick> {
        let lateness = now.checked_duration_since(self.next_due())?;
        let mut index = self.next;
        if lateness > CATCH_UP.max(2 * (self.due(1) - self.start)) {
            let elapsed = now.duration_since(self.start).as_nanos();
            index = index.max((elapsed * u128::from(self.ticks) / u128::from(self.nanoseconds)) as u64);
        }
        let skipped = index - self.next;
        self.next = index + 1;
        Some(Tick { index, planned: self.due(index), lateness, skipped })
    }

    /// When this tick is due.
    pub(super) fn due(&self, tick: u64) -> Instant {
        let nanoseconds = u128::from(tick) * u128::from(self.nanoseconds) / u128::from(self.ticks);
        self.start + Duration::from_nanos(nanoseconds as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::per_second(start, NonZeroU32::new(30).unwrap());
        for _ in 0..30 * 3600 {
            let due = schedule.next_due();
            assert_eq!(schedule.take(due - Duration::from_nanos(1)), None);
            assert_eq!(schedule.take(due).unwrap().lateness, Duration::ZERO);
        }
        assert_eq!(schedule.next_due(), start + Duration::from_secs(3600));
    }

    #[test]
    fn a_late_tick_is_made_up_for_and_a_very_late_one_is_dropped() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut schedule = Schedule::every(start, Duration::from_millis(20));
        assert_eq!(schedule.take(after(70)).map(|tick| (tick.index, tick.skipped)), Some((0, 0)));
        for index in 1..=3 {
            assert_eq!(schedule.take(after(70)).map(|tick| (tick.index, tick.skipped)), Some((index, 0)));
        }
        assert_eq!(schedule.take(after(70)), None);

        let tick = schedule.take(after(1005)).unwrap();
        assert_eq!((tick.index, tick.skipped, tick.planned), (50, 46, after(1000)));
        assert_eq!(tick.lateness, Duration::from_millis(925), "of the first that was dropped");
        assert_eq!(schedule.take(after(1005)), None);
    }
}
