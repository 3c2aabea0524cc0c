//! Who reaches whom.

use super::*;

#[test]
fn a_packet_out_and_its_answer_find_their_way() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("port-restricted", 1));
    let mapped = bed.mapped(host, "192.168.1.2:5000");
    assert_eq!(mapped, SocketAddr::new(bed.world.outside_addresses(site)[0].into(), 5000));
    bed.send(bed.stun, STUN, mapped);
    let answer = bed.received(host).pop().unwrap();
    assert_eq!((answer.source, answer.destination), (at(STUN), at("192.168.1.2:5000")));
    let counters = bed.world.counters(site);
    assert_eq!((counters.outbound, counters.inbound, counters.local, counters.forwarded()), (1, 1, 0, 2));
}

#[test]
fn hosts_of_a_lan_reach_each_other_unless_isolated() {
    for isolated in [false, true] {
        let mut bed = Bed::new();
        let spec = SiteSpec { isolated, ..site("udp-blocked", 1) };
        let (site, host) = bed.add(&spec);
        let other = bed.world.add_host(site, &[ip("192.168.1.3")]).unwrap();
        bed.send(host, "192.168.1.2:5000", "192.168.1.3:5000");
        assert_eq!(bed.received(other).len(), usize::from(!isolated));
        assert_eq!(bed.dropped(site, DropReason::Isolated), u64::from(isolated));
        assert_eq!(bed.world.counters(site).local, u64::from(!isolated));
    }
}

#[test]
fn a_multicast_reaches_the_other_hosts_of_the_lan_only() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("full-cone", 1));
    let other = bed.world.add_host(site, &[ip("192.168.1.3")]).unwrap();
    bed.send(host, "192.168.1.2:5353", "224.0.0.251:5353");
    assert_eq!(bed.received(other).len(), 1);
    assert!(bed.world.poll_output().is_none());
    bed.send(bed.stun, STUN, "224.0.0.251:5353");
    assert!(bed.world.poll_output().is_none());
}

#[test]
fn what_nobody_has_is_a_black_hole() {
    let mut bed = Bed::new();
    let (id, host) = bed.add(&site("full-cone", 1));
    for destination in ["11.77.0.1:9", "10.0.0.1:9", "192.168.2.2:9", "8.8.8.8:53"] {
        bed.send(host, "192.168.1.2:5000", destination);
        bed.send(bed.stun, STUN, destination);
    }
    bed.wait(Duration::from_secs(1));
    assert!(bed.world.poll_output().is_none());
    assert_eq!(bed.dropped(id, DropReason::BlackHole), 4);
    assert_eq!(bed.world.internet_counters().dropped(DropReason::BlackHole), 4);
    bed.send(host, "192.168.1.2:5000", "192.168.1.99:9");
    assert_eq!(bed.dropped(id, DropReason::NoSuchHost), 1);
}

#[test]
fn nobody_sends_with_the_address_of_another() {
    let mut bed = Bed::new();
    let (id, host) = bed.add(&site("full-cone", 1));
    bed.send(host, "192.168.1.3:5000", STUN);
    assert!(bed.world.poll_output().is_none());
    assert_eq!(bed.dropped(id, DropReason::BadSource), 1);
}

#[test]
fn a_private_source_does_not_cross_the_internet() {
    let mut bed = Bed::new();
    let (id, host) = bed.add(&SiteSpec::new("bare", "10.1.0.0/24".parse().unwrap(), Vec::new()));
    bed.send(host, "10.1.0.2:5000", STUN);
    assert!(bed.world.poll_output().is_none());
    assert_eq!(bed.dropped(id, DropReason::BadSource), 1);
}

#[test]
fn hosts_without_nat_keep_their_public_address() {
    let mut bed = Bed::new();
    let (_, host) = bed.add(&SiteSpec::new("bare", "11.9.0.0/24".parse().unwrap(), Vec::new()));
    assert_eq!(bed.mapped(host, "11.9.0.2:5000"), at("11.9.0.2:5000"));
    bed.send(bed.stun, STUN, "11.9.0.2:80");
    assert_eq!(bed.received(host).len(), 1);
}

#[test]
fn hosts_behind_a_nat_are_not_known_outside_even_with_a_public_address() {
    let mut bed = Bed::new();
    let spec = presets::site("full-cone", "odd", "11.9.0.0/24".parse().unwrap()).unwrap();
    let (_, host) = bed.add(&spec);
    assert_ne!(bed.mapped(host, "11.9.0.2:5000").ip(), ip("11.9.0.2"));
    bed.send(bed.stun, STUN, "11.9.0.2:5000");
    assert!(bed.received(host).is_empty());
    assert_eq!(bed.world.internet_counters().dropped(DropReason::BlackHole), 1);
}

#[test]
fn an_open_site_with_a_private_lan_is_reachable_before_it_sends() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("open", 1));
    let public = bed.world.outside_addresses(site)[0];
    bed.send(bed.stun, STUN, format!("{public}:80"));
    assert_eq!(bed.received(host)[0].destination, at("192.168.1.2:80"));
    assert_eq!(bed.mapped(host, "192.168.1.2:5000"), SocketAddr::new(public.into(), 5000));
}

