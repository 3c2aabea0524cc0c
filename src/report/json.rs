//! `report.json`: the whole result for programs, under a versioned schema (`docs/report.schema.json`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::RenderError;
use super::fallback::{Fallback, fallbacks};
use crate::gate::{GateResult, Growth, Judgement, MatrixResult, Verdict};
use crate::plan::{Engine, NetworkDriver, Role};
use crate::record::{
    At, CallCounts, Direction, Distribution, FailureCount, LabCheck, Mark, MediaReport, Metric, Outcome, Path, Phase,
    Record, Scope, Selection, Skip, ThreadLoad, Unit, Warning,
};

/// The version of the schema. Adding a field is compatible and keeps it.
const SCHEMA_VERSION: u32 = 1;

/// The result as JSON text.
pub(super) fn render(record: &Record, judgement: &Judgement) -> Result<String, RenderError> {
    let mut text = serde_json::to_string_pretty(&Report::new(record, judgement))?;
    text.push('\n');
    Ok(text)
}

/// The JSON Schema (2020-12) of the text that `render` gives.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report<'_>).to_value()
}

/// The result of a run.
#[derive(JsonSchema, Serialize)]
#[schemars(title = "harness report")]
struct Report<'a> {
    /// Version of this format.
    schema_version: u32,
    /// The scenario's name; absent in a record without a run, as are all fields that derive from the plan.
    scenario: Option<&'a str>,
    /// The scenario's file as it was given.
    scenario_file: Option<&'a str>,
    /// SHA-256 of the scenario's text, in hex.
    scenario_digest: Option<&'a str>,
    /// The seed that everything random derives from.
    seed: Option<u64>,
    /// What the run is worth.
    verdict: Verdict,
    /// The exit code that says so.
    exit_code: u8,
    /// Why the verdict is not `pass`, most important first.
    reasons: &'a [String],
    /// How the run ended; absent in a record that was cut off.
    outcome: Option<OutcomeEntry<'a>>,
    /// Wall-clock time in RFC 3339, UTC.
    started_at: Option<&'a str>,
    /// How long the run lasted, in milliseconds.
    duration_ms: f64,
    /// The command line, secrets redacted.
    command: &'a [String],
    /// The machine and the versions of everything that took part.
    environment: BTreeMap<&'a str, &'a str>,
    /// Calls by how they went.
    calls: CallCounts,
    /// Failures in the order in which they were seen.
    failures: Vec<FailureEntry<'a>>,
    /// Failures by phase and reason, the most frequent first.
    failure_counts: Vec<FailureCountEntry<'a>>,
    /// Every gate, in the order of the scenario.
    gates: &'a [GateResult],
    /// What became of every pair of networks; absent without a matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    matrix: Option<MatrixResult>,
    /// How each end with a path through a relay of its own came to it, and how both ends of each call without a path came to
    /// none.
    fallbacks: Vec<Fallback<'a>>,
    /// The networks that the calls went through; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    lab: Option<Lab<'a>>,
    /// Metrics by name. A metric that was never measured is not there.
    metrics: BTreeMap<&'static str, MetricEntry<'a>>,
    /// Metrics that peers could not have, with the reason.
    absences: Vec<AbsenceEntry<'a>>,
    /// The paths that the calls took, as each end saw it.
    paths: &'a [Path],
    /// What arrived, and whether it is what was sent.
    media: &'a [MediaReport],
    /// The peers of the calls that were begun.
    peers: Vec<PeerEntry<'a>>,
    /// What was not done.
    skipped: &'a [Skip],
    /// What the reader should know.
    warnings: &'a [Warning],
    /// Whether the machine could keep up.
    generator: Generator<'a>,
}

/// How a run ended.
#[derive(JsonSchema, Serialize)]
struct OutcomeEntry<'a> {
    /// `completed`, `interrupted`, `aborted` or `error`.
    how: &'static str,
    /// The signal, or what broke.
    detail: Option<&'a str>,
}

/// The networks that the calls went through.
#[derive(JsonSchema, Serialize)]
struct Lab<'a> {
    /// What brought packets to them.
    driver: NetworkDriver,
    /// Their names.
    sites: Vec<&'a str>,
    /// What was measured of them before calls were judged.
    checks: &'a [LabCheck],
}

/// A failure of a peer.
#[derive(JsonSchema, Serialize)]
struct FailureEntry<'a> {
    /// Milliseconds since the start of the run.
    at_ms: f64,
    peer: &'a str,
    call: &'a str,
    phase: Phase,
    reason: &'a str,
}

/// How often peers failed in one phase for one reason.
#[derive(JsonSchema, Serialize)]
struct FailureCountEntry<'a> {
    phase: Phase,
    reason: &'a str,
    count: u64,
    /// The peer that failed first.
    example: &'a str,
}

/// A metric.
#[derive(JsonSchema, Serialize)]
struct MetricEntry<'a> {
    /// `ms`, `bit/s` or `ratio`.
    unit: Unit,
    direction: Direction,
    scope: Scope,
    /// All samples together.
    #[serde(flatten)]
    all: Statistics,
    /// The samples measured at the peers of a group, by group.
    groups: BTreeMap<&'a str, Statistics>,
    /// The samples of the calls of a set, by set.
    sets: BTreeMap<&'a str, Statistics>,
}

