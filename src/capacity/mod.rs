//! The largest load at which every gate holds: what is searched, the search, and what it came to. Pure: no I/O, no clock.
//!
//! `run::find_capacity` makes the runs, `report::capacity` renders the result, `docs/capacity.md` explains it.

mod limit;
mod probe;
mod range;
mod search;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gate::Verdict;

pub use limit::Limit;
pub use probe::{Probe, Reading, Statistics};
pub use range::{Quantity, Range, RangeError};
pub use search::{Answer, AnswerKind, BROKE_NEEDED, Finding, HELD_NEEDED, RESOLUTION, Search, Step, UNFIT_NEEDED};

/// A search, finished or not: the content of `capacity.json`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(title = "harness capacity")]
pub struct Capacity {
    /// Version of this format. Adding a field is compatible and keeps it.
    pub schema_version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's file as it was given.
    pub scenario_file: String,
    /// SHA-256 of the scenario's text, in hex.
    pub scenario_digest: String,
    /// The seed that the seed of each run derives from.
    pub seed: u64,
    /// The command line, secrets redacted.
    pub command: Vec<String>,
    /// Wall-clock time of the start in RFC 3339, UTC.
    pub started_at: String,
    /// How long the search has taken, in milliseconds.
    pub duration_ms: f64,
    /// What was searched, as on the command line.
    pub range: String,
    /// What a load counts.
    pub quantity: Quantity,
    /// The smallest load of the range: calls, or calls per second.
    pub low: f64,
    /// The largest load of the range: calls, or calls per second.
    pub high: f64,
    /// How many runs there could have been at most.
    pub most_runs: u32,
    /// What the search came to.
    pub answer: AnswerKind,
    /// The largest load that held: calls, or calls per second; absent if none did.
    pub holds: Option<f64>,
    /// The smallest load above it that did not; absent if every load held.
    pub fails: Option<f64>,
    /// Whether the rule was followed to its end; otherwise the two loads are what was known when the search ended.
    pub settled: bool,
    /// What did not hold at the load `fails`, the most frequent first.
    pub limits: Vec<Limit>,
    /// What the search is worth: `pass` with a capacity, or a load that it is not below; `fail` if nothing passes;
    /// `invalid` without a trustworthy result.
    pub verdict: Verdict,
    /// The exit code that says so.
    pub exit_code: u8,
    /// Why the search ended early; absent if it did not.
    pub cut_short: Option<String>,
    /// Every run, in order.
    pub probes: Vec<Probe>,
}

/// How a search ended that did not come to its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CutShort {
    /// SIGINT or SIGTERM.
    Signal(String),
    /// A run broke, or the harness did.
    Broke(String),
}

impl Capacity {
    /// The version of the format that this binary writes and reads.
    pub const SCHEMA_VERSION: u32 = 1;
    /// The name of its file.
    pub const FILE: &'static str = "capacity.json";

    /// The JSON Schema (2020-12) of `capacity.json`.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Brings in what the search has come to.
    pub fn conclude(&mut self, answer: Answer, cut_short: Option<&CutShort>) {
        self.answer = answer.kind;
        (self.holds, self.fails) =
            (answer.holds.map(|at| self.quantity.value(at)), answer.fails.map(|at| self.quantity.value(at)));
        self.settled = answer.settled;
        self.limits = self.fails.map_or_else(Vec::new, |fails| limit::limits(self.at(fails)));
        (self.verdict, self.exit_code) = match (cut_short, answer.kind) {
            (Some(CutShort::Signal(signal)), _) => (Verdict::Interrupted, if signal == "SIGTERM" { 143 } else { 130 }),
            (Some(CutShort::Broke(_)), _) => (Verdict::Error, 4),
            (None, AnswerKind::Found | AnswerKind::HighEnd | AnswerKind::GeneratorLimit) => (Verdict::Pass, 0),
            (None, AnswerKind::NoPassingPoint) => (Verdict::Fail, 1),
            (None, AnswerKind::Untrusted | AnswerKind::Unfinished) => (Verdict::Invalid, 3),
        };
        self.cut_short = cut_short.map(|how| match how {
            CutShort::Signal(signal) => format!("{signal} ended the search"),
            CutShort::Broke(reason) => reason.clone(),
        });
    }

