//! The record of a run: everything that reports and gates need, folded from the events one by one.

use std::collections::{BTreeMap, HashMap};

use super::{
    Absence, CallCounts, CallRecord, Distribution, Event, EventKind, Failure, Interval, LabCheck, Mark, MediaReport,
    Metric, Outcome, Path, PathSearch, Phase, ProgramEnd, RunStarted, Scope, Skip, TallyReport, Unit, Warning,
};
use crate::plan::{CallPlan, Engine, PeerPlan, Plan, Role};

/// Raw statistics are remembered of this many peers; `events.ndjson` has them all.
const STATS_PEERS: usize = 64;
/// How paths were looked for is remembered of this many peers; `events.ndjson` has them all.
const SEARCHES: usize = 10_000;

/// What happened in a run, as far as its events have been applied.
///
/// Its memory is bounded per call of the plan and per second of the run; metrics cost one histogram per peer group and
/// call set, however many peers there are.
#[derive(Clone, Debug, Default)]
pub struct Record {
    run: Option<Box<RunStarted>>,
    duration_us: u64,
    calls: Vec<CallRecord>,
    call_index: HashMap<String, usize>,
    cells: BTreeMap<Metric, Vec<Cell>>,
    absences: BTreeMap<(Metric, String), AbsenceCount>,
    failures: Vec<At<Failure>>,
    paths: Vec<Path>,
    searches: Vec<PathSearch>,
    packets_kept: Option<u32>,
    media: Vec<MediaReport>,
    lab_checks: Vec<LabCheck>,
    program_ends: Vec<ProgramEnd>,
    stats: BTreeMap<String, Vec<serde_json::Value>>,
    intervals: Vec<At<Interval>>,
    health: BTreeMap<String, Distribution>,
    skipped: Vec<Skip>,
    warnings: Vec<Warning>,
    outcome: Option<Outcome>,
}

/// Something, and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// Microseconds since the start of the run.
    pub at_us: u64,
    /// What happened.
    pub what: T,
}

/// Which samples are meant: those of a peer group, of a call set, of both, or all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Selection<'a> {
    /// Only samples of this peer group.
    pub group: Option<&'a str>,
    /// Only samples of this call set.
    pub set: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// Every sample.
    pub const ALL: Selection<'static> = Selection { group: None, set: None };

    /// The samples of a peer group.
    pub fn group(group: &'a str) -> Self {
        Self { group: Some(group), set: None }
    }

    /// The samples of a call set.
    pub fn set(set: &'a str) -> Self {
        Self { group: None, set: Some(set) }
    }

    fn admits(self, group: Option<&str>, set: Option<&str>) -> bool {
        self.group.is_none_or(|wanted| group == Some(wanted)) && self.set.is_none_or(|wanted| set == Some(wanted))
    }
}

/// How often a metric was absent for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AbsenceCount {
    /// How many peers lacked it.
    pub peers: u64,
    /// One of them, as an example.
    pub example: String,
}

/// How often peers failed in one phase for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailureCount<'a> {
    /// How many failures there are.
    pub count: u64,
    /// The first of them.
    pub example: &'a Failure,
}

/// The samples of one metric from one peer group in one call set; every other view is a sum of cells.
#[derive(Clone, Debug)]
struct Cell {
    group: Option<String>,
    set: Option<String>,
    values: Distribution,
    absent: u64,
}

