//! Is this STUN or TURN server working? Each step on its own, with its time, its fault and what to do about it.
//!
//! A probe sees the server from the machine that it runs on, once. It says nothing of other networks; scenarios do.

mod fault;
mod load;
mod relay;
mod report;
mod server;
mod text;

use std::time::{Duration, Instant, SystemTime};

pub use fault::{Fault, FaultClass};
pub use report::{
    AllocationRate, AllocationReport, CertificateReport, Dns, Goodput, Partner, RelayReport, Report, ServerReport,
    Step, Stun, Tls, Verdict,
};

use super::client::{IceUrl, Trust};
use super::credentials::Login;
use crate::scenario::Rate;

/// What to probe, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, probed one after another so that they do not share this machine's bandwidth.
    pub urls: Vec<IceUrl>,
    /// Who asks for allocations; `turn:` and `turns:` URLs need it.
    pub login: Option<Login>,
    /// Whom to trust; `turns:` and `stuns:` URLs need it.
    pub trust: Option<Trust>,
    /// How long the paced stream, and the allocations at a rate, last.
    pub duration: Duration,
    /// How often to allocate; `None`: no such measurement.
    pub allocations: Option<Rate>,
}

/// How long each step may take. STUN's own limit of 39.5 s (RFC 8489, section 6.2.1) is what users give up before.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Probes the servers. Bounded in time: by the deadline of each step, the number of addresses, and `duration`.
pub async fn probe(options: &Options) -> Report {
    let (started_at, started) = (jiff::Timestamp::now(), Instant::now());
    let mut servers = Vec::new();
    for url in &options.urls {
        servers.push(server::probe(url, options).await);
    }
    let verdict = servers.iter().map(|server| server.verdict).max().unwrap_or(Verdict::Pass);
    Report {
        schema_version: report::SCHEMA_VERSION,
        started_at: started_at.to_string(),
        duration_ms: millis(started.elapsed()),
        verdict,
        exit_code: verdict.exit_code(),
        servers,
    }
}

/// Milliseconds.
fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The time since 1970.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
