//! NATs and firewalls spelled out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preset::NamedOr;
use crate::net::presets::{self, UnknownName};
use crate::net::spec::{
    Filtering, FirewallSpec, Hairpin, Mapping, NatKind, NatSpec, Pooling, PortAllocation, PortRule, Refresh,
};
use crate::scenario::units::Time;

/// A NAT, in the words of RFC 4787. Keys that are left out are those of a home router that keeps to the RFCs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatTable {
    /// What it is built like. Default: `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<NatKind>,
    /// For which destinations an inside endpoint keeps its outside endpoint. Default: `endpoint-independent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    /// From whom an outside endpoint accepts packets. Default: `address-and-port-dependent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtering: Option<Filtering>,
    /// What becomes of a packet from inside to one of its own outside addresses. Default: `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<Hairpin>,
    /// How it picks an outside port. Default: `preserving`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortAllocation>,
    /// Whether an even port stays even and an odd one odd. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_parity: Option<bool>,
    /// The lowest outside port that it picks. Default: 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub first_port: Option<u16>,
    /// The highest outside port that it picks. Default: 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub last_port: Option<u16>,
    /// How many outside addresses it has. A one-to-one NAT has one for each of its peers at least. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub addresses: Option<u16>,
    /// How it picks one of several outside addresses. Default: `paired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// How long an unused UDP mapping lives. Default: 5min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_lifetime: Option<Time>,
    /// Which packets renew a UDP mapping. Default: `outbound`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
    /// How long an idle, established TCP connection is kept. Default: 124min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<Time>,
    /// How long a TCP connection that is being opened or closed is kept. Default: 4min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_transitory: Option<Time>,
}

/// A firewall. Keys that are left out are those of one that lets everything out and only answers in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirewallTable {
    /// UDP, by the outside port. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<PortRule>,
    /// TCP, by the outside port. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<PortRule>,
    /// Whether a TCP connection is reset that does not begin as TLS. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_only: Option<bool>,
    /// Whether packets from outside pass only as answers. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stateful: Option<bool>,
    /// How long an unused UDP flow is known. Default: 5min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_lifetime: Option<Time>,
    /// How long an idle, established TCP connection is known. Default: 124min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<Time>,
    /// How long a TCP connection that is being opened or closed is known. Default: 4min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_transitory: Option<Time>,
}

impl NamedOr<NatTable> {
    pub(super) fn spec(&self) -> Result<NatSpec, UnknownName> {
        let table = match self {
            Self::Name(name) => return presets::nat(name),
            Self::Table(table) => table,
        };
        let base = NatSpec::default();
        Ok(NatSpec {
            kind: table.kind.unwrap_or(base.kind),
            mapping: table.mapping.unwrap_or(base.mapping),
            filtering: table.filtering.unwrap_or(base.filtering),
            hairpin: table.hairpin.unwrap_or(base.hairpin),
            ports: table.ports.unwrap_or(base.ports),
            keep_parity: table.keep_parity.unwrap_or(base.keep_parity),
            first_port: table.first_port.unwrap_or(base.first_port),
            last_port: table.last_port.unwrap_or(base.last_port),
            addresses: table.addresses.unwrap_or(base.addresses),
            pooling: table.pooling.unwrap_or(base.pooling),
            udp_lifetime_us: microseconds(table.udp_lifetime, base.udp_lifetime_us),
            refresh: table.refresh.unwrap_or(base.refresh),
            tcp_established_us: microseconds(table.tcp_established, base.tcp_established_us),
            tcp_transitory_us: microseconds(table.tcp_transitory, base.tcp_transitory_us),
        })
    }
}

impl NamedOr<FirewallTable> {
    pub(super) fn spec(&self) -> Result<FirewallSpec, UnknownName> {
        let table = match self {
            Self::Name(name) => return presets::firewall(name),
            Self::Table(table) => table,
        };
        let base = FirewallSpec::default();
        Ok(FirewallSpec {
            udp: table.udp.clone().unwrap_or(base.udp),
            tcp: table.tcp.clone().unwrap_or(base.tcp),
            tls_only: table.tls_only.unwrap_or(base.tls_only),
            stateful: table.stateful.unwrap_or(base.stateful),
            udp_lifetime_us: microseconds(table.udp_lifetime, base.udp_lifetime_us),
            tcp_established_us: microseconds(table.tcp_established, base.tcp_established_us),
            tcp_transitory_us: microseconds(table.tcp_transitory, base.tcp_transitory_us),
        })
    }
}

fn microseconds(time: Option<Time>, default: u64) -> u64 {
    time.map_or(default, |time| time.us)
}