    /// The runs at a load, in order.
    pub fn at(&self, load: f64) -> impl Iterator<Item = &Probe> {
        self.probes.iter().filter(move |probe| probe.load.total_cmp(&load).is_eq())
    }

    /// The loads that were tried, from the smallest.
    pub fn loads(&self) -> Vec<f64> {
        let mut loads: Vec<f64> = self.probes.iter().map(|probe| probe.load).collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup();
        loads
    }

    /// A load with its unit.
    pub fn show(&self, load: f64) -> String {
        if self.quantity == Quantity::Calls && load == 1.0 {
            return "1 call".into();
        }
        format!("{load} {}", self.quantity.unit())
    }

    /// The answer in a few words, such as `24 calls`.
    pub fn headline(&self) -> String {
        let holds = self.holds.map_or_else(String::new, |load| self.show(load));
        match self.answer {
            AnswerKind::Found => holds,
            AnswerKind::HighEnd | AnswerKind::GeneratorLimit => format!("at least {holds}"),
            AnswerKind::NoPassingPoint => "no passing point".into(),
            AnswerKind::Untrusted => "unknown".into(),
            AnswerKind::Unfinished if self.holds.is_some() => format!("at least {holds}, by one run or two"),
            AnswerKind::Unfinished => "not found".into(),
        }
    }

    /// What the answer means, in sentences.
    pub fn explanation(&self) -> Vec<String> {
        let tally = |load: f64| self.tally(load);
        let mut said = Vec::new();
        if let Some(why) = &self.cut_short {
            said.push(format!("{why}; what follows is what was known until then."));
        }
        if let Some(load) = self.holds {
            said.push(format!("{} held: {}.", self.show(load), tally(load)));
        }
        if let Some(load) = self.fails {
            let shown = self.show(load);
            said.push(match self.answer {
                AnswerKind::GeneratorLimit => format!(
                    "At {shown} the generator, not the service, was the limit ({}): the capacity of the service is not known beyond the load that held.",
                    tally(load)
                ),
                AnswerKind::Untrusted => format!(
                    "Already at {shown}, the low end, there was no trustworthy result ({}): nothing is known of the service.",
                    tally(load)
                ),
                AnswerKind::NoPassingPoint => {
                    format!("Already at {shown}, the low end, the service fell short: {}. Begin lower, or look at the gates.", tally(load))
                }
                _ => format!("{shown} did not hold: {}.", tally(load)),
            });
        }
        if self.answer == AnswerKind::HighEnd {
            said.push("That is the high end of what was searched; nothing broke up to it.".into());
        }
        if self.answer == AnswerKind::Unfinished && self.fails.is_none() && self.holds.is_some() {
            said.push("Nothing broke so far.".into());
        }
        if let (AnswerKind::Found, Some(holds), Some(fails)) = (self.answer, self.holds, self.fails) {
            let width = 100.0 * (fails - holds) / fails;
            said.push(format!(
                "So the capacity is at least {} and below {}, a gap of {width:.1} %.",
                self.show(holds),
                self.show(fails)
            ));
        }
        if !self.settled && self.cut_short.is_none() && self.answer != AnswerKind::Unfinished {
            said.push(format!(
                "The {} runs were used up before the rule was satisfied: the runs at one load contradicted each other.",
                self.probes.len()
            ));
        }
        said
    }

    /// How the runs at a load ended: `3 of 4 runs held, 1 broke`.
    pub fn tally(&self, load: f64) -> String {
        let count = |wanted| self.at(load).filter(|probe| probe.finding == wanted).count();
        let all = self.at(load).count();
        let (held, broke, unfit) = (count(Finding::Held), count(Finding::Broke), count(Finding::Unfit));
        let runs = if all == 1 { "run" } else { "runs" };
        let mut text = format!("{held} of {all} {runs} held");
        for (count, what) in [(broke, "broke"), (unfit, "had no trustworthy result")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }

    /// The reading of the generator's health that was nearest to its limit in the runs at a load.
    pub fn nearest_limit(&self, load: f64) -> Option<&Reading> {
        let readings = self.at(load).flat_map(|probe| &probe.health);
        readings
            .filter(|reading| reading.share().is_some())
            .max_by(|a, b| a.share().partial_cmp(&b.share()).unwrap_or(std::cmp::Ordering::Equal))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