#[test]
fn each_nat_of_a_cascade_translates() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("cgn-symmetric", 1));
    let first = bed.mapped(host, "192.168.1.2:5000");
    assert_eq!(IpAddr::V4(bed.world.outside_addresses(site)[0]), first.ip());
    bed.world.enable_capture();
    bed.send(bed.stun, STUN, first);
    assert_eq!(bed.received(host)[0].destination, at("192.168.1.2:5000"));
    // The home keeps the port, and the carrier does not: the home's filter sees the same endpoints.
    let other = bed.world.add_public_host(&[ip("11.0.0.2")]).unwrap();
    bed.send(host, "192.168.1.2:5000", "11.0.0.2:3478");
    assert_ne!(bed.received(other)[0].source, first);
}

fn carrier(hairpin: Hairpin) -> CarrierSpec {
    let nat = NatSpec { hairpin, filtering: Filtering::EndpointIndependent, ..NatSpec::default() };
    CarrierSpec {
        name: "carrier".into(),
        layers: vec![Layer::Nat(nat)],
        up: Default::default(),
        down: Default::default(),
    }
}

fn behind(kind: &str, lan: u8) -> SiteSpec {
    SiteSpec { behind: Some("carrier".into()), ..site(kind, lan) }
}

#[test]
fn homes_behind_one_carrier_reach_each_other_if_it_hairpins() {
    for hairpin in [Hairpin::External, Hairpin::None] {
        let mut bed = Bed::new();
        let shared = bed.world.add_carrier(&carrier(hairpin)).unwrap();
        let (_, a) = bed.add(&behind("full-cone", 1));
        let (_, b) = bed.add(&behind("full-cone", 2));
        let mapped_a = bed.mapped(a, "192.168.1.2:5000");
        let mapped_b = bed.mapped(b, "192.168.2.2:5000");
        assert_eq!(mapped_a.ip(), mapped_b.ip());
        bed.send(a, "192.168.1.2:5000", mapped_b);
        let received = bed.received(b);
        if hairpin == Hairpin::External {
            assert_eq!((received[0].source, received[0].destination), (mapped_a, at("192.168.2.2:5000")));
        } else {
            assert!(received.is_empty());
            assert_eq!(bed.dropped(shared, DropReason::NoHairpin), 1);
        }
    }
}

#[test]
fn homes_behind_one_carrier_share_its_inner_network() {
    let mut bed = Bed::new();
    bed.world.add_carrier(&carrier(Hairpin::None)).unwrap();
    let (_, a) = bed.add(&behind("full-cone", 1));
    let (site_b, b) = bed.add(&behind("full-cone", 2));
    bed.mapped(b, "192.168.2.2:5000");
    let inner = bed.world.outside_addresses(site_b)[0];
    assert_eq!(inner.octets()[..2], [100, 64]);
    bed.send(a, "192.168.1.2:5000", format!("{inner}:5000"));
    assert_eq!(bed.received(b)[0].source.ip(), IpAddr::V4(bed.world.outside_addresses(SiteId(1))[0]));
    bed.send(a, "192.168.1.2:5000", "100.64.200.200:5000");
    assert_eq!(bed.dropped(SiteId(0), DropReason::NoSuchHost), 1);
}

#[test]
fn wrong_worlds_say_what_is_wrong() {
    let mut bed = Bed::new();
    let spec = site("full-cone", 1);
    let (id, _) = bed.add(&spec);
    let error = |result: Result<HostId, NetError>| result.unwrap_err().to_string();
    assert!(error(bed.world.add_host(id, &[ip("192.168.1.2")])).contains("taken"));
    assert!(error(bed.world.add_host(id, &[ip("192.168.2.2")])).contains("does not lie in the network \"site-1\""));
    assert!(error(bed.world.add_host(id, &[])).contains("no address"));
    assert!(error(bed.world.add_public_host(&[ip("10.0.0.1")])).contains("11.0.0.0/8"));
    assert_eq!(bed.world.add_site(&spec), Err(NetError::NameTaken("site-1".into())));
    assert!(matches!(bed.world.add_site(&behind("open", 2)), Err(NetError::UnknownCarrier { .. })));
    let nat = NatSpec { first_port: 9, last_port: 8, ..NatSpec::default() };
    let invalid = SiteSpec { layers: vec![Layer::Nat(nat)], ..site("open", 3) };
    assert!(bed.world.add_site(&invalid).unwrap_err().to_string().contains("first_port"));
    let (full, _) = bed.add(&site("one-to-one", 4));
    let hosts = (3..18).map(|host| bed.world.add_host(full, &[ip(&format!("192.168.4.{host}"))]));
    assert!(hosts.collect::<Result<Vec<_>, _>>().is_ok());
    assert_eq!(bed.world.add_host(full, &[ip("192.168.4.18")]), Err(NetError::NoOutsideAddress("site-4".into())));
}

#[test]
fn a_capture_has_both_sides_of_the_nat() {
    let mut bed = Bed::new();
    bed.world.enable_capture();
    let (site, host) = bed.add(&site("symmetric", 1));
    let mapped = bed.mapped(host, "192.168.1.2:5000");
    let seen: Vec<_> = std::iter::from_fn(|| bed.world.poll_capture()).collect();
    let seen: Vec<_> = seen.iter().map(|captured| (captured.boundary, captured.packet.source)).collect();
    let expected = [
        (Boundary::Inside(site), at("192.168.1.2:5000")),
        (Boundary::Outside(site), mapped),
        (Boundary::Internet, mapped),
    ];
    assert_eq!(seen, expected);
}
