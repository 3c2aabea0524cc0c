//! What became of every pair of networks: the path that was found against the path that had to be.

mod call;
mod hints;

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::{CallPlan, CellPlan};
use crate::record::{Metric, Record, Selection};

/// How a cell of the matrix ended.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellOutcome {
    /// Every call found the path that it had to.
    Ok,
    /// The calls were relayed although a direct path is there.
    OverRelayed,
    /// The calls did not connect.
    Failed,
    /// The calls were relayed, but not over the transport that had to be.
    WrongTransport,
    /// Some calls found the right path, or they failed in different ways.
    Flaky,
    /// The calls found a path that cannot be there: the networks or the expectation are wrong, and prove nothing.
    LabLies,
    /// No call was made, or none said which path it took.
    Unjudged,
}

impl CellOutcome {
    /// The words in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OverRelayed => "over-relayed",
            Self::Failed => "failed",
            Self::WrongTransport => "wrong transport",
            Self::Flaky => "flaky",
            Self::LabLies => "lab lies",
            Self::Unjudged => "not judged",
        }
    }
}

/// One cell of the matrix: like calls between two networks.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct CellResult {
    /// Unique in the run; the name of the set of its calls.
    pub name: String,
    /// Who is in it, and what was expected.
    #[serde(flatten)]
    pub cell: CellPlan,
    /// How it ended.
    pub outcome: CellOutcome,
    /// The path that was found, such as `direct` or `relay tcp`; of several calls, those that differ. Absent without one.
    pub observed: Option<String>,
    /// How many calls ended as expected.
    pub ok: u32,
    /// How many calls could be judged.
    pub of: u32,
    /// The median of `connection_time_ms`, in milliseconds.
    pub connection_time_ms: Option<f64>,
    /// The median of `time_to_fallback_ms`, in milliseconds.
    pub time_to_fallback_ms: Option<f64>,
    /// What happened, in a sentence.
    pub detail: String,
    /// What to do about it, if something must be done.
    pub hint: Option<String>,
    /// What the peers of the failed calls said, each once.
    pub failures: Vec<String>,
    /// The file with what its peers sent and received, beside the report; only of cells that are not `ok`.
    pub packets: Option<String>,
}

/// A whole matrix.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct MatrixResult {
    /// The networks of the offerers, in the order of the scenario.
    pub rows: Vec<String>,
    /// The networks of the answerers.
    pub columns: Vec<String>,
    /// Every cell, row by row.
    pub cells: Vec<CellResult>,
    /// What the cells that are not `ok` have in common, and what to do about it.
    pub hints: Vec<String>,
}

impl MatrixResult {
    /// The cells that ended so.
    pub fn with(&self, outcome: CellOutcome) -> impl Iterator<Item = &CellResult> {
        self.cells.iter().filter(move |cell| cell.outcome == outcome)
    }

