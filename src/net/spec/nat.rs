//! How a NAT behaves, in the words of RFC 4787 (UDP), RFC 5382 (TCP) and RFC 6888 (carrier-grade).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_too_long;

/// One NAT for IPv4. IPv6 passes it unchanged.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatSpec {
    /// What it is built like.
    pub kind: NatKind,
    /// For which destinations an inside endpoint keeps its outside endpoint.
    pub mapping: Mapping,
    /// From whom an outside endpoint accepts packets.
    pub filtering: Filtering,
    /// What becomes of a packet from inside to one of its own outside addresses.
    pub hairpin: Hairpin,
    /// How it picks an outside port.
    pub ports: PortAllocation,
    /// Whether the outside port is even if the inside port is, and odd if that is (RFC 4787, 4.2.2), while such a port
    /// is free.
    pub keep_parity: bool,
    /// The lowest outside port that it picks.
    pub first_port: u16,
    /// The highest outside port that it picks.
    pub last_port: u16,
    /// How many outside addresses it has. A one-to-one NAT has room for as many inside hosts.
    pub addresses: u16,
    /// How it picks one of several outside addresses.
    pub pooling: Pooling,
    /// How long an unused UDP mapping lives, in microseconds.
    pub udp_lifetime_us: u64,
    /// Which packets renew a UDP mapping.
    pub refresh: Refresh,
    /// How long an idle, established TCP connection is kept, in microseconds.
    pub tcp_established_us: u64,
    /// How long a TCP connection that is being opened or closed is kept, in microseconds.
    pub tcp_transitory_us: u64,
}

/// What a NAT is built like.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// Ports and addresses are translated, as `mapping` and the rest say.
    #[default]
    Standard,
    /// Every inside host owns an outside address with all its ports, as in a public cloud. With endpoint-independent
    /// filtering, packets to it arrive without anything having been sent before.
    OneToOne,
    /// Linux masquerading whose router accepts packets to itself. It looks like endpoint-independent mapping with
    /// address- and port-dependent filtering, and is not: an early packet from a peer leaves a connection-tracking entry
    /// of the router's own, with which the later packet to that peer clashes, so that it gets another outside port. Only
    /// ports, lifetimes and the first outside address count; the rest of the description is what it pretends to be.
    Naive,
}

/// For which destinations an inside endpoint keeps its outside endpoint (RFC 4787, 4.1); the stricter, the greater.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// For all (EIM).
    #[default]
    EndpointIndependent,
    /// For all ports of one address (ADM).
    AddressDependent,
    /// For one address and port (APDM).
    AddressAndPortDependent,
}

/// From whom an outside endpoint accepts packets (RFC 4787, 5); the stricter, the greater.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// From everybody (EIF).
    EndpointIndependent,
    /// From addresses that a packet was sent to (ADF).
    AddressDependent,
    /// From addresses and ports that a packet was sent to (APDF).
    #[default]
    AddressAndPortDependent,
}

/// What becomes of a packet from inside to an outside address of the same NAT (RFC 4787, 6).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// It is dropped.
    #[default]
    None,
    /// It arrives from the sender's outside endpoint, as REQ-9a demands.
    External,
    /// It arrives from the sender's inside endpoint, which REQ-9a forbids and cheap routers do.
    Internal,
}

/// How a NAT picks an outside port (RFC 4787, 4.2).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortAllocation {
    /// The inside port, or the next free one if it is taken.
    #[default]
    Preserving,
    /// One after the other.
    Sequential,
    /// At random.
    Random,
}

/// How a NAT picks one of several outside addresses (RFC 4787, REQ-2).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// An inside host keeps its outside address.
    #[default]
    Paired,
    /// Every mapping has the next one in turn, so that no two in a row share one by chance.
    Arbitrary,
}

/// Which packets renew a UDP mapping (RFC 4787, 4.3).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Those that leave.
    #[default]
    Outbound,
    /// Those that come in, although REQ-6 demands the others.
    Inbound,
    /// Both.
    Both,
}

impl Default for NatSpec {
    /// A home router that keeps to the RFCs: endpoint-independent mapping with preserved ports, address- and
    /// port-dependent filtering, no hairpinning, and the lifetimes of RFC 4787 REQ-5 and RFC 5382 REQ-5.
    fn default() -> Self {
        Self {
            kind: NatKind::default(),
            mapping: Mapping::default(),
            filtering: Filtering::default(),
            hairpin: Hairpin::default(),
            ports: PortAllocation::default(),
            keep_parity: false,
            first_port: 1024,
            last_port: u16::MAX,
            addresses: 1,
            pooling: Pooling::default(),
            udp_lifetime_us: 300 * 1_000_000,
            refresh: Refresh::default(),
            tcp_established_us: 7_440 * 1_000_000,
            tcp_transitory_us: 240 * 1_000_000,
        }
    }
}

impl NatSpec {
    /// What it is to ICE: its mapping and its filtering. A naive NAT is reduced to what it pretends to be.
    pub fn reduce(&self) -> (Mapping, Filtering) {
        match self.kind {
            NatKind::Standard => (self.mapping, self.filtering),
            NatKind::OneToOne => (Mapping::EndpointIndependent, self.filtering),
            NatKind::Naive => (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent),
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.first_port == 0 {
            Some("first_port is 0")
        } else if self.first_port > self.last_port {
            Some("first_port is greater than last_port")
        } else if self.addresses == 0 {
            Some("it has no outside address")
        } else if self.udp_lifetime_us == 0 || self.tcp_established_us == 0 || self.tcp_transitory_us == 0 {
            Some("a lifetime is 0")
        } else if is_too_long([self.udp_lifetime_us, self.tcp_established_us, self.tcp_transitory_us]) {
            Some("a lifetime is longer than a year")
        } else {
            None
        }
    }
}
