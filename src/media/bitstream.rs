//! The few fields of VP8, H.264 and Opus bit streams that senders and receivers need to know.

use std::time::Duration;

/// Bytes of a VP8 frame tag (RFC 6386, section 9.1).
const VP8_TAG: usize = 3;
/// Bytes of a VP8 key frame's header: tag, start code, width, height.
const VP8_KEY_HEADER: usize = 10;

/// The uncompressed header of a VP8 frame (RFC 6386, section 9.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Vp8Header {
    /// Whether it is a key frame.
    pub(super) key: bool,
    /// Whether it is meant to be shown; an alt-ref frame is not.
    pub(super) shown: bool,
    /// Width and height in pixels, of a key frame.
    pub(super) size: Option<(u32, u32)>,
}

impl Vp8Header {
    /// Reads the header; `None` if these bytes cannot be a whole VP8 frame.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let tag = frame.get(..VP8_TAG)?;
        let tag = u32::from_le_bytes([tag[0], tag[1], tag[2], 0]);
        let (key, version, shown, first_partition) = (tag & 1 == 0, tag >> 1 & 7, tag >> 4 & 1 == 1, tag >> 5);
        let header = if key { VP8_KEY_HEADER } else { VP8_TAG };
        if version > 3 || frame.len() < header + first_partition as usize {
            return None;
        }
        if !key {
            return Some(Self { key, shown, size: None });
        }
        if frame[3..6] != [0x9d, 0x01, 0x2a] {
            return None;
        }
        // The upper two bits of each are the scale, a hint for display.
        let dimension = |at: usize| u32::from(u16::from_le_bytes([frame[at], frame[at + 1]]) & 0x3fff);
        Some(Self { key, shown, size: Some((dimension(6), dimension(8))) })
    }
}

/// Types of NAL units (ITU-T H.264, table 7-1, and RFC 6184, table 1).
pub(super) mod nal {
    /// Coded slice of a picture that is not IDR.
    pub(crate) const SLICE: u8 = 1;
    /// Coded slice of an IDR picture.
    pub(crate) const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub(crate) const SEI: u8 = 6;
    /// Sequence parameter set.
    pub(crate) const SPS: u8 = 7;
    /// Access unit delimiter.
    pub(crate) const AUD: u8 = 9;
    /// Filler data.
    pub(crate) const FILLER: u8 = 12;
    /// Single-time aggregation packet.
    pub(crate) const STAP_A: u8 = 24;
    /// Fragmentation unit.
    pub(crate) const FU_A: u8 = 28;

    /// The type of a NAL unit, from its first byte.
    pub(crate) fn kind(unit: &[u8]) -> u8 {
        unit.first().map_or(0, |first| first & 0x1f)
    }

    /// Whether the unit holds coded picture data.
    pub(crate) fn is_slice(unit: &[u8]) -> bool {
        (SLICE..=IDR).contains(&kind(unit))
    }

    /// Whether the unit is a slice with `first_mb_in_slice` 0: the first of its picture.
    pub(crate) fn begins_picture(unit: &[u8]) -> bool {
        // ue(v) of 0 is the single bit 1.
        is_slice(unit) && unit.get(1).is_some_and(|byte| byte & 0x80 != 0)
    }
}

/// The NAL units of an Annex B byte stream (ITU-T H.264, annex B), without start codes and trailing zeros.
pub(super) fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let from = rest?;
        let (unit, next) = match start_code(from) {
            Some(at) => (&from[..at], Some(&from[at + 3..])),
            None => (from, None),
        };
        rest = next;
        let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    start_code(stream).map(|at| &stream[at + 3..])
}

/// Where the next `00 00 01` is.
fn start_code(stream: &[u8]) -> Option<usize> {
    let mut from = 0;
    // A 1 is rarer than a 0 in coded data, so it is looked for first.
    while let Some(one) = stream.get(from..)?.iter().position(|&byte| byte == 1) {
        let at = from + one;
        if at >= 2 && stream[at - 1] == 0 && stream[at - 2] == 0 {
            return Some(at - 2);
        }
        from = at + 1;
    }
    None
}

/// Whether a slice is of type B (ITU-T H.264, 7.4.3); `None` if its header is cut off.
pub(super) fn is_b_slice(unit: &[u8]) -> Option<bool> {
    let header = unescape(unit.get(1..unit.len().min(32))?);
    let mut bits = Bits::new(&header);
    bits.exp_golomb()?;
    Some(bits.exp_golomb()? % 5 == 1)
}