    /// Outcomes with how many cells ended so, those that did not happen left out.
    pub fn counts(&self) -> Vec<(CellOutcome, usize)> {
        use CellOutcome::{Failed, Flaky, LabLies, Ok, OverRelayed, Unjudged, WrongTransport};
        [Ok, OverRelayed, Failed, WrongTransport, Flaky, LabLies, Unjudged]
            .map(|outcome| (outcome, self.with(outcome).count()))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// What became of the matrix; absent if the plan has none.
pub fn matrix(record: &Record) -> Option<MatrixResult> {
    let mut sets: Vec<(&CellPlan, Vec<&CallPlan>)> = Vec::new();
    for call in &record.plan()?.calls {
        let Some(cell) = &call.cell else { continue };
        // The calls of a cell follow each other.
        match sets.last_mut().filter(|(_, calls)| calls.iter().all(|known| known.set == call.set)) {
            Some((_, calls)) => calls.push(call),
            None => sets.push((cell, vec![call])),
        }
    }
    if sets.is_empty() {
        return None;
    }
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for (cell, _) in &sets {
        for (names, name) in [(&mut rows, &cell.first), (&mut columns, &cell.second)] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let cells: Vec<CellResult> = sets.into_iter().map(|(cell, calls)| judge(record, cell, &calls)).collect();
    let hints = hints::of(record, &cells);
    Some(MatrixResult { rows, columns, cells, hints })
}

/// Why the matrix makes the result untrustworthy.
pub(super) fn untrusted(matrix: &MatrixResult, record: &Record) -> Vec<String> {
    let lies = matrix
        .with(CellOutcome::LabLies)
        .map(|cell| format!("the lab cannot be trusted: {}: {}", cell.name, cell.detail));
    let excused = record.skipped().iter().any(|skip| skip.optional);
    let unjudged = matrix.with(CellOutcome::Unjudged).filter(|_| !excused);
    let unjudged = unjudged.map(|cell| format!("nothing is known about {}: {}", cell.name, cell.detail));
    shortened(lies.collect()).into_iter().chain(shortened(unjudged.collect())).collect()
}

/// Why the matrix is a failure.
pub(super) fn failed(matrix: &MatrixResult) -> Vec<String> {
    use CellOutcome::{Failed, Flaky, OverRelayed, WrongTransport};
    let total = matrix.cells.len();
    let mut reasons = Vec::new();
    for outcome in [Failed, OverRelayed, WrongTransport, Flaky] {
        let cells: Vec<&str> = matrix.with(outcome).map(|cell| cell.name.as_str()).collect();
        if let [first, ..] = cells[..] {
            let named =
                if cells.len() <= NAMED { cells.join(", ") } else { format!("{first} and {} more", cells.len() - 1) };
            let what = match outcome {
                Failed => "did not connect",
                OverRelayed => "relayed without need",
                WrongTransport => "relayed over the wrong transport",
                _ => "did not always end alike",
            };
            reasons.push(format!("{} of {total} pairs of networks {what} ({named})", cells.len()));
        }
    }
    if !reasons.is_empty() {
        reasons.extend(matrix.hints.iter().cloned());
    }
    reasons
}

/// Cells that are named one by one in a reason.
const NAMED: usize = 4;

fn shortened(mut reasons: Vec<String>) -> Vec<String> {
    if let Some(more) = reasons.len().checked_sub(NAMED).filter(|more| *more > 0) {
        reasons.truncate(NAMED);
        reasons.push(format!("… and {more} more pairs of networks like that"));
    }
    reasons
}

/// A plan that was not made from a scenario may have any names.
fn file_name(cell: &str) -> String {
    cell.replace(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_'), "_")
}

fn judge(record: &Record, cell: &CellPlan, calls: &[&CallPlan]) -> CellResult {
    let judged: Vec<_> = calls.iter().map(|call| call::judge(record, cell, call)).collect();
    let known: Vec<_> = judged.iter().filter(|call| call.outcome != CellOutcome::Unjudged).collect();
    let ok = known.iter().filter(|call| call.outcome == CellOutcome::Ok).count();
    let decisive = known.iter().find(|call| call.outcome == CellOutcome::LabLies);
    let decisive =
        decisive.or_else(|| known.iter().find(|call| call.outcome != CellOutcome::Ok)).or_else(|| known.first());
    let (outcome, detail) = match decisive {
        None => (CellOutcome::Unjudged, judged.first().map_or_else(String::new, |call| call.detail.clone())),
        Some(call)
            if call.outcome == CellOutcome::LabLies || known.iter().all(|other| other.outcome == call.outcome) =>
        {
            (call.outcome, call.detail.clone())
        }
        Some(call) => {
            let detail = format!("{ok} of {} calls ended as expected; another {}", known.len(), call.detail);
            (CellOutcome::Flaky, detail)
        }
    };
    let name = calls.first().map_or_else(String::new, |call| call.set.clone());
    let mut seen: Vec<String> = Vec::new();
    for path in known.iter().filter_map(|call| call.observed.clone()) {
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
    let mut failures: Vec<String> = Vec::new();
    for failure in record.failures().iter().map(|failure| &failure.what) {
        let said = failure.to_string();
        if calls.iter().any(|call| call.id == failure.call) && !failures.contains(&said) {
            failures.push(said);
        }
    }
    let attempted = calls.iter().any(|call| record.call(&call.id).is_some_and(|(_, call)| call.attempted()));
    let kept = record.packets_kept().is_some() && outcome != CellOutcome::Ok && attempted;
    let median = |metric| record.distribution(metric, Selection::set(&name)).quantile(0.5);
    CellResult {
        cell: cell.clone(),
        outcome,
        observed: (!seen.is_empty()).then(|| seen.join(", ")),
        ok: ok as u32,
        of: known.len() as u32,
        connection_time_ms: median(Metric::ConnectionTimeMs),
        time_to_fallback_ms: median(Metric::TimeToFallbackMs),
        detail,
        hint: hints::of_cell(record, cell, calls, outcome),
        failures,
        packets: kept.then(|| format!("cells/{}.pcap", file_name(&name))),
        name,
    }
}
