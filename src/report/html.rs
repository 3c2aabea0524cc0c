//! `report.html`: one page, no network, readable without JavaScript; `templates/report.html` is its form.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::charts::{MetricCard, metric_cards};
use super::fallback::{Fallback, Summary, fallbacks, summaries};
use super::matrix::{grids, heading, is_ok, summary, word};
use super::series::{Series, time_series};
use super::timeline::{Instant, instants};
use super::waterfall::{Panel, Waterfall, timeline, waterfall};
use super::{RenderError, number, observed};
use crate::gate::{
    CellOutcome, CellResult, GateVerdict, Growth, HealthCheck, Judgement, MatrixResult, Verdict, growths,
    health_checks, matrix,
};
use crate::net::oracle::Route;
use crate::record::{
    At, CallCounts, Candidate, Failure, LabCheck, MediaKind, MediaReport, Record, Skip, Unit, WaitFor, Warning,
};

/// Failures and unverified streams that are told one by one.
const LISTED: usize = 100;
/// Cells that are shown at once; the others unfold.
const OPEN: usize = 5;
/// Names of threads that are told.
const THREADS: usize = 10;
/// Ends of a cell's calls whose ways are told.
const TRIED: usize = 4;

pub(super) fn render(record: &Record, judgement: &Judgement) -> Result<String, RenderError> {
    let plan = record.plan();
    let matrix = matrix(record);
    let fallbacks = fallbacks(record);
    let page = Page {
        scenario: plan.map_or("unknown scenario", |plan| &plan.name),
        verdict: judgement.verdict,
        exit_code: judgement.exit_code,
        reasons: &judgement.reasons,
        counts: record.call_counts(),
        duration: number::duration(record.duration_us()),
        started_at: record.run().map_or("unknown", |run| &run.started_at),
        gates: judgement
            .gates
            .iter()
            .map(|result| GateRow {
                metric: result.gate.metric.name(),
                whose: [&result.gate.group, &result.gate.set]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
                expect: &result.gate.expect,
                observed: observed(result),
                samples: result.samples,
                verdict: result.verdict,
                place: &result.gate.place,
            })
            .collect(),
        matrix: matrix.as_ref().map(|matrix| matrix_section(record, matrix, &fallbacks)),
        fallback: fallback_section(&fallbacks),
        checks: record.lab_checks(),
        broken_checks: record.lab_checks().iter().filter(|check| !check.ok).count(),
        failures: record.failures().iter().take(LISTED).map(failure_row).collect(),
        more_failures: record.failures().len().saturating_sub(LISTED),
        skipped: record.skipped(),
        warnings: record.warnings(),
        metrics: metric_cards(record),
        waterfall: waterfall(record),
        media: media_rows(record),
        unverified: unverified(record),
        paths: path_rows(record),
        absences: record
            .absences()
            .map(|(metric, reason, count)| (metric.name(), reason, count.peers, count.example.as_str()))
            .collect(),
        health: plan.map_or_else(Vec::new, |plan| health_checks(record, &plan.health)).iter().map(health_row).collect(),
        growth: growths(record).iter().map(Growth::sentence).collect(),
        threads: thread_rows(record),
        series: time_series(record),
        environment: record.run().into_iter().flat_map(|run| &run.environment).collect(),
        seed: plan.map_or_else(String::new, |plan| plan.seed.to_string()),
        digest: plan.map_or("", |plan| &plan.digest),
        command: record.run().map_or_else(String::new, |run| shell(&run.command)),
    };
    Ok(page.render()?)
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    scenario: &'a str,
    verdict: Verdict,
    exit_code: u8,
    reasons: &'a [String],
    counts: CallCounts,
    duration: String,
    started_at: &'a str,
    gates: Vec<GateRow<'a>>,
    matrix: Option<MatrixSection<'a>>,
    fallback: Option<FallbackSection<'a>>,
    checks: &'a [LabCheck],
    broken_checks: usize,
    failures: Vec<FailureRow<'a>>,
    more_failures: usize,
    skipped: &'a [Skip],
    warnings: &'a [Warning],
    metrics: Vec<MetricCard>,
    waterfall: Option<Waterfall>,
    media: Vec<MediaRow>,
    unverified: Vec<&'a MediaReport>,
    paths: Vec<PathRow>,
    absences: Vec<(&'static str, &'a str, u64, &'a str)>,
    health: Vec<HealthRow>,
    growth: Vec<String>,
    threads: Vec<ThreadRow<'a>>,
    series: Vec<Series>,
    environment: Vec<(&'a String, &'a String)>,
    seed: String,
    digest: &'a str,
    command: String,
}

struct GateRow<'a> {
    metric: &'static str,
    whose: String,
    expect: &'a str,
    observed: String,
    samples: u64,
    verdict: GateVerdict,
    place: &'a str,
}

