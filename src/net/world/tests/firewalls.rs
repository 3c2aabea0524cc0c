//! Firewalls in their places: inside the NAT of an office, or on their own.

use super::*;

const SYN: u8 = TcpSegment::SYN;
const ACK: u8 = TcpSegment::ACK;
const CLIENT: &str = "192.168.1.2:40000";

fn error(packet: &Packet) -> Unreachable {
    let Transport::Unreachable(error) = packet.transport else { panic!("{packet:?}") };
    error
}

fn segment(packet: &Packet) -> &TcpSegment {
    let Transport::Tcp(segment) = &packet.transport else { panic!("{packet:?}") };
    segment
}

/// Opens a connection from the client to this port of the public host.
fn connect(bed: &mut Bed, host: HostId, port: u16) -> Option<SocketAddr> {
    let server = format!("11.0.0.1:{port}");
    bed.send_tcp(host, CLIENT, &server, TcpSegment::new(SYN, 100, 0, &[]));
    let client = bed.received(bed.stun).pop()?.source;
    bed.send_tcp(bed.stun, &server, &client.to_string(), TcpSegment::new(SYN | ACK, 900, 101, &[]));
    assert!(segment(&bed.received(host)[0]).syn());
    bed.send_tcp(host, CLIENT, &server, TcpSegment::new(ACK, 101, 901, &[]));
    assert_eq!(bed.received(bed.stun).len(), 1);
    Some(client)
}

#[test]
fn blocked_udp_vanishes() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("udp-blocked", 1));
    bed.send(host, CLIENT, STUN);
    assert!(bed.world.poll_output().is_none());
    assert_eq!(bed.dropped(site, DropReason::Forbidden), 1);
    assert!(connect(&mut bed, host, 3478).is_some());
}

#[test]
fn rejected_udp_is_reported_to_its_sender() {
    let mut bed = Bed::new();
    let (_, host) = bed.add(&site("udp-rejected", 1));
    bed.send(host, CLIENT, STUN);
    let answer = bed.received(host).pop().unwrap();
    assert_eq!(answer.source.ip(), ip("192.168.1.1"));
    let expected = Unreachable {
        reason: UnreachableReason::Prohibited,
        source: at(CLIENT),
        destination: at(STUN),
        protocol: Protocol::Udp,
    };
    assert_eq!(error(&answer), expected);
}

#[test]
fn a_rejection_beyond_a_nat_is_translated_back() {
    let mut bed = Bed::new();
    let mut spec = site("udp-rejected", 1);
    spec.layers.reverse();
    let (_, host) = bed.add(&spec);
    bed.send(host, CLIENT, STUN);
    let answer = bed.received(host).pop().unwrap();
    assert_eq!((answer.destination.ip(), error(&answer).source), (at(CLIENT).ip(), at(CLIENT)));
}

#[test]
fn udp_passes_to_given_ports_only() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("udp-3478-443-only", 1));
    let mapped = bed.mapped(host, CLIENT);
    bed.send(bed.stun, STUN, mapped);
    assert_eq!(bed.received(host).len(), 1);
    bed.send(host, CLIENT, "11.0.0.1:50000");
    assert_eq!(bed.dropped(site, DropReason::Forbidden), 1);
}

#[test]
fn only_web_ports_take_connections() {
    let mut bed = Bed::new();
    let (_, host) = bed.add(&site("tcp-80-443-only", 1));
    assert!(connect(&mut bed, host, 3478).is_none());
    assert!(connect(&mut bed, host, 80).is_some());
    bed.send_tcp(host, CLIENT, "11.0.0.1:80", TcpSegment::new(ACK, 101, 901, b"GET / HTTP/1.1\r\n"));
    assert_eq!(segment(&bed.received(bed.stun)[0]).payload(), b"GET / HTTP/1.1\r\n");
}

/// How a firewall that wants TLS takes what a client sends first, segment by segment.
fn greet(segments: &[&[u8]]) -> (Bed, SiteId, HostId) {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("tls-443-only", 1));
    connect(&mut bed, host, 443).unwrap();
    let mut sequence = 101;
    for payload in segments {
        bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(ACK, sequence, 901, payload));
        sequence += payload.len() as u32;
    }
    (bed, site, host)
}

