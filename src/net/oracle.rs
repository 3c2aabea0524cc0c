//! The path that two peers behind given networks must find, with the reason: what a test of NAT traversal is judged by.
//!
//! ICE (RFC 8445) with host, server-reflexive, peer-reflexive and relayed candidates. The rule for a pair of NATs reduces
//! each side to its mapping and its filtering (RFC 4787):
//!
//! 1. both mappings are endpoint-independent: direct, since each end knows the other's outside endpoint beforehand;
//! 2. one mapping depends on the destination: its packets come from an endpoint that nobody has announced, at an announced
//!    address. Direct if the other side's filtering lets that in, by address or altogether;
//! 3. both depend on it: each end answers from yet another endpoint than the one that was asked, so that no check succeeds
//!    (RFC 8445, section 7.2.5.2.1): relayed, unless one mapping depends on the address alone, one side does not filter, and
//!    the other filters by address at most.

use std::fmt::{self, Display, Formatter};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{CarrierSpec, Filtering, Hairpin, Layer, Mapping, NatSpec, Pooling, SiteSpec};

/// One end of a call, as its network makes it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The site.
    pub site: &'a SiteSpec,
    /// The carrier that the site is behind.
    pub carrier: Option<&'a CarrierSpec>,
}

/// What ICE agents are given to work with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Means {
    /// Whether there is a STUN server, or a TURN server that does as well over UDP.
    pub reflexive: bool,
    /// TURN servers: how clients reach them, and on which port.
    pub legs: Vec<Leg>,
    /// Whether only relayed candidates may be used (W3C `iceTransportPolicy`).
    pub relay_only: bool,
}

/// A way to a TURN server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Leg {
    /// The transport between client and server.
    pub transport: RelayTransport,
    /// The server's port.
    pub port: u16,
}

/// The transport between a client and its TURN server (W3C `RTCIceServerTransportProtocol`), the preferred one first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// What must happen, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expectation {
    /// What must happen.
    pub route: Route,
    /// Why, in a sentence without its full stop.
    pub reason: String,
}

/// The path between two ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Route {
    /// No relay takes part.
    Direct,
    /// Through a relay of one end or of each. Whose is used may differ from run to run; how its owner reaches it may not.
    Relayed {
        /// How the first end reaches its relay; absent: it cannot, and the other end's is used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<RelayTransport>,
        /// How the second end reaches its relay; absent: it cannot, and the first end's is used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<RelayTransport>,
    },
    /// None: with these means the ends cannot meet.
    None,
}

/// What must happen between two ends with these means.
pub fn expect(first: End<'_>, second: End<'_>, means: &Means) -> Expectation {
    if means.relay_only {
        return relayed([first, second], means, "only relayed candidates are allowed".into());
    }
    match direct(first, second, means) {
        Ok(reason) => Expectation { route: Route::Direct, reason },
        Err(reason) => relayed([first, second], means, reason),
    }
}

/// Whether no relay is needed, with the reason for either.
fn direct(first: End<'_>, second: End<'_>, means: &Means) -> Result<String, String> {
    if first.site.name == second.site.name && !first.site.isolated {
        return Ok("both are in one network and reach each other's host candidates".into());
    }
    for (end, other) in [(first, second), (second, first)] {
        if end.udp() != UdpReach::Everywhere {
            return Err(format!("{} lets no UDP out to {}", end.site.name, other.site.name));
        }
    }
    if first.has_ipv6() && second.has_ipv6() {
        return Ok("both have IPv6, where nothing is translated and both sides punch their firewalls".into());
    }
    if let Some(Hairpin::None | Hairpin::Internal) = first.shared_nat(second).map(|nat| nat.hairpin) {
        return Err("both are behind one NAT that does not hairpin with the outside source".into());
    }
    let ((mapping_1, filtering_1), (mapping_2, filtering_2)) = (first.reduce(), second.reduce());
    let both_public = first.is_public() && second.is_public();
    if !means.reflexive && !both_public {
        return reflexiveless(first, second);
    }
    let fixed = Mapping::EndpointIndependent;
    match (mapping_1 == fixed, mapping_2 == fixed) {
        (true, true) => Ok("both mappings are endpoint-independent: simultaneous checks open both filters".into()),
        (false, true) => one_dependent(first, second, filtering_2),
        (true, false) => one_dependent(second, first, filtering_1),
        (false, false) => both_dependent(first, second),
    }
}

/// Rule 3: a check gets through to the announced endpoint if that filters nothing, and one back to where it came from if
/// that filters by address. One of the two ends must then answer from where it was asked, as it does if it maps by address.
fn both_dependent(first: End<'_>, second: End<'_>) -> Result<String, String> {
    let ((mapping_1, filtering_1), (mapping_2, filtering_2)) = (first.reduce(), second.reduce());
    let answers = [mapping_1, mapping_2].contains(&Mapping::AddressDependent);
    let open = filtering_1.min(filtering_2) == Filtering::EndpointIndependent;
    let by_address = filtering_1.max(filtering_2) != Filtering::AddressAndPortDependent;
    if answers && open && by_address && !first.pools_arbitrarily() && !second.pools_arbitrarily() {
        Ok("one end maps by address, and the filters let in what comes from there".into())
    } else {
        Err("both mappings depend on the destination: neither end can announce the endpoint that it uses".into())
    }
}

