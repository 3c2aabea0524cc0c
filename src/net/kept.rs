//! The packets of a host that a world keeps without being asked: the first and the last of them, cut short, so that a call
//! that went wrong can be looked at afterwards and one that lasts for hours costs no more.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::packet::{Packet, TcpSegment, Transport};

/// Bytes above IP that are kept of a packet: all of a connectivity check or a TURN request, the headers of media.
const SNAP: usize = 256;

/// A packet that a host sent or received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptPacket {
    /// When.
    pub at: Instant,
    /// The packet, what is above IP cut short.
    pub packet: Packet,
    /// The length of the whole IP packet, in bytes.
    pub length: usize,
}

/// The first and the last packets of a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    first: Vec<KeptPacket>,
    last: VecDeque<KeptPacket>,
}

impl Kept {
    /// A packet passes; half of `most` are kept of the first, half of the last.
    pub(super) fn pass(&mut self, at: Instant, packet: &Packet, most: usize) {
        let kept = || KeptPacket { at, packet: shortened(packet), length: packet.ip_length() };
        if self.first.len() < most / 2 {
            self.first.push(kept());
        } else if most > 1 {
            if self.last.len() >= most / 2 {
                self.last.pop_front();
            }
            self.last.push_back(kept());
        }
    }

    /// What was kept, in the order of time.
    pub(super) fn into_packets(self) -> Vec<KeptPacket> {
        self.first.into_iter().chain(self.last).collect()
    }
}

/// A copy that does not hold on to the whole payload.
fn shortened(packet: &Packet) -> Packet {
    let short = |bytes: &Bytes| Bytes::copy_from_slice(&bytes[..bytes.len().min(SNAP)]);
    let transport = match &packet.transport {
        Transport::Udp(payload) => Transport::Udp(short(payload)),
        Transport::Tcp(segment) => {
            Transport::Tcp(TcpSegment { header_and_payload: short(&segment.header_and_payload) })
        }
        Transport::Unreachable(error) => Transport::Unreachable(*error),
    };
    Packet { transport, ..*packet }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_packets_are_kept_cut_short() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let packet = |number: u8| {
            let (from, to) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
            Packet::udp(from, to, vec![number; 1_000])
        };
        for number in 0..10 {
            kept.pass(now, &packet(number), 6);
        }
        let packets = kept.into_packets();
        let payload = |kept: &KeptPacket| match &kept.packet.transport {
            Transport::Udp(payload) => (payload[0], payload.len()),
            other => panic!("{other:?}"),
        };
        let wanted = [0, 1, 2, 7, 8, 9].map(|number| (number, SNAP));
        assert_eq!(packets.iter().map(payload).collect::<Vec<_>>(), wanted);
        assert!(packets.iter().all(|kept| kept.length == 1_028));
    }
}
