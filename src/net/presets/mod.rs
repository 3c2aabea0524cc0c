//! Names that people know for networks, and what they stand for.

mod firewalls;
mod links;
mod nats;
mod sites;

use super::spec::{FirewallSpec, Ipv4Prefix, LinkSpec, NatSpec, SiteSpec};

/// Both directions of an access link.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Towards the internet.
    pub up: LinkSpec,
    /// From the internet.
    pub down: LinkSpec,
}

/// One name, and what is to be known about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Name {
    /// The name.
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// What it stands for, in a few words.
    pub about: &'static str,
}

/// A name that nothing has.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown {kind} {name:?}; {}", self.hint())]
pub struct UnknownName {
    /// What was looked for.
    pub kind: &'static str,
    /// What was asked for.
    pub name: String,
    /// The names that it is most like, the likeliest first; all names if it is like none.
    pub near: Vec<&'static str>,
}

/// A name with a way to make what it stands for.
struct Preset<T> {
    name: Name,
    make: fn() -> T,
}

/// The NAT with this name.
pub fn nat(name: &str) -> Result<NatSpec, UnknownName> {
    find("NAT", nats::PRESETS, name)
}

/// The firewall with this name.
pub fn firewall(name: &str) -> Result<FirewallSpec, UnknownName> {
    find("firewall", firewalls::PRESETS, name)
}

/// The access link with this name.
pub fn link(name: &str) -> Result<Access, UnknownName> {
    find("link", links::PRESETS, name)
}

/// A site of the kind with this name, with links that do nothing. The name of any NAT or firewall is also one of a site: a
/// firewall stands inside a port-restricted NAT, as in an office.
///
/// Where the kind has no NAT and the LAN is private, as it must be in some drivers, a one-to-one NAT makes the hosts
/// reachable and changes nothing else.
pub fn site(kind: &str, name: impl Into<String>, lan: Ipv4Prefix) -> Result<SiteSpec, UnknownName> {
    Ok(SiteSpec::new(name, lan, sites::layers(kind, lan)?))
}

/// The names of all NATs.
pub fn nats() -> impl Iterator<Item = Name> {
    nats::PRESETS.iter().map(|preset| preset.name)
}

/// The names of all firewalls.
pub fn firewalls() -> impl Iterator<Item = Name> {
    firewalls::PRESETS.iter().map(|preset| preset.name)
}

/// The names of all access links.
pub fn links() -> impl Iterator<Item = Name> {
    links::PRESETS.iter().map(|preset| preset.name)
}

/// The names of all kinds of sites.
pub fn sites() -> impl Iterator<Item = Name> {
    sites::names()
}

impl Name {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

impl UnknownName {
    fn new(kind: &'static str, name: &str, known: impl Iterator<Item = Name>) -> Self {
        let names: Vec<Name> = known.collect();
        let lower = name.to_lowercase().replace(['_', ' '], "-");
        let likeness = |known: &Name| {
            let names = std::iter::once(&known.name).chain(known.aliases);
            names.map(|known| strsim::jaro_winkler(&lower, known)).fold(0.0, f64::max)
        };
        let mut near: Vec<(f64, &'static str)> =
            names.iter().map(|known| (likeness(known), known.name)).filter(|(likeness, _)| *likeness > 0.8).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut near: Vec<&'static str> = near.into_iter().map(|(_, name)| name).take(3).collect();
        if near.is_empty() {
            near = names.iter().map(|known| known.name).collect();
        }
        Self { kind, name: name.to_owned(), near }
    }

    fn hint(&self) -> String {
        match self.near.as_slice() {
            [name] => format!("did you mean {name:?}?"),
            names => format!("is it one of {}?", names.join(", ")),
        }
    }
}

fn find<T>(kind: &'static str, presets: &[Preset<T>], name: &str) -> Result<T, UnknownName> {
    let preset = presets.iter().find(|preset| preset.name.is(name));
    let preset = preset.ok_or_else(|| UnknownName::new(kind, name, presets.iter().map(|preset| preset.name)));
    preset.map(|preset| (preset.make)())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::spec::{Filtering, Layer, Mapping};
    use super::*;

    fn lan() -> Ipv4Prefix {
        "192.168.1.0/24".parse().unwrap()
    }

    #[test]
    fn names_are_unique_and_make_sense() {
        for names in [nats().collect::<Vec<_>>(), firewalls().collect(), links().collect(), sites().collect()] {
            let mut seen = HashSet::new();
            for name in names {
                for word in std::iter::once(&name.name).chain(name.aliases) {
                    assert!(seen.insert(*word), "{word} twice");
                }
            }
        }
        for name in sites() {
            assert_eq!(site(name.name, "a", lan()).unwrap().problem(), None, "{}", name.name);
        }
        for name in links() {
            let access = link(name.name).unwrap();
            let site = SiteSpec { up: access.up, down: access.down, ..SiteSpec::new("a", lan(), Vec::new()) };
            assert_eq!(site.problem(), None, "{}", name.name);
        }
    }

    #[test]
    fn aliases_stand_for_the_same() {
        assert_eq!(nat("eim-apdf"), nat("port-restricted"));
        assert_eq!(firewall("tls443"), firewall("tls-443-only"));
        assert_eq!(site("nat444", "a", lan()), site("cgn", "a", lan()));
    }

    #[test]
    fn unknown_names_come_with_near_ones() {
        let error = nat("port_restricted_cones").unwrap_err();
        assert_eq!(error.near[0], "port-restricted");
        assert!(site("simetric", "a", lan()).unwrap_err().to_string().contains("symmetric"));
        let all = link("qqq").unwrap_err();
        assert_eq!(all.near.len(), links().count());
        assert!(all.to_string().starts_with("unknown link \"qqq\"; is it one of "));
    }

    #[test]
    fn sites_reduce_to_their_class() {
        use Filtering::{AddressAndPortDependent as Apdf, AddressDependent as Adf, EndpointIndependent as Eif};
        use Mapping::{AddressAndPortDependent as Apdm, AddressDependent as Adm, EndpointIndependent as Eim};
        for (name, class) in [
            ("open", (Eim, Eif)),
            ("stateful-public", (Eim, Apdf)),
            ("full-cone", (Eim, Eif)),
            ("address-restricted", (Eim, Adf)),
            ("port-restricted", (Eim, Apdf)),
            ("address-symmetric", (Adm, Apdf)),
            ("symmetric", (Apdm, Apdf)),
            ("cgn", (Eim, Apdf)),
            ("cgn-symmetric", (Apdm, Apdf)),
            ("one-to-one", (Eim, Eif)),
            ("naive-masquerade", (Eim, Apdf)),
            ("udp-blocked", (Eim, Apdf)),
        ] {
            assert_eq!(site(name, "a", lan()).unwrap().reduce(None), class, "{name}");
        }
    }

    #[test]
    fn a_public_lan_needs_no_nat() {
        let public: Ipv4Prefix = "11.5.0.0/24".parse().unwrap();
        assert!(site("open", "a", public).unwrap().layers.is_empty());
        assert!(matches!(site("open", "a", lan()).unwrap().layers[..], [Layer::Nat(_)]));
        let stateful = site("stateful-public", "a", lan()).unwrap();
        assert!(matches!(stateful.layers[..], [Layer::Firewall(_), Layer::Nat(_)]));
    }
}
