//! The phases of calls as bars over time: who waited for what.

use super::charts::{Axis, Tick};
use super::number;
use super::svg::Drawing;
use crate::plan::{CallPlan, Role};
use crate::record::{CallRecord, Mark, Marks, Record, Unit};

/// Calls that are drawn; more make a page that nobody reads.
const CALLS: usize = 60;
/// Calls of each set that are drawn at least, however many sets there are.
const LEAST: usize = 3;

/// A stretch of a call's life: its class in the style sheet, its word in the legend, and the marks that bound it.
struct Stage {
    class: &'static str,
    name: &'static str,
    from: Mark,
    to: Mark,
}

const fn stage(class: &'static str, name: &'static str, from: Mark, to: Mark) -> Stage {
    Stage { class, name, from, to }
}

const OFFERER: [Stage; 8] = [
    stage("late", "waiting to start", Mark::Intended, Mark::JoinStarted),
    stage("signaling", "signaling", Mark::JoinStarted, Mark::Joined),
    stage("wait", "waiting for the other end", Mark::Joined, Mark::CreateOffer),
    stage("sdp", "making the offer or answer", Mark::CreateOffer, Mark::OfferSent),
    stage("wait", "waiting for the other end", Mark::OfferSent, Mark::AnswerReceived),
    stage("ice", "ICE", Mark::AnswerReceived, Mark::IceConnected),
    stage("dtls", "DTLS", Mark::IceConnected, Mark::Connected),
    stage("media", "to first media", Mark::Connected, Mark::FirstMedia),
];

const ANSWERER: [Stage; 7] = [
    stage("late", "waiting to start", Mark::Intended, Mark::JoinStarted),
    stage("signaling", "signaling", Mark::JoinStarted, Mark::Joined),
    stage("wait", "waiting for the other end", Mark::Joined, Mark::OfferReceived),
    stage("sdp", "making the offer or answer", Mark::OfferReceived, Mark::AnswerSent),
    stage("ice", "ICE", Mark::AnswerSent, Mark::IceConnected),
    stage("dtls", "DTLS", Mark::IceConnected, Mark::Connected),
    stage("media", "to first media", Mark::Connected, Mark::FirstMedia),
];

/// Everything that the waterfall section shows.
pub(super) struct Waterfall {
    /// Class and word of every kind of stretch.
    pub(super) legend: Vec<(&'static str, &'static str)>,
    /// The offerers of each set, each stretch at its median, all on one axis.
    pub(super) medians: Panel,
    /// The calls of each set.
    pub(super) sets: Vec<Panel>,
    /// How many calls that were begun are not drawn.
    pub(super) hidden: usize,
}

/// Bars on one axis.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) ticks: Vec<Tick>,
    pub(super) bars: Vec<Bar>,
}

/// One end of a call.
pub(super) struct Bar {
    pub(super) call: String,
    pub(super) peer: String,
    pub(super) note: String,
    pub(super) failed: bool,
    pub(super) total: String,
    pub(super) chart: String,
}

/// The waterfall; absent without a call that passed a mark.
pub(super) fn waterfall(record: &Record) -> Option<Waterfall> {
    let mut sets: Vec<&str> = Vec::new();
    for (plan, _) in record.calls() {
        if !sets.contains(&super::heading(plan)) {
            sets.push(super::heading(plan));
        }
    }
    let budget = (CALLS / sets.len().max(1)).max(LEAST);
    let mut hidden = 0;
    let mut panels = Vec::new();
    let mut medians = Vec::new();
    for set in sets {
        let calls: Vec<Drawn<'_>> = record
            .calls()
            .filter(|(plan, _)| super::heading(plan) == set)
            .filter_map(|(plan, call)| Drawn::new(plan, call))
            .collect();
        if calls.is_empty() {
            continue;
        }
        medians.push((set, median_stages(&calls)));
        let count = calls.len();
        let chosen = choose(calls, budget);
        hidden += count - chosen.len();
        panels.push(panel(record, set, &chosen, count));
    }
    if panels.is_empty() {
        return None;
    }
    let mut legend: Vec<(&str, &str)> = Vec::new();
    for stage in OFFERER.iter().chain(&ANSWERER) {
        if !legend.contains(&(stage.class, stage.name)) {
            legend.push((stage.class, stage.name));
        }
    }
    legend.push(("channel", "data channel open"));
    Some(Waterfall { legend, medians: median_panel(&medians), sets: panels, hidden })
}

