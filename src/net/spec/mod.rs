//! What a plan says about networks. Durations are in microseconds, rates in bits per second, shares between 0 and 1.

mod firewall;
mod link;
mod nat;
mod prefix;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use firewall::{FirewallSpec, PortRule, Refusal};
pub use link::{Change, Conditions, LinkSpec, Loss, Mtu, Reorder};
pub use nat::{Filtering, Hairpin, Mapping, NatKind, NatSpec, Pooling, PortAllocation, Refresh};
pub use prefix::{Ipv4Prefix, Ipv6Prefix, PrefixError, is_public};

/// A network with hosts: its LAN, what stands between it and the internet, and its link.
///
/// A packet to the internet passes the layers from the first to the last, then the link `up`, then the carrier's layers and
/// link if there is one. A packet from the internet takes the same way back, with the links `down`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSpec {
    /// Unique in the world.
    pub name: String,
    /// The IPv4 addresses of its hosts. Without a NAT among the layers, they must be public to be reachable.
    pub lan: Ipv4Prefix,
    /// From inside to outside. Of two NATs, the outer one gives the inner one an address in 100.64.0.0/10.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// Towards the internet.
    #[serde(default)]
    pub up: LinkSpec,
    /// From the internet.
    #[serde(default)]
    pub down: LinkSpec,
    /// Absent: IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Spec>,
    /// Whether its hosts cannot reach each other over the LAN.
    #[serde(default)]
    pub isolated: bool,
    /// The carrier that it is behind; absent: it is on the internet itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

/// One thing that stands between a network and the internet.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A NAT. IPv6 passes it unchanged.
    Nat(NatSpec),
    /// A firewall, for IPv4 and IPv6.
    Firewall(FirewallSpec),
}

/// IPv6 of a site.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv6Spec {
    /// The addresses of its hosts, public and unlike those of other sites.
    pub prefix: Ipv6Prefix,
    /// The customer edge (RFC 6092), which sees IPv6 only and stands inside the site's layers; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<FirewallSpec>,
}

/// What several sites share: the NAT and the link of their carrier. Its sites have addresses in 100.64.0.0/10.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CarrierSpec {
    /// Unique in the world; what a site's `behind` refers to.
    pub name: String,
    /// From inside to outside.
    pub layers: Vec<Layer>,
    /// Towards the internet.
    #[serde(default)]
    pub up: LinkSpec,
    /// From the internet.
    #[serde(default)]
    pub down: LinkSpec,
}

impl SiteSpec {
    /// A site on the internet with these layers, IPv4 only, with links that do nothing.
    pub fn new(name: impl Into<String>, lan: Ipv4Prefix, layers: Vec<Layer>) -> Self {
        Self {
            name: name.into(),
            lan,
            layers,
            up: LinkSpec::default(),
            down: LinkSpec::default(),
            ipv6: None,
            isolated: false,
            behind: None,
        }
    }

    /// What the site is to ICE over IPv4, with the carrier that it is behind: see [`reduce`].
    pub fn reduce(&self, carrier: Option<&CarrierSpec>) -> (Mapping, Filtering) {
        reduce(self.layers.iter().chain(carrier.into_iter().flat_map(|carrier| &carrier.layers)))
    }

    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let edge = self.ipv6.as_ref().and_then(|ipv6| ipv6.edge.as_ref());
        (self.lan.length() > 30)
            .then_some("its lan has no room for a router and a host")
            .or_else(|| problem(&self.layers, &self.up, &self.down))
            .or_else(|| edge.and_then(FirewallSpec::problem))
    }
}

impl CarrierSpec {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        problem(&self.layers, &self.up, &self.down)
    }
}

