//! Which outside address and port a mapping gets.

use std::collections::HashSet;

use super::*;

fn distinct(bed: &mut Bed, hosts: impl Iterator<Item = String>) -> HashSet<SocketAddr> {
    hosts.map(|host| bed.send(&host, S1).unwrap()).collect()
}

#[test]
fn a_preserved_port_goes_to_who_comes_first() {
    let mut bed = Bed::new(NatSpec::default());
    assert_eq!(bed.send(A, S1), Ok(at(OUT)));
    let second = bed.send(B, S1).unwrap();
    assert_eq!(second, at("11.128.0.1:5001"));
    // Unlike with Linux, neither depends on the destination now (RFC 4787, REQ-11).
    assert_eq!((bed.send(A, S2).unwrap(), bed.send(B, S2).unwrap()), (at(OUT), second));
}

#[test]
fn a_port_is_free_again_after_its_mapping() {
    let mut bed = Bed::new(NatSpec { udp_lifetime_us: 30_000_000, ..NatSpec::default() });
    bed.send(A, S1).unwrap();
    bed.wait(30);
    assert_eq!(bed.send(B, S1), Ok(at(OUT)));
    assert_ne!(bed.send(A, S1), Ok(at(OUT)));
}

#[test]
fn parity_is_kept_if_asked() {
    for ports in [PortAllocation::Preserving, PortAllocation::Sequential, PortAllocation::Random] {
        let mut bed = Bed::new(NatSpec { keep_parity: true, ports, ..NatSpec::default() });
        for host in 2..100 {
            for port in [5000, 5001] {
                let outside = bed.send(&format!("192.168.1.{host}:{port}"), S1).unwrap();
                assert_eq!(outside.port() % 2, port % 2, "{ports:?}");
            }
        }
    }
}

#[test]
fn parity_gives_way_when_no_such_port_is_left() {
    let spec = NatSpec { keep_parity: true, first_port: 2000, last_port: 2003, ..NatSpec::default() };
    let mut bed = Bed::new(spec);
    let hosts = (2..6).map(|host| format!("192.168.1.{host}:2000"));
    assert_eq!(distinct(&mut bed, hosts).len(), 4);
}

#[test]
fn sequential_ports_follow_each_other_and_random_ones_do_not() {
    let ports = |allocation| {
        let mut bed = Bed::new(NatSpec {
            ports: allocation,
            mapping: Mapping::AddressAndPortDependent,
            first_port: 20_000,
            ..NatSpec::default()
        });
        (1..6).map(|port| bed.send(A, format!("11.0.0.1:{port}")).unwrap().port()).collect::<Vec<_>>()
    };
    assert_eq!(ports(PortAllocation::Sequential), [20_000, 20_001, 20_002, 20_003, 20_004]);
    let random = ports(PortAllocation::Random);
    assert!(random.windows(2).all(|pair| pair[1].abs_diff(pair[0]) > 1), "{random:?}");
}

#[test]
fn a_full_range_drops_until_a_mapping_ends() {
    for ports in [PortAllocation::Preserving, PortAllocation::Sequential, PortAllocation::Random] {
        let spec =
            NatSpec { ports, first_port: 2000, last_port: 2009, udp_lifetime_us: 60_000_000, ..NatSpec::default() };
        let mut bed = Bed::new(spec);
        let hosts = (2..12).map(|host| format!("192.168.1.{host}:5000"));
        assert_eq!(distinct(&mut bed, hosts).len(), 10, "{ports:?}");
        bed.wait(30);
        assert_eq!(bed.send("192.168.1.99:5000", S1), Err(DropReason::PortsExhausted), "{ports:?}");
        // Ports are per protocol.
        let syn = TcpSegment::new(TcpSegment::SYN, 0, 0, &[]);
        assert!(bed.pass_out(Packet::tcp(at("192.168.1.99:5000"), at(S1), syn)).is_ok());
        bed.send("192.168.1.2:5000", S1).unwrap();
        bed.wait(30);
        assert!(bed.send("192.168.1.99:5000", S1).is_ok(), "{ports:?}");
        assert!(bed.send("192.168.1.2:5000", S1).is_ok(), "{ports:?}");
    }
}

#[test]
fn paired_pooling_keeps_one_address_per_host() {
    let mut bed = Bed::new(NatSpec { addresses: 4, ..NatSpec::default() });
    let address = |bed: &mut Bed, host: u16, port: u16| bed.send(&format!("192.168.1.{host}:{port}"), S1).unwrap().ip();
    let of_hosts: Vec<_> = (2..6).map(|host| address(&mut bed, host, 5000)).collect();
    assert_eq!(of_hosts.iter().collect::<HashSet<_>>().len(), 4);
    for (host, first) in (2..6).zip(of_hosts) {
        assert!((5001..5020).all(|port| address(&mut bed, host, port) == first));
    }
}

#[test]
fn arbitrary_pooling_does_not() {
    let mut bed = Bed::new(NatSpec { addresses: 4, pooling: Pooling::Arbitrary, ..NatSpec::default() });
    let addresses: HashSet<_> =
        (5000..5040).map(|port| bed.send(&format!("192.168.1.2:{port}"), S1).unwrap().ip()).collect();
    assert_eq!(addresses.len(), 4);
}

#[test]
fn arbitrary_pooling_uses_every_port_of_every_address() {
    let pooling = Pooling::Arbitrary;
    let mut bed = Bed::new(NatSpec { addresses: 3, pooling, first_port: 2000, last_port: 2009, ..NatSpec::default() });
    assert_eq!(distinct(&mut bed, (1..31).map(|port| format!("192.168.1.2:{port}"))).len(), 30);
    assert_eq!(bed.send(A, S1), Err(DropReason::PortsExhausted));
}

#[test]
fn a_one_to_one_nat_gives_each_host_an_address_with_all_its_ports() {
    let spec = NatSpec {
        kind: NatKind::OneToOne,
        addresses: 2,
        filtering: Filtering::EndpointIndependent,
        ..NatSpec::default()
    };
    let mut bed = Bed::new(spec);
    assert!(bed.nat.add_inside("192.168.1.2".parse().unwrap()));
    assert_eq!(bed.receive(S1, "11.128.0.1:80"), Ok(at("192.168.1.2:80")));
    assert_eq!(bed.send(A, S1), Ok(at(OUT)));
    assert_eq!(bed.send(B, S1), Ok(at("11.128.0.2:5000")));
    assert_eq!(bed.send("192.168.1.4:5000", S1), Err(DropReason::PortsExhausted));
    assert!(!bed.nat.add_inside("192.168.1.5".parse().unwrap()));
}

#[test]
fn many_mappings_do_not_stay_for_ever() {
    let mut bed = Bed::new(NatSpec {
        mapping: Mapping::AddressAndPortDependent,
        udp_lifetime_us: 1_000_000,
        ports: PortAllocation::Random,
        ..NatSpec::default()
    });
    for round in 0..40 {
        for port in 1..1_000 {
            bed.send(A, format!("11.0.{round}.1:{port}")).unwrap();
        }
        bed.wait(1);
    }
    assert!(bed.nat.entries.len() < 10_000 && bed.nat.contacts.len() < 10_000);
}
