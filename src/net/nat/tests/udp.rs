//! Mapping, filtering, hairpinning and lifetimes of UDP.

use super::*;

use Filtering::{AddressAndPortDependent as Apdf, AddressDependent as Adf, EndpointIndependent as Eif};
use Mapping::{AddressAndPortDependent as Apdm, AddressDependent as Adm, EndpointIndependent as Eim};

#[test]
fn mapping_times_filtering_is_what_was_asked() {
    for mapping in [Eim, Adm, Apdm] {
        for filtering in [Eif, Adf, Apdf] {
            let class = format!("{mapping:?} {filtering:?}");
            let mut bed = Bed::class(mapping, filtering);
            let first = bed.send(A, S1).unwrap();
            // Asked before anything is sent to them, as RFC 5780, 4.4 does.
            let from_port = bed.receive(S1_ALT, first).is_ok();
            let from_address = bed.receive(S2, first).is_ok();
            assert_eq!(bed.receive(S1, first), Ok(at(A)), "{class}");
            assert_eq!((from_port, from_address), (filtering != Apdf, filtering == Eif), "{class}");

            let other_port = bed.send(A, S1_ALT).unwrap();
            let other_address = bed.send(A, S2).unwrap();
            assert_eq!(first == other_port, mapping != Apdm, "{class}");
            assert_eq!(first == other_address, mapping == Eim, "{class}");
            assert_eq!(bed.send(A, S1).unwrap(), first, "{class}");
        }
    }
}

#[test]
fn unsolicited_packets_vanish() {
    let mut bed = Bed::class(Eim, Eif);
    assert_eq!(bed.receive(S1, OUT), Err(DropReason::Unsolicited));
}

#[test]
fn hairpinned_packets_have_the_source_that_was_asked() {
    for hairpin in [Hairpin::External, Hairpin::Internal] {
        let mut bed = Bed::new(NatSpec { hairpin, filtering: Eif, ..NatSpec::default() });
        let b = bed.send(B, S1).unwrap();
        let a = bed.send(A, S1).unwrap();
        let packet = bed.hairpin(A, b).unwrap();
        assert_eq!(packet.destination, at(B));
        assert_eq!(packet.source, if hairpin == Hairpin::External { a } else { at(A) }, "{hairpin:?}");
    }
    let mut bed = Bed::new(NatSpec { filtering: Eif, ..NatSpec::default() });
    let b = bed.send(B, S1).unwrap();
    assert_eq!(bed.hairpin(A, b), Err(DropReason::NoHairpin));
}

#[test]
fn hairpinned_packets_are_filtered_like_others() {
    let mut bed = Bed::new(NatSpec { hairpin: Hairpin::External, filtering: Apdf, ..NatSpec::default() });
    let (a, b) = (bed.send(A, S1).unwrap(), bed.send(B, S1).unwrap());
    assert_eq!(bed.hairpin(A, b), Err(DropReason::Unsolicited));
    assert_eq!(bed.hairpin(B, a).unwrap().source, b);
    assert_eq!(bed.hairpin(A, b).unwrap().source, a);
}

#[test]
fn a_mapping_lives_as_long_as_was_asked() {
    let mut bed = Bed::new(NatSpec { udp_lifetime_us: 120_000_000, filtering: Eif, ..NatSpec::default() });
    let outside = bed.send(A, S1).unwrap();
    bed.wait(119);
    assert_eq!(bed.receive(S1, outside), Ok(at(A)));
    bed.wait(1);
    assert_eq!(bed.receive(S1, outside), Err(DropReason::Unsolicited));
}

#[test]
fn packets_renew_a_mapping_in_the_directions_that_were_asked() {
    for (refresh, by_outbound, by_inbound) in
        [(Refresh::Outbound, true, false), (Refresh::Inbound, false, true), (Refresh::Both, true, true)]
    {
        for (outbound, renews) in [(true, by_outbound), (false, by_inbound)] {
            let mut bed = Bed::new(NatSpec { refresh, udp_lifetime_us: 30_000_000, ..NatSpec::default() });
            let outside = bed.send(A, S1).unwrap();
            bed.wait(20);
            if outbound {
                bed.send(A, S1).unwrap();
            } else {
                bed.receive(S1, outside).unwrap();
            }
            bed.wait(20);
            assert_eq!(bed.receive(S1, outside).is_ok(), renews, "{refresh:?}, outbound: {outbound}");
        }
    }
}

#[test]
fn a_filter_forgets_whom_nothing_is_sent_to() {
    let mut bed = Bed::new(NatSpec { udp_lifetime_us: 30_000_000, ..NatSpec::default() });
    let outside = bed.send(A, S1).unwrap();
    bed.send(A, S2).unwrap();
    bed.wait(20);
    bed.send(A, S1).unwrap();
    bed.wait(20);
    assert_eq!(bed.receive(S1, outside), Ok(at(A)));
    assert_eq!(bed.receive(S2, outside), Err(DropReason::Unsolicited));
}

#[test]
fn a_filter_that_only_inbound_packets_renew_forgets_too() {
    let mut bed = Bed::new(NatSpec { refresh: Refresh::Inbound, udp_lifetime_us: 30_000_000, ..NatSpec::default() });
    let outside = bed.send(A, S1).unwrap();
    bed.send(A, S2).unwrap();
    bed.wait(20);
    bed.receive(S1, outside).unwrap();
    bed.send(A, S2).unwrap();
    bed.wait(20);
    assert_eq!(bed.receive(S2, outside), Err(DropReason::Unsolicited));
    bed.send(A, S2).unwrap();
    assert_eq!(bed.receive(S2, outside), Ok(at(A)));
}

#[test]
fn an_error_is_translated_through_and_ends_nothing() {
    let mut bed = Bed::class(Eim, Apdf);
    let sent = bed.pass_out(Packet::udp(at(A), at(S1), &b"out"[..])).unwrap();
    for reason in [UnreachableReason::Port, UnreachableReason::Host, UnreachableReason::Prohibited] {
        let error = bed.pass_in(sent.unreachable(at(S1).ip(), reason).unwrap()).unwrap();
        assert_eq!(error.destination.ip(), at(A).ip());
        let Transport::Unreachable(about) = error.transport else { panic!("{error:?}") };
        assert_eq!((about.source, about.destination, about.reason), (at(A), at(S1), reason));
    }
    assert_eq!(bed.receive(S1, sent.source), Ok(at(A)));
}

#[test]
fn an_error_about_nothing_known_vanishes() {
    let mut bed = Bed::class(Eim, Eif);
    let error = Packet::udp(at(OUT), at(S1), &b"out"[..]).unreachable(at(S1).ip(), UnreachableReason::Port).unwrap();
    assert_eq!(bed.pass_in(error), Err(DropReason::Unsolicited));
}

#[test]
fn an_error_of_an_inside_host_leaves_as_if_from_outside() {
    let mut bed = Bed::class(Eim, Eif);
    let outside = bed.send(A, S1).unwrap();
    let received = bed.pass_in(Packet::udp(at(S2), outside, &b"in"[..])).unwrap();
    let error = bed.pass_out(received.unreachable(at(A).ip(), UnreachableReason::Port).unwrap()).unwrap();
    assert_eq!((error.source.ip(), error.destination.ip()), (outside.ip(), at(S2).ip()));
    let Transport::Unreachable(about) = error.transport else { panic!("{error:?}") };
    assert_eq!((about.source, about.destination), (at(S2), outside));
}
