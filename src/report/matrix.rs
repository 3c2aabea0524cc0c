//! The matrix as a grid: what stands in each cell, for every format.

use crate::gate::{CellOutcome, CellResult, MatrixResult};
use crate::net::oracle::Route;
use crate::plan::{Engine, IceTransportPolicy};

/// The cells of one pair of engines and one policy.
pub(super) struct Grid<'a> {
    /// Which engines and policy; empty where there is one grid only.
    pub(super) title: String,
    pub(super) columns: &'a [String],
    pub(super) rows: Vec<GridRow<'a>>,
}

/// The calls of one network.
pub(super) struct GridRow<'a> {
    pub(super) name: &'a str,
    /// One for each column; absent where the scenario has no such pair.
    pub(super) cells: Vec<Option<&'a CellResult>>,
}

/// The grids, in the order of the scenario.
pub(super) fn grids(matrix: &MatrixResult) -> Vec<Grid<'_>> {
    let mut kinds: Vec<([Engine; 2], IceTransportPolicy)> = Vec::new();
    for cell in &matrix.cells {
        let kind = (cell.cell.engines, cell.cell.policy);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let several = kinds.len() > 1;
    let grid = |&(engines, policy): &([Engine; 2], IceTransportPolicy)| Grid {
        title: if several { title(engines, policy) } else { String::new() },
        columns: &matrix.columns,
        rows: matrix
            .rows
            .iter()
            .map(|row| GridRow {
                name: row,
                cells: matrix
                    .columns
                    .iter()
                    .map(|column| {
                        matrix.cells.iter().find(|cell| {
                            (cell.cell.engines, cell.cell.policy) == (engines, policy)
                                && (&cell.cell.first, &cell.cell.second) == (row, column)
                        })
                    })
                    .collect(),
            })
            .collect(),
    };
    kinds.iter().map(grid).collect()
}

/// What stands in a cell: the transport of the relay or `direct` where all is well, else what went wrong.
pub(super) fn word(cell: &CellResult) -> String {
    let observed = cell.observed.as_deref().unwrap_or("?");
    let path = observed.strip_prefix("relay ").unwrap_or(observed);
    match cell.outcome {
        CellOutcome::Ok if cell.of > 1 && path.contains(", ") => "ok".into(),
        CellOutcome::Ok => path.into(),
        CellOutcome::OverRelayed => format!("over {path}"),
        CellOutcome::Failed => "failed".into(),
        CellOutcome::WrongTransport => format!("wrong {path}"),
        CellOutcome::Flaky => format!("{} of {}", cell.ok, cell.of),
        CellOutcome::LabLies => "lab?".into(),
        CellOutcome::Unjudged => "–".into(),
    }
}

/// At most four letters.
pub(super) fn letters(cell: &CellResult) -> &'static str {
    match cell.outcome {
        CellOutcome::Ok if cell.cell.expected == Route::Direct => "dir",
        // Of two relays, the one that is harder to reach tells more.
        CellOutcome::Ok => ["tls", "tcp", "udp"].into_iter().find(|leg| word(cell).contains(leg)).unwrap_or("ok"),
        CellOutcome::OverRelayed => "OVER",
        CellOutcome::Failed => "FAIL",
        CellOutcome::WrongTransport => "LEG!",
        CellOutcome::Flaky => "FLKY",
        CellOutcome::LabLies => "LAB?",
        CellOutcome::Unjudged => "–",
    }
}

/// Whether the cell needs no attention.
pub(super) fn is_ok(cell: &CellResult) -> bool {
    cell.outcome == CellOutcome::Ok
}

/// `9 of 144 pairs are not as they must be: 6 over-relayed, 3 failed`, or that all are.
pub(super) fn summary(matrix: &MatrixResult) -> String {
    let total = matrix.cells.len();
    let bad: Vec<String> = matrix
        .counts()
        .into_iter()
        .filter(|(outcome, _)| *outcome != CellOutcome::Ok)
        .map(|(outcome, count)| format!("{count} {}", outcome.name()))
        .collect();
    if bad.is_empty() {
        return format!("all {total} pairs of networks found the path that they must");
    }
    let count = total - matrix.with(CellOutcome::Ok).count();
    format!("{count} of {total} pairs of networks did not find the path that they must: {}", bad.join(", "))
}

/// Who calls whom, with engines and policy where they are not the usual.
pub(super) fn heading(cell: &CellResult) -> String {
    let mut text = format!("{} → {}", cell.cell.first, cell.cell.second);
    if cell.cell.engines != [Engine::Native; 2] || cell.cell.policy != IceTransportPolicy::All {
        text += &format!(" ({})", title(cell.cell.engines, cell.cell.policy));
    }
    text
}

fn title([offerer, answerer]: [Engine; 2], policy: IceTransportPolicy) -> String {
    let policy = match policy {
        IceTransportPolicy::All => "",
        IceTransportPolicy::Relay => ", relayed candidates only",
    };
    format!("{} → {}{policy}", offerer.name(), answerer.name())
}
