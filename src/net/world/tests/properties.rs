//! What holds whatever is sent.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::net::spec::{NatKind, Pooling, Refresh};

fn address() -> impl Strategy<Value = SocketAddr> {
    let addresses = prop::sample::select(vec![
        "192.168.1.2",
        "192.168.1.3",
        "192.168.2.2",
        "11.0.0.1",
        "11.128.0.1",
        "11.128.0.2",
        "100.64.1.1",
        "10.0.0.1",
        "2a0f:1::2",
        "2a0f:ff::1",
        "255.255.255.255",
        "224.0.0.251",
        "0.0.0.0",
        "::",
        "ff02::fb",
    ]);
    (addresses, prop::sample::select(vec![0u16, 1, 80, 443, 3478, 5000, 65_535]))
        .prop_map(|(address, port)| SocketAddr::new(ip(address), port))
}

fn transport() -> impl Strategy<Value = Transport> {
    let protocol = prop::sample::select(vec![Protocol::Udp, Protocol::Tcp, Protocol::Icmp]);
    let error = (address(), address(), protocol).prop_map(|(source, destination, protocol)| {
        Transport::Unreachable(Unreachable { reason: UnreachableReason::Port, source, destination, protocol })
    });
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let flags = prop::sample::select(vec![2u8, 0x10, 0x12, 0x11, 0x04, 0x14]);
    prop_oneof![
        bytes().prop_map(Transport::Udp),
        bytes().prop_map(|header_and_payload| Transport::Tcp(TcpSegment { header_and_payload })),
        (flags, bytes()).prop_map(|(flags, payload)| Transport::Tcp(TcpSegment::new(flags, 1, 1, &payload))),
        error,
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    (address(), address(), transport()).prop_map(|(source, destination, transport)| Packet {
        source,
        destination,
        transport,
    })
}

fn nat() -> impl Strategy<Value = NatSpec> {
    use Filtering::{AddressAndPortDependent as Apdf, AddressDependent as Adf, EndpointIndependent as Eif};
    use Mapping::{AddressAndPortDependent as Apdm, AddressDependent as Adm, EndpointIndependent as Eim};
    (
        prop::sample::select(vec![NatKind::Standard, NatKind::Standard, NatKind::OneToOne, NatKind::Naive]),
        prop::sample::select(vec![Eim, Adm, Apdm]),
        prop::sample::select(vec![Eif, Adf, Apdf]),
        prop::sample::select(vec![Hairpin::None, Hairpin::External, Hairpin::Internal]),
        prop::sample::select(vec![PortAllocation::Preserving, PortAllocation::Sequential, PortAllocation::Random]),
        prop::sample::select(vec![Refresh::Outbound, Refresh::Inbound, Refresh::Both]),
        (any::<bool>(), any::<bool>(), 1u16..4, 1u16..40, 1u64..100_000),
    )
        .prop_map(|(kind, mapping, filtering, hairpin, ports, refresh, rest)| {
            let (keep_parity, arbitrary, addresses, count, udp_lifetime_us) = rest;
            NatSpec {
                kind,
                mapping,
                filtering,
                hairpin,
                ports,
                refresh,
                keep_parity,
                addresses: addresses + 2,
                pooling: if arbitrary { Pooling::Arbitrary } else { Pooling::Paired },
                first_port: 5_000,
                last_port: 5_000 + count,
                udp_lifetime_us,
                ..NatSpec::default()
            }
        })
}

proptest! {
    #[test]
    fn no_packet_is_too_strange(
        inner in nat(),
        outer in prop::option::of(nat()),
        firewall in prop::sample::select(vec!["tls-443-only", "udp-rejected", "tcp-80-443-only", "stateful-public"]),
        inputs in prop::collection::vec((0usize..4, 0u64..20_000, packet()), 1..120),
    ) {
        let mut bed = Bed::new();
        let mut spec = site("open", 1);
        // A one-to-one NAT outside needs an address for each of the inner one's.
        let outer = outer.map(|outer| NatSpec { addresses: 8, ..outer });
        spec.layers = std::iter::once(inner).chain(outer).map(Layer::Nat).collect();
        let (first, host) = bed.add(&spec);
        let mut hosts = vec![host, bed.stun, bed.add(&site(firewall, 2)).1];
        hosts.extend(bed.world.add_host(first, &[ip("192.168.1.3")]).ok());
        for (index, us, mut packet) in inputs {
            let from = hosts[index % hosts.len()];
            bed.now += Duration::from_micros(us);
            // Half of them with an address of the sender's own, so that they get further than the first look.
            if us % 2 == 0 {
                packet.source.set_ip(bed.world.hosts[from.0 as usize].addresses[0]);
            }
            bed.world.handle_input(bed.now, from, packet);
            prop_assert!(bed.world.poll_timeout().is_none());
            while bed.world.poll_output().is_some() {}
        }
    }

    #[test]
    fn no_outside_endpoint_belongs_to_two_inside_ones(
        spec in nat().prop_filter("a naive NAT shares ports between peers", |spec| spec.kind != NatKind::Naive),
        sends in prop::collection::vec((2u8..5, 5_000u16..5_030, 1u16..6, 0u64..2_000), 1..300),
    ) {
        let spec = NatSpec { refresh: Refresh::Outbound, ..spec };
        let lifetime = Duration::from_micros(spec.udp_lifetime_us);
        let mut bed = Bed::new();
        let (site, _) = bed.add(&SiteSpec { layers: vec![Layer::Nat(spec)], ..site("open", 1) });
        let hosts: Vec<_> = (3..5).map(|host| bed.world.add_host(site, &[ip(&format!("192.168.1.{host}"))]).unwrap()).collect();
        let hosts = [vec![HostId(1)], hosts].concat();
        let mut owners: HashMap<SocketAddr, (SocketAddr, Instant)> = HashMap::new();
        for (host, port, remote, us) in sends {
            bed.now += Duration::from_micros(us);
            let inside = at(&format!("192.168.1.{host}:{port}"));
            bed.send(hosts[usize::from(host) - 2], &inside.to_string(), format!("11.0.0.1:{remote}"));
            let Some(packet) = bed.received(bed.stun).pop() else { continue };
            let now = bed.now;
            let (owner, since) = owners.entry(packet.source).or_insert_with(|| (inside, now));
            if *owner != inside {
                prop_assert!(now >= *since + lifetime, "{} is {owner}'s", packet.source);
                *owner = inside;
            }
            *since = now;
        }
    }
}
