//! From the words of the format to what the model takes.

use std::net::Ipv6Addr;

use super::link::LinkTable;
use super::preset::{LinkName, NamedOr};
use super::{Carrier, Ipv6, Site};
use crate::net::presets::{self, UnknownName};
use crate::net::spec::{
    CarrierSpec, FirewallSpec, Ipv4Prefix, Ipv6Prefix, Ipv6Spec, Layer, LinkSpec, NatKind, SiteSpec,
};

/// What cannot be converted.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The key of the site or carrier that is wrong; empty for the whole.
    pub(super) key: &'static str,
    /// What is wrong with it.
    pub(super) message: String,
}

/// Where a site stands in a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    /// Its IPv4 prefix.
    pub(crate) lan: Ipv4Prefix,
    /// Its number among the sites, from 1.
    pub(crate) number: u16,
    /// How many peers live there.
    pub(crate) peers: u16,
}

/// The site under a name and at an address of its own.
pub(crate) fn site_spec(site: &Site, name: &str, address: Address) -> Result<SiteSpec, Fault> {
    let mut spec = match &site.preset {
        Some(kind) => presets::site(&kind.0, name, address.lan).map_err(|error| unknown("preset", &error))?,
        None => SiteSpec::new(name, address.lan, layers(site)?),
    };
    // Without an outside address of its own, a peer behind a one-to-one NAT could not be made at all.
    for layer in &mut spec.layers {
        if let Layer::Nat(nat) = layer
            && nat.kind == NatKind::OneToOne
        {
            nat.addresses = nat.addresses.max(address.peers);
        }
    }
    (spec.up, spec.down) = links(site.link.as_ref(), site.up.as_ref(), site.down.as_ref())?;
    let edge = match site.ipv6 {
        Ipv6::None => None,
        Ipv6::Stateful => Some(Some(FirewallSpec::default())),
        Ipv6::Open => Some(None),
    };
    let prefix = Ipv6Prefix::new(Ipv6Addr::new(0x2a0f, address.number, 0, 0, 0, 0, 0, 0), 64);
    spec.ipv6 = edge.map(|edge| Ipv6Spec { prefix, edge });
    (spec.isolated, spec.behind) = (site.isolated, site.behind.clone());
    match spec.problem() {
        Some(problem) => Err(Fault { key: "", message: problem.into() }),
        None => Ok(spec),
    }
}

/// The carrier.
pub(crate) fn carrier_spec(carrier: &Carrier) -> Result<CarrierSpec, Fault> {
    let nat = carrier.nat.clone().unwrap_or_else(|| NamedOr::Name("carrier".into()));
    let mut layers = Vec::new();
    if let Some(firewall) = &carrier.firewall {
        layers.push(Layer::Firewall(firewall.spec().map_err(|error| unknown("firewall", &error))?));
    }
    layers.push(Layer::Nat(nat.spec().map_err(|error| unknown("nat", &error))?));
    let (up, down) = links(carrier.link.as_ref(), carrier.up.as_ref(), carrier.down.as_ref())?;
    let spec = CarrierSpec { name: carrier.name.clone(), layers, up, down };
    match spec.problem() {
        Some(problem) => Err(Fault { key: "", message: problem.into() }),
        None => Ok(spec),
    }
}

/// A firewall stands inside the NAT, as in an office.
fn layers(site: &Site) -> Result<Vec<Layer>, Fault> {
    let mut layers = Vec::new();
    let nat = site.nat.clone().unwrap_or_else(|| NamedOr::Name("port-restricted".into()));
    if let Some(firewall) = &site.firewall {
        layers.push(Layer::Firewall(firewall.spec().map_err(|error| unknown("firewall", &error))?));
    }
    layers.push(Layer::Nat(nat.spec().map_err(|error| unknown("nat", &error))?));
    Ok(layers)
}

fn links(
    profile: Option<&LinkName>,
    up: Option<&LinkTable>,
    down: Option<&LinkTable>,
) -> Result<(LinkSpec, LinkSpec), Fault> {
    let name = profile.map_or("perfect", |profile| &profile.0);
    let access = presets::link(name).map_err(|error| unknown("link", &error))?;
    let on = |key, table: Option<&LinkTable>, profile: LinkSpec| match table {
        Some(table) => table.on(&profile).map_err(|message| Fault { key, message }),
        None => Ok(profile),
    };
    Ok((on("up", up, access.up)?, on("down", down, access.down)?))
}

fn unknown(key: &'static str, error: &UnknownName) -> Fault {
    Fault { key, message: error.to_string() }
}
