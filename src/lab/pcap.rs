//! What a world saw, as a file for packet analysers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};

use crate::net::{Captured, KeptPacket, Packet, TcpSegment, Transport, ip, pcap_header, pcap_record_header};

/// One moment as both clocks tell it, by which the moments of packets become times of day.
pub type Clock = (Instant, SystemTime);

/// The bytes of a pcap file with these packets.
pub fn pcap<'a>(packets: impl IntoIterator<Item = &'a Captured>, clock: Clock) -> Vec<u8> {
    let mut file = pcap_header().to_vec();
    for Captured { at, packet, .. } in packets {
        append(&mut file, time_of_day(*at, clock), packet, usize::MAX);
    }
    file
}

/// The bytes of a pcap file with the packets that were kept of some hosts.
pub fn pcap_of_kept(mut packets: Vec<KeptPacket>, clock: Clock) -> Vec<u8> {
    packets.sort_by_key(|kept| kept.at);
    let mut file = pcap_header().to_vec();
    for KeptPacket { at, packet, length } in &packets {
        let kept = packet.ip_length();
        append(&mut file, time_of_day(*at, clock), &lengthened(packet, length - kept), kept);
    }
    file
}

/// Appends a packet of which at most `kept` bytes are known.
fn append(file: &mut Vec<u8>, at: Duration, packet: &Packet, kept: usize) {
    let mut bytes = Vec::new();
    // The model's packets have bytes, but for one that a test might make up.
    if ip::encode(packet, 0, &mut bytes).is_ok() {
        let kept = kept.min(bytes.len());
        // An IP packet has at most 65,575 bytes.
        file.extend_from_slice(&pcap_record_header(at, kept as u32, bytes.len() as u32));
        file.extend_from_slice(&bytes[..kept]);
    }
}

/// The packet with the length that it had, so that its headers say so. What was cut off does not reach the file.
fn lengthened(packet: &Packet, missing: usize) -> Packet {
    let long = |bytes: &Bytes| {
        let mut whole = BytesMut::from(&bytes[..]);
        whole.resize(bytes.len() + missing, 0);
        whole.freeze()
    };
    let transport = match &packet.transport {
        Transport::Udp(payload) => Transport::Udp(long(payload)),
        Transport::Tcp(segment) => Transport::Tcp(TcpSegment { header_and_payload: long(&segment.header_and_payload) }),
        Transport::Unreachable(error) => Transport::Unreachable(*error),
    };
    Packet { transport, ..*packet }
}

/// The time since 1970.
fn time_of_day(at: Instant, (instant, time): Clock) -> Duration {
    let at = match at.checked_duration_since(instant) {
        Some(later) => time.checked_add(later),
        None => time.checked_sub(instant.duration_since(at)),
    };
    at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Boundary;

    fn packet(payload: &'static [u8]) -> Packet {
        Packet::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), payload)
    }

    #[test]
    fn packets_before_and_after_the_clocks_moment_have_their_time() {
        let moment = Instant::now() + Duration::from_secs(10);
        let at = |at| Captured { at, boundary: Boundary::Internet, packet: packet(b"x") };
        let seen = [at(moment - Duration::from_secs(1)), at(moment + Duration::from_secs(1))];
        let file = pcap(&seen, (moment, UNIX_EPOCH + Duration::from_secs(100)));
        let record = 16 + packet(b"x").ip_length();
        assert_eq!(file.len(), 24 + 2 * record);
        let seconds = |record: usize| file[24 + record..][..4].to_vec();
        assert_eq!((seconds(0), seconds(record)), (vec![99, 0, 0, 0], vec![101, 0, 0, 0]));
    }

    #[test]
    fn packets_that_were_cut_short_say_how_long_they_were() {
        let now = Instant::now();
        let kept = |at, length| KeptPacket { at, packet: packet(b"abcd"), length };
        let file = pcap_of_kept(vec![kept(now + Duration::from_secs(1), 32), kept(now, 1_028)], (now, UNIX_EPOCH));
        let first = &file[24..];
        assert_eq!(first[8..16], [32, 0, 0, 0, 4, 4, 0, 0], "32 of 1,028 bytes");
        assert_eq!(first[16 + 2..][..2], 1_028_u16.to_be_bytes(), "the IP header's length");
        assert_eq!(first[16 + 20 + 4..][..2], 1_008_u16.to_be_bytes(), "the UDP header's length");
        assert_eq!(first[16 + 28..][..4], *b"abcd");
        assert_eq!(first[48..][..4], [1, 0, 0, 0], "the later packet comes last");
    }
}
