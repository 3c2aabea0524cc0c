//! Where the media that a native peer sends comes from: packets that are due at exact instants.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::media::fixture::{AudioFixture, VideoFixture};
use crate::media::send::{AudioSender, Produced, RtpStream, VideoSender};

use super::dense::fast::send::Source as MediaSender;
use super::key_frame::KeyFrameRequests;
use super::planned::{Encoding, TrackPlan};
use super::tracks::Negotiated;

/// Where a track's media comes from.
#[derive(Clone)]
pub(super) enum Source {
    /// This video, at so many frames per second.
    Video(Arc<VideoFixture>, u32),
    /// This audio.
    Audio(Arc<AudioFixture>),
}

/// What has been sent so far.
#[derive(Default)]
pub(super) struct SentCounters {
    pub(super) bytes: AtomicU64,
    pub(super) video_frames: AtomicU64,
    pub(super) audio_packets: AtomicU64,
}

impl Source {
    pub(super) fn mime_type(&self) -> &'static str {
        match self {
            Self::Video(fixture, _) => fixture.codec().mime_type(),
            Self::Audio(_) => "audio/opus",
        }
    }
}

/// The packets of one track, on their schedule.
pub(super) struct Stream {
    encodings: Vec<EncodedStream>,
    key_frames: KeyFrameRequests,
}

/// Those of one of its encodings.
struct EncodedStream {
    sender: MediaSender,
    /// The header extensions of each packet (RFC 8285).
    extensions: Vec<(u8, Bytes)>,
    /// Requests for key frames that were answered.
    answered: u64,
}

/// What makes the packets of an encoding, the first due at `start`. `None` if its frame rate is 0.
pub(super) fn media_sender(encoding: &Encoding, payload_type: u8, start: Instant) -> Option<MediaSender> {
    let stream = RtpStream { ssrc: encoding.ssrc, payload_type, seed: encoding.seed };
    Some(match encoding.source.clone() {
        Source::Video(fixture, frame_rate) => {
            MediaSender::Video(VideoSender::new(fixture, stream, NonZeroU32::new(frame_rate)?, start))
        }
        Source::Audio(fixture) => MediaSender::Audio(AudioSender::new(fixture, stream, start)),
    })
}

impl Stream {
    /// The packets of a track as it was negotiated, the first due at `start`. `None` if it does not send.
    ///
    /// # Errors
    ///
    /// The other end cannot tell the track's encodings apart.
    pub(super) fn new(
        track: &TrackPlan,
        negotiated: &Negotiated,
        key_frames: KeyFrameRequests,
        start: Instant,
    ) -> Result<Option<Self>, String> {
        let mut encodings = Vec::with_capacity(track.encodings.len());
        for encoding in &track.encodings {
            let Some(sender) = media_sender(encoding, negotiated.payload_type, start) else { continue };
            let extensions = encoding.layer.map(|layer| negotiated.extensions_of(layer)).transpose()?;
            encodings.push(EncodedStream { sender, extensions: extensions.unwrap_or_default(), answered: 0 });
        }
        let mut stream = Self { encodings, key_frames };
        stream.key_frames_asked_for(|encoding, asked| encoding.answered = asked);
        Ok((!stream.encodings.is_empty()).then_some(stream))
    }