/// Every pair of networks at a glance, then those that need attention one by one.
struct MatrixSection<'a> {
    summary: String,
    grids: Vec<HtmlGrid<'a>>,
    hints: &'a [String],
    bad: Vec<BadCell<'a>>,
    more_bad: usize,
}

struct HtmlGrid<'a> {
    title: String,
    columns: &'a [String],
    rows: Vec<(&'a str, Vec<Option<HtmlCell<'a>>>)>,
}

struct HtmlCell<'a> {
    class: &'static str,
    word: String,
    title: String,
    /// Of the cell below, where it is told what is wrong.
    link: Option<&'a str>,
}

struct BadCell<'a> {
    heading: String,
    expected: String,
    times: String,
    cell: &'a CellResult,
    /// Whether it is shown at once.
    open: bool,
    tried: Vec<&'a Fallback<'a>>,
    timeline: Option<Panel>,
    instants: Vec<Instant<'a>>,
}

/// What falling back to relays took, by the kind of relay, then end by end.
struct FallbackSection<'a> {
    waits: [&'static str; 6],
    rows: Vec<FallbackRow>,
    ends: Vec<FallbackEnd<'a>>,
    more: usize,
}

struct FallbackRow {
    leg: String,
    count: usize,
    waits: Vec<String>,
    total: String,
    longest: String,
}

struct FallbackEnd<'a> {
    bar: String,
    fallback: &'a Fallback<'a>,
}

/// Absent where nothing went through a relay.
fn fallback_section<'a>(fallbacks: &'a [Fallback<'a>]) -> Option<FallbackSection<'a>> {
    let relayed = || fallbacks.iter().filter(|fallback| fallback.relay.is_some());
    let longest = relayed().filter_map(|fallback| fallback.total_ms).fold(0.0, f64::max);
    let ms = |ms: &Option<f64>| number::optional(*ms, Unit::Milliseconds);
    let row = |summary: &Summary| FallbackRow {
        leg: summary.leg(),
        count: summary.count,
        waits: summary.waits.iter().map(ms).collect(),
        total: ms(&summary.total),
        longest: ms(&summary.longest),
    };
    let ends = relayed().take(LISTED).map(|fallback| FallbackEnd { bar: fallback.bar(longest), fallback });
    relayed().next()?;
    Some(FallbackSection {
        waits: WaitFor::ALL.map(WaitFor::name),
        rows: summaries(fallbacks).iter().map(row).collect(),
        ends: ends.collect(),
        more: relayed().count().saturating_sub(LISTED),
    })
}

fn matrix_section<'a>(
    record: &'a Record,
    matrix: &'a MatrixResult,
    fallbacks: &'a [Fallback<'a>],
) -> MatrixSection<'a> {
    let bad = || matrix.cells.iter().filter(|cell| !is_ok(cell));
    let bad_cell = |(index, cell): (usize, &'a CellResult)| BadCell {
        heading: heading(cell),
        expected: expected(cell),
        times: times(cell),
        cell,
        open: index < OPEN,
        tried: fallbacks.iter().filter(|fallback| fallback.set == cell.name).take(TRIED).collect(),
        timeline: timeline(record, &cell.name),
        instants: instants(record, &cell.name),
    };
    let grid = |grid: super::matrix::Grid<'a>| HtmlGrid {
        title: grid.title,
        columns: grid.columns,
        rows: grid
            .rows
            .into_iter()
            .map(|row| (row.name, row.cells.into_iter().map(|cell| cell.map(html_cell)).collect()))
            .collect(),
    };
    MatrixSection {
        summary: summary(matrix),
        grids: grids(matrix).into_iter().map(grid).collect(),
        hints: &matrix.hints,
        bad: bad().take(LISTED).enumerate().map(bad_cell).collect(),
        more_bad: bad().count().saturating_sub(LISTED),
    }
}

