//! The rules, pair by pair.

use super::*;
use crate::net::spec::{FirewallSpec, PortRule, Refusal};

fn nat(mapping: Mapping, filtering: Filtering) -> Vec<Layer> {
    vec![Layer::Nat(NatSpec { mapping, filtering, ..NatSpec::default() })]
}

fn site(name: &str, layers: Vec<Layer>) -> SiteSpec {
    SiteSpec::new(name, "192.168.1.0/24".parse().expect("a prefix"), layers)
}

fn udp_blocked() -> SiteSpec {
    let firewall = FirewallSpec { udp: PortRule::none(Refusal::Drop), ..FirewallSpec::default() };
    let mut layers = nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
    layers.push(Layer::Firewall(firewall));
    site("udp-blocked", layers)
}

fn tls_only() -> SiteSpec {
    let firewall = FirewallSpec {
        udp: PortRule::none(Refusal::Drop),
        tcp: PortRule::only([443]),
        tls_only: true,
        ..FirewallSpec::default()
    };
    let mut layers = nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
    layers.push(Layer::Firewall(firewall));
    site("tls-443-only", layers)
}

/// The classes of a pair table, in its order.
fn classes() -> Vec<SiteSpec> {
    use Filtering as F;
    use Mapping as M;
    vec![
        site("full", nat(M::EndpointIndependent, F::EndpointIndependent)),
        site("addr", nat(M::EndpointIndependent, F::AddressDependent)),
        site("port", nat(M::EndpointIndependent, F::AddressAndPortDependent)),
        site("adm", nat(M::AddressDependent, F::AddressAndPortDependent)),
        site("symm", nat(M::AddressAndPortDependent, F::AddressAndPortDependent)),
        udp_blocked(),
        tls_only(),
    ]
}

fn everything() -> Means {
    let leg = |transport, port| Leg { transport, port };
    let legs = vec![leg(RelayTransport::Udp, 3478), leg(RelayTransport::Tcp, 3478), leg(RelayTransport::Tls, 443)];
    Means { reflexive: true, legs, relay_only: false }
}

fn route(first: &SiteSpec, second: &SiteSpec, means: &Means) -> String {
    let end = |site| End { site, carrier: None };
    expect(end(first), end(second), means).route.to_string()
}

fn table(means: &Means) -> Vec<String> {
    let classes = classes();
    let row = |first: &SiteSpec| {
        let cells: Vec<_> = classes.iter().map(|second| route(first, &renamed(second), means)).collect();
        format!("{:12} {}", first.name, cells.join(", "))
    };
    classes.iter().map(row).collect()
}

/// The same network, elsewhere.
fn renamed(of: &SiteSpec) -> SiteSpec {
    SiteSpec { name: format!("other-{}", of.name), ..of.clone() }
}

#[test]
fn every_pair_of_classes_takes_the_path_that_was_measured() {
    // Measured with real browsers and with an ICE of its own over kernel NATs; the same in both.
    assert_eq!(
        table(&everything()),
        [
            "full         direct, direct, direct, direct, direct, relay udp/tcp, relay udp/tls",
            "addr         direct, direct, direct, direct, direct, relay udp/tcp, relay udp/tls",
            "port         direct, direct, direct, relay udp, relay udp, relay udp/tcp, relay udp/tls",
            "adm          direct, direct, relay udp, relay udp, relay udp, relay udp/tcp, relay udp/tls",
            "symm         direct, direct, relay udp, relay udp, relay udp, relay udp/tcp, relay udp/tls",
            "udp-blocked  relay tcp/udp, relay tcp/udp, relay tcp/udp, relay tcp/udp, relay tcp/udp, relay tcp, relay tcp/tls",
            "tls-443-only relay tls/udp, relay tls/udp, relay tls/udp, relay tls/udp, relay tls/udp, relay tls/tcp, relay tls",
        ]
    );
}

#[test]
fn without_a_tls_leg_the_strictest_network_cannot_connect() {
    let mut means = everything();
    means.legs.retain(|leg| leg.transport != RelayTransport::Tls);
    for other in classes() {
        assert_eq!(route(&tls_only(), &renamed(&other), &means), "none", "{}", other.name);
    }
    assert_eq!(route(&udp_blocked(), &renamed(&classes()[0]), &means), "relay tcp/udp");
}

#[test]
fn without_turn_only_direct_paths_are_left() {
    let means = Means { reflexive: true, ..Means::default() };
    let [full, .., symm, blocked, _] = &classes()[..] else { panic!("seven classes") };
    assert_eq!(route(full, symm, &means), "direct");
    assert_eq!(route(symm, &renamed(symm), &means), "none");
    assert_eq!(route(full, blocked, &means), "none");
}

#[test]
fn relay_only_is_relayed_even_where_direct_would_do() {
    let means = Means { relay_only: true, ..everything() };
    assert_eq!(route(&classes()[0], &classes()[1], &means), "relay udp");
}