impl Layer {
    /// What the layer is to ICE: its mapping and its filtering.
    pub fn reduce(&self) -> (Mapping, Filtering) {
        match self {
            Self::Nat(nat) => nat.reduce(),
            // A host behind a stateful firewall keeps its endpoint, and hears only from those it has sent to.
            Self::Firewall(FirewallSpec { stateful: true, .. }) => {
                (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
            }
            Self::Firewall(_) => (Mapping::EndpointIndependent, Filtering::EndpointIndependent),
        }
    }
}

/// What layers in a row are to ICE: the strictest mapping and the strictest filtering among them. No layers are as good as
/// endpoint-independent ones. Whether UDP passes at all is for the firewalls' rules to say.
pub fn reduce<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> (Mapping, Filtering) {
    let open = (Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    layers.into_iter().map(Layer::reduce).fold(open, |all, layer| (all.0.max(layer.0), all.1.max(layer.1)))
}

/// The longest duration that makes sense, so that no sum of an instant and a few of them overflows.
const YEAR_US: u64 = 365 * 24 * 3_600 * 1_000_000;

fn is_too_long<const N: usize>(durations_us: [u64; N]) -> bool {
    durations_us.iter().any(|duration_us| *duration_us > YEAR_US)
}

fn problem(layers: &[Layer], up: &LinkSpec, down: &LinkSpec) -> Option<&'static str> {
    let layer = |layer: &Layer| match layer {
        Layer::Nat(nat) => nat.problem(),
        Layer::Firewall(firewall) => firewall.problem(),
    };
    layers.iter().find_map(layer).or_else(|| up.problem()).or_else(|| down.problem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::presets;

    fn site() -> SiteSpec {
        let lan = "192.168.1.0/24".parse().unwrap();
        let nats = presets::nats().map(|name| Layer::Nat(presets::nat(name.name).unwrap()));
        let firewalls = presets::firewalls().map(|name| Layer::Firewall(presets::firewall(name.name).unwrap()));
        let access = presets::link("congested").unwrap();
        let burst = Loss::Burst { ratio: 0.05, mean_burst: 3.0 };
        let odd = Conditions {
            cut: true,
            rate_bps: Some(1),
            jitter_reorders: true,
            loss: burst,
            reorder: Some(Reorder { ratio: 0.1, by_us: 5 }),
            mtu: Some(Mtu { bytes: 1_280, black_hole: true }),
            ..Conditions::default()
        };
        let schedule = vec![Change { at_us: 7, conditions: odd }];
        SiteSpec {
            up: LinkSpec { schedule, ..access.up },
            down: access.down,
            ipv6: Some(Ipv6Spec { prefix: "2a0f:1::/64".parse().unwrap(), edge: Some(FirewallSpec::default()) }),
            behind: Some("carrier".into()),
            ..SiteSpec::new("a", lan, nats.chain(firewalls).collect())
        }
    }

    #[test]
    fn a_plan_reads_back_what_it_wrote() {
        let site = site();
        assert_eq!(toml::from_str::<SiteSpec>(&toml::to_string(&site).unwrap()).unwrap(), site);
        assert_eq!(serde_json::from_value::<SiteSpec>(serde_json::to_value(&site).unwrap()).unwrap(), site);
    }

    #[test]
    fn what_is_left_out_is_ordinary() {
        let short = "name = \"a\"\nlan = \"192.168.1.0/24\"\nlayers = [{ nat = {} }]";
        let lan = "192.168.1.0/24".parse().unwrap();
        assert_eq!(
            toml::from_str::<SiteSpec>(short).unwrap(),
            SiteSpec::new("a", lan, vec![Layer::Nat(NatSpec::default())])
        );
        assert!(toml::from_str::<SiteSpec>(&format!("{short}\nlans = 1")).unwrap_err().to_string().contains("lans"));
    }

    #[test]
    fn what_makes_no_sense_is_found() {
        let lan: Ipv4Prefix = "192.168.1.0/24".parse().unwrap();
        let up = |conditions: Conditions| SiteSpec { up: conditions.into(), ..SiteSpec::new("a", lan, Vec::new()) };
        let nat = |nat: NatSpec| SiteSpec::new("a", lan, vec![Layer::Nat(nat)]);
        let loss = |loss: Loss| up(Conditions { loss, ..Conditions::default() });
        let late = |at_us| Change { at_us, conditions: Conditions::default() };
        let unordered = LinkSpec { schedule: vec![late(2), late(1)], ..LinkSpec::default() };
        let firewall = FirewallSpec { tls_only: true, stateful: false, ..FirewallSpec::default() };
        for (site, problem) in [
            (SiteSpec::new("a", "10.0.0.0/31".parse().unwrap(), Vec::new()), "lan"),
            (nat(NatSpec { first_port: 0, ..NatSpec::default() }), "first_port"),
            (nat(NatSpec { addresses: 0, ..NatSpec::default() }), "no outside address"),
            (nat(NatSpec { udp_lifetime_us: 0, ..NatSpec::default() }), "lifetime is 0"),
            (nat(NatSpec { udp_lifetime_us: u64::MAX, ..NatSpec::default() }), "longer than a year"),
            (SiteSpec::new("a", lan, vec![Layer::Firewall(firewall)]), "tls_only"),
            (up(Conditions { delay_us: u64::MAX, ..Conditions::default() }), "longer than a year"),
            (up(Conditions { rate_bps: Some(0), ..Conditions::default() }), "rate_bps"),
            (up(Conditions { mtu: Some(Mtu { bytes: 60, black_hole: true }), ..Conditions::default() }), "mtu"),
            (up(Conditions { duplicate_ratio: 1.5, ..Conditions::default() }), "duplicate_ratio"),
            (up(Conditions { corrupt_ratio: f64::NAN, ..Conditions::default() }), "corrupt_ratio"),
            (loss(Loss::Random { ratio: -0.1 }), "loss.ratio"),
            (loss(Loss::Burst { ratio: 0.9, mean_burst: 2.0 }), "make mean_burst longer"),
            (loss(Loss::Lengths { mean_good: 0.5, mean_bad: 2.0 }), "mean_good"),
            (SiteSpec { down: unordered, ..SiteSpec::new("a", lan, Vec::new()) }, "order of time"),
        ] {
            let found = site.problem().unwrap_or("nothing");
            assert!(found.contains(problem), "{found} for {problem}");
        }
        assert_eq!(site().problem(), None);
    }
}
