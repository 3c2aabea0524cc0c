//! What a world saw, and the pcap format (draft-ietf-opsawg-pcap) to keep it in.

use std::time::{Duration, Instant};

use super::packet::Packet;
use super::world::SiteId;

/// A packet that passed a boundary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Captured {
    /// When.
    pub at: Instant,
    /// Where.
    pub boundary: Boundary,
    /// As it was there.
    pub packet: Packet,
}

/// A place where packets are seen.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Boundary {
    /// Between a site's hosts and its innermost layer: what the hosts sent, and what reached them.
    Inside(SiteId),
    /// Beyond a site's or a carrier's outermost layer: what leaves it, before its up link, and what comes to it, after its
    /// down link.
    Outside(SiteId),
    /// Between a public host and the internet.
    Internet,
}

/// The header of a pcap file of raw IP packets with timestamps in nanoseconds.
pub fn pcap_header() -> [u8; 24] {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const VERSION: [u16; 2] = [2, 4];
    const LONGEST_PACKET: u32 = 65_535;
    const LINKTYPE_RAW: u32 = 101;
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION[0].to_le_bytes());
    header[6..8].copy_from_slice(&VERSION[1].to_le_bytes());
    header[16..20].copy_from_slice(&LONGEST_PACKET.to_le_bytes());
    header[20..24].copy_from_slice(&LINKTYPE_RAW.to_le_bytes());
    header
}

/// The header of one packet in a pcap file: `at` is the time since 1970, `length` the length of the IP packet in bytes. The
/// first `kept` of the packet's bytes follow it.
pub fn pcap_record_header(at: Duration, kept: u32, length: u32) -> [u8; 16] {
    let mut header = [0; 16];
    // The format ends in 2106.
    header[0..4].copy_from_slice(&(at.as_secs() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&at.subsec_nanos().to_le_bytes());
    header[8..12].copy_from_slice(&kept.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_pcap() {
        let header = pcap_header();
        assert_eq!(header[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(header[20..], [101, 0, 0, 0]);
        let record = pcap_record_header(Duration::new(1, 2), 228, 1228);
        assert_eq!(record, [1, 0, 0, 0, 2, 0, 0, 0, 0xe4, 0, 0, 0, 0xcc, 4, 0, 0]);
    }
}