/// Statistics of samples, in the metric's unit. Absent where there is no sample.
#[derive(JsonSchema, Serialize)]
struct Statistics {
    /// How many samples there are.
    count: u64,
    /// How many there should be: one per call or per peer, as the scope says; absent where no such number exists.
    expected: Option<u64>,
    /// How many are missing with a stated reason.
    absent: u64,
    min: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

/// A metric that peers could not have.
#[derive(JsonSchema, Serialize)]
struct AbsenceEntry<'a> {
    metric: Metric,
    reason: &'a str,
    /// How many peers lacked it.
    peers: u64,
    /// One of them.
    example: &'a str,
}

/// A peer in its call.
#[derive(JsonSchema, Serialize)]
struct PeerEntry<'a> {
    id: &'a str,
    group: &'a str,
    engine: Option<Engine>,
    call: &'a str,
    set: &'a str,
    role: Role,
    /// The instants that it passed, in milliseconds since the start of the run.
    marks: BTreeMap<Mark, f64>,
    /// Its last raw statistics under their W3C webrtc-stats names; only of the first peers of a large run.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'a [serde_json::Value]>,
}

/// Generator health.
#[derive(JsonSchema, Serialize)]
struct Generator<'a> {
    /// How often it was looked at: about once per second, and less often the longer the run.
    intervals: u64,
    /// What was measured against the limits of `[health]`.
    limits: Vec<HealthEntry>,
    /// How memory, descriptors and tasks of the harness developed while the number of peers was steady; empty for a run of
    /// less than about six minutes.
    growth: Vec<GrowthEntry>,
    /// The state of the run, interval by interval.
    series: Vec<IntervalEntry<'a>>,
}

/// A limit of `[health]`.
#[derive(JsonSchema, Serialize)]
struct HealthEntry {
    name: &'static str,
    /// How the intervals were brought together: `median`, `p99`, `mean`, `most`, `total` or `trend`.
    statistic: &'static str,
    /// Absent where the machine does not tell, nothing was sent, or the run was too short for a trend.
    observed: Option<f64>,
    limit: f64,
    /// Whether the limit was kept.
    ok: bool,
}

/// How a resource of the harness developed.
#[derive(JsonSchema, Serialize)]
struct GrowthEntry {
    /// The reading: `resident_bytes`, `open_files` or `tasks`.
    reading: &'static str,
    /// When the time that was looked at began, in milliseconds since the start of the run: after the warm-up.
    from_ms: f64,
    /// How long it is, in milliseconds.
    over_ms: f64,
    /// Fewest peers in that time.
    fewest_peers: u32,
    /// Most peers in that time.
    most_peers: u32,
    /// The level at its beginning.
    level: f64,
    /// The trend: how much was added per minute; negative if it shrank.
    per_minute: f64,
    /// How consistently it rose, between -1 and 1 (Kendall's tau).
    tau: f64,
    /// Whether that is growth, and not noise.
    grows: bool,
    /// The same in words.
    finding: String,
}

/// One interval of the run.
#[derive(JsonSchema, Serialize)]
struct IntervalEntry<'a> {
    /// Milliseconds since the start of the run, at the interval's end.
    at_ms: f64,
    /// How long the interval is, in milliseconds.
    covers_ms: f64,
    /// Peers by the phase that they are in.
    peers: &'a BTreeMap<Phase, u32>,
    send_bps: f64,
    recv_bps: f64,
    /// Readings by name; those that the machine does not provide are absent.
    health: &'a BTreeMap<String, f64>,
    /// The busiest threads of the harness, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<&'a BTreeMap<String, ThreadLoad>>,
}

impl<'a> Report<'a> {
    fn new(record: &'a Record, judgement: &'a Judgement) -> Self {
        let (run, plan) = (record.run(), record.plan());
        Self {
            schema_version: SCHEMA_VERSION,
            scenario: plan.map(|plan| plan.name.as_str()),
            scenario_file: plan.map(|plan| plan.scenario.as_str()),
            scenario_digest: plan.map(|plan| plan.digest.as_str()),
            seed: plan.map(|plan| plan.seed),
            verdict: judgement.verdict,
            exit_code: judgement.exit_code,
            reasons: &judgement.reasons,
            outcome: record.outcome().map(outcome),
            started_at: run.map(|run| run.started_at.as_str()),
            duration_ms: ms(record.duration_us()),
            command: run.map_or(&[], |run| &run.command),
            environment: run
                .into_iter()
                .flat_map(|run| &run.environment)
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            calls: record.call_counts(),
            failures: failures(record),
            failure_counts: record
                .failure_counts()
                .into_iter()
                .map(|FailureCount { count, example: first }| FailureCountEntry {
                    phase: first.phase,
                    reason: &first.reason,
                    count,
                    example: &first.peer,
                })
                .collect(),
            gates: &judgement.gates,
            matrix: crate::gate::matrix(record),
            fallbacks: fallbacks(record),
            lab: plan.and_then(|plan| plan.network.as_ref()).map(|network| Lab {
                driver: network.driver,
                sites: network.sites.iter().map(|site| site.name.as_str()).collect(),
                checks: record.lab_checks(),
            }),
            metrics: record.metrics().map(|metric| (metric.name(), metric_entry(record, metric))).collect(),
            absences: absences(record),
            paths: record.paths(),
            media: record.media(),
            peers: peers(record),
            skipped: record.skipped(),
            warnings: record.warnings(),
            generator: generator(record),
        }
    }
}

