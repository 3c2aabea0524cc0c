//! The networks of a plan, and what each pair of them must come to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Engine, IceTransportPolicy};
use crate::net::oracle::{End, Leg, Means, RelayTransport, Route};
use crate::net::spec::{CarrierSpec, SiteSpec};
use crate::turn::server::Flaw;

/// The networks between the peers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// What brings packets to the networks.
    pub driver: NetworkDriver,
    /// Whether the packets that cross the networks are written to files.
    pub capture: bool,
    /// The STUN and TURN server on the internet between the sites, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnPlan>,
    /// What sites are behind; made before them.
    #[serde(default)]
    pub carriers: Vec<CarrierSpec>,
    /// Networks with peers.
    pub sites: Vec<SiteSpec>,
    /// What runs behind them while the calls do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramPlan>,
}

/// What brings packets to the networks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkDriver {
    /// The sockets of native peers and of the bundled server, without privileges.
    #[default]
    InProcess,
    /// Network namespaces of Linux, for every program.
    Kernel,
}

/// The STUN and TURN server of the networks. Its credential is made for the run, and stands in no file.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TurnPlan {
    /// Which program.
    pub server: TurnServer,
    /// How clients can reach it for TURN; STUN is always there.
    pub transports: Vec<RelayTransport>,
    /// What the bundled server does wrong.
    #[serde(default)]
    pub misbehave: Vec<Flaw>,
    /// What is wrong with the credential that the peers are given; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_fault: Option<CredentialFault>,
}

/// A program that runs behind the networks while the calls do.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramPlan {
    /// Unique in the plan: letters, digits, `-` and `_`.
    pub name: String,
    /// The name of the site that it is in; absent: it has a public address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The program and its arguments. Paths are relative to the working directory.
    pub command: Vec<String>,
}

/// A program that is a STUN and TURN server.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnServer {
    /// The one in the harness.
    #[default]
    Bundled,
    /// coturn's `turnserver`.
    Coturn,
}

/// What is wrong with a TURN credential.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialFault {
    /// The password is not the server's.
    WrongPassword,
    /// It is a time-limited one whose time is over.
    Expired,
}

/// The cell of a matrix that a call belongs to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CellPlan {
    /// The name of the offerer's kind of network: the row.
    pub first: String,
    /// The name of the answerer's kind of network: the column.
    pub second: String,
    /// The kinds of the offerer and of the answerer.
    pub engines: [Engine; 2],
    /// The ICE policy that the call is judged by.
    pub policy: IceTransportPolicy,
    /// The path that the call must find.
    pub expected: Route,
    /// Why that one, in a sentence without its full stop.
    pub reason: String,
}

impl NetworkPlan {
    /// The site with this name, with the carrier that it is behind.
    pub fn end(&self, site: &str) -> Option<End<'_>> {
        let site = self.sites.iter().find(|known| known.name == site)?;
        let carrier = self.carriers.iter().find(|carrier| Some(&carrier.name) == site.behind.as_ref());
        Some(End { site, carrier })
    }

    /// What peers with this policy are given to find a path with. A server that misbehaves or a credential that is wrong
    /// takes nothing away: the calls that need it must fail.
    pub fn means(&self, policy: IceTransportPolicy) -> Means {
        Means {
            reflexive: self.turn.is_some(),
            legs: self.turn.as_ref().map_or_else(Vec::new, TurnPlan::legs),
            relay_only: policy == IceTransportPolicy::Relay,
        }
    }
}

impl TurnPlan {
    /// The ways to the server, with their ports.
    pub fn legs(&self) -> Vec<Leg> {
        self.transports.iter().map(|transport| Self::leg(*transport)).collect()
    }

    /// The way to a server of the lab over a transport. TLS is on the port of HTTPS, the only one that strict firewalls
    /// let through; the others are on the port of RFC 8656.
    pub fn leg(transport: RelayTransport) -> Leg {
        let port = match transport {
            RelayTransport::Udp | RelayTransport::Tcp => 3478,
            RelayTransport::Tls => 443,
        };
        Leg { transport, port }
    }
}
