use proptest::prelude::*;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn bytes_of(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, 0, &mut bytes).unwrap();
    bytes
}

/// A receiver's check: the sum over everything, checksum included, is 0.
fn transport_sum(bytes: &[u8]) -> u16 {
    let Header { protocol, body, .. } = Header::read(bytes).unwrap();
    let addresses = if bytes[0] >> 4 == 4 { &bytes[12..20] } else { &bytes[8..40] };
    let pseudo = sum(addresses) + native(u16::from(protocol)) + native(body.len() as u16);
    checksum(if protocol == ICMPV4 { 0 } else { pseudo }, body)
}

#[test]
fn a_datagram_is_written_byte_by_byte() {
    // The checksums were worked out apart from this code.
    let packet = Packet::udp(address("10.0.0.1:5000"), address("10.0.0.2:6000"), &b"hello"[..]);
    let expected = [
        0x45, 0, 0, 33, 0, 0, 0x40, 0, 64, 17, 0x26, 0xca, 10, 0, 0, 1, 10, 0, 0, 2, // IP
        0x13, 0x88, 0x17, 0x70, 0, 13, 0x7d, 0x07, b'h', b'e', b'l', b'l', b'o',
    ];
    assert_eq!(bytes_of(&packet), expected);
}

#[test]
fn padding_options_and_extension_headers_are_skipped() {
    let packet = Packet::udp(address("10.0.0.1:1"), address("10.0.0.2:2"), &b"x"[..]);
    let mut padded = bytes_of(&packet);
    padded.extend([0; 17]);
    assert_eq!(decode(&padded), Ok(packet.clone()));

    let mut options = bytes_of(&packet);
    options[0] = 0x46;
    options[3] += 4;
    options.splice(20..20, [1, 1, 1, 0]);
    assert_eq!(decode(&options), Ok(packet));

    let packet = Packet::udp(address("[2a0f::1]:1"), address("[2a0f::2]:2"), &b"x"[..]);
    let mut hops = bytes_of(&packet);
    hops[6] = 0;
    hops[5] += 8;
    hops.splice(40..40, [UDP, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(decode(&hops), Ok(packet));
}

#[test]
fn what_the_model_does_not_carry_is_named() {
    let mut fragment = bytes_of(&Packet::udp(address("10.0.0.1:1"), address("10.0.0.2:2"), &b"x"[..]));
    fragment[6] = 0x20;
    assert_eq!(decode(&fragment), Err(IpError::Fragment));
    fragment[6] = 0;
    fragment[9] = 47;
    assert_eq!(decode(&fragment), Err(IpError::Protocol(47)));
    fragment[9] = ICMPV4;
    fragment[20] = 8;
    fragment[21] = 0;
    assert_eq!(decode(&fragment), Err(IpError::Icmp { kind: 8, code: 0 }));
    assert_eq!(decode(&[0x50; 40]), Err(IpError::Version(5)));
    assert_eq!(decode(&[]), Err(IpError::Truncated));
}

#[test]
fn what_has_no_bytes_is_refused_and_leaves_nothing() {
    let mut out = vec![7];
    let (v4, v6) = (address("10.0.0.1:1"), address("[2a0f::1]:1"));
    assert_eq!(encode(&Packet::udp(v4, v6, Bytes::new()), 0, &mut out), Err(IpError::Families));
    assert_eq!(encode(&Packet::udp(v4, v4, vec![0; 65_508]), 0, &mut out), Err(IpError::Long));
    let short = TcpSegment { header_and_payload: Bytes::from_static(&[0; 19]) };
    assert_eq!(encode(&Packet::tcp(v4, v4, short), 0, &mut out), Err(IpError::Truncated));
    let of_error =
        Unreachable { reason: UnreachableReason::Port, source: v4, destination: v4, protocol: Protocol::Icmp };
    let packet = Packet { source: v4, destination: v4, transport: Transport::Unreachable(of_error) };
    assert_eq!(encode(&packet, 0, &mut out), Err(IpError::Protocol(ICMPV4)));
    assert_eq!(out, [7]);
}

#[test]
fn an_error_about_a_segment_quotes_its_sequence_number() {
    let sent = Packet::tcp(address("10.0.0.1:1"), address("10.0.0.2:2"), TcpSegment::new(TcpSegment::SYN, 9, 0, &[]));
    let error = sent.unreachable("10.0.0.254".parse().unwrap(), UnreachableReason::Prohibited).unwrap();
    let mut bytes = Vec::new();
    encode(&error, 0x0102_0304, &mut bytes).unwrap();
    assert_eq!(bytes[bytes.len() - 4..], [1, 2, 3, 4]);
    assert_eq!(decode(&bytes), Ok(error));
}

#[test]
fn a_udp_checksum_is_never_absent() {
    let mut found = false;
    for value in 0..=u16::MAX {
        let packet = Packet::udp(address("10.0.0.1:1"), address("10.0.0.2:2"), value.to_be_bytes().to_vec());
        let bytes = bytes_of(&packet);
        assert_ne!(bytes[26..28], [0, 0]);
        found |= bytes[26..28] == [0xff, 0xff];
    }
    assert!(found);
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4], u16, u16)>()
            .prop_map(|(a, b, p, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
        any::<([u8; 16], [u8; 16], u16, u16)>()
            .prop_map(|(a, b, p, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
    ]
}

fn reasons() -> impl Strategy<Value = UnreachableReason> {
    prop_oneof![
        Just(UnreachableReason::Host),
        Just(UnreachableReason::Port),
        Just(UnreachableReason::Prohibited),
        any::<u16>().prop_map(|mtu| UnreachableReason::TooBig { mtu }),
    ]
}

fn packets() -> impl Strategy<Value = Packet> {
    let payload = proptest::collection::vec(any::<u8>(), 0..1500);
    (addresses(), payload, any::<(u8, u32, u32)>(), reasons(), 0..3).prop_map(
        |((source, destination), payload, (flags, sequence, acknowledgement), reason, kind)| {
            let datagram = Packet::udp(source, destination, payload.clone());
            match kind {
                0 => datagram,
                1 => {
                    let segment = TcpSegment::new(flags, sequence, acknowledgement, &payload);
                    Packet::tcp(source, destination, segment)
                }
                _ => datagram.unreachable(destination.ip(), reason).unwrap(),
            }
        },
    )
}

/// Ports and checksum of a segment's own header mean nothing.
fn without_meaningless(mut packet: Packet) -> Packet {
    if let Transport::Tcp(segment) = &mut packet.transport {
        let mut bytes = segment.header_and_payload.to_vec();
        bytes[..4].fill(0);
        bytes[16..18].fill(0);
        segment.header_and_payload = bytes.into();
    }
    packet
}

proptest! {
    #[test]
    fn packets_survive_the_way_through_bytes(packet in packets(), sequence: u32) {
        let mut bytes = Vec::new();
        encode(&packet, sequence, &mut bytes).unwrap();
        prop_assert_eq!(bytes.len(), packet.ip_length());
        prop_assert!(matches!(transport_sum(&bytes), 0));
        if bytes[0] >> 4 == 4 {
            prop_assert_eq!(checksum(0, &bytes[..20]), 0);
        }
        prop_assert_eq!(without_meaningless(decode(&bytes).unwrap()), without_meaningless(packet));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_damage_breaks_the_reader(
        packet in packets(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&packet);
        for (at, value) in damage {
            let at = at.index(bytes.len().min(60));
            bytes[at] = value;
        }
        let _ = decode(&bytes);
        let _ = decode(&bytes[..cut.index(bytes.len())]);
    }
}
