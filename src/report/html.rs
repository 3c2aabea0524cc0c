//! `report.html`: one page, no network, readable without JavaScript; `templates/report.html` is its form.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::charts::{MetricCard, metric_cards};
use super::series::{Series, time_series};
use super::waterfall::{Waterfall, waterfall};
use super::{RenderError, number, observed, phase_name};
use crate::gate::{GateVerdict, HealthCheck, Judgement, Verdict, health_checks};
use crate::record::{At, CallCounts, Candidate, Failure, MediaKind, MediaReport, Record, Skip, Warning};

/// Failures and unverified streams that are told one by one.
const LISTED: usize = 100;

pub(super) fn render(record: &Record, judgement: &Judgement) -> Result<String, RenderError> {
    let plan = record.plan();
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

struct FailureRow<'a> {
    at: String,
    phase: &'static str,
    failure: &'a Failure,
}

fn failure_row(At { at_us, what }: &At<Failure>) -> FailureRow<'_> {
    FailureRow { at: number::duration(*at_us), phase: phase_name(what.phase), failure: what }
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
        (plan.set.clone(), peer.group.clone())
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
fn shell(arguments: &[String]) -> String {
    let plain = |argument: &&String| {
        !argument.is_empty() && argument.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c))
    };
    let quote = |argument: &String| {
        Some(argument).filter(plain).cloned().unwrap_or_else(|| format!("'{}'", argument.replace('\'', r"'\''")))
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}