fn html_cell(cell: &CellResult) -> HtmlCell<'_> {
    let class = match cell.outcome {
        CellOutcome::Ok if cell.cell.expected == Route::Direct => "direct",
        CellOutcome::Ok => "relayed",
        CellOutcome::OverRelayed | CellOutcome::WrongTransport | CellOutcome::Flaky => "doubtful",
        CellOutcome::Failed => "broken",
        CellOutcome::LabLies | CellOutcome::Unjudged => "unknown",
    };
    let times = times(cell);
    let times = if times.is_empty() { times } else { format!("; {times}") };
    let title = format!("{}: {}, {}{times}", heading(cell), cell.outcome.name(), cell.detail);
    HtmlCell { class, word: word(cell), title, link: (!is_ok(cell)).then_some(&cell.name) }
}

fn expected(cell: &CellResult) -> String {
    match cell.cell.expected {
        Route::None => "no path".into(),
        route => route.to_string(),
    }
}

fn times(cell: &CellResult) -> String {
    let time = |what: &str, ms: Option<f64>| ms.map(|ms| format!("{what} {}", number::value(ms, Unit::Milliseconds)));
    let times = [time("connected in", cell.connection_time_ms), time("fell back in", cell.time_to_fallback_ms)];
    times.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

struct FailureRow<'a> {
    at: String,
    phase: &'static str,
    failure: &'a Failure,
}

fn failure_row(At { at_us, what }: &At<Failure>) -> FailureRow<'_> {
    FailureRow { at: number::duration(*at_us), phase: what.phase.name(), failure: what }
}

/// What the peers of one group in one call set received of one kind of stream.
struct MediaRow {
    set: String,
    group: String,
    kind: &'static str,
    codec: String,
    streams: u64,
    verified: u64,
    frames: u64,
    intact: u64,
    lost: Option<u64>,
    rate: String,
    size: String,
}

struct HealthRow {
    name: &'static str,
    statistic: &'static str,
    observed: Option<String>,
    limit: String,
    past: bool,
}

fn health_row(check: &HealthCheck) -> HealthRow {
    HealthRow {
        name: check.name,
        statistic: check.statistic,
        observed: check.observed.map(number::digits),
        limit: number::digits(check.limit),
        past: check.passed_limit(),
    }
}

/// What the threads of one name used of the cores.
struct ThreadRow<'a> {
    name: &'a str,
    threads: u32,
    /// Mean over the run.
    cores: String,
    /// The greatest share of a core that one of them used over an interval.
    busiest: String,
}