fn outcome(outcome: &Outcome) -> OutcomeEntry<'_> {
    match outcome {
        Outcome::Completed => OutcomeEntry { how: "completed", detail: None },
        Outcome::Interrupted { signal } => OutcomeEntry { how: "interrupted", detail: Some(signal) },
        Outcome::Aborted { reason } => OutcomeEntry { how: "aborted", detail: Some(reason) },
        Outcome::Error { message } => OutcomeEntry { how: "error", detail: Some(message) },
    }
}

fn failures(record: &Record) -> Vec<FailureEntry<'_>> {
    record
        .failures()
        .iter()
        .map(|At { at_us, what }| FailureEntry {
            at_ms: ms(*at_us),
            peer: &what.peer,
            call: &what.call,
            phase: what.phase,
            reason: &what.reason,
        })
        .collect()
}

fn metric_entry(record: &Record, metric: Metric) -> MetricEntry<'_> {
    let of = |selection| statistics(record, metric, selection);
    let said = |(_, statistics): &(&str, Statistics)| statistics.count > 0 || statistics.absent > 0;
    MetricEntry {
        unit: metric.unit(),
        direction: metric.direction(),
        scope: metric.scope(),
        all: of(Selection::ALL),
        groups: record.groups().into_iter().map(|name| (name, of(Selection::group(name)))).filter(said).collect(),
        sets: record.sets().into_iter().map(|name| (name, of(Selection::set(name)))).filter(said).collect(),
    }
}

fn statistics(record: &Record, metric: Metric, selection: Selection<'_>) -> Statistics {
    let values: Distribution = record.distribution(metric, selection);
    Statistics {
        count: values.count(),
        expected: record.expected_count(metric, selection),
        absent: record.absent_count(metric, selection),
        min: values.min(),
        mean: values.mean(),
        p50: values.quantile(0.5),
        p90: values.quantile(0.9),
        p95: values.quantile(0.95),
        p99: values.quantile(0.99),
        max: values.max(),
    }
}

fn absences(record: &Record) -> Vec<AbsenceEntry<'_>> {
    record
        .absences()
        .map(|(metric, reason, count)| AbsenceEntry { metric, reason, peers: count.peers, example: &count.example })
        .collect()
}

fn peers(record: &Record) -> Vec<PeerEntry<'_>> {
    record
        .calls()
        .filter(|(_, call)| call.attempted())
        .flat_map(|(plan, call)| {
            [(Role::Offerer, &plan.offerer), (Role::Answerer, &plan.answerer)].map(|(role, peer)| PeerEntry {
                id: &peer.id,
                group: &peer.group,
                engine: record.engine(peer),
                call: &plan.id,
                set: &plan.set,
                role,
                marks: call.end(role).iter().map(|(mark, at_us)| (mark, ms(at_us))).collect(),
                stats: record.stats().get(&peer.id).map(Vec::as_slice),
            })
        })
        .collect()
}

fn generator(record: &Record) -> Generator<'_> {
    let limits = record.plan().map_or_else(Vec::new, |plan| crate::gate::health_checks(record, &plan.health));
    Generator {
        intervals: record.intervals().len() as u64,
        limits: limits
            .into_iter()
            .map(|check| HealthEntry {
                name: check.name,
                statistic: check.statistic,
                observed: check.observed,
                limit: check.limit,
                ok: !check.passed_limit(),
            })
            .collect(),
        growth: crate::gate::growths(record).iter().map(growth_entry).collect(),
        series: record
            .intervals()
            .iter()
            .map(|second| IntervalEntry {
                at_ms: ms(second.at_us),
                covers_ms: ms(second.what.covers_us),
                peers: &second.what.peers,
                send_bps: second.what.send_bps,
                recv_bps: second.what.recv_bps,
                health: &second.what.health,
                threads: Some(&second.what.threads).filter(|threads| !threads.is_empty()),
            })
            .collect(),
    }
}

fn growth_entry(growth: &Growth) -> GrowthEntry {
    let (fewest_peers, most_peers) = growth.peers;
    GrowthEntry {
        reading: growth.resource.reading(),
        from_ms: ms(growth.from_us),
        over_ms: ms(growth.over_us),
        fewest_peers,
        most_peers,
        level: growth.from,
        per_minute: growth.per_minute,
        tau: growth.tau,
        grows: growth.is_growth(),
        finding: growth.sentence(),
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