/// Width and height in pixels from a sequence parameter set (ITU-T H.264, 7.3.2.1.1), cropping applied.
pub(super) fn sps_size(unit: &[u8]) -> Option<(u32, u32)> {
    let payload = unescape(unit.get(1..)?);
    let mut bits = Bits::new(&payload);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.exp_golomb()?;
    let mut chroma_format = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.take(1)?;
        }
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                if bits.take(1)? == 1 {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.take(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            for _ in 0..bits.exp_golomb()? {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?;
    bits.take(1)?;
    let width = bits.exp_golomb()?.checked_add(1)?.checked_mul(16)?;
    let map_units = bits.exp_golomb()?.checked_add(1)?;
    let frame_only = bits.take(1)?;
    if frame_only == 0 {
        bits.take(1)?;
    }
    let height = map_units.checked_mul(16)?.checked_mul(2 - frame_only)?;
    bits.take(1)?;
    let (mut crop_width, mut crop_height) = (0u32, 0u32);
    if bits.take(1)? == 1 {
        let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_format == 1 { 2 } else { 1 } * (2 - frame_only);
        crop_width = bits.exp_golomb()?.checked_add(bits.exp_golomb()?)?.checked_mul(unit_x)?;
        crop_height = bits.exp_golomb()?.checked_add(bits.exp_golomb()?)?.checked_mul(unit_y)?;
    }
    Some((width.checked_sub(crop_width)?, height.checked_sub(crop_height)?))
}

/// Removes emulation prevention bytes (ITU-T H.264, 7.4.1).
fn unescape(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// ue(v) (ITU-T H.264, 9.1).
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    fn skip_scaling_list(&mut self, size: u32) -> Option<()> {
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..size {
            if next != 0 {
                let code = i64::from(self.exp_golomb()?);
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }
}

/// How much sound an Opus packet holds (RFC 6716, section 3); `None` if it is not a valid packet.
pub(super) fn opus_duration(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let frame_us: u64 = match toc >> 3 {
        config @ 0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config % 4)],
        config @ 12..16 => [10_000, 20_000][usize::from(config % 2)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config % 4)],
    };
    let frames: u64 = match toc & 3 {
        0 => 1,
        1 if packet.len() % 2 == 1 => 2,
        2 => 2,
        3 => u64::from(packet.get(1)? & 0x3f),
        _ => return None,
    };
    let duration_us = frame_us * frames;
    (1..=120_000).contains(&duration_us).then(|| Duration::from_micros(duration_us))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn nal_units_are_split_at_both_start_codes() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 0, 1, 4];
        let units: Vec<_> = nal_units(&stream).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 1, 4]]);
    }

    #[test]
    fn the_size_of_an_sps_is_cropped() {
        // 1920x1080 (1088 coded), high profile, from a public test stream.
        let sps = [
            0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
            0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
        ];
        assert_eq!(sps_size(&sps), Some((1920, 1080)));
    }

    #[test]
    fn opus_durations_follow_the_table() {
        assert_eq!(opus_duration(&[0xfc, 0]), Some(Duration::from_millis(20)));
        assert_eq!(opus_duration(&[0x80, 0]), Some(Duration::from_micros(2500)));
        assert_eq!(opus_duration(&[0xfb, 0]), None, "no frame count");
        assert_eq!(opus_duration(&[0xfb, 7]), None, "140 ms");
        assert_eq!(opus_duration(&[]), None);
    }

    #[test]
    fn a_vp8_frame_shorter_than_its_first_partition_is_refused() {
        let mut frame = vec![0x10, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        frame.extend([0; 8]);
        assert_eq!(Vp8Header::parse(&frame), Some(Vp8Header { key: true, shown: true, size: Some((640, 360)) }));
        assert_eq!(Vp8Header::parse(&frame[..17]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => 0u8..2], 0..200)) {
            let _ = (Vp8Header::parse(&bytes), sps_size(&bytes), is_b_slice(&bytes), opus_duration(&bytes));
            prop_assert!(nal_units(&bytes).map(<[u8]>::len).sum::<usize>() <= bytes.len());
        }
    }
}
