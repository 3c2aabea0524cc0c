//! The result of a probe: for programs under a versioned schema (`docs/probe.schema.json`), for people as text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::fault::{Fault, FaultClass};

/// The version of the schema. Adding a field is compatible and keeps it.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The result of a probe.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(title = "harness probe")]
pub struct Report {
    /// Version of this format.
    pub schema_version: u32,
    /// Wall-clock time in RFC 3339, UTC.
    pub started_at: String,
    /// How long the probe took, in milliseconds.
    pub duration_ms: f64,
    /// The worst of the servers' verdicts.
    pub verdict: Verdict,
    /// The exit code that says so.
    pub exit_code: u8,
    /// One entry for each URL, in the order of the command line.
    pub servers: Vec<ServerReport>,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The server does what it should.
    Pass,
    /// It could not be measured from here.
    Invalid,
    /// The server fell short.
    Fail,
    /// The harness failed.
    Error,
}

/// A step of a probe, in the order in which they are made.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The name resolves.
    Dns,
    /// TCP connects.
    TcpConnect,
    /// TLS connects, and the certificate is good.
    Tls,
    /// The server tells the address that it sees.
    StunBinding,
    /// The server gives a relay address.
    Allocation,
    /// It lets a peer send to it.
    Permission,
    /// Datagrams come through, there and back.
    RelayRoundTrip,
    /// A paced stream comes through.
    Goodput,
    /// Many allocations are made.
    AllocationRate,
}

/// What was found for one URL. A step that was not reached, or does not apply, is absent.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ServerReport {
    /// The URL, with its defaults spelled out.
    pub url: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// What is wrong, in the order in which it showed.
    pub faults: Vec<Fault>,
    /// What is worth knowing, but is no fault.
    pub warnings: Vec<String>,
    /// The name's addresses; absent for an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// The address that was probed: the first that could be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<SocketAddr>,
    /// Time of the TCP handshake, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_connect_ms: Option<f64>,
    /// TLS, also where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The answer to a Binding request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stun: Option<Stun>,
    /// The allocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationReport>,
    /// Round trip of CreatePermission, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_ms: Option<f64>,
    /// Datagrams there and back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayReport>,
    /// A paced stream, one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<Goodput>,
    /// Many allocations, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_rate: Option<AllocationRate>,
}

/// A name's addresses.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Dns {
    /// How long the resolver took, in milliseconds.
    pub ms: f64,
    /// The addresses, in the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
}

/// What TLS showed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Tls {
    /// Time of the handshake, in milliseconds.
    pub ms: f64,
    /// `TLSv1.3` or `TLSv1.2`; absent if the certificate was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the certificate is trusted, in time, and for this name.
    pub verified: bool,
    /// The certificates, the server's own first.
    pub chain: Vec<CertificateReport>,
}

/// A certificate.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CertificateReport {
    /// Whom it is for (RFC 4514).
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// The start of its validity, RFC 3339.
    pub not_before: String,
    /// Its end.
    pub not_after: String,
    /// Whole days until then; negative once it has expired.
    pub days_left: i64,
}

/// The answer to a Binding request.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Stun {
    /// The round trip, in milliseconds.
    pub rtt_ms: f64,
    /// The address that the server sees.
    pub mapped: SocketAddr,
    /// The server's software, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
}

/// An allocation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AllocationReport {
    /// From the first request to the allocation, in milliseconds.
    pub ms: f64,
    /// How often the request was answered with 401; once is how it starts.
    pub unauthorized: u32,
    /// How often it was answered with 438.
    pub stale_nonces: u32,
    /// The relay address.
    pub relayed: SocketAddr,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// The lifetime that the server granted, in seconds.
    pub lifetime_s: u64,
}

/// Datagrams there and back.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RelayReport {
    /// Between what they went.
    pub between: Partner,
    /// How many were sent.
    pub sent: u32,
    /// How many came back.
    pub returned: u32,
    /// The median of their round trips, in milliseconds; absent if none came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Whether a UDP socket of this machine reached the relay address as well: datagrams between two allocations need not
    /// leave the server. Absent where that was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<bool>,
}

/// The other end of the relay.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partner {
    /// A second allocation on the same server: each datagram is relayed twice.
    SecondAllocation,
    /// A UDP socket of this machine.
    OwnSocket,
}

/// A paced stream, one way.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Goodput {
    /// Payload that was offered, in bits per second.
    pub offered_bps: f64,
    /// Payload that arrived unchanged, in bits per second.
    pub goodput_bps: f64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that arrived unchanged.
    pub received: u64,
    /// Datagrams that arrived changed.
    pub corrupt: u64,
    /// Share of the datagrams that did not arrive unchanged, between 0 and 1.
    pub loss_ratio: f64,
    /// Bytes of payload in each.
    pub payload_bytes: usize,
}

/// Many allocations.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AllocationRate {
    /// How many were begun per second.
    pub offered_per_s: f64,
    /// How many were begun.
    pub attempted: u64,
    /// How many succeeded.
    pub succeeded: u64,
    /// Median from the first request to the allocation, in milliseconds; absent if none succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    /// How many failed, by class.
    pub failed: BTreeMap<FaultClass, u64>,
}

impl Report {
    /// The report as JSON text.
    ///
    /// # Errors
    ///
    /// Never, as long as the types above can be JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The JSON Schema (2020-12) of what [`to_json`](Self::to_json) gives.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

impl Verdict {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Invalid => 3,
            Self::Error => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
