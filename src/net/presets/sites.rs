//! Kinds of sites by name.

use super::{Name, UnknownName, firewalls, nats};
use crate::net::spec::{Filtering, FirewallSpec, Ipv4Prefix, Layer, is_public};

/// Kinds that are not just a NAT or a firewall.
const KINDS: &[Kind] = &[
    Kind {
        name: Name { name: "open", aliases: &["public"], about: "hosts on the internet, without NAT and firewall" },
        layers: |lan| made_public(lan, Vec::new()),
    },
    Kind {
        name: Name {
            name: "stateful-public",
            aliases: &["stateful", "rfc6092"],
            about: "public hosts behind a stateful firewall",
        },
        layers: |lan| made_public(lan, vec![Layer::Firewall(FirewallSpec::default())]),
    },
    Kind {
        name: Name { name: "cgn", aliases: &["nat444"], about: "a port-restricted home behind a carrier's NAT" },
        layers: |_| vec![home(), Layer::Nat(nats::carrier())],
    },
    Kind {
        name: Name { name: "cgn-symmetric", aliases: &[], about: "a port-restricted home behind a symmetric carrier" },
        layers: |_| vec![home(), Layer::Nat(nats::symmetric())],
    },
    Kind {
        name: Name {
            name: "cgn-arbitrary-pooling",
            aliases: &[],
            about: "a port-restricted home behind a carrier with another outside address for every destination",
        },
        layers: |_| vec![home(), Layer::Nat(nats::arbitrary_pooling())],
    },
];

struct Kind {
    name: Name,
    layers: fn(Ipv4Prefix) -> Vec<Layer>,
}

/// All names, each once.
pub(super) fn names() -> impl Iterator<Item = Name> {
    let kinds = || KINDS.iter().map(|kind| kind.name);
    let nats = nats::PRESETS.iter().map(|preset| preset.name);
    let firewalls = firewalls::PRESETS.iter().map(|preset| preset.name);
    let others = nats.chain(firewalls).filter(move |name| kinds().all(|kind| kind.name != name.name));
    kinds().chain(others)
}

pub(super) fn layers(kind: &str, lan: Ipv4Prefix) -> Result<Vec<Layer>, UnknownName> {
    if let Some(kind) = KINDS.iter().find(|known| known.name.is(kind)) {
        return Ok((kind.layers)(lan));
    }
    if let Some(preset) = nats::PRESETS.iter().find(|preset| preset.name.is(kind)) {
        return Ok(vec![Layer::Nat((preset.make)())]);
    }
    let preset = firewalls::PRESETS.iter().find(|preset| preset.name.is(kind));
    let preset = preset.ok_or_else(|| UnknownName::new("kind of network", kind, names()))?;
    Ok(vec![Layer::Firewall((preset.make)()), home()])
}

fn home() -> Layer {
    Layer::Nat(nats::cone(Filtering::AddressAndPortDependent))
}

fn made_public(lan: Ipv4Prefix, mut layers: Vec<Layer>) -> Vec<Layer> {
    if !is_public(lan.network().into()) {
        layers.push(Layer::Nat(nats::one_to_one()));
    }
    layers
}
