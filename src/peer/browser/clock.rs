//! The page's clock on ours: both are monotonic, with zeros that lie apart.

use std::time::{Duration, Instant};

/// Maps instants of a page's `performance.now()` onto this process's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base: Instant,
    page_ms: f64,
    uncertainty: Duration,
}

impl Clock {
    /// A clock from one question: asked at `asked`, answered at `answered`, when the page's clock was `page_ms`.
    pub(super) fn from_probe(asked: Instant, page_ms: f64, answered: Instant) -> Self {
        let round_trip = answered.saturating_duration_since(asked);
        // The page may have looked at any time in between; the middle halves the worst case.
        Self { base: asked + round_trip / 2, page_ms, uncertainty: round_trip / 2 }
    }

    /// The one that is less uncertain.
    pub(super) fn better(self, other: Self) -> Self {
        if other.uncertainty < self.uncertainty { other } else { self }
    }

    /// Our instant for the page's.
    pub(super) fn instant(&self, page_ms: f64) -> Instant {
        let offset = Duration::try_from_secs_f64((page_ms - self.page_ms).abs() / 1e3).unwrap_or_default();
        if page_ms < self.page_ms {
            self.base.checked_sub(offset).unwrap_or(self.base)
        } else {
            self.base.checked_add(offset).unwrap_or(self.base)
        }
    }

    /// How wrong [`instant`](Self::instant) may be, either way.
    pub(super) fn uncertainty(&self) -> Duration {
        self.uncertainty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_answer_counts_and_maps_both_ways() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let slow = Clock::from_probe(start, 1000.0, start + ms(40));
        let quick = Clock::from_probe(start + ms(50), 1051.0, start + ms(52));
        let clock = slow.better(quick);
        assert_eq!(clock.uncertainty(), ms(1));
        assert_eq!(clock.instant(1061.0), start + ms(61));
        assert_eq!(clock.instant(1041.0), start + ms(41));
    }
}