fn thread_rows(record: &Record) -> Vec<ThreadRow<'_>> {
    let mut sums: BTreeMap<&str, (u32, f64, f64)> = BTreeMap::new();
    let all: f64 = record.intervals().iter().map(|at| at.what.covers_us as f64).sum();
    for at in record.intervals() {
        for (name, load) in &at.what.threads {
            let (threads, cores, busiest) = sums.entry(name).or_default();
            *threads = load.threads.max(*threads);
            *cores += load.cpu_cores * at.what.covers_us as f64 / all.max(1.0);
            *busiest = load.busiest.max(*busiest);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
    sums.into_iter()
        .take(THREADS)
        .map(|(name, (threads, cores, busiest))| ThreadRow {
            name,
            threads,
            cores: number::digits(cores),
            busiest: number::value(busiest, Unit::Ratio),
        })
        .collect()
}

/// Calls that took like paths.
struct PathRow {
    set: String,
    group: String,
    local: String,
    remote: String,
    protocol: String,
    family: String,
    count: u64,
}

/// The set of a call and the group of a peer in it.
fn place(record: &Record, call: &str, peer: &str) -> (String, String) {
    record.call(call).map_or_else(Default::default, |(plan, _)| {
        let peer = if plan.offerer.id == peer { &plan.offerer } else { &plan.answerer };
        (super::heading(plan).to_owned(), peer.group.clone())
    })
}

fn media_rows(record: &Record) -> Vec<MediaRow> {
    let mut streams: BTreeMap<_, Vec<&MediaReport>> = BTreeMap::new();
    for report in record.media() {
        let (set, group) = place(record, &report.call, &report.peer);
        streams.entry((set, group, report.kind, &report.codec)).or_default().push(report);
    }
    streams
        .into_iter()
        .map(|((set, group, kind, codec), reports)| MediaRow {
            set,
            group,
            kind: kind_name(kind),
            codec: codec.clone(),
            streams: reports.len() as u64,
            verified: reports.iter().filter(|report| report.verified).count() as u64,
            frames: reports.iter().map(|report| report.frames).sum(),
            intact: reports.iter().map(|report| report.frames_intact).sum(),
            lost: reports.iter().filter_map(|report| report.packets_lost).reduce(|a, b| a + b),
            rate: mean_rate(&reports),
            size: sizes(&reports),
        })
        .collect()
}

fn mean_rate(reports: &[&MediaReport]) -> String {
    let rates: Vec<f64> = reports.iter().filter_map(|report| report.rate).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    if rates.is_empty() { "–".into() } else { format!("{}/s", number::digits(mean)) }
}

fn sizes(reports: &[&MediaReport]) -> String {
    let sizes: BTreeSet<_> = reports.iter().filter_map(|report| Some((report.width?, report.height?))).collect();
    sizes.into_iter().map(|(width, height)| format!("{width}×{height}")).collect::<Vec<_>>().join(", ")
}

fn unverified(record: &Record) -> Vec<&MediaReport> {
    record.media().iter().filter(|report| !report.verified).take(LISTED).collect()
}

fn path_rows(record: &Record) -> Vec<PathRow> {
    let mut counts: BTreeMap<[String; 6], u64> = BTreeMap::new();
    for path in record.paths() {
        let (set, group) = place(record, &path.call, &path.peer);
        let kind = |candidate: &Candidate| candidate.candidate_type.clone();
        let protocol = match &path.relay_protocol {
            Some(relay) => format!("{}, relayed over {relay}", path.protocol),
            None => path.protocol.clone(),
        };
        let family = path.family.clone().unwrap_or_else(|| "–".into());
        *counts.entry([set, group, kind(&path.local), kind(&path.remote), protocol, family]).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|([set, group, local, remote, protocol, family], count)| PathRow {
            set,
            group,
            local,
            remote,
            protocol,
            family,
            count,
        })
        .collect()
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
        MediaKind::DataEcho => "data, echo",
        MediaKind::DataBulk => "data, bulk",
    }
}

/// A command line that a POSIX shell reads back as it was.
pub(super) fn shell(arguments: &[String]) -> String {
    let plain = |argument: &&String| {
        !argument.is_empty() && argument.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c))
    };
    let quote = |argument: &String| {
        Some(argument).filter(plain).cloned().unwrap_or_else(|| format!("'{}'", argument.replace('\'', r"'\''")))
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}
