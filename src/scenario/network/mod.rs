//! `[network]`: the networks between the peers, in the words of the format.
//!
//! The tables here are what people write; `convert` turns them into what the model takes, `check` finds what they cannot mean.

mod check;
mod convert;
mod link;
mod nat;
mod preset;
mod program;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use link::{LinkChange, LinkTable};
pub use nat::{FirewallTable, NatTable};
pub use preset::{LinkName, NamedOr, SiteKind};
pub use program::Program;

pub(super) use check::check;
pub(crate) use convert::{Address, carrier_spec, site_spec};
pub(crate) use program::check_programs;

use crate::net::oracle::RelayTransport;
use crate::plan::{NetworkDriver, TurnServer};
use crate::turn::server::Flaw;

/// The networks between the peers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What brings packets to the networks: `in-process` for native peers, without privileges; `kernel` for every program,
    /// in network namespaces of Linux.
    #[serde(default)]
    pub driver: NetworkDriver,
    /// Whether the packets that cross the networks are written to files for Wireshark.
    #[serde(default)]
    pub capture: bool,
    /// Networks with peers, each as `[[network.site]]`.
    #[schemars(length(min = 1, max = 100))]
    pub site: Vec<Site>,
    /// What several sites are behind, each as `[[network.carrier]]`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub carrier: Vec<Carrier>,
    /// The STUN and TURN server on the internet between the sites. The peers are given its URLs and a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// Programs that run behind the networks while the calls do, each as `[[network.program]]`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub program: Vec<Program>,
}

/// A network with peers: what stands between them and the internet, and how good its link is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Name of the network: letters, digits, `-` and `_`, at most 24.
    pub name: String,
    /// The kind of network, such as `cgn`, in place of `nat` and `firewall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<SiteKind>,
    /// The NAT, by name or as a table. Default with a `firewall`: `port-restricted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NamedOr<NatTable>>,
    /// The firewall, inside the NAT, by name or as a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<NamedOr<FirewallTable>>,
    /// The carrier that the network is behind, in place of the internet itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// The link, in both directions. Default: `perfect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// What differs from `link` towards the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<LinkTable>,
    /// What differs from `link` from the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<LinkTable>,
    /// Whether the network has IPv6 beside IPv4.
    #[serde(default)]
    pub ipv6: Ipv6,
    /// Whether its peers cannot reach each other within the network, as on a guest Wi-Fi.
    #[serde(default)]
    pub isolated: bool,
}

/// Whether a network has IPv6, which no NAT changes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6 {
    /// IPv4 only.
    #[default]
    None,
    /// Behind a customer edge that lets only answers in (RFC 6092).
    Stateful,
    /// Reachable from everywhere.
    Open,
}

// The keys that a carrier shares with a site are written twice: serde's `flatten` goes with neither `deny_unknown_fields`
// nor the places of errors.

/// What several sites are behind: the NAT and the link of their carrier.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Carrier {
    /// Name of the carrier, unlike that of any network.
    pub name: String,
    /// Its NAT, by name or as a table. Default: `carrier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<NamedOr<NatTable>>,
    /// A firewall, inside the NAT, by name or as a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<NamedOr<FirewallTable>>,
    /// The link, in both directions. Default: `perfect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkName>,
    /// What differs from `link` towards the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<LinkTable>,
    /// What differs from `link` from the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<LinkTable>,
}

/// The STUN and TURN server on the internet between the sites.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Which program: the one in the harness, or coturn.
    pub server: TurnServer,
    /// How clients can reach it for TURN: `udp` and `tcp` on port 3478, `tls` on port 443. STUN is always there.
    #[schemars(length(min = 1, max = 3))]
    pub transports: Vec<RelayTransport>,
    /// What the bundled server does wrong, such as `drop-first-response`.
    pub misbehave: Vec<Flaw>,
    /// The credential that the peers are given. A network that needs a relay must fail with any but a valid one.
    pub credential: Credential,
}

/// A TURN credential.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// One that the server accepts.
    #[default]
    Valid,
    /// One whose password is wrong.
    Wrong,
    /// A time-limited one whose time is over.
    Expired,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            server: TurnServer::default(),
            transports: vec![RelayTransport::Udp, RelayTransport::Tcp, RelayTransport::Tls],
            misbehave: Vec::new(),
            credential: Credential::default(),
        }
    }
}
