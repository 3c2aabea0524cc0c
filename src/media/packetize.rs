//! From encoded frames to RTP payloads: VP8 (RFC 7741) and H.264 in packetization mode 1 (RFC 6184).

use bytes::{BufMut, Bytes, BytesMut};

use super::bitstream::{self, nal};
use crate::plan::VideoCodec;

/// The largest RTP payload in bytes: with RTP, SRTP, UDP and IP headers it fits every path that carries QUIC or WebRTC.
pub(super) const MAX_PAYLOAD: usize = 1200;

/// The payloads of a frame, each of at most [`MAX_PAYLOAD`] bytes.
///
/// VP8 has a descriptor with a 15-bit PictureID, which is 0 here: each sender writes its own with [`set_picture_id`].
/// H.264 has single NAL units, STAP-A for what comes before the slices, and FU-A for what does not fit.
pub(super) fn payloads(codec: VideoCodec, frame: &Bytes) -> Vec<Bytes> {
    match codec {
        VideoCodec::Vp8 => vp8(frame),
        VideoCodec::H264 => h264(frame),
    }
}

/// Writes the PictureID of a VP8 payload (RFC 7741, section 4.2).
pub(super) fn set_picture_id(payload: &mut [u8], picture_id: u16) {
    payload[2..4].copy_from_slice(&(0x8000 | picture_id).to_be_bytes());
}

fn vp8(frame: &[u8]) -> Vec<Bytes> {
    // RFC 7741, section 4.2: X, S and PID 0; then I; then M and 15 bits of PictureID.
    const DESCRIPTOR: usize = 4;
    let chunks = frame.chunks(MAX_PAYLOAD - DESCRIPTOR).enumerate().map(|(index, chunk)| {
        let mut payload = BytesMut::with_capacity(DESCRIPTOR + chunk.len());
        payload.put_u8(if index == 0 { 0x90 } else { 0x80 });
        payload.put_u8(0x80);
        payload.put_u16(0x8000);
        payload.put_slice(chunk);
        payload.freeze()
    });
    chunks.collect()
}

fn h264(frame: &Bytes) -> Vec<Bytes> {
    let (mut payloads, mut small) = (Vec::new(), Vec::<&[u8]>::new());
    for unit in bitstream::nal_units(frame) {
        let aggregated = 1 + small.iter().chain([&unit]).map(|unit| 2 + unit.len()).sum::<usize>();
        let is_small = !nal::is_slice(unit) && unit.len() + 3 <= MAX_PAYLOAD;
        if !is_small || aggregated > MAX_PAYLOAD {
            payloads.extend(stap_a(&mut small, frame));
        }
        if is_small {
            small.push(unit);
        } else if unit.len() <= MAX_PAYLOAD {
            payloads.push(frame.slice_ref(unit));
        } else {
            fu_a(unit, &mut payloads);
        }
    }
    payloads.extend(stap_a(&mut small, frame));
    payloads
}

/// One packet for several NAL units (RFC 6184, section 5.7.1).
fn stap_a(units: &mut Vec<&[u8]>, frame: &Bytes) -> Option<Bytes> {
    if let [unit] = units[..] {
        units.clear();
        return Some(frame.slice_ref(unit));
    }
    let importance = units.iter().map(|unit| unit[0] & 0x60).max()?;
    let mut payload = BytesMut::with_capacity(MAX_PAYLOAD);
    payload.put_u8(importance | nal::STAP_A);
    for unit in units.drain(..) {
        payload.put_u16(unit.len() as u16);
        payload.put_slice(unit);
    }
    Some(payload.freeze())
}

/// Several packets for one NAL unit (RFC 6184, section 5.8).
fn fu_a(unit: &[u8], payloads: &mut Vec<Bytes>) {
    const HEADER: usize = 2;
    let chunks = unit[1..].chunks(MAX_PAYLOAD - HEADER);
    let last = chunks.len() - 1;
    payloads.extend(chunks.enumerate().map(|(index, chunk)| {
        let (start, end) = (u8::from(index == 0) << 7, u8::from(index == last) << 6);
        let mut payload = BytesMut::with_capacity(HEADER + chunk.len());
        payload.put_u8(unit[0] & 0xe0 | nal::FU_A);
        payload.put_u8(start | end | nal::kind(unit));
        payload.put_slice(chunk);
        payload.freeze()
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fixture::VideoFixture;

    #[test]
    fn vp8_payloads_carry_the_start_bit_and_the_picture_id() {
        let payloads = payloads(VideoCodec::Vp8, &vec![1; 2500].into());
        assert_eq!(payloads.iter().map(Bytes::len).collect::<Vec<_>>(), [1200, 1200, 112]);
        assert_eq!(payloads[0][..4], [0x90, 0x80, 0x80, 0x00]);
        assert_eq!(payloads[1][..4], [0x80, 0x80, 0x80, 0x00]);
        let mut payload = payloads[1].to_vec();
        set_picture_id(&mut payload, 0x7ffe);
        assert_eq!(payload[..5], [0x80, 0x80, 0xff, 0xfe, 1]);
    }

    #[test]
    fn h264_parameter_sets_share_a_packet_and_the_slice_is_fragmented() {
        let fixture = VideoFixture::load(VideoCodec::H264, None).unwrap();
        let payloads = payloads(VideoCodec::H264, &fixture.frames()[0].data);
        assert_eq!(nal::kind(&payloads[0]), nal::STAP_A);
        assert!(payloads[1..].iter().all(|payload| nal::kind(payload) == nal::FU_A));
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        assert_eq!(payloads[1][1], 0x80 | nal::IDR);
        assert_eq!(payloads.last().unwrap()[1], 0x40 | nal::IDR);
    }

    #[test]
    fn a_small_h264_slice_goes_alone() {
        let frame = Bytes::from_static(&[0, 0, 0, 1, 6, 5, 1, 9, 0x80, 0, 0, 0, 1, 0x41, 0x9a, 2]);
        let payloads = payloads(VideoCodec::H264, &frame);
        assert_eq!(payloads, [&[6, 5, 1, 9, 0x80][..], &[0x41, 0x9a, 2]]);
    }
}
