//! `junit.xml`: what CI systems show. The suite is the scenario, each gate a case and each pair of networks; trouble of the environment is an
//! error, a gate that does not hold a failure.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::RenderError;
use super::matrix;
use crate::gate::{CellOutcome, CellResult, GateResult, GateVerdict, Judgement, Verdict};
use crate::record::Record;

/// Failing calls that are told one by one.
const FAILURES: usize = 100;

pub(super) fn render(record: &Record, judgement: &Judgement) -> Result<String, RenderError> {
    let name = record.plan().map_or("harness", |plan| &plan.name);
    let mut suite = TestSuite::new(name);
    suite.set_time(Duration::from_micros(record.duration_us()));
    properties(&mut suite, record, judgement);
    for result in &judgement.gates {
        suite.add_test_case(gate(name, result, judgement.verdict));
    }
    for result in crate::gate::matrix(record).iter().flat_map(|matrix| &matrix.cells) {
        suite.add_test_case(cell(name, result, judgement.verdict));
    }
    suite.add_test_case(calls(name, record, judgement));
    if matches!(judgement.verdict, Verdict::Invalid | Verdict::Error | Verdict::Interrupted) {
        suite.add_test_case(environment(name, judgement));
    }
    for skip in record.skipped().iter().filter(|skip| skip.optional) {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("{}; {}", skip.reason, skip.remedy));
        suite.add_test_case(case(name, &skip.what, status));
    }
    let mut report = Report::new("harness");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn properties(suite: &mut TestSuite, record: &Record, judgement: &Judgement) {
    suite.add_property(Property::new("verdict", judgement.verdict.name()));
    if let Some(run) = record.run() {
        suite.add_property(Property::new("seed", run.plan.seed.to_string()));
        suite.add_property(Property::new("scenario", &run.plan.scenario));
        suite.add_property(Property::new("started_at", &run.started_at));
        for (name, value) in &run.environment {
            suite.add_property(Property::new(format!("environment.{name}"), value));
        }
    }
}

fn gate(scenario: &str, result: &GateResult, verdict: Verdict) -> TestCase {
    let gate = &result.gate;
    let status = match result.verdict {
        GateVerdict::Pass => TestCaseStatus::success(),
        GateVerdict::Fail | GateVerdict::NoData => {
            // What an untrusted generator measured says nothing about the service.
            let kind = if verdict == Verdict::Fail { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(result.message.as_str()).set_type(gate.metric.name());
            status.set_description(format!("{}\nat {}", result.message, gate.place));
            status
        }
    };
    let whose: Vec<&str> = [&gate.group, &gate.set].into_iter().flatten().map(String::as_str).collect();
    let class = std::iter::once(scenario).chain(whose).collect::<Vec<_>>().join(".");
    case(&class, &format!("{} {}", gate.metric.name(), gate.expect), status)
}

/// A pair of networks, under the name of its calls.
fn cell(scenario: &str, result: &CellResult, verdict: Verdict) -> TestCase {
    let kind = match result.outcome {
        CellOutcome::Ok => None,
        CellOutcome::LabLies | CellOutcome::Unjudged => Some(NonSuccessKind::Error),
        _ if verdict == Verdict::Fail => Some(NonSuccessKind::Failure),
        // What networks do that are not what was asked for says nothing about the service.
        _ => Some(NonSuccessKind::Error),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(format!("{}: {}", result.outcome.name(), result.detail)).set_type(result.outcome.name());
        let hint = result.hint.iter().map(|hint| format!("hint: {hint}"));
        let reason = format!("expected: {}, since {}", result.cell.expected, result.cell.reason);
        let lines = [matrix::heading(result), reason].into_iter().chain(hint).chain(result.failures.iter().cloned());
        status.set_description(lines.collect::<Vec<_>>().join("\n"));
        status
    });
    let mut case = case(&format!("{scenario}.matrix"), &result.name, status);
    if let Some(observed) = &result.observed {
        case.add_property(Property::new("path", observed));
    }
    if let Some(ms) = result.connection_time_ms {
        case.set_time(Duration::from_secs_f64(ms / 1e3));
    }
    case
}

/// The calls themselves: a run whose gates hold can fail by a call alone.
fn calls(scenario: &str, record: &Record, judgement: &Judgement) -> TestCase {
    let counts = record.call_counts();
    let failures: Vec<String> = record
        .failures()
        .iter()
        .take(FAILURES)
        .map(|failure| {
            let failure = &failure.what;
            format!("{} in call {}, phase {}: {}", failure.peer, failure.call, failure.phase.name(), failure.reason)
        })
        .collect();
    let paths_hold = crate::gate::matrix(record)
        .is_none_or(|matrix| matrix.cells.iter().all(|cell| cell.outcome == CellOutcome::Ok));
    let gates_hold = paths_hold && judgement.gates.iter().all(|result| result.verdict == GateVerdict::Pass);
    let status = if judgement.verdict == Verdict::Fail && gates_hold {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(judgement.reasons.join("; ")).set_type("call");
        status
    } else {
        TestCaseStatus::success()
    };
    let mut case = case(scenario, "calls", status);
    for (name, count) in [("attempted", counts.attempted), ("connected", counts.connected), ("failed", counts.failed)] {
        case.add_property(Property::new(name, count.to_string()));
    }
    if !failures.is_empty() {
        case.set_system_out(failures.join("\n"));
    }
    case
}

fn environment(scenario: &str, judgement: &Judgement) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(judgement.reasons.join("; ")).set_type(judgement.verdict.name());
    case(scenario, "trustworthy result", status)
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case
}
