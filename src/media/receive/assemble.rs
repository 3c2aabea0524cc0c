//! From packets in order to frames: VP8 (RFC 7741) and H.264 (RFC 6184).

use std::time::Instant;

use super::reorder::Ordered;
use crate::media::bitstream::{self, Vp8Header, nal};
use crate::media::container::START_CODE;
use crate::plan::VideoCodec;

/// What arrived of a frame.
#[derive(Debug)]
pub(super) struct Assembled<'a> {
    /// The frame in the form of [`Frame::data`](crate::media::fixture::Frame::data).
    pub(super) content: &'a [u8],
    /// Whether all of it arrived, as far as its packets tell.
    pub(super) complete: bool,
    /// Whether packets before it were lost.
    pub(super) after_gap: bool,
    /// When the last of its packets arrived.
    pub(super) at: Instant,
}

/// Rebuilds frames.
#[derive(Debug)]
pub(super) struct Assembler {
    codec: VideoCodec,
    content: Vec<u8>,
    open: Option<Open>,
    /// Whether the beginning of a frame has been seen: what comes before belongs to a frame that began before us.
    started: bool,
    /// Whether something was lost since the last frame was handed out.
    gap: bool,
}

#[derive(Debug)]
struct Open {
    timestamp: u32,
    complete: bool,
    in_fragment: bool,
    at: Instant,
}

impl Assembler {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self { codec, content: Vec::new(), open: None, started: false, gap: false }
    }

    /// Whether a payload is the first of a frame.
    pub(super) fn begins_frame(&self, payload: &[u8]) -> bool {
        match self.codec {
            VideoCodec::Vp8 => vp8_payload(payload).is_some_and(|(begins, _)| begins),
            VideoCodec::H264 => h264_begins_picture(payload),
        }
    }

    /// Takes the next packet, and hands out the frames that it ends.
    pub(super) fn push(&mut self, packet: &Ordered<'_>, mut emit: impl FnMut(Assembled<'_>)) {
        if let Some(open) = self.open.as_mut().filter(|_| packet.after_gap) {
            // Its last packet carries a marker, and has not arrived.
            open.complete = false;
        }
        if self.open.as_ref().is_some_and(|open| open.timestamp != packet.timestamp) {
            self.close(&mut emit);
        }
        self.gap |= packet.after_gap;
        if packet.payload.is_empty() {
            // Padding, which a bandwidth estimator probes with.
            return;
        }
        if self.open.is_none() && !self.begin(packet) {
            return;
        }
        let intact = self.append(packet.payload);
        if let Some(open) = &mut self.open {
            open.complete &= intact;
            open.at = open.at.max(packet.at);
            if packet.marker {
                self.close(&mut emit);
            }
        }
    }

    /// Hands out the frame that is open, as one that lacks its end.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Assembled<'_>)) {
        if let Some(open) = &mut self.open {
            open.complete = false;
        }
        self.close(&mut emit);
    }

    fn begin(&mut self, packet: &Ordered<'_>) -> bool {
        let begins = self.begins_frame(packet.payload);
        self.started |= begins;
        if !self.started {
            return false;
        }
        // An H.264 payload cannot always tell, but after a whole frame can come only the beginning of the next.
        let complete = begins || (self.codec == VideoCodec::H264 && !self.gap);
        self.content.clear();
        self.open = Some(Open { timestamp: packet.timestamp, complete, in_fragment: false, at: packet.at });
        true
    }

    /// Adds a payload to the frame; `false` if it is malformed, or not in its place.
    fn append(&mut self, payload: &[u8]) -> bool {
        match self.codec {
            VideoCodec::Vp8 => match vp8_payload(payload) {
                Some((begins, data)) if !begins || self.content.is_empty() => {
                    self.content.extend_from_slice(data);
                    true
                }
                _ => false,
            },
            VideoCodec::H264 => self.append_h264(payload).is_some(),
        }
    }

    fn append_h264(&mut self, payload: &[u8]) -> Option<()> {
        let open = self.open.as_mut()?;
        let kind = nal::kind(payload);
        if open.in_fragment && kind != nal::FU_A {
            return None;
        }
        match kind {
            1..=23 => append_unit(&mut self.content, payload),
            nal::STAP_A => {
                let mut rest = &payload[1..];
                while !rest.is_empty() {
                    let (length, units) = rest.split_first_chunk()?;
                    let (unit, next) = units.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                    append_unit(&mut self.content, unit)?;
                    rest = next;
                }
                Some(())
            }
            nal::FU_A => {
                let (&[indicator, header], data) = payload.split_first_chunk()?;
                let (starts, ends) = (header & 0x80 != 0, header & 0x40 != 0);
                if starts == open.in_fragment {
                    return None;
                }
                if starts {
                    append_unit(&mut self.content, &[indicator & 0xe0 | header & 0x1f])?;
                }
                self.content.extend_from_slice(data);
                open.in_fragment = !ends;
                Some(())
            }
            _ => None,
        }
    }

    fn close(&mut self, emit: &mut impl FnMut(Assembled<'_>)) {
        if let Some(open) = self.open.take() {
            let complete = open.complete && !open.in_fragment;
            emit(Assembled { content: &self.content, complete, after_gap: std::mem::take(&mut self.gap), at: open.at });
        }
    }
}

fn append_unit(content: &mut Vec<u8>, unit: &[u8]) -> Option<()> {
    // Bit 0 is forbidden_zero_bit.
    if unit.first().is_none_or(|first| first & 0x80 != 0) {
        return None;
    }
    if !matches!(nal::kind(unit), nal::AUD | nal::FILLER) {
        content.extend_from_slice(&START_CODE);
        content.extend_from_slice(unit);
    }
    Some(())
}

