//! From a record to a verdict.

use super::matrix::{self, MatrixResult, matrix};
use super::strain::Strain;
use super::{CellOutcome, Expectation, Gate, GateResult, GateVerdict, Judgement, Statistic, Verdict, health_checks};
use crate::record::{Distribution, Metric, Outcome, ProgramEnd, Record, Selection, Unit};

/// Judges a run.
///
/// The first of these rules that applies gives the verdict; `docs/report.md` explains them.
///
/// 1. A run that a signal ended is **interrupted**.
/// 2. A record without a start or an end, or with the end "error", is an **error**.
/// 3. A generator past one of its limits, or never looked at, a run without a call, and networks that are not what was
///    asked for, or were never checked, make the result **invalid**: what measures never blames the service for itself.
///    So do failures of calls that all fall into seconds in which the generator was past a limit, and broken gates if such
///    seconds are many, if there is nothing else.
/// 4. A failed call, a program of the scenario that fails, a gate that its samples break or that ended the run, or a pair
///    of networks without its path is a **fail**.
/// 5. Something required that was skipped makes the result **invalid**.
/// 6. A gate without enough samples is a **fail**.
/// 7. Everything else is a **pass**.
pub fn judge(record: &Record) -> Judgement {
    let gates: Vec<GateResult> =
        record.plan().into_iter().flat_map(|plan| &plan.gates).map(|gate| judge_gate(record, gate)).collect();
    if let Some(judgement) = interrupted(record, &gates) {
        return judgement;
    }
    let matrix = matrix(record);
    let failed = failed(record, &gates, matrix.as_ref());
    let findings = [
        (Verdict::Error, broken(record)),
        (Verdict::Invalid, untrusted(record, matrix.as_ref())),
        (Verdict::Invalid, if failed.is_empty() { Vec::new() } else { strained(record, &gates, matrix.as_ref()) }),
        (Verdict::Fail, failed),
        (Verdict::Invalid, incomplete(record)),
        (Verdict::Fail, unmeasured(&gates)),
    ];
    let verdict =
        findings.iter().find(|(_, reasons)| !reasons.is_empty()).map_or(Verdict::Pass, |(verdict, _)| *verdict);
    let reasons = findings.into_iter().flat_map(|(_, reasons)| reasons).collect();
    let exit_code = match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Invalid => 3,
        Verdict::Error | Verdict::Interrupted => 4,
    };
    Judgement { verdict, exit_code, gates, reasons }
}

/// Whether a gate holds for what has been recorded so far.
pub fn judge_gate(record: &Record, gate: &Gate) -> GateResult {
    let selection = Selection { group: gate.group.as_deref(), set: gate.set.as_deref() };
    let values = record.distribution(gate.metric, selection);
    let samples = values.count();
    let result = |observed, verdict, outcome: String| GateResult {
        gate: gate.clone(),
        observed,
        samples,
        verdict,
        message: format!("{} {}{}: {outcome}", gate.metric.name(), gate.expect, whose(gate)),
    };
    let expectation = match Expectation::parse(&gate.expect, gate.metric) {
        Ok(expectation) => expectation,
        Err(error) => return result(None, GateVerdict::Fail, error.to_string()),
    };
    let observed = observe(&values, expectation.statistic);
    if samples < gate.min_samples.max(1) {
        let wanted = gate.min_samples.max(1);
        return result(observed, GateVerdict::NoData, format!("{samples} samples, at least {wanted} needed"));
    }
    let Some(value) = observed else { return result(None, GateVerdict::NoData, "no samples".into()) };
    let verdict = if expectation.holds(value) { GateVerdict::Pass } else { GateVerdict::Fail };
    let shown = if expectation.statistic == Statistic::Count { value.to_string() } else { show(value, values.unit()) };
    result(observed, verdict, format!("observed {shown} over {samples} samples"))
}

fn interrupted(record: &Record, gates: &[GateResult]) -> Option<Judgement> {
    record.run()?;
    let Some(Outcome::Interrupted { signal }) = record.outcome() else { return None };
    let exit_code = if signal == "SIGTERM" { 143 } else { 130 };
    let reasons = vec![format!("{signal} ended the run; the record is partial and was not judged")];
    Some(Judgement { verdict: Verdict::Interrupted, exit_code, gates: gates.to_vec(), reasons })
}

