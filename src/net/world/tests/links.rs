//! Links of sites: when packets arrive, and in which order.

use super::*;
use crate::net::spec::{Change, LinkSpec, Mtu};

fn delayed(delay_us: u64) -> Conditions {
    Conditions { delay_us, ..Conditions::default() }
}

#[test]
fn both_directions_have_their_own_delay() {
    let mut bed = Bed::new();
    let spec = SiteSpec { up: delayed(30_000).into(), down: delayed(10_000).into(), ..site("full-cone", 1) };
    let (_, host) = bed.add(&spec);
    bed.send(host, "192.168.1.2:5000", STUN);
    assert_eq!(bed.world.poll_timeout(), Some(bed.now + 30 * MS));
    bed.wait(29 * MS);
    assert!(bed.world.poll_output().is_none());
    bed.wait(MS);
    let mapped = bed.received(bed.stun)[0].source;
    bed.send(bed.stun, STUN, mapped);
    assert_eq!(bed.world.poll_timeout(), Some(bed.now + 10 * MS));
    bed.wait(10 * MS);
    assert_eq!(bed.received(host).len(), 1);
    assert_eq!(bed.world.poll_timeout(), None);
}

#[test]
fn a_late_driver_does_not_add_to_the_delay_of_the_next_link() {
    let mut bed = Bed::new();
    let (_, a) = bed.add(&SiteSpec { up: delayed(10_000).into(), ..site("full-cone", 1) });
    let (_, b) = bed.add(&SiteSpec { down: delayed(10_000).into(), ..site("full-cone", 2) });
    let mapped = bed.mapped(b, "192.168.2.2:5000");
    let sent = bed.now;
    bed.send(a, "192.168.1.2:5000", mapped);
    bed.wait(15 * MS);
    assert_eq!(bed.world.poll_timeout(), Some(sent + 20 * MS));
}

#[test]
fn packets_keep_their_order_when_a_delay_ends() {
    let mut bed = Bed::new();
    let later = Change { at_us: 5_000, conditions: Conditions::default() };
    let up = LinkSpec { conditions: delayed(10_000), schedule: vec![later] };
    let (_, host) = bed.add(&SiteSpec { up, ..site("full-cone", 1) });
    bed.wait(Duration::ZERO);
    bed.send(host, "192.168.1.2:2001", STUN);
    bed.wait(6 * MS);
    bed.send(host, "192.168.1.2:2002", STUN);
    bed.wait(4 * MS);
    bed.send(host, "192.168.1.2:2003", STUN);
    let ports: Vec<_> = bed.received(bed.stun).iter().map(|packet| packet.source.port()).collect();
    assert_eq!(ports, [2001, 2002, 2003]);
}

#[test]
fn packets_that_arrive_at_the_same_time_keep_the_order_in_which_they_entered_the_link() {
    let mut bed = Bed::new();
    let (_, a) = bed.add(&SiteSpec { up: delayed(20_000).into(), ..site("full-cone", 1) });
    let later = Change { at_us: 15_000, conditions: Conditions::default() };
    let down = LinkSpec { conditions: delayed(10_000), schedule: vec![later] };
    let (_, b) = bed.add(&SiteSpec { down, ..site("full-cone", 2) });
    let mapped = bed.mapped(b, "192.168.2.2:5000");
    bed.send(a, "192.168.1.2:5000", mapped);
    bed.wait(10 * MS);
    bed.send(bed.stun, STUN, mapped);
    bed.wait(10 * MS);
    let sources: Vec<_> = bed.received(b).iter().map(|packet| packet.source.port()).collect();
    assert_eq!(sources, [3478, 5000]);
}

#[test]
fn a_packet_that_is_too_long_is_reported_through_the_nat() {
    let mtu = Some(Mtu { bytes: 1_280, black_hole: false });
    let mut bed = Bed::new();
    let limited = Conditions { mtu, ..Conditions::default() };
    let (a, host_a) = bed.add(&SiteSpec { up: limited.clone().into(), ..site("symmetric", 1) });
    let (b, host_b) = bed.add(&SiteSpec { down: limited.into(), ..site("full-cone", 2) });
    let mapped = bed.mapped(host_b, "192.168.2.2:5000");
    let long = |from: &str, to: SocketAddr| Packet::udp(at(from), to, Bytes::from(vec![0; 1_300]));

    // On the way up, the sender's own link.
    bed.world.handle_input(bed.now, host_a, long("192.168.1.2:5000", at(STUN)));
    // On the way down, the link of the other end.
    bed.world.handle_input(bed.now, bed.stun, long(STUN, mapped));
    let reports = [bed.received(host_a), bed.received(bed.stun)].concat();
    let about: Vec<_> = reports
        .iter()
        .map(|packet| match packet.transport {
            Transport::Unreachable(error) => (error.reason, error.source, error.destination),
            _ => panic!("{packet:?}"),
        })
        .collect();
    let reason = UnreachableReason::TooBig { mtu: 1_280 };
    assert_eq!(about, [(reason, at("192.168.1.2:5000"), at(STUN)), (reason, at(STUN), mapped)]);
    assert_eq!((bed.dropped(a, DropReason::TooBig), bed.dropped(b, DropReason::TooBig)), (1, 1));
}

#[test]
fn a_cut_link_passes_nothing_in_its_direction() {
    let mut bed = Bed::new();
    let cut = Conditions { cut: true, ..Conditions::default() };
    let (id, host) = bed.add(&SiteSpec { down: cut.into(), ..site("full-cone", 1) });
    let mapped = bed.mapped(host, "192.168.1.2:5000");
    bed.send(bed.stun, STUN, mapped);
    assert!(bed.received(host).is_empty());
    assert_eq!(bed.dropped(id, DropReason::LinkCut), 1);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed: u64| {
        let mut bed = Bed::new();
        bed.world = World::new(seed);
        bed.stun = bed.world.add_public_host(&[ip("11.0.0.1")]).unwrap();
        let access = presets::link("wifi-lossy").unwrap();
        let (_, host) = bed.add(&SiteSpec { up: access.up, down: access.down, ..site("symmetric", 1) });
        let start = bed.now;
        let mut seen = Vec::new();
        for port in 1..500 {
            bed.send(host, "192.168.1.2:5000", format!("11.0.0.1:{port}"));
            bed.wait(MS);
            seen.push((bed.world.poll_timeout().map(|at| at - start), bed.received(bed.stun)));
        }
        seen
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
