//! Plans and marks for the tests of this room.

use crate::plan::Plan;
use crate::record::{Mark, Marks};
use crate::scenario::{Overrides, load};

/// Two native peers, one call.
pub(super) fn plan_of_one_call() -> Plan {
    let text = "schema = 1\nname = \"one\"\n[[peers]]\ncount = 2\n";
    load("one.toml", text, &Overrides::default()).expect("the smallest scenario is valid").plan
}

/// Marks at these microseconds.
pub(super) fn marks(at: &[(Mark, u64)]) -> Marks {
    let mut marks = Marks::default();
    for (mark, at_us) in at {
        marks.set(*mark, *at_us);
    }
    marks
}