#[test]
fn a_network_without_stun_is_reached_only_by_host_candidates() {
    let means = Means { reflexive: false, ..Means::default() };
    let (open, full) = (site("open", vec![]), &classes()[0]);
    assert_eq!(route(&open, full, &means), "direct");
    assert_eq!(route(&classes()[1], full, &means), "none");
}

#[test]
fn two_homes_behind_one_carrier_depend_on_its_hairpinning() {
    let home = |name: &str| SiteSpec {
        behind: Some("carrier".into()),
        ..site(name, nat(Mapping::EndpointIndependent, Filtering::EndpointIndependent))
    };
    let (one, other) = (home("one"), home("other"));
    for (hairpin, expected) in
        [(Hairpin::External, "direct"), (Hairpin::Internal, "relay udp"), (Hairpin::None, "relay udp")]
    {
        let carrier = CarrierSpec {
            name: "carrier".into(),
            layers: vec![Layer::Nat(NatSpec { hairpin, ..NatSpec::default() })],
            up: Default::default(),
            down: Default::default(),
        };
        let end = |site| End { site, carrier: Some(&carrier) };
        assert_eq!(expect(end(&one), end(&other), &everything()).route.to_string(), expected, "{hairpin:?}");
    }
}

#[test]
fn symmetric_homes_need_a_relay_even_behind_a_carrier_that_hairpins() {
    let home = |name: &str| SiteSpec {
        behind: Some("carrier".into()),
        ..site(name, nat(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent))
    };
    let carrier = CarrierSpec {
        name: "carrier".into(),
        layers: vec![Layer::Nat(NatSpec { hairpin: Hairpin::External, ..NatSpec::default() })],
        up: Default::default(),
        down: Default::default(),
    };
    let (one, other) = (home("one"), home("other"));
    let end = |site| End { site, carrier: Some(&carrier) };
    assert_eq!(expect(end(&one), end(&other), &everything()).route.to_string(), "relay udp");
}

#[test]
fn two_mappings_by_destination_meet_only_where_one_is_by_address_and_filters_are_open() {
    use Filtering as F;
    use Mapping as M;
    let kind = |mapping, filtering| site("a", nat(mapping, filtering));
    let adm_eif = kind(M::AddressDependent, F::EndpointIndependent);
    for (other, expected) in [
        (kind(M::AddressAndPortDependent, F::AddressDependent), "direct"),
        (kind(M::AddressAndPortDependent, F::AddressAndPortDependent), "relay udp"),
    ] {
        assert_eq!(route(&adm_eif, &renamed(&other), &everything()), expected, "{other:?}");
    }
    let apdm_eif = kind(M::AddressAndPortDependent, F::EndpointIndependent);
    assert_eq!(route(&apdm_eif, &renamed(&apdm_eif), &everything()), "relay udp");
}

#[test]
fn ipv6_is_direct_where_udp_passes_at_all() {
    let with_ipv6 = |site: SiteSpec, edge: Option<FirewallSpec>| {
        let prefix = "2a0f:1::/64".parse().expect("a prefix");
        SiteSpec { ipv6: Some(crate::net::spec::Ipv6Spec { prefix, edge }), ..site }
    };
    let symmetric = || site("s", nat(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent));
    let one = with_ipv6(symmetric(), Some(FirewallSpec::default()));
    assert_eq!(route(&one, &renamed(&one), &everything()), "direct");
    assert_eq!(route(&one, &renamed(&symmetric()), &everything()), "relay udp");
    let edge = FirewallSpec { udp: PortRule::none(Refusal::Drop), ..FirewallSpec::default() };
    assert_eq!(route(&one, &renamed(&with_ipv6(symmetric(), Some(edge))), &everything()), "relay udp");
    assert_eq!(route(&one, &with_ipv6(udp_blocked(), None), &everything()), "relay udp/tcp");
}

#[test]
fn one_network_is_direct_unless_its_hosts_are_kept_apart() {
    let lan = site("lan", nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent));
    assert_eq!(route(&lan, &lan, &everything()), "direct");
    let apart = SiteSpec { isolated: true, ..lan };
    assert_eq!(route(&apart, &apart, &everything()), "relay udp");
}

#[test]
fn an_address_picked_at_random_defeats_a_filter_by_address() {
    let carrier = NatSpec {
        mapping: Mapping::AddressAndPortDependent,
        pooling: Pooling::Arbitrary,
        addresses: 4,
        ..NatSpec::default()
    };
    let random = site("random", vec![Layer::Nat(carrier)]);
    let [full, addr, ..] = &classes()[..] else { panic!("seven classes") };
    assert_eq!(route(&random, full, &everything()), "direct");
    assert_eq!(route(&random, addr, &everything()), "relay udp");
}

#[test]
fn every_expectation_has_a_reason() {
    for first in classes() {
        for second in classes() {
            let end = |site| End { site, carrier: None };
            let reason = expect(end(&first), end(&renamed(&second)), &everything()).reason;
            assert!(reason.len() > 20 && !reason.ends_with('.'), "{reason}");
        }
    }
}
