//! What calls cost through the bundled server in each protocol that it speaks, next to its own: server and clients.

use std::path::Path;
use std::time::Duration;

use super::engine::Run;
use super::process::Scratch;
use super::signaling::Serving;
use super::{Result, Size};

/// Calls that begin per second, each with two clients.
pub(super) const ARRIVALS: u32 = 200;
/// The protocols, the yardstick first, and where the server speaks each.
const PROTOCOLS: [(&str, &str); 3] = [("harness", "/ws"), ("socketio", ""), ("peerjs", "")];

/// What calls in one protocol cost.
pub(super) struct Dialect {
    pub(super) protocol: &'static str,
    /// CPU milliseconds of the server and of both clients, for each call.
    pub(super) server_ms: f64,
    pub(super) clients_ms: f64,
    pub(super) failed: u64,
    pub(super) exchange_p99_ms: Option<f64>,
}

impl Dialect {
    /// CPU milliseconds of a call in all.
    pub(super) fn cpu_ms(&self) -> f64 {
        self.server_ms + self.clients_ms
    }
}

/// Of each protocol the median of what is measured in turns; calls that failed are added up.
pub(super) fn measure(size: Size) -> Result<Vec<Dialect>> {
    let scratch = Scratch::new("dialects")?;
    let mut rounds: Vec<Vec<Dialect>> = PROTOCOLS.iter().map(|_| Vec::new()).collect();
    for _ in 0..size.rounds {
        for (rounds, (protocol, path)) in rounds.iter_mut().zip(PROTOCOLS) {
            rounds.push(once(scratch.path(), protocol, path, size)?);
        }
    }
    let median = |mut rounds: Vec<Dialect>| {
        rounds.sort_by(|one, other| one.cpu_ms().total_cmp(&other.cpu_ms()));
        let failed = rounds.iter().map(|round| round.failed).sum();
        Dialect { failed, ..rounds.swap_remove(size.rounds / 2) }
    };
    Ok(rounds.into_iter().map(median).collect())
}

fn once(out: &Path, protocol: &'static str, path: &str, size: Size) -> Result<Dialect> {
    let serving = Serving::start(out)?;
    let file = out.join(format!("{protocol}.toml"));
    let text = format!(
        "schema = 1\nname = \"{protocol}\"\n{}protocol = \"{protocol}\"\n[load]\narrivals = \"{ARRIVALS}/s\"\n\
         duration = \"{}ms\"\nhold = \"{}ms\"\n[[peers]]\nengine = \"signaling\"\nmessage_interval = \"1min\"\n",
        serving.table(path),
        size.window.as_millis(),
        // 1,000 clients at a time, in a window of 10 s.
        (size.window / 4).as_millis(),
    );
    std::fs::write(&file, text)?;
    let idle = serving.process.cpu()?;
    let run = Run::start(&file, out)?;
    let (report, clients) = run.finish_with_cpu(out)?;
    let server = serving.process.cpu()? - idle;
    let calls = report["calls"]["planned"].as_f64().ok_or("the report does not tell how many calls there were")?;
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e3 / calls;
    Ok(Dialect {
        protocol,
        server_ms: each(server),
        clients_ms: each(clients),
        failed: report["calls"]["failed"].as_u64().unwrap_or(0),
        exchange_p99_ms: report["metrics"]["signaling_exchange_ms"]["p99"].as_f64(),
    })
}