impl Record {
    /// Takes in what happened next.
    pub fn apply(&mut self, event: &Event) {
        let at_us = event.at_us;
        self.duration_us = self.duration_us.max(at_us);
        match &event.kind {
            EventKind::RunStarted(run) => self.begin(run),
            EventKind::Environment(known) => {
                if let Some(run) = &mut self.run {
                    run.environment.extend(known.clone());
                }
            }
            EventKind::Mark { peer, call, mark } => self.mark(at_us, peer, call, *mark),
            EventKind::Sample { metric, value, call, peer } => self.sample(*metric, *value, call, peer.as_deref()),
            EventKind::Tally(report) => self.tally(report),
            EventKind::Absent(absence) => self.absent(absence),
            EventKind::Stats { peer, stats, .. } => {
                if self.stats.len() < STATS_PEERS || self.stats.contains_key(peer) {
                    self.stats.insert(peer.clone(), stats.clone());
                }
            }
            EventKind::Path(path) => self.paths.push((**path).clone()),
            EventKind::Search(search) => {
                if self.searches.len() < SEARCHES {
                    self.searches.push((**search).clone());
                }
            }
            EventKind::PacketsKept { per_host } => self.packets_kept = Some(*per_host).filter(|count| *count > 0),
            EventKind::Media(media) => self.media.push(media.clone()),
            EventKind::LabCheck(check) => self.lab_checks.push(check.clone()),
            EventKind::ProgramEnded(end) => self.program_ends.push(end.clone()),
            EventKind::Interval(interval) => self.interval(at_us, interval),
            EventKind::Failure(failure) => self.fail(at_us, failure),
            EventKind::Dropped { call, .. } => {
                if let Some(call) = self.call_mut(call) {
                    call.dropped = true;
                }
            }
            EventKind::Skipped(skip) => self.skipped.push(skip.clone()),
            EventKind::Warning(warning) => self.warnings.push(warning.clone()),
            EventKind::RunEnded { outcome } => self.outcome = Some(outcome.clone()),
        }
    }

    /// Ends the record of a run whose own end could not be recorded.
    pub(super) fn break_off(&mut self, message: String) {
        self.outcome = Some(Outcome::Error { message });
    }

    /// What was going to be done, and where; absent if the record holds nothing at all.
    pub fn run(&self) -> Option<&RunStarted> {
        self.run.as_deref()
    }

    /// The plan.
    pub fn plan(&self) -> Option<&Plan> {
        self.run().map(|run| &run.plan)
    }

    /// How long the run lasted, or has lasted so far, in microseconds.
    pub fn duration_us(&self) -> u64 {
        self.duration_us
    }

    /// How the run ended; absent for a record that was cut off.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Every call of the plan, with what happened to it.
    pub fn calls(&self) -> impl Iterator<Item = (&CallPlan, &CallRecord)> {
        self.plan().into_iter().flat_map(|plan| &plan.calls).zip(&self.calls)
    }

    /// The call with this id.
    pub fn call(&self, id: &str) -> Option<(&CallPlan, &CallRecord)> {
        let index = *self.call_index.get(id)?;
        Some((self.plan()?.calls.get(index)?, self.calls.get(index)?))
    }

    /// Calls by how they went.
    pub fn call_counts(&self) -> CallCounts {
        let mut counts = CallCounts::default();
        for (plan, call) in self.calls() {
            let ends = [(Role::Offerer, &plan.offerer), (Role::Answerer, &plan.answerer)];
            let connected = |(role, peer): (Role, &PeerPlan)| {
                let end = call.end(role);
                match self.engine(peer) {
                    Some(Engine::External) => true,
                    // All that its call consists of.
                    Some(Engine::Signaling) => end.get(Mark::FirstMedia).is_some(),
                    _ => end.get(Mark::Connected).is_some(),
                }
            };
            counts.planned += 1;
            counts.attempted += u64::from(call.attempted());
            counts.connected += u64::from(call.attempted() && ends.into_iter().all(connected));
            counts.failed += u64::from(call.failed.is_some());
            counts.dropped += u64::from(call.dropped);
        }
        counts
    }

    /// The kind of a peer.
    pub fn engine(&self, peer: &PeerPlan) -> Option<Engine> {
        Some(self.plan()?.group(&peer.group)?.engine)
    }

    /// The names of the peer groups that take part in calls, in the order of the plan.
    pub fn groups(&self) -> Vec<&str> {
        self.plan().map_or_else(Vec::new, |plan| plan.groups.iter().map(|group| group.name.as_str()).collect())
    }