/// Rule 2: `dependent` has the mapping that depends on the destination, `filtering` is the other end's.
fn one_dependent(dependent: End<'_>, other: End<'_>, filtering: Filtering) -> Result<String, String> {
    let (dependent_name, other_name) = (&dependent.site.name, &other.site.name);
    match filtering {
        Filtering::EndpointIndependent => Ok(format!("{other_name} accepts packets from everywhere")),
        Filtering::AddressDependent if dependent.pools_arbitrarily() => {
            Err(format!("{dependent_name} sends from an address that {other_name} has never sent to"))
        }
        Filtering::AddressDependent => {
            Ok(format!("{dependent_name} uses another port for each destination, and {other_name} filters by address"))
        }
        Filtering::AddressAndPortDependent => Err(format!(
            "{dependent_name} uses another port for each destination, which {other_name} has never sent to"
        )),
    }
}

/// Without server-reflexive candidates only an end whose host candidate can be reached helps.
fn reflexiveless(first: End<'_>, second: End<'_>) -> Result<String, String> {
    for (end, other) in [(first, second), (second, first)] {
        if end.is_public() && end.reduce().1 == Filtering::EndpointIndependent {
            return Ok(format!("{} can be reached at its host candidate by {}", end.site.name, other.site.name));
        }
    }
    Err("without a STUN server no end learns its outside address".into())
}

fn relayed(ends: [End<'_>; 2], means: &Means, why: String) -> Expectation {
    let legs = ends.map(|end| end.leg(means));
    // A relayed candidate takes UDP from addresses that its owner permits: from the other end's known address, or from
    // the relay of the other end.
    let reaches = |end: End<'_>| end.udp() == UdpReach::Everywhere && !end.pools_arbitrarily() && !means.relay_only;
    let usable = |own: usize| legs[own].is_some() && (legs[1 - own].is_some() || reaches(ends[1 - own]));
    let [first, second] = [0, 1].map(|own| legs[own].filter(|_| usable(own)));
    if first.is_none() && second.is_none() {
        let reason = format!("{why}, and no TURN server can be reached that would help");
        return Expectation { route: Route::None, reason };
    }
    Expectation { route: Route::Relayed { first, second }, reason: why }
}

/// How far UDP from a site goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UdpReach {
    Everywhere,
    SomePorts,
}

impl<'a> End<'a> {
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.site.layers.iter().chain(self.carrier.into_iter().flat_map(|carrier| &carrier.layers))
    }

    fn firewalls(&self) -> impl Iterator<Item = &super::spec::FirewallSpec> {
        self.layers().filter_map(|layer| match layer {
            Layer::Firewall(firewall) => Some(firewall),
            Layer::Nat(_) => None,
        })
    }

    fn udp(&self) -> UdpReach {
        let everywhere = self.firewalls().all(|firewall| firewall.udp.ports.is_none());
        if everywhere { UdpReach::Everywhere } else { UdpReach::SomePorts }
    }

    /// Whether UDP can leave to every address and port, as it must on any path but one over a relay of this end's own.
    pub fn lets_udp_out(&self) -> bool {
        self.udp() == UdpReach::Everywhere
    }

    /// Whether UDP can leave over IPv6 as well.
    fn has_ipv6(&self) -> bool {
        let edge = self.site.ipv6.as_ref().map(|ipv6| ipv6.edge.as_ref());
        edge.is_some_and(|edge| edge.is_none_or(|edge| edge.udp.ports.is_none()))
    }

    /// The outermost NAT that both ends are behind: it would have to send packets between its own outside endpoints.
    fn shared_nat(self, other: Self) -> Option<&'a NatSpec> {
        let site = if self.site.name == other.site.name { &self.site.layers[..] } else { &[] };
        let carrier = match (self.carrier, other.carrier) {
            (Some(one), Some(other)) if one.name == other.name => &one.layers[..],
            _ => &[],
        };
        carrier.iter().rev().chain(site.iter().rev()).find_map(|layer| match layer {
            Layer::Nat(nat) => Some(nat),
            Layer::Firewall(_) => None,
        })
    }

    /// The way to a TURN server that ICE prefers among those that the site's firewalls let through.
    pub fn leg(&self, means: &Means) -> Option<RelayTransport> {
        let passes = |leg: &&Leg| {
            self.firewalls().all(|firewall| match leg.transport {
                RelayTransport::Udp => firewall.udp.allows(leg.port),
                RelayTransport::Tcp => firewall.tcp.allows(leg.port) && !firewall.tls_only,
                RelayTransport::Tls => firewall.tcp.allows(leg.port),
            })
        };
        means.legs.iter().filter(passes).map(|leg| leg.transport).min()
    }

    fn reduce(&self) -> (Mapping, Filtering) {
        self.site.reduce(self.carrier)
    }

    /// Whether packets to another destination may come from another address.
    fn pools_arbitrarily(&self) -> bool {
        self.layers().any(|layer| {
            matches!(layer, Layer::Nat(nat) if nat.pooling == Pooling::Arbitrary && nat.addresses > 1
                && nat.mapping != Mapping::EndpointIndependent)
        })
    }

    fn is_public(&self) -> bool {
        self.layers().all(|layer| matches!(layer, Layer::Firewall(_)))
    }
}

impl RelayTransport {
    /// The name in W3C statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The transport with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls].into_iter().find(|transport| transport.name() == name)
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::None => f.write_str("none"),
            Self::Relayed { first, second } => {
                f.write_str("relay ")?;
                match (first, second) {
                    (Some(one), Some(other)) if one == other => f.write_str(one.name()),
                    (Some(one), Some(other)) => write!(f, "{}/{}", one.name(), other.name()),
                    (Some(one), None) | (None, Some(one)) => f.write_str(one.name()),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
