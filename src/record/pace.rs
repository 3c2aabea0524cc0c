//! How often the state of a run is recorded: the rule that keeps the record of a long run small.

use std::time::Duration;

/// From this age of a run on, in seconds, intervals have the length beside it, in seconds.
const LENGTHS: [(u64, u64); 3] = [(0, 1), (5 * 60, 10), (60 * 60, 60)];

/// How long the interval is that begins at this age of a run: a second in the first five minutes, ten seconds for the rest
/// of the first hour, and a minute from then on.
///
/// It is the rule for [`Interval`](super::Interval) and for [`Tallies`](super::Tallies) alike. Nothing but the time of day is
/// lost: values are counted one by one in histograms, however long the interval.
pub fn interval_length(age: Duration) -> Duration {
    let length = LENGTHS.iter().rev().find(|(from, _)| age.as_secs() >= *from).map_or(1, |(_, length)| *length);
    Duration::from_secs(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_630_intervals_and_every_further_hour_60() {
        let intervals = |hours: u64| {
            let mut age = Duration::ZERO;
            let mut count = 0;
            while age < Duration::from_secs(hours * 3600) {
                age += interval_length(age);
                count += 1;
            }
            count
        };
        assert_eq!((intervals(1), intervals(24)), (300 + 330, 300 + 330 + 23 * 60));
        assert_eq!(interval_length(Duration::from_secs(299)), Duration::from_secs(1));
        assert_eq!(interval_length(Duration::from_secs(300)), Duration::from_secs(10));
    }
}
