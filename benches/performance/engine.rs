//! Our own engines: whole runs of `harness run`, in a process of their own each, looked at from outside.
//!
//! The signaling server of a set-up is another process, so that what a pair costs can be told from what its server costs.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::bookkeeping::{self, Bookkeeping};
use super::process::{Measured, Scratch, harness};
use super::schedule::Schedule;
use super::signaling::Serving;
use super::{Result, Size};

/// Calls that begin per second where many are set up; twice as many peers.
pub(super) const ARRIVALS: u32 = 100;

/// What one engine costs.
pub(super) struct Engine {
    pub(super) streaming: Streaming,
    /// Streams that arrived complete and unaltered, between 0 and 1.
    pub(super) verified: f64,
    pub(super) bookkeeping: Bookkeeping,
    pub(super) set_up: SetUp,
    /// Calls per second when all begin at once.
    pub(super) connect_rate: f64,
}

/// Pairs that carry media, over a while.
pub(super) struct Streaming {
    pub(super) cpu: Duration,
    /// Received in that while.
    pub(super) packets: f64,
    /// Of those that the schedule wants in that while, what was received, between 0 and 1: a generator that is late drops
    /// ticks, and a full socket drops packets.
    pub(super) complete: f64,
    /// Bytes of resident memory of one peer.
    pub(super) resident: Option<f64>,
}

/// Pairs that connect and then do next to nothing.
pub(super) struct SetUp {
    /// CPU milliseconds of a pair, with its share of signaling clients.
    pub(super) cpu_ms: f64,
    /// Of it, what the same calls cost without a connection: the clients of the signaling server.
    pub(super) signaling_ms: f64,
    /// Bytes of resident memory of one connected idle peer.
    pub(super) resident: f64,
    pub(super) failed: u64,
    pub(super) connection_p95_ms: Option<f64>,
    pub(super) data_channel_p50_ms: Option<f64>,
    pub(super) data_channel_p95_ms: Option<f64>,
}

impl Engine {
    /// What simulated peers cost on this stack.
    pub(super) fn measure(stack: &str, schedule: &Schedule, size: Size) -> Result<Self> {
        let scratch = Scratch::new(stack)?;
        let scenario = |name: &str, text: String| -> Result<std::path::PathBuf> {
            let file = scratch.path().join(format!("{name}.toml"));
            std::fs::write(&file, format!("schema = 1\nname = \"{name}\"\n[native]\nstack = \"{stack}\"\n{text}"))?;
            Ok(file)
        };
        let (streaming, verified, bookkeeping) = stream(scratch.path(), &scenario, schedule, size)?;
        let set_up = set_up(scratch.path(), &scenario, size)?;
        let connect_rate = connect_rate(scratch.path(), &scenario, size)?;
        Ok(Self { streaming, verified, bookkeeping, set_up, connect_rate })
    }
}

type Scenarios<'a> = &'a dyn Fn(&str, String) -> Result<std::path::PathBuf>;

/// One-way video and audio between all pairs.
fn stream(
    out: &Path,
    scenario: Scenarios<'_>,
    schedule: &Schedule,
    size: Size,
) -> Result<(Streaming, f64, Bookkeeping)> {
    let arriving = Duration::from_secs(1) * size.pairs / ARRIVALS;
    let hold = arriving + size.settle + size.window + size.settle;
    let text = format!(
        "[media]\ndata = {{ enabled = false }}\n[load]\narrivals = \"{ARRIVALS}/s\"\nhold = \"{}ms\"\n\
         [[peers]]\nname = \"sender\"\ndirection = \"sendonly\"\ncount = {pairs}\n\
         [[peers]]\nname = \"receiver\"\ndirection = \"recvonly\"\ncount = {pairs}\n",
        hold.as_millis(),
        pairs = size.pairs
    );
    let file = scenario("streaming", text)?;
    let mut run = Run::start(&file, out)?;
    let empty = run.empty()?;
    run.process.at(arriving + size.settle + size.settle)?;
    let cpu = run.process.cpu()?;
    let begin = run.process.began.elapsed();
    run.process.at(begin + size.window)?;
    let (cpu, window) = (run.process.cpu()? - cpu, run.process.began.elapsed() - begin);
    let resident = (run.process.resident()? as f64 - empty) / f64::from(2 * size.pairs);
    let report = run.finish(out)?;
    let planned = schedule.packets_per_second() * f64::from(size.pairs);
    // The share of the whole run stands for that of the window.
    let streams = report["media"].as_array().map(Vec::as_slice).unwrap_or_default();
    let arrived: u64 = streams.iter().filter_map(|stream| stream["packets"].as_u64()).sum();
    let complete = arrived as f64 / (planned * hold.as_secs_f64());
    let packets = planned * window.as_secs_f64() * complete;
    let verified = report["metrics"]["media_verified_ratio"]["mean"].as_f64().unwrap_or(0.0);
    let bookkeeping = bookkeeping::measure(&out.join("streaming/latest/events.ndjson"), cpu, window)?;
    Ok((Streaming { cpu, packets, complete, resident: Some(resident) }, verified, bookkeeping))
}

