//! A search as JUnit XML: one case for the capacity, and one for each load.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::super::{RenderError, junit};
use crate::capacity::Capacity;
use crate::gate::Verdict;

pub(in crate::report) fn render(capacity: &Capacity) -> Result<String, RenderError> {
    let mut suite = TestSuite::new(&capacity.scenario);
    suite.set_time(Duration::from_secs_f64(capacity.duration_ms / 1e3));
    for (name, value) in [
        ("verdict", capacity.verdict.name().to_owned()),
        ("seed", capacity.seed.to_string()),
        ("scenario", capacity.scenario_file.clone()),
        ("started_at", capacity.started_at.clone()),
        ("range", capacity.range.clone()),
        ("capacity", capacity.headline()),
    ] {
        suite.add_property(Property::new(name, value));
    }
    let kind = match capacity.verdict {
        Verdict::Pass => None,
        Verdict::Fail => Some(NonSuccessKind::Failure),
        // It says nothing about the service.
        Verdict::Invalid | Verdict::Error | Verdict::Interrupted => Some(NonSuccessKind::Error),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        let limits = capacity.limits.iter().map(|limit| format!("{}: {}", limit.what, limit.said));
        status.set_message(capacity.headline()).set_type(capacity.verdict.name());
        status.set_description(capacity.explanation().into_iter().chain(limits).collect::<Vec<_>>().join("\n"));
        status
    });
    let mut case = TestCase::new("capacity", status);
    case.set_classname(capacity.scenario.clone());
    case.set_system_out(capacity.explanation().join("\n"));
    suite.add_test_case(case);
    // A load that breaks is what was looked for, and no failure.
    for load in capacity.loads() {
        let mut case = TestCase::new(capacity.show(load), TestCaseStatus::success());
        case.set_classname(format!("{}.loads", capacity.scenario));
        case.set_time(Duration::from_secs_f64(capacity.at(load).map(|probe| probe.duration_ms / 1e3).sum()));
        case.set_system_out(format!("runs: {}", capacity.tally(load)));
        suite.add_test_case(case);
    }
    junit::text(suite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::testing::search;

    #[test]
    fn only_a_search_without_an_answer_fails() {
        let found = render(&search("calls 4..64", 25, u64::MAX)).unwrap();
        assert!(found.contains("failures=\"0\" errors=\"0\"") && found.contains("value=\"24 calls\""), "{found}");
        let none = render(&search("calls 4..64", 1, u64::MAX)).unwrap();
        assert!(
            none.contains("failures=\"1\" errors=\"0\"") && none.contains("message=\"no passing point\""),
            "{none}"
        );
        let unfit = render(&search("calls 4..64", 1000, 1)).unwrap();
        assert!(unfit.contains("failures=\"0\" errors=\"1\""), "{unfit}");
    }
}