fn broken(record: &Record) -> Vec<String> {
    let reason = match (record.run(), record.outcome()) {
        (None, _) => Some("the record holds no run".to_owned()),
        (Some(_), None) => Some("the record was cut off: the run did not get to its end".to_owned()),
        (Some(_), Some(Outcome::Error { message })) => Some(message.clone()),
        (Some(_), Some(Outcome::Completed | Outcome::Aborted { .. } | Outcome::Interrupted { .. })) => None,
    };
    reason.into_iter().collect()
}

fn untrusted(record: &Record, matrix: Option<&MatrixResult>) -> Vec<String> {
    let Some(plan) = record.plan() else { return Vec::new() };
    let mut reasons = Vec::new();
    // What was skipped as a whole is told by the skip.
    let skipped = record.call_counts().attempted == 0 && record.skipped().iter().any(|skip| !skip.optional);
    if record.intervals().is_empty() && !skipped {
        reasons
            .push("generator health was never measured, so that nothing shows that the numbers can be trusted".into());
    }
    reasons.extend(
        health_checks(record, &plan.health)
            .into_iter()
            .filter(|check| check.passed_limit())
            .map(|check| check.reason()),
    );
    if record.call_counts().attempted == 0 && !skipped {
        reasons.push("no call was attempted".into());
    }
    reasons.extend(unlike_asked(record));
    reasons.extend(matrix.into_iter().flat_map(|matrix| matrix::untrusted(matrix, record)));
    reasons
}

/// Why nobody can tell whether the service or the generator is to blame for what failed.
fn strained(record: &Record, gates: &[GateResult], matrix: Option<&MatrixResult>) -> Vec<String> {
    let Some(plan) = record.plan() else { return Vec::new() };
    let strain = Strain::of(record, &health_checks(record, &plan.health));
    let broken = || gates.iter().filter(|result| result.verdict == GateVerdict::Fail);
    let counts = broken().any(|result| counts_failures(result.gate.metric));
    // What a gate tolerates decides nothing, in whatever second it came.
    let failures = record.failures().iter().filter(|it| counts || !is_gated(record, gates, &it.what.call));
    let failures: Vec<_> = failures.collect();
    // A program that says itself that it failed is to blame, however busy the machine.
    let crashed = record.program_ends().iter().any(|end| !end.ok);
    let clear = failures.iter().any(|failure| !strain.clouds(record, &failure.what.call, failure.at_us));
    // Failed calls say nothing of the rest.
    let rest = broken().any(|result| !counts_failures(result.gate.metric))
        || matrix.is_some_and(|matrix| matrix.with(CellOutcome::OverRelayed).next().is_some());
    if crashed || clear || (rest && !strain.is_frequent()) || (failures.is_empty() && !rest) {
        return Vec::new();
    }
    strain.reason(failures.len()).into_iter().collect()
}

/// Whether a gate on the metric is broken by failed calls themselves.
fn counts_failures(metric: Metric) -> bool {
    matches!(metric, Metric::SetupSuccessRatio | Metric::MediaVerifiedRatio | Metric::SignalingDeliveryRatio)
}

/// Networks that are not what was asked for, or of which nobody knows.
fn unlike_asked(record: &Record) -> Vec<String> {
    let checks = record.lab_checks();
    let broken = checks.iter().filter(|check| !check.ok);
    let mut reasons: Vec<String> = broken
        .map(|check| {
            let (site, what, expected, measured) = (&check.site, &check.what, &check.expected, &check.measured);
            format!("the network {site} is not what was asked for: {what} is {measured} instead of {expected}")
        })
        .collect();
    let sites = record.plan().and_then(|plan| plan.network.as_ref()).map_or(&[][..], |network| &network.sites);
    let unseen = sites.iter().filter(|site| checks.iter().all(|check| check.site != site.name));
    let unseen: Vec<&str> = unseen.map(|site| site.name.as_str()).collect();
    if !unseen.is_empty() {
        let noun = if unseen.len() == 1 { "network was" } else { "networks were" };
        let names = unseen.join(", ");
        let has_server = record.plan().and_then(|plan| plan.network.as_ref()).is_some_and(|it| it.turn.is_some());
        let help = if has_server { "" } else { "; add [network.turn], whose STUN server tells NATs apart" };
        reasons.push(format!(
            "{} {noun} never checked, so that nothing rests on what they did: {names}{help}",
            unseen.len()
        ));
    }
    reasons
}

