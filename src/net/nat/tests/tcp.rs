//! TCP connections through a NAT (RFC 5382).

use super::*;

const SYN: u8 = TcpSegment::SYN;
const ACK: u8 = TcpSegment::ACK;
const FIN: u8 = TcpSegment::FIN;
const RST: u8 = TcpSegment::RST;

fn out(bed: &mut Bed, flags: u8) -> Result<SocketAddr, DropReason> {
    bed.pass_out(Packet::tcp(at(A), at(S1), TcpSegment::new(flags, 0, 0, &[]))).map(|packet| packet.source)
}

fn back(bed: &mut Bed, from: &str, flags: u8) -> Result<SocketAddr, DropReason> {
    bed.pass_in(Packet::tcp(at(from), at(OUT), TcpSegment::new(flags, 0, 0, &[]))).map(|packet| packet.destination)
}

fn established(filtering: Filtering) -> Bed {
    let mut bed = Bed::new(NatSpec { filtering, ..NatSpec::default() });
    assert_eq!(out(&mut bed, SYN), Ok(at(OUT)));
    assert_eq!(back(&mut bed, S1, SYN | ACK), Ok(at(A)));
    assert_eq!(out(&mut bed, ACK), Ok(at(OUT)));
    bed
}

#[test]
fn an_established_connection_survives_two_hours() {
    let mut bed = established(Filtering::AddressAndPortDependent);
    bed.wait(7_439);
    assert_eq!(back(&mut bed, S1, ACK), Ok(at(A)));
    bed.wait(7_440);
    assert_eq!(back(&mut bed, S1, ACK), Err(DropReason::Unsolicited));
    assert_eq!(out(&mut bed, ACK), Err(DropReason::NoConnection));
}

#[test]
fn a_connection_without_answer_is_forgotten_after_four_minutes() {
    let mut bed = Bed::new(NatSpec::default());
    out(&mut bed, SYN).unwrap();
    bed.wait(240);
    assert_eq!(back(&mut bed, S1, SYN | ACK), Err(DropReason::Unsolicited));
}

#[test]
fn a_closed_connection_is_forgotten_after_four_minutes() {
    for ends in [&[(FIN | ACK, true), (FIN | ACK, false)][..], &[(RST, true)], &[(RST, false)]] {
        let mut bed = established(Filtering::AddressAndPortDependent);
        for (flags, outbound) in ends {
            let passed = if *outbound { out(&mut bed, *flags) } else { back(&mut bed, S1, *flags) };
            assert!(passed.is_ok());
        }
        bed.wait(239);
        assert_eq!(out(&mut bed, ACK), Ok(at(OUT)), "the last acknowledgement still passes");
        bed.wait(240);
        assert_eq!(out(&mut bed, ACK), Err(DropReason::NoConnection));
        // The same endpoints may connect again.
        assert_eq!(out(&mut bed, SYN), Ok(at(OUT)));
    }
}

#[test]
fn a_mapping_ends_with_its_last_connection() {
    let mut bed = established(Filtering::EndpointIndependent);
    back(&mut bed, S2, SYN).unwrap();
    out(&mut bed, RST).unwrap();
    bed.wait(200);
    // The other connection, not yet answered, keeps the mapping for as long as it is known itself.
    assert_eq!(back(&mut bed, S2, RST), Ok(at(A)));
    bed.wait(200);
    assert_eq!(back(&mut bed, S2, SYN), Ok(at(A)));
    back(&mut bed, S2, RST).unwrap();
    bed.wait(240);
    assert_eq!(back(&mut bed, S2, SYN), Err(DropReason::Unsolicited));
}

#[test]
fn a_connection_may_be_opened_again_at_once() {
    let mut bed = established(Filtering::AddressAndPortDependent);
    out(&mut bed, RST).unwrap();
    out(&mut bed, SYN).unwrap();
    back(&mut bed, S1, SYN | ACK).unwrap();
    bed.wait(7_000);
    assert_eq!(back(&mut bed, S1, ACK), Ok(at(A)));
}

#[test]
fn a_segment_of_an_unknown_connection_makes_no_mapping() {
    let mut bed = Bed::new(NatSpec::default());
    assert_eq!(out(&mut bed, ACK), Err(DropReason::NoConnection));
    assert_eq!(out(&mut bed, RST), Err(DropReason::NoConnection));
    assert!(bed.nat.by_inside.is_empty());
}

#[test]
fn who_may_connect_inwards_is_for_the_filter_to_say() {
    for (filtering, from_port, from_address) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        let mut bed = established(filtering);
        assert_eq!(back(&mut bed, S1_ALT, SYN).is_ok(), from_port, "{filtering:?}");
        assert_eq!(back(&mut bed, S2, SYN).is_ok(), from_address, "{filtering:?}");
        assert_eq!(back(&mut bed, "11.0.0.1:99", ACK), Err(DropReason::Unsolicited), "{filtering:?}");
    }
}

#[test]
fn tcp_and_udp_are_mapped_apart() {
    let mut bed = established(Filtering::EndpointIndependent);
    assert_eq!(bed.receive(S1, OUT), Err(DropReason::Unsolicited));
}
