//! The load of a plan over time, for people: how many calls start, and how many there are at once.

use super::Plan;

/// A stretch of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Its beginning, in microseconds since the start of the load.
    pub from_us: u64,
    /// Its end.
    pub until_us: u64,
    /// Calls that start in it.
    pub starts: u64,
    /// Calls that end in it, if each starts and connects at once.
    pub ends: u64,
    /// The most calls at any instant in it.
    pub at_once: u64,
}

/// The load from the first arrival to the last end in at most so many stretches of equal length.
pub fn load_curve(plan: &Plan, stretches: u64) -> Vec<Stretch> {
    let mut turns: Vec<(u64, bool)> = Vec::with_capacity(2 * plan.calls.len());
    for call in &plan.calls {
        turns.extend([(call.start_us, true), (call.start_us.saturating_add(call.hold_us), false)]);
    }
    // Ends come before starts at the same instant.
    turns.sort_unstable();
    let Some(&(end, _)) = turns.last() else { return Vec::new() };
    let length = (end / stretches.max(1) + 1).max(1);
    let mut curve: Vec<Stretch> = Vec::new();
    let mut now = 0_u64;
    for (at_us, is_start) in turns {
        while curve.last().is_none_or(|last| at_us >= last.until_us) {
            let from_us = curve.last().map_or(0, |last| last.until_us);
            curve.push(Stretch { from_us, until_us: from_us.saturating_add(length), starts: 0, ends: 0, at_once: now });
        }
        now = if is_start { now + 1 } else { now - 1 };
        if let Some(stretch) = curve.last_mut() {
            stretch.starts += u64::from(is_start);
            stretch.ends += u64::from(!is_start);
            stretch.at_once = stretch.at_once.max(now);
        }
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, load};

    #[test]
    fn calls_that_do_not_overlap_are_not_counted_together() {
        let peak = |arrivals: &str| {
            let text = format!("name = 'x'\n[load]\nhold = '2s'\n{arrivals}[[peers]]\ncount = 40\n");
            load("a.toml", &text, &Overrides::default()).unwrap().plan.calls_at_once()
        };
        assert_eq!(peak(""), 20);
        assert_eq!(peak("arrivals = '100/s'\n"), 20);
        assert_eq!(peak("arrivals = '5/s'\n"), 10, "the first ends when the eleventh begins");
    }

    #[test]
    fn as_many_leave_as_join_once_the_load_is_steady() {
        let text = "name = \"c\"\n[[peers]]\n[load]\narrivals = \"10/s\"\nduration = \"16s\"\nhold = \"4s\"\n";
        let plan = load("c.toml", text, &Overrides::default()).unwrap().plan;
        let curve = load_curve(&plan, 10);
        assert_eq!(curve.len(), 10);
        assert_eq!(curve.iter().map(|stretch| stretch.starts).sum::<u64>(), 160);
        assert_eq!(curve.iter().map(|stretch| stretch.ends).sum::<u64>(), 160);
        let steady = &curve[3..7];
        assert!(steady.iter().all(|stretch| stretch.starts.abs_diff(stretch.ends) <= 1), "{curve:?}");
        assert!(steady.iter().all(|stretch| stretch.at_once == 40), "{curve:?}");
        assert_eq!((curve[0].at_once, curve[9].starts), (20, 0));
    }
}