/// Many idle data channels, next to as many calls of signaling alone.
fn set_up(out: &Path, scenario: Scenarios<'_>, size: Size) -> Result<SetUp> {
    let serving = Serving::start(out)?;
    let arriving = Duration::from_secs(1) * size.idle_pairs / ARRIVALS;
    let hold = arriving + size.settle + size.settle;
    let load = format!(
        "{}[load]\narrivals = \"{ARRIVALS}/s\"\nhold = \"{}ms\"\n[[peers]]\ncount = {}\n",
        serving.table("/ws"),
        hold.as_millis(),
        2 * size.idle_pairs
    );
    let measure = |file: &Path| -> Result<(f64, f64, Value)> {
        let mut run = Run::start(file, out)?;
        let (empty, cpu) = (run.empty()?, run.process.cpu()?);
        run.process.at(arriving + size.settle)?;
        let cpu = (run.process.cpu()? - cpu).as_secs_f64() * 1e3 / f64::from(size.idle_pairs);
        let resident = (run.process.resident()? as f64 - empty) / f64::from(2 * size.idle_pairs);
        Ok((cpu, resident, run.finish(out)?))
    };
    let signaling = scenario("calls", format!("{load}engine = \"signaling\"\nmessage_interval = \"1min\"\n"))?;
    let (signaling_ms, _, _) = measure(&signaling)?;
    let idle = "[media]\nvideo = \"none\"\naudio = \"none\"\ndata = { echo_interval = \"1s\" }\n";
    let (cpu_ms, resident, report) = measure(&scenario("idle", format!("{idle}{load}"))?)?;
    let quantile = |metric: &str, quantile: &str| report["metrics"][metric][quantile].as_f64();
    Ok(SetUp {
        cpu_ms,
        signaling_ms,
        resident,
        failed: report["calls"]["failed"].as_u64().unwrap_or(0),
        connection_p95_ms: quantile("connection_time_ms", "p95"),
        data_channel_p50_ms: quantile("data_channel_open_ms", "p50"),
        data_channel_p95_ms: quantile("data_channel_open_ms", "p95"),
    })
}

/// All calls at once, with the bundled server in the same process: how soon the last one is up.
fn connect_rate(out: &Path, scenario: Scenarios<'_>, size: Size) -> Result<f64> {
    let text = format!(
        "[media]\nvideo = \"none\"\naudio = \"none\"\ndata = {{ echo_interval = \"1s\" }}\n\
         [load]\nhold = \"1s\"\n[[peers]]\ncount = {}\n",
        2 * size.pairs
    );
    let report = Run::start(&scenario("burst", text)?, out)?.finish(out)?;
    let last = report["metrics"]["call_setup_ms"]["max"].as_f64().ok_or("no call of the burst was set up")?;
    Ok(report["calls"]["connected"].as_f64().unwrap_or(0.0) * 1e3 / last)
}

/// A run of the product.
pub(super) struct Run {
    pub(super) process: Measured,
    name: String,
}

impl Run {
    pub(super) fn start(file: &Path, out: &Path) -> Result<Self> {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let mut command = harness();
        command.arg("run").arg(file).arg("--out").arg(out).stderr(std::process::Stdio::null());
        Ok(Self { process: Measured::start(&mut command)?, name })
    }

    /// Bytes of resident memory before the first calls: of the whole program, with few peers at most.
    fn empty(&mut self) -> Result<f64> {
        self.process.at(Duration::from_millis(150))?;
        Ok(self.process.resident()? as f64)
    }

    /// Waits for the end; returns the report.
    pub(super) fn finish(self, out: &Path) -> Result<Value> {
        Ok(self.finish_with_cpu(out)?.0)
    }

    /// Waits for the end; returns the report, and the CPU time of the whole run.
    pub(super) fn finish_with_cpu(self, out: &Path) -> Result<(Value, Duration)> {
        let cpu = self.process.finish()?;
        let report = out.join(&self.name).join("latest/report.json");
        let text = std::fs::read(&report).map_err(|error| format!("{} left no report: {error}", self.name))?;
        Ok((serde_json::from_slice(&text)?, cpu))
    }
}
