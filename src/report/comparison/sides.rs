//! The two sides as the page shows them: their runs, where these come from, and the machine.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::super::html::{shell, to_the_second};
use super::super::number;
use crate::gate::Verdict;
use crate::gate::compare::{RunSummary, Side};

/// Runs of a side that are listed.
const LISTED: usize = 100;

/// A side, for people.
pub(super) struct SideView<'a> {
    pub(super) word: &'static str,
    pub(super) side: &'a Side,
    pub(super) count: String,
    pub(super) seed: String,
    pub(super) command: String,
    pub(super) runs: Vec<RunRow>,
    pub(super) more: usize,
}

/// A run of a side.
pub(super) struct RunRow {
    pub(super) number: usize,
    pub(super) started_at: String,
    pub(super) verdict: Verdict,
    pub(super) calls: String,
    /// Of its report, seen from the page.
    pub(super) link: Option<String>,
}

pub(super) fn side_view<'a>(word: &'static str, side: &'a Side, folder: &Path) -> SideView<'a> {
    SideView {
        word,
        side,
        count: number::count(side.runs.len() as u64, "run"),
        seed: side.seed.map_or_else(|| "not known".into(), |seed| seed.to_string()),
        command: shell(&side.command),
        runs: side.runs.iter().enumerate().take(LISTED).map(|(index, run)| run_row(index, run, folder)).collect(),
        more: side.runs.len().saturating_sub(LISTED),
    }
}

fn run_row(index: usize, run: &RunSummary, folder: &Path) -> RunRow {
    let count = |name: &str| run.facts.get(name).copied().unwrap_or(0);
    let calls = [("connected", "calls connected"), ("failed", "calls failed"), ("dropped", "calls dropped")]
        .into_iter()
        .filter(|(_, name)| count(name) > 0)
        .map(|(word, name)| format!("{} {word}", count(name)))
        .collect::<Vec<_>>();
    RunRow {
        number: index + 1,
        started_at: to_the_second(&run.started_at),
        verdict: run.verdict,
        calls: if calls.is_empty() { "no call".into() } else { calls.join(", ") },
        link: run.record.as_deref().and_then(|record| link(record, folder)),
    }
}

/// The report in a directory below `folder`, as a relative link; absent elsewhere, where a link would break as soon as the
/// page is moved.
fn link(record: &Path, folder: &Path) -> Option<String> {
    let mut link = String::from("./");
    for component in record.strip_prefix(folder).ok()?.components() {
        match component {
            Component::Normal(name) => link += &encoded(name.to_str()?),
            Component::CurDir => continue,
            _ => return None,
        }
        link.push('/');
    }
    Some(link + "report.html")
}

/// A part of a path as a part of a URL (RFC 3986, section 2.3).
fn encoded(part: &str) -> String {
    part.bytes().fold(String::new(), |encoded, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded + &char::from(byte).to_string(),
        _ => encoded + &format!("%{byte:02X}"),
    })
}

/// A fact about the machine or the versions of what took part.
pub(super) struct EnvironmentRow<'a> {
    pub(super) name: &'a str,
    pub(super) values: [&'a str; 2],
    pub(super) differs: bool,
}

/// What differs comes first.
pub(super) fn environment<'a>(base: &'a Side, new: &'a Side) -> Vec<EnvironmentRow<'a>> {
    let names: BTreeSet<&String> = base.environment.keys().chain(new.environment.keys()).collect();
    let mut rows: Vec<EnvironmentRow<'a>> = names
        .into_iter()
        .map(|name| {
            let values = [base, new].map(|side| side.environment.get(name).map_or("–", String::as_str));
            EnvironmentRow { name, values, differs: values[0] != values[1] }
        })
        .collect();
    rows.sort_by_key(|row| !row.differs);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_linked_where_they_lie_below_the_page() {
        let of = |record: &str, folder: &str| link(Path::new(record), Path::new(folder));
        assert_eq!(of("reports/x/run-001", ""), Some("./reports/x/run-001/report.html".into()));
        assert_eq!(of("/a/b/run-001", "/a"), Some("./b/run-001/report.html".into()));
        assert_eq!((of("/b/run-001", "/a"), of("../x", "")), (None, None));
    }
}