    /// When the next packets are due: of all encodings at the same time.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |encoding: &EncodedStream| match &encoding.sender {
            MediaSender::Video(sender) => sender.next_due(),
            MediaSender::Audio(sender) => sender.next_due(),
        };
        self.encodings.first().map(due)
    }

    /// The next packets, if they are due: a frame of each encoding, one after the other, so that a server that goes over from
    /// one to the other finds whole frames. Counts nothing.
    pub(super) fn produce(&mut self, now: Instant) -> Option<Produced> {
        self.key_frames_asked_for(EncodedStream::answer);
        let mut produced = self.encodings.iter_mut().filter_map(|encoding| encoding.produce(now));
        let first = produced.next()?;
        Some(produced.fold(first, |mut all, mut more| {
            all.packets.append(&mut more.packets);
            all
        }))
    }

    /// Counts the frame of packets that were sent: with several encodings, one of each.
    pub(super) fn sent(&self, counters: &SentCounters) {
        let counter = match self.encodings.first().map(|encoding| &encoding.sender) {
            Some(MediaSender::Audio(_)) => &counters.audio_packets,
            _ => &counters.video_frames,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells each encoding how many key frames of it were asked for. Of a track with one, every request is meant for it.
    fn key_frames_asked_for(&mut self, tell: impl Fn(&mut EncodedStream, u64)) {
        if let [only] = &mut self.encodings[..] {
            return tell(only, self.key_frames.count());
        }
        for encoding in &mut self.encodings {
            if let MediaSender::Video(sender) = &encoding.sender {
                let asked = self.key_frames.count_of(sender.stream().ssrc);
                tell(encoding, asked);
            }
        }
    }
}

impl EncodedStream {
    fn answer(&mut self, asked: u64) {
        if let MediaSender::Video(sender) = &mut self.sender
            && asked > self.answered
        {
            self.answered = asked;
            sender.request_key_frame();
        }
    }

    fn produce(&mut self, now: Instant) -> Option<Produced> {
        let mut produced = match &mut self.sender {
            MediaSender::Video(sender) => sender.produce(now),
            MediaSender::Audio(sender) => sender.produce(now),
        }?;
        for packet in &mut produced.packets {
            for (id, value) in &self.extensions {
                // Refused are only values of more than 16 bytes, which none is.
                let _ = packet.header.set_extension(*id, value.clone());
            }
        }
        Some(produced)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rtc::rtp_transceiver::rtp_sender::{RTCRtpHeaderExtensionParameters, RTCRtpParameters, RtpCodecKind};

    use super::*;
    use crate::peer::native::connection::video_codec;
    use crate::plan::{Layer, VideoCodec};

    const RID: (u16, &str) = (3, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id");
    const MID: (u16, &str) = (5, "urn:ietf:params:rtp-hdrext:sdes:mid");

    fn track() -> TrackPlan {
        let layers = VideoFixture::load_layers(None).unwrap();
        let encoding = |(ssrc, (layer, fixture))| Encoding {
            source: Source::Video(fixture, 30),
            layer: Some(layer),
            ssrc,
            seed: u64::from(ssrc),
        };
        let encodings = (1..).zip(layers).map(encoding).collect();
        TrackPlan { kind: RtpCodecKind::Video, codec: video_codec(VideoCodec::Vp8), encodings }
    }

    fn negotiated(track: &TrackPlan, extensions: &[(u16, &str)]) -> Negotiated {
        let header_extensions = extensions.iter().map(|(id, uri)| RTCRtpHeaderExtensionParameters {
            id: *id,
            uri: (*uri).into(),
            ..Default::default()
        });
        let codecs = vec![track.codec.clone()];
        let parameters =
            RTCRtpParameters { header_extensions: header_extensions.collect(), codecs, ..Default::default() };
        Negotiated::new(track, &parameters, Some("0".into())).unwrap()
    }

    #[test]
    fn each_packet_says_its_layer_and_each_tick_has_a_frame_of_every_layer() {
        let (track, start) = (track(), Instant::now());
        let negotiated = negotiated(&track, &[MID, RID]);
        let mut stream = Stream::new(&track, &negotiated, KeyFrameRequests::default(), start).unwrap().unwrap();
        assert!(stream.produce(start - Duration::from_millis(1)).is_none());
        let packets = stream.produce(start).unwrap().packets;
        let mut frames = BTreeMap::new();
        for packet in &packets {
            let text = |id: u16| packet.header.get_extension(id as u8).unwrap();
            assert_eq!(text(MID.0), "0");
            let layer = Layer::ALL[packet.header.ssrc as usize - 1];
            assert_eq!(text(RID.0), layer.rid());
            *frames.entry(layer).or_insert(0) += u32::from(packet.header.marker);
        }
        assert_eq!(frames, BTreeMap::from(Layer::ALL.map(|layer| (layer, 1))));
        let mut layers: Vec<u32> = packets.iter().map(|packet| packet.header.ssrc).collect();
        layers.dedup();
        assert_eq!(layers, [1, 2, 3], "one frame after the other");
    }

    #[test]
    fn a_key_frame_is_sent_on_the_layer_that_is_asked_for_it() {
        let (track, start) = (track(), Instant::now());
        let (negotiated, requests) = (negotiated(&track, &[RID]), KeyFrameRequests::default());
        let mut stream = Stream::new(&track, &negotiated, requests.clone(), start).unwrap().unwrap();
        let mut keys = Vec::new();
        for frame in 0..20 {
            if frame == 15 {
                requests.note(2);
            }
            for packet in stream.produce(stream.next_due().unwrap()).unwrap().packets {
                // The first of a frame whose header says that it is a key frame (RFC 7741, section 4.3).
                if packet.payload[0] & 0x10 != 0 && packet.payload[4] & 1 == 0 {
                    keys.push((frame, packet.header.ssrc));
                }
            }
        }
        assert_eq!(keys, [(0, 1), (0, 2), (0, 3), (15, 2)]);
    }

    #[test]
    fn layers_that_the_other_end_cannot_tell_apart_are_not_sent() {
        let track = track();
        let negotiated = negotiated(&track, &[MID]);
        let refused = Stream::new(&track, &negotiated, KeyFrameRequests::default(), Instant::now()).err().unwrap();
        assert!(
            refused
                .contains("does not accept simulcast: its answer lacks urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id")
        );
    }
}
