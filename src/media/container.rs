//! Readers of IVF, Annex B and Ogg Opus files, over bytes in memory.

use bytes::{Bytes, BytesMut};

use super::bitstream::{self, nal};

/// The start code that precedes every NAL unit of a frame in memory.
pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The frames of an IVF file that holds VP8.
///
/// IVF: a header of 32 bytes (`DKIF`, version, header length, FourCC, …), then frames of length (4 bytes), timestamp
/// (8 bytes) and data, all little-endian.
pub(super) fn ivf_frames(file: &Bytes) -> Result<Vec<Bytes>, String> {
    if file.len() < 32 || file[..4] != *b"DKIF" {
        return Err("it is not an IVF file".into());
    }
    if file[8..12] != *b"VP80" {
        return Err(format!("its codec is {}, not VP80", String::from_utf8_lossy(&file[8..12])));
    }
    let mut at = usize::from(u16::from_le_bytes([file[6], file[7]]));
    let mut frames = Vec::new();
    while at < file.len() {
        let cut = || format!("it ends within frame {}", frames.len());
        let length = file.get(at..at + 4).and_then(|length| length.try_into().ok()).ok_or_else(cut)?;
        let (from, length) = (at + 12, u32::from_le_bytes(length) as usize);
        if file.len() < from + length {
            return Err(cut());
        }
        frames.push(file.slice(from..from + length));
        at = from + length;
    }
    Ok(frames)
}

/// The access units of an H.264 Annex B stream, each NAL unit preceded by a 4-byte start code, without delimiters and
/// filler (which packetizers drop).
pub(super) fn annex_b_frames(file: &[u8]) -> Result<Vec<Bytes>, String> {
    let (mut frames, mut frame, mut has_slice) = (Vec::new(), BytesMut::new(), false);
    for unit in bitstream::nal_units(file) {
        // ITU-T H.264, 7.4.1.2.3: what may come before the first slice of a picture begins a new one after a slice.
        let begins = nal::begins_picture(unit) || matches!(nal::kind(unit), nal::SEI..=nal::AUD);
        if has_slice && begins {
            frames.push(frame.split().freeze());
            has_slice = false;
        }
        has_slice |= nal::is_slice(unit);
        if !matches!(nal::kind(unit), nal::AUD | nal::FILLER) {
            frame.extend_from_slice(&START_CODE);
            frame.extend_from_slice(unit);
        }
    }
    if has_slice {
        frames.push(frame.freeze());
    }
    if frames.is_empty() { Err("it is not an H.264 Annex B stream".into()) } else { Ok(frames) }
}

/// The audio packets of an Ogg file that holds one Opus stream (RFC 3533, RFC 7845).
pub(super) fn ogg_packets(file: &Bytes) -> Result<Vec<Bytes>, String> {
    let (mut packets, mut packet, mut at) = (Vec::new(), BytesMut::new(), 0);
    while at < file.len() {
        let page = at;
        let cut = || format!("it ends within the page at byte {page}");
        let header = file.get(at..at + 27).ok_or_else(cut)?;
        if header[..4] != *b"OggS" {
            return Err(format!("it is not an Ogg file (no page at byte {at})"));
        }
        let lacing = file.get(at + 27..at + 27 + usize::from(header[26])).ok_or_else(cut)?;
        at += 27 + lacing.len();
        for &length in lacing {
            packet.extend_from_slice(file.get(at..at + usize::from(length)).ok_or_else(cut)?);
            at += usize::from(length);
            // A lacing value of 255 says that the packet goes on (RFC 3533, section 5).
            if length < 255 {
                packets.push(packet.split().freeze());
            }
        }
    }
    if !packets.first().is_some_and(|head| head.starts_with(b"OpusHead")) {
        return Err("it holds no Opus stream".into());
    }
    if !packets.get(1).is_some_and(|tags| tags.starts_with(b"OpusTags")) {
        return Err("its second packet is not OpusTags".into());
    }
    Ok(packets.split_off(2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn a_packet_that_spans_ogg_pages_is_joined() {
        let page = |segments: &[&[u8]]| {
            let mut page = b"OggS".to_vec();
            page.extend([0; 22]);
            page.push(segments.len() as u8);
            page.extend(segments.iter().map(|segment| segment.len() as u8));
            page.extend(segments.concat());
            page
        };
        let long = [7; 255];
        let file = [page(&[b"OpusHead"]), page(&[b"OpusTags"]), page(&[b"ab", &long]), page(&[b"c"])].concat();
        let packets = ogg_packets(&file.into()).unwrap();
        assert_eq!(packets.iter().map(Bytes::len).collect::<Vec<_>>(), [2, 256]);
    }

    #[test]
    fn annex_b_is_split_at_parameter_sets_and_first_slices() {
        let units: [&[u8]; 6] = [&[0x67, 9], &[0x68, 9], &[0x65, 0x88], &[0x65, 0x48], &[0x41, 0x9a], &[0x41, 0x9b]];
        let file: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 1][..], unit].concat()).collect();
        let frames = annex_b_frames(&file).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.len() / 6).collect::<Vec<_>>(), [4, 1, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_input_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for magic in [&b"DKIF\0\0\x20\0VP80"[..], b"OggS"] {
                for (byte, &magic) in bytes.iter_mut().zip(magic) {
                    *byte = magic;
                }
                let file = Bytes::from(bytes.clone());
                let _ = (ivf_frames(&file), annex_b_frames(&file), ogg_packets(&file));
            }
        }
    }
}