    /// The names of the call sets, in the order of their first call.
    pub fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = Vec::new();
        for (call, _) in self.calls() {
            if !sets.contains(&call.set.as_str()) {
                sets.push(&call.set);
            }
        }
        sets
    }

    /// The metrics that have a sample or a stated absence, in the order of [`Metric::ALL`].
    pub fn metrics(&self) -> impl Iterator<Item = Metric> + '_ {
        Metric::ALL.iter().copied().filter(|metric| self.cells.contains_key(metric))
    }

    /// The samples of a metric.
    pub fn distribution(&self, metric: Metric, selection: Selection<'_>) -> Distribution {
        let mut sum = Distribution::new(metric.unit());
        self.selected(metric, selection).for_each(|cell| sum.add(&cell.values));
        sum
    }

    /// How many samples a metric has.
    pub fn count(&self, metric: Metric, selection: Selection<'_>) -> u64 {
        self.selected(metric, selection).map(|cell| cell.values.count()).sum()
    }

    /// How many samples of a metric are absent with a stated reason.
    pub fn absent_count(&self, metric: Metric, selection: Selection<'_>) -> u64 {
        self.selected(metric, selection).map(|cell| cell.absent).sum()
    }

    /// How many samples of a metric the calls that were begun should have given: one per call or one per peer that the
    /// harness controls. Absent where no such number exists: for streams, and for a peer group's share of values that
    /// belong to calls.
    pub fn expected_count(&self, metric: Metric, selection: Selection<'_>) -> Option<u64> {
        let begun =
            self.calls().filter(|(plan, call)| call.attempted() && selection.set.is_none_or(|set| plan.set == set));
        match (metric.scope(), selection.group) {
            (Scope::Call, None) => Some(begun.count() as u64),
            (Scope::Peer, group) => Some(
                begun
                    .flat_map(|(plan, _)| [&plan.offerer, &plan.answerer])
                    .filter(|peer| self.engine(peer).is_none_or(|engine| metric.is_of(engine)))
                    .filter(|peer| group.is_none_or(|group| peer.group == group))
                    .count() as u64,
            ),
            (Scope::Call, Some(_)) | (Scope::Stream, _) => None,
        }
    }

    /// Absent metrics with the reason, and how often.
    pub fn absences(&self) -> impl Iterator<Item = (Metric, &str, &AbsenceCount)> {
        self.absences.iter().map(|((metric, reason), count)| (*metric, reason.as_str(), count))
    }

    /// Failures in the order in which they were seen.
    pub fn failures(&self) -> &[At<Failure>] {
        &self.failures
    }

    /// Failures by phase and reason, the most frequent first.
    pub fn failure_counts(&self) -> Vec<FailureCount<'_>> {
        let mut counts: BTreeMap<(Phase, &str), FailureCount<'_>> = BTreeMap::new();
        for At { what, .. } in &self.failures {
            let first = FailureCount { count: 0, example: what };
            counts.entry((what.phase, what.reason.as_str())).or_insert(first).count += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        counts
    }

    /// The paths that calls took.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// How the ends of calls looked for their paths.
    pub fn searches(&self) -> &[PathSearch] {
        &self.searches
    }

    /// How many packets of each host the model kept at most; absent if it kept none.
    pub fn packets_kept(&self) -> Option<u32> {
        self.packets_kept
    }

    /// What arrived.
    pub fn media(&self) -> &[MediaReport] {
        &self.media
    }

    /// What was measured of the networks.
    pub fn lab_checks(&self) -> &[LabCheck] {
        &self.lab_checks
    }

    /// Programs of the scenario that ended by themselves, in the order in which they did.
    pub fn program_ends(&self) -> &[ProgramEnd] {
        &self.program_ends
    }

    /// The last raw statistics of the first peers that had any, by peer.
    pub fn stats(&self) -> &BTreeMap<String, Vec<serde_json::Value>> {
        &self.stats
    }

    /// The seconds of the run. Their histograms are merged into [`health_distribution`](Self::health_distribution).
    pub fn intervals(&self) -> &[At<Interval>] {
        &self.intervals
    }

    /// The values of a health reading over the whole run, for readings that are quantiles, in milliseconds.
    pub fn health_distribution(&self, reading: &str) -> Option<&Distribution> {
        self.health.get(reading)
    }

    /// What was not done.
    pub fn skipped(&self) -> &[Skip] {
        &self.skipped
    }

    /// What the reader should know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn begin(&mut self, run: &RunStarted) {
        let calls = &run.plan.calls;
        self.calls = vec![CallRecord::default(); calls.len()];
        self.call_index = calls.iter().enumerate().map(|(index, call)| (call.id.clone(), index)).collect();
        self.run = Some(Box::new(run.clone()));
    }

    fn mark(&mut self, at_us: u64, peer: &str, call: &str, mark: Mark) {
        let Some(role) = self.role(call, peer) else { return };
        if let Some(call) = self.call_mut(call) {
            call.end_mut(role).set(mark, at_us);
        }
    }

    fn sample(&mut self, metric: Metric, value: f64, call: &str, peer: Option<&str>) {
        let (group, set) = self.place(call, peer);
        self.cell(metric, group, set).values.record(value);
        if metric == Metric::SetupSuccessRatio
            && let Some(call) = self.call_mut(call)
        {
            call.set_up = Some(value >= 1.0);
        }
    }

    fn tally(&mut self, report: &TallyReport) {
        let unit = report.metric.unit();
        match Distribution::decode(unit, &report.histogram) {
            Ok(values) => {
                let values = values.with_exact(report.sum, report.min, report.max);
                self.cell(report.metric, Some(report.group.clone()), Some(report.set.clone())).values.add(&values);
            }
            Err(error) => self.warnings.push(Warning {
                text: format!("values of {} could not be read: {error}", report.metric.name()),
                advice: "the record was changed after the run; run the scenario again".into(),
            }),
        }
    }

    fn absent(&mut self, absence: &Absence) {
        let (group, set) = self.place(&absence.call, Some(&absence.peer));
        self.cell(absence.metric, group, set).absent += 1;
        self.absences
            .entry((absence.metric, absence.reason.clone()))
            .or_insert_with(|| AbsenceCount { peers: 0, example: absence.peer.clone() })
            .peers += 1;
    }

    fn interval(&mut self, at_us: u64, interval: &Interval) {
        for (reading, encoded) in &interval.health_histograms {
            if let Ok(values) = Distribution::decode(Unit::Milliseconds, encoded) {
                self.health
                    .entry(reading.clone())
                    .or_insert_with(|| Distribution::new(Unit::Milliseconds))
                    .add(&values);
            }
        }
        let what = Interval { health_histograms: BTreeMap::new(), ..interval.clone() };
        self.intervals.push(At { at_us, what });
    }

    fn fail(&mut self, at_us: u64, failure: &Failure) {
        if let Some(call) = self.call_mut(&failure.call) {
            call.failed.get_or_insert(failure.phase);
        }
        self.failures.push(At { at_us, what: failure.clone() });
    }

    fn call_mut(&mut self, id: &str) -> Option<&mut CallRecord> {
        self.calls.get_mut(*self.call_index.get(id)?)
    }

    fn role(&self, call: &str, peer: &str) -> Option<Role> {
        let (plan, _) = self.call(call)?;
        if plan.offerer.id == peer { Some(Role::Offerer) } else { (plan.answerer.id == peer).then_some(Role::Answerer) }
    }

    /// The peer's group and the call's set.
    fn place(&self, call: &str, peer: Option<&str>) -> (Option<String>, Option<String>) {
        let Some((plan, _)) = self.call(call) else { return (None, None) };
        let group = peer.and_then(|peer| match self.role(call, peer)? {
            Role::Offerer => Some(plan.offerer.group.clone()),
            Role::Answerer => Some(plan.answerer.group.clone()),
        });
        (group, Some(plan.set.clone()))
    }

    fn cell(&mut self, metric: Metric, group: Option<String>, set: Option<String>) -> &mut Cell {
        let cells = self.cells.entry(metric).or_default();
        let index = cells.iter().position(|cell| cell.group == group && cell.set == set).unwrap_or_else(|| {
            cells.push(Cell { group, set, values: Distribution::new(metric.unit()), absent: 0 });
            cells.len() - 1
        });
        &mut cells[index]
    }

    fn selected<'a>(&'a self, metric: Metric, selection: Selection<'a>) -> impl Iterator<Item = &'a Cell> {
        self.cells
            .get(&metric)
            .into_iter()
            .flatten()
            .filter(move |cell| selection.admits(cell.group.as_deref(), cell.set.as_deref()))
    }
}