#[test]
fn tls_passes_however_it_is_cut_into_segments() {
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    for segments in [&[&hello[..]][..], &[&hello[..3], &hello[3..]], &[&hello[..1], &hello[1..5], &hello[5..]]] {
        let (mut bed, site, _) = greet(segments);
        assert_eq!(bed.received(bed.stun).len(), segments.len());
        assert_eq!(bed.dropped(site, DropReason::NotTls), 0);
    }
}

#[test]
fn what_is_not_tls_is_reset_at_both_ends() {
    // A STUN request, HTTP, an SSL 2 hello, a TLS alert, and a server's hello.
    let greetings: [&[u8]; 5] =
        [&[0, 1, 0, 0], b"GET /", &[0x80, 0x2e, 1], &[21, 3, 1, 0, 2, 1], &[22, 3, 3, 0, 80, 2]];
    for greeting in greetings {
        let (mut bed, site, host) = greet(&[greeting]);
        let (client, server) = (bed.received(host), bed.received(bed.stun));
        assert!(segment(&client[0]).rst() && segment(&server[0]).rst(), "{greeting:?}");
        assert_eq!((client[0].source, client[0].destination), (at("11.0.0.1:443"), at(CLIENT)));
        assert_eq!(segment(&client[0]).sequence(), 901, "the client expects this one");
        assert_eq!(segment(&server[0]).sequence(), 101, "the server expects this one");
        assert_eq!(bed.dropped(site, DropReason::NotTls), 1);

        bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(ACK, 101, 901, greeting));
        assert!(bed.world.poll_output().is_none(), "nothing passes after that");
        assert!(connect(&mut bed, host, 443).is_some(), "but a new connection");
    }
}

#[test]
fn a_connection_that_is_opened_anew_is_looked_at_anew() {
    let (mut bed, site, host) = greet(&[&[22, 3, 3, 0, 80, 1]]);
    bed.received(bed.stun);
    bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(SYN, 5_000, 0, &[]));
    bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(ACK, 5_001, 901, b"GET /"));
    assert_eq!(bed.dropped(site, DropReason::NotTls), 1);
}

#[test]
fn a_segment_out_of_turn_decides_nothing() {
    let (mut bed, site, host) = greet(&[]);
    bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(ACK, 107, 901, b"later"));
    assert_eq!(bed.received(bed.stun).len(), 1);
    bed.send_tcp(host, CLIENT, "11.0.0.1:443", TcpSegment::new(ACK, 101, 901, &[22, 3, 3, 0, 80, 1]));
    assert_eq!(bed.received(bed.stun).len(), 1);
    assert_eq!(bed.dropped(site, DropReason::NotTls), 0);
}

#[test]
fn a_public_host_behind_a_stateful_firewall_hears_answers_only() {
    let mut bed = Bed::new();
    let spec = presets::site("stateful-public", "public", "11.9.0.0/24".parse().unwrap()).unwrap();
    let (site, host) = bed.add(&spec);
    bed.send(bed.stun, STUN, "11.9.0.2:5000");
    assert_eq!(bed.dropped(site, DropReason::Unsolicited), 1);
    assert_eq!(bed.mapped(host, "11.9.0.2:5000"), at("11.9.0.2:5000"));
    bed.send(bed.stun, STUN, "11.9.0.2:5000");
    assert_eq!(bed.received(host).len(), 1);
    bed.send(bed.stun, "11.0.0.1:3479", "11.9.0.2:5000");
    assert!(bed.received(host).is_empty());
    bed.wait(Duration::from_secs(300));
    bed.send(bed.stun, STUN, "11.9.0.2:5000");
    assert_eq!(bed.dropped(site, DropReason::Unsolicited), 3);
}

#[test]
fn an_error_about_a_known_flow_passes() {
    let mut bed = Bed::new();
    let (site, host) = bed.add(&site("stateful-public", 1));
    bed.send(host, CLIENT, STUN);
    let sent = bed.received(bed.stun).pop().unwrap();
    for (about, passes) in [(sent.clone(), 1), (Packet { destination: at("11.0.0.1:9"), ..sent }, 0)] {
        let report = about.unreachable(ip("11.0.0.1"), UnreachableReason::Port).unwrap();
        bed.world.handle_input(bed.now, bed.stun, report);
        assert_eq!(bed.received(host).len(), passes);
    }
    assert_eq!(bed.dropped(site, DropReason::Unsolicited), 1);
}