fn failed(record: &Record, gates: &[GateResult], matrix: Option<&MatrixResult>) -> Vec<String> {
    let broken = gates.iter().filter(|result| result.verdict == GateVerdict::Fail);
    let mut reasons = Vec::new();
    if let Some(Outcome::Aborted { reason }) = record.outcome() {
        let seconds = record.duration_us() as f64 / 1e6;
        reasons.push(format!("the run was ended after {seconds:.1} s: {reason}"));
    }
    reasons.extend(matrix.into_iter().flat_map(matrix::failed));
    reasons.extend(record.program_ends().iter().filter(|end| !end.ok).map(crashed));
    reasons.extend(broken.map(|result| format!("{} ({})", result.message, result.gate.place)));
    let unexcused: Vec<_> =
        record.failures().iter().filter(|failure| !is_gated(record, gates, &failure.what.call)).collect();
    if let Some(first) = unexcused.first() {
        let calls: std::collections::BTreeSet<&str> =
            unexcused.iter().map(|failure| failure.what.call.as_str()).collect();
        let noun = if calls.len() == 1 { "call" } else { "calls" };
        reasons.push(format!("{} {noun} failed, first: {}", calls.len(), first.what));
    }
    reasons
}

/// A program comes before the calls: it may be why they failed.
fn crashed(end: &ProgramEnd) -> String {
    let ProgramEnd { name, how, last_words, log, .. } = end;
    let said = last_words.as_ref().map(|said| format!("; it said last: {said}")).unwrap_or_default();
    format!("the program {name} {how}{said}; see {log}")
}

fn incomplete(record: &Record) -> Vec<String> {
    let required = record.skipped().iter().filter(|skip| !skip.optional);
    required
        .map(|skip| format!("{} was skipped ({} calls): {}; {}", skip.what, skip.calls, skip.reason, skip.remedy))
        .collect()
}

fn unmeasured(gates: &[GateResult]) -> Vec<String> {
    let empty = gates.iter().filter(|result| result.verdict == GateVerdict::NoData);
    empty.map(|result| format!("{} ({})", result.message, result.gate.place)).collect()
}

/// Whether a gate on `setup_success_ratio` speaks for a call that was not set up: then the gate says how many of those
/// are too many, and one alone does not decide. A call that failed after it had been set up is nobody's tolerance.
fn is_gated(record: &Record, gates: &[GateResult], call: &str) -> bool {
    record.call(call).is_some_and(|(plan, call)| {
        call.set_up == Some(false)
            && gates.iter().map(|result| &result.gate).any(|gate| {
                gate.metric == Metric::SetupSuccessRatio
                    && gate.group.is_none()
                    && gate.set.as_ref().is_none_or(|set| *set == plan.set)
            })
    })
}

fn observe(values: &Distribution, statistic: Statistic) -> Option<f64> {
    match statistic {
        Statistic::Min => values.min(),
        Statistic::Mean => values.mean(),
        Statistic::Max => values.max(),
        Statistic::Count => Some(values.count() as f64),
        Statistic::Quantile(quantile) => values.quantile(quantile),
    }
}

fn whose(gate: &Gate) -> String {
    match (&gate.group, &gate.set) {
        (None, None) => String::new(),
        (Some(group), None) => format!(" of group {group}"),
        (None, Some(set)) => format!(" of calls {set}"),
        (Some(group), Some(set)) => format!(" of group {group} in calls {set}"),
    }
}

/// A value as a gate's reader wants it: all the digits that tell it from the limit.
fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{value:.3} ms"),
        Unit::BitsPerSecond => format!("{value:.0} bit/s"),
        Unit::PerSecond => format!("{value:.3}/s"),
        Unit::Ratio => format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
