//! Linux masquerading that takes early packets for its own.

use super::*;

struct NaiveBed {
    nat: Naive,
    now: Instant,
}

impl NaiveBed {
    fn new() -> Self {
        let spec = NatSpec { udp_lifetime_us: 120_000_000, ..NatSpec::default() };
        Self { nat: Naive::new(&spec, Ipv4Addr::new(11, 128, 0, 1), 7), now: Instant::now() }
    }

    fn send(&mut self, from: &str, to: &str) -> SocketAddr {
        let mut packet = Packet::udp(at(from), at(to), &b"out"[..]);
        assert!(matches!(self.nat.outbound(self.now, &mut packet), Verdict::Pass));
        packet.source
    }

    fn receive(&mut self, from: &str, to: SocketAddr) -> (Verdict, Packet) {
        let mut packet = Packet::udp(at(from), to, &b"in"[..]);
        (self.nat.inbound(self.now, &mut packet), packet)
    }
}

#[test]
fn it_looks_port_restricted_to_who_sends_first() {
    let mut bed = NaiveBed::new();
    assert_eq!((bed.send(A, S1), bed.send(A, S1_ALT), bed.send(A, S2)), (at(OUT), at(OUT), at(OUT)));
    let (verdict, packet) = bed.receive(S2, at(OUT));
    assert!(matches!(verdict, Verdict::Pass));
    assert_eq!(packet.destination, at(A));
}

#[test]
fn an_early_packet_is_refused_and_takes_the_port() {
    let mut bed = NaiveBed::new();
    bed.send(A, S1);
    let (verdict, answer) = bed.receive(S2, at(OUT));
    assert!(matches!(verdict, Verdict::Refuse(DropReason::Unsolicited)));
    let Transport::Unreachable(error) = answer.transport else { panic!("{answer:?}") };
    assert_eq!((answer.destination.ip(), error.reason), (at(S2).ip(), UnreachableReason::Port));
    assert_eq!((error.source, error.destination), (at(S2), at(OUT)));

    assert_ne!(bed.send(A, S2), at(OUT));
    assert_eq!(bed.send(A, S1), at(OUT));
    assert!(matches!(bed.receive(S2, at(OUT)).0, Verdict::Refuse(_)), "the peer's packets still reach the router");
}

#[test]
fn the_port_is_free_again_when_the_peer_is_silent_for_long() {
    let mut bed = NaiveBed::new();
    bed.receive(S2, at(OUT));
    bed.now += Duration::from_secs(120);
    assert_eq!(bed.send(A, S2), at(OUT));
}

#[test]
fn two_hosts_share_a_port_towards_different_peers() {
    let mut bed = NaiveBed::new();
    assert_eq!((bed.send(A, S1), bed.send(B, S2)), (at(OUT), at(OUT)));
    assert_ne!(bed.send(B, S1), at(OUT));
    assert_eq!(bed.receive(S2, at(OUT)).1.destination, at(B));
}

#[test]
fn an_early_connection_is_reset_and_leaves_nothing() {
    let mut bed = NaiveBed::new();
    let syn = TcpSegment::new(TcpSegment::SYN, 0, 0, &[]);
    let mut packet = Packet::tcp(at(S2), at(OUT), syn.clone());
    assert!(matches!(bed.nat.inbound(bed.now, &mut packet), Verdict::Refuse(_)));
    let Transport::Tcp(answer) = &packet.transport else { panic!("{packet:?}") };
    assert!(answer.rst());
    let mut packet = Packet::tcp(at(A), at(S2), syn);
    assert!(matches!(bed.nat.outbound(bed.now, &mut packet), Verdict::Pass));
    assert_eq!(packet.source, at(OUT));
}
