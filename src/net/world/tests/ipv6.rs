//! IPv6: no translation, but a customer edge (RFC 6092).

use super::*;
use crate::net::spec::{FirewallSpec, Ipv6Spec};

const HOST: &str = "[2a0f:1::2]:5000";
const SERVER: &str = "[2a0f:ff::1]:3478";

fn bed(kind: &str, edge: Option<FirewallSpec>) -> (Bed, SiteId, HostId, HostId) {
    let mut bed = Bed::new();
    let ipv6 = Some(Ipv6Spec { prefix: "2a0f:1::/64".parse().unwrap(), edge });
    let site = bed.world.add_site(&SiteSpec { ipv6, ..site(kind, 1) }).unwrap();
    let host = bed.world.add_host(site, &[ip("192.168.1.2"), ip("2a0f:1::2")]).unwrap();
    let server = bed.world.add_public_host(&[ip("2a0f:ff::1")]).unwrap();
    (bed, site, host, server)
}

#[test]
fn the_edge_lets_answers_in_and_nothing_else() {
    let (mut bed, site, host, server) = bed("symmetric", Some(FirewallSpec::default()));
    bed.send(server, SERVER, HOST);
    assert_eq!(bed.dropped(site, DropReason::Unsolicited), 1);
    bed.send(host, HOST, SERVER);
    assert_eq!(bed.received(server)[0].source, at(HOST));
    bed.send(server, SERVER, HOST);
    assert_eq!(bed.received(host)[0].destination, at(HOST));
    // The other family has its NAT as before.
    assert_ne!(bed.mapped(host, "192.168.1.2:5000").port(), 5000);
}

#[test]
fn without_an_edge_everything_comes_in() {
    let (mut bed, _, host, server) = bed("symmetric", None);
    bed.send(server, SERVER, HOST);
    assert_eq!(bed.received(host).len(), 1);
}

#[test]
fn a_firewall_among_the_layers_sees_ipv6_too() {
    let (mut bed, site, host, _) = bed("udp-rejected", None);
    bed.send(host, HOST, SERVER);
    let answer = bed.received(host).pop().unwrap();
    assert_eq!((answer.source.ip(), answer.destination.ip()), (ip("2a0f:1::1"), ip("2a0f:1::2")));
    assert_eq!(bed.dropped(site, DropReason::Forbidden), 1);
}

#[test]
fn an_address_of_the_prefix_that_nobody_has_does_not_leave() {
    let (mut bed, site, host, _) = bed("full-cone", None);
    bed.send(host, HOST, "[2a0f:1::9]:1");
    assert_eq!(bed.dropped(site, DropReason::NoSuchHost), 1);
}

#[test]
fn a_home_behind_a_carrier_is_reached_by_ipv6() {
    let mut bed = Bed::new();
    let nat = Layer::Nat(NatSpec::default());
    let carrier =
        CarrierSpec { name: "carrier".into(), layers: vec![nat], up: Default::default(), down: Default::default() };
    bed.world.add_carrier(&carrier).unwrap();
    let ipv6 = Some(Ipv6Spec { prefix: "2a0f:1::/64".parse().unwrap(), edge: None });
    let spec = SiteSpec { ipv6, behind: Some("carrier".into()), ..site("home", 1) };
    let site = bed.world.add_site(&spec).unwrap();
    let host = bed.world.add_host(site, &[ip("2a0f:1::2")]).unwrap();
    let server = bed.world.add_public_host(&[ip("2a0f:ff::1")]).unwrap();
    bed.send(server, SERVER, HOST);
    assert_eq!(bed.received(host).len(), 1);
}
