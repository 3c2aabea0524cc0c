//! What is remembered of one call: the instants of its two ends, and how it went.

use super::{Mark, Phase};
use crate::plan::Role;

/// How many marks there are.
const MARKS: usize = Mark::Left as usize + 1;
/// The stored form of "not passed". Half the memory of an `Option`, and no run lasts 584,000 years.
const NEVER: u64 = u64::MAX;

/// The instants that one peer passed in one call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marks([u64; MARKS]);

impl Marks {
    /// When the mark was passed, in microseconds since the start of the run.
    pub fn get(&self, mark: Mark) -> Option<u64> {
        Some(self.0[mark as usize]).filter(|at| *at != NEVER)
    }

    /// Milliseconds from one mark to another, never negative; absent unless both were passed.
    pub fn between_ms(&self, from: Mark, to: Mark) -> Option<f64> {
        Some(self.get(to)?.saturating_sub(self.get(from)?) as f64 / 1e3)
    }

    /// Every mark that was passed, with its time, in the order of [`Mark`].
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> + '_ {
        Mark::ALL.iter().filter_map(|mark| Some((*mark, self.get(*mark)?)))
    }

    /// Whether none was passed.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|at| *at == NEVER)
    }

    /// Notes that the mark was passed, in microseconds since the start of the run. The first time counts: returns whether
    /// this was it.
    pub fn set(&mut self, mark: Mark, at_us: u64) -> bool {
        let slot = &mut self.0[mark as usize];
        let first = *slot == NEVER;
        if first {
            *slot = at_us;
        }
        first
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self([NEVER; MARKS])
    }
}

/// What happened to one call of the plan.
#[derive(Clone, Debug, Default)]
pub struct CallRecord {
    /// The offerer's marks.
    pub offerer: Marks,
    /// The answerer's marks.
    pub answerer: Marks,
    /// The phase of the call's first failure, if it failed.
    pub failed: Option<Phase>,
    /// Whether both ends connected and received first media; absent until it is known.
    pub set_up: Option<bool>,
    /// Whether it was dropped, because the harness could not start it in time.
    pub dropped: bool,
}

impl CallRecord {
    /// The marks of one end.
    pub fn end(&self, role: Role) -> &Marks {
        match role {
            Role::Offerer => &self.offerer,
            Role::Answerer => &self.answerer,
        }
    }

    /// Whether the call was begun: one of its ends passed a mark, or failed.
    pub fn attempted(&self) -> bool {
        self.failed.is_some() || !self.offerer.is_empty() || !self.answerer.is_empty()
    }

    pub(super) fn end_mut(&mut self, role: Role) -> &mut Marks {
        match role {
            Role::Offerer => &mut self.offerer,
            Role::Answerer => &mut self.answerer,
        }
    }
}

/// Calls of a run by how they went. A call that connected can have failed later.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct CallCounts {
    /// Calls in the plan.
    pub planned: u64,
    /// Those of them that were begun.
    pub attempted: u64,
    /// Calls whose every end that the harness controls reached connectionState `connected`.
    pub connected: u64,
    /// Calls that failed at one end or both, at any time.
    pub failed: u64,
    /// Calls that were not begun, because the harness could not start them in time.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_of_a_mark_counts() {
        let mut marks = Marks::default();
        assert!(marks.is_empty());
        marks.set(Mark::Joined, 5_000);
        marks.set(Mark::Joined, 9_000);
        marks.set(Mark::Left, 6_500);
        assert_eq!(marks.get(Mark::Joined), Some(5_000));
        assert_eq!(marks.between_ms(Mark::Joined, Mark::Left), Some(1.5));
        assert_eq!(marks.between_ms(Mark::Joined, Mark::Connected), None);
        assert_eq!(marks.iter().collect::<Vec<_>>(), [(Mark::Joined, 5_000), (Mark::Left, 6_500)]);
    }
}