/// The calls of one set alone; absent without a call that passed a mark.
pub(super) fn timeline(record: &Record, set: &str) -> Option<Panel> {
    let calls = record.calls().filter(|(plan, _)| plan.set == set);
    let mut calls: Vec<Drawn<'_>> = calls.filter_map(|(plan, call)| Drawn::new(plan, call)).collect();
    for drawn in &mut calls {
        let failure = record.failures().iter().find(|failure| failure.what.call == drawn.plan.id);
        drawn.failed_us = failure.map(|failure| failure.at_us);
        drawn.end = drawn.end.max(drawn.failed_us.unwrap_or(0));
    }
    let count = calls.len();
    let chosen = choose(calls, LEAST);
    (count > 0).then(|| panel(record, set, &chosen, count))
}

/// A call with the instant that its bars start at.
struct Drawn<'a> {
    plan: &'a CallPlan,
    call: &'a CallRecord,
    origin: u64,
    end: u64,
    /// When it failed, where the stretch that ended so is drawn: it would leave no room for calls that went well.
    failed_us: Option<u64>,
    note: &'static str,
}

impl<'a> Drawn<'a> {
    fn new(plan: &'a CallPlan, call: &'a CallRecord) -> Option<Self> {
        let shown = |marks: &'a Marks| {
            marks.iter().filter(|(mark, _)| *mark <= Mark::FirstMedia && *mark != Mark::GatheringComplete)
        };
        let times = || shown(&call.offerer).chain(shown(&call.answerer)).map(|(_, at_us)| at_us);
        Some(Self { plan, call, origin: times().min()?, end: times().max()?, failed_us: None, note: "" })
    }

    fn total_us(&self) -> u64 {
        self.end - self.origin
    }
}

