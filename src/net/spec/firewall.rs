//! What a firewall lets through.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_too_long;

/// One firewall, for IPv4 and IPv6. Its rules are about what hosts inside begin; answers to that pass.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirewallSpec {
    /// UDP, by the outside port.
    pub udp: PortRule,
    /// TCP, by the outside port.
    pub tcp: PortRule,
    /// Whether a TCP connection is reset once the first bytes that its client sends are not those of a TLS ClientHello.
    pub tls_only: bool,
    /// Whether packets from outside pass only as answers to what was sent before, by address and port (RFC 6092).
    pub stateful: bool,
    /// How long an unused UDP flow is known, in microseconds.
    pub udp_lifetime_us: u64,
    /// How long an idle, established TCP connection is known, in microseconds.
    pub tcp_established_us: u64,
    /// How long a TCP connection that is being opened or closed is known, in microseconds.
    pub tcp_transitory_us: u64,
}

/// Which outside ports may be used.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PortRule {
    /// The ports; absent: all. An empty list allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// What becomes of packets to other ports.
    #[serde(default)]
    pub otherwise: Refusal,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Silently.
    #[default]
    Drop,
    /// ICMP tells the sender that communication is administratively prohibited.
    Prohibited,
    /// ICMP tells the sender that the port is unreachable; a TCP connection is reset.
    Unreachable,
}

impl Default for FirewallSpec {
    /// A firewall that lets everything out, and only answers in.
    fn default() -> Self {
        Self {
            udp: PortRule::default(),
            tcp: PortRule::default(),
            tls_only: false,
            stateful: true,
            udp_lifetime_us: 300 * 1_000_000,
            tcp_established_us: 7_440 * 1_000_000,
            tcp_transitory_us: 240 * 1_000_000,
        }
    }
}

impl FirewallSpec {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.tls_only && !self.stateful {
            Some("tls_only needs stateful")
        } else if self.udp_lifetime_us == 0 || self.tcp_established_us == 0 || self.tcp_transitory_us == 0 {
            Some("a lifetime is 0")
        } else if is_too_long([self.udp_lifetime_us, self.tcp_established_us, self.tcp_transitory_us]) {
            Some("a lifetime is longer than a year")
        } else {
            None
        }
    }
}

impl PortRule {
    /// Only these ports; packets to others are dropped silently.
    pub fn only(ports: impl Into<Vec<u16>>) -> Self {
        Self { ports: Some(ports.into()), otherwise: Refusal::Drop }
    }

    /// No port at all.
    pub fn none(otherwise: Refusal) -> Self {
        Self { ports: Some(Vec::new()), otherwise }
    }

    /// Whether packets to this outside port may pass.
    pub fn allows(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }
}