/// Whether a VP8 payload is the first of its frame, and what follows the descriptor (RFC 7741, section 4.2).
fn vp8_payload(payload: &[u8]) -> Option<(bool, &[u8])> {
    let (&first, mut rest) = payload.split_first()?;
    if first & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            rest = rest.get(if rest.first()? & 0x80 != 0 { 2.. } else { 1.. })?;
        }
        if extension & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extension & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    // S is 1 and PID is 0.
    (!rest.is_empty()).then_some((first & 0x17 == 0x10, rest))
}

fn h264_begins_picture(payload: &[u8]) -> bool {
    match nal::kind(payload) {
        nal::STAP_A => payload.get(3..).is_some_and(h264_begins_picture),
        nal::SEI..=nal::AUD => true,
        nal::FU_A => payload.get(1).is_some_and(|header| header & 0x80 != 0 && nal::begins_picture(&payload[1..])),
        _ => nal::begins_picture(payload),
    }
}

/// What a complete frame says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Parsed {
    /// Whether it can be decoded without any other.
    pub(super) key: bool,
    /// Width and height in pixels, where the frame says so.
    pub(super) size: Option<(u32, u32)>,
}

/// Reads a frame's headers; `None` if it is not well-formed.
pub(super) fn parse(codec: VideoCodec, content: &[u8]) -> Option<Parsed> {
    match codec {
        VideoCodec::Vp8 => Vp8Header::parse(content).map(|header| Parsed { key: header.key, size: header.size }),
        VideoCodec::H264 => {
            let (mut key, mut size, mut has_slice) = (false, None, false);
            for unit in bitstream::nal_units(content) {
                has_slice |= nal::is_slice(unit);
                key |= nal::kind(unit) == nal::IDR;
                if nal::kind(unit) == nal::SPS {
                    size = Some(bitstream::sps_size(unit)?);
                }
            }
            has_slice.then_some(Parsed { key, size })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn frames(codec: VideoCodec, packets: &[(&[u8], bool, bool)]) -> Vec<(bool, Vec<u8>)> {
        let (mut assembler, mut frames) = (Assembler::new(codec), Vec::new());
        for (timestamp, &(payload, marker, after_gap)) in packets.iter().enumerate() {
            let packet = Ordered { timestamp: timestamp as u32 / 8, marker, payload, at: Instant::now(), after_gap };
            assembler.push(&packet, |frame| frames.push((frame.complete, frame.content.to_vec())));
        }
        frames
    }

    #[test]
    fn every_form_of_the_vp8_descriptor_is_read() {
        let forms: [&[u8]; 5] = [
            &[0x10, 9],
            &[0x90, 0x80, 5, 9],
            &[0x90, 0x80, 0x85, 5, 9],
            &[0x90, 0xe0, 0x85, 5, 6, 7, 9],
            &[0x90, 0x10, 7, 9],
        ];
        for form in forms {
            assert_eq!(vp8_payload(form), Some((true, &[9][..])), "{form:x?}");
        }
        assert_eq!(vp8_payload(&[0x11, 9]), Some((false, &[9][..])), "another partition");
        assert_eq!(vp8_payload(&[0x90, 0x80, 0x85]), None);
    }

    #[test]
    fn a_frame_that_lacks_a_packet_is_not_complete() {
        assert_eq!(
            frames(VideoCodec::Vp8, &[(&[0x10, 1], false, false), (&[0, 2], true, false)]),
            [(true, vec![1, 2])]
        );
        let middle = frames(VideoCodec::Vp8, &[(&[0x10, 1], false, false), (&[0, 3], true, true)]);
        assert_eq!(middle, [(false, vec![1, 3])]);
        let head = frames(VideoCodec::Vp8, &[(&[0x10, 1], true, false), (&[0, 3], true, true)]);
        assert_eq!(head, [(true, vec![1]), (false, vec![3])]);
    }

    #[test]
    fn what_precedes_the_first_beginning_is_not_a_frame() {
        assert_eq!(frames(VideoCodec::Vp8, &[(&[0, 3], true, false), (&[0x10, 1], true, false)]), [(true, vec![1])]);
        let h264 = frames(VideoCodec::H264, &[(&[0x7c, 0x45, 3], true, false), (&[0x41, 0x80], true, false)]);
        assert_eq!(h264, [(true, vec![0, 0, 0, 1, 0x41, 0x80])]);
    }

    #[test]
    fn h264_fragments_must_start_and_end() {
        let whole: [(&[u8], bool, bool); 2] = [(&[0x7c, 0x85, 0x88], false, false), (&[0x7c, 0x45, 7], true, false)];
        assert_eq!(frames(VideoCodec::H264, &whole), [(true, vec![0, 0, 0, 1, 0x65, 0x88, 7])]);
        let unended: [(&[u8], bool, bool); 2] = [(&[0x7c, 0x85, 0x88], false, false), (&[0x7c, 0x05, 7], true, false)];
        assert!(!frames(VideoCodec::H264, &unended)[0].0);
        let unstarted: [(&[u8], bool, bool); 2] = [(&[0x67, 0x42, 1], false, false), (&[0x7c, 0x45, 7], true, false)];
        assert!(!frames(VideoCodec::H264, &unstarted)[0].0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_payload_panics(payloads in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..12), any::<bool>(), any::<bool>()), 0..40)) {
            for codec in [VideoCodec::Vp8, VideoCodec::H264] {
                let packets: Vec<_> = payloads.iter().map(|(payload, marker, gap)| (&payload[..], *marker, *gap)).collect();
                for (_, content) in frames(codec, &packets) {
                    let _ = parse(codec, &content);
                }
            }
        }
    }
}
