//! What a world saw, as a file for packet analysers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::net::{Captured, ip, pcap_header, pcap_record_header};

/// The bytes of a pcap file with these packets. `clock` is one moment as both clocks tell it, by which the packets' moments
/// become times of day.
pub fn pcap<'a>(packets: impl IntoIterator<Item = &'a Captured>, clock: (Instant, SystemTime)) -> Vec<u8> {
    let (instant, time) = clock;
    let mut file = pcap_header().to_vec();
    let mut bytes = Vec::new();
    for Captured { at, packet, .. } in packets {
        let at = match at.checked_duration_since(instant) {
            Some(later) => time.checked_add(later),
            None => time.checked_sub(instant.duration_since(*at)),
        };
        bytes.clear();
        // The model's packets have bytes, but for one that a test might make up.
        if ip::encode(packet, 0, &mut bytes).is_ok() {
            let at = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or(Duration::ZERO);
            // An IP packet has at most 65,575 bytes.
            file.extend_from_slice(&pcap_record_header(at, bytes.len() as u32));
            file.extend_from_slice(&bytes);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Boundary, Packet};

    #[test]
    fn packets_before_and_after_the_clocks_moment_have_their_time() {
        let moment = Instant::now() + Duration::from_secs(10);
        let packet = Packet::udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), &b"x"[..]);
        let at = |at| Captured { at, boundary: Boundary::Internet, packet: packet.clone() };
        let seen = [at(moment - Duration::from_secs(1)), at(moment + Duration::from_secs(1))];
        let file = pcap(&seen, (moment, UNIX_EPOCH + Duration::from_secs(100)));
        let record = 16 + packet.ip_length();
        assert_eq!(file.len(), 24 + 2 * record);
        let seconds = |record: usize| file[24 + record..][..4].to_vec();
        assert_eq!((seconds(0), seconds(record)), (vec![99, 0, 0, 0], vec![101, 0, 0, 0]));
    }
}