/// Failing calls first, then the slowest, then those around the median.
fn choose(mut calls: Vec<Drawn<'_>>, budget: usize) -> Vec<Drawn<'_>> {
    calls.sort_by_key(|drawn| (drawn.call.failed.is_none(), std::cmp::Reverse(drawn.total_us())));
    if calls.len() <= budget {
        return calls;
    }
    let failed = calls.iter().take_while(|drawn| drawn.call.failed.is_some()).count().min(budget);
    let slowest = (budget - failed).div_ceil(2);
    let rest = budget - failed - slowest;
    let good = calls.len() - failed;
    let median = (failed + good / 2).saturating_sub(rest / 2).max(failed + slowest);
    let chosen = |index: usize| index < failed + slowest || (median..median + rest).contains(&index);
    let note = |index: usize| match index {
        index if index < failed => "",
        index if index < failed + slowest => "slowest",
        _ => "median",
    };
    calls
        .into_iter()
        .enumerate()
        .filter(|(index, _)| chosen(*index))
        .map(|(index, drawn)| Drawn { note: note(index), ..drawn })
        .collect()
}

fn panel(record: &Record, set: &str, calls: &[Drawn<'_>], count: usize) -> Panel {
    let axis = Axis::from_zero(calls.iter().map(Drawn::total_us).max().unwrap_or(1) as f64 / 1e3);
    let bars =
        calls.iter().flat_map(|drawn| [Role::Offerer, Role::Answerer].map(|role| bar(record, drawn, role, axis)));
    let shown = if calls.len() == count { String::new() } else { format!(", {} shown", calls.len()) };
    let title = format!("{set}: {}{shown}", number::count(count as u64, "call"));
    Panel { title, ticks: axis.ticks(Unit::Milliseconds), bars: bars.collect() }
}

fn bar(record: &Record, drawn: &Drawn<'_>, role: Role, axis: Axis) -> Bar {
    let marks = drawn.call.end(role);
    let peer = if role == Role::Offerer { &drawn.plan.offerer } else { &drawn.plan.answerer };
    let place = |at_us: u64| axis.position(at_us.saturating_sub(drawn.origin) as f64 / 1e3) * 1000.0;
    let mut drawing = Drawing::new(1000.0, 12.0);
    for stage in stages(role) {
        if let (Some(from), Some(to)) = (marks.get(stage.from), marks.get(stage.to).or(drawn.failed_us))
            && to > from
        {
            let took = number::value((to - from) as f64 / 1e3, Unit::Milliseconds);
            drawing.rect(
                stage.class,
                place(from),
                1.0,
                place(to) - place(from),
                10.0,
                &format!("{}: {took}", stage.name),
            );
        }
    }
    if let Some(open) = marks.get(Mark::DataChannelOpen) {
        drawing.vertical("channel", place(open));
    }
    let last = stages(role).iter().filter_map(|stage| marks.get(stage.to)).chain(drawn.failed_us).max();
    let failed = record
        .failures()
        .iter()
        .map(|failure| &failure.what)
        .find(|failure| failure.peer == peer.id && failure.call == drawn.plan.id);
    let total = last.map_or_else(
        || "–".into(),
        |last| number::value(last.saturating_sub(drawn.origin) as f64 / 1e3, Unit::Milliseconds),
    );
    let label = format!("phases of {} in call {}", peer.id, drawn.plan.id);
    Bar {
        call: drawn.plan.id.clone(),
        peer: peer.id.clone(),
        note: failed.map_or_else(|| drawn.note.to_owned(), |failure| format!("failed: {}", failure.phase.name())),
        failed: failed.is_some(),
        total,
        chart: drawing.finish("fall", &label),
    }
}

/// The median duration of each of the offerers' stages.
fn median_stages(calls: &[Drawn<'_>]) -> Vec<f64> {
    OFFERER
        .iter()
        .map(|stage| {
            let mut took: Vec<f64> =
                calls.iter().filter_map(|drawn| drawn.call.offerer.between_ms(stage.from, stage.to)).collect();
            took.sort_by(f64::total_cmp);
            took.get(took.len() / 2).copied().unwrap_or(0.0)
        })
        .collect()
}

fn median_panel(medians: &[(&str, Vec<f64>)]) -> Panel {
    let axis = Axis::from_zero(medians.iter().map(|(_, stages)| stages.iter().sum()).fold(0.0, f64::max));
    let bars = medians.iter().map(|(set, durations)| {
        let mut drawing = Drawing::new(1000.0, 12.0);
        let mut at = 0.0;
        for (stage, took) in OFFERER.iter().zip(durations).filter(|(_, took)| **took > 0.0) {
            let (from, to) = (axis.position(at) * 1000.0, axis.position(at + took) * 1000.0);
            let title = format!("{}: {}", stage.name, number::value(*took, Unit::Milliseconds));
            drawing.rect(stage.class, from, 1.0, to - from, 10.0, &title);
            at += took;
        }
        Bar {
            call: (*set).to_owned(),
            peer: String::new(),
            note: String::new(),
            failed: false,
            total: number::value(at, Unit::Milliseconds),
            chart: drawing.finish("fall", &format!("median phases of {set}")),
        }
    });
    Panel { title: String::new(), ticks: axis.ticks(Unit::Milliseconds), bars: bars.collect() }
}

fn stages(role: Role) -> &'static [Stage] {
    match role {
        Role::Offerer => &OFFERER,
        Role::Answerer => &ANSWERER,
    }
}
