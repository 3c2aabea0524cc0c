//! Senders that write sealed packets to where they are sent from.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::srtp::{Cipher, SendIndex, TAG};
use crate::media::send::{AudioSender, Outgoing, Produced, RtpStream, SendCounters, Sent, VideoSender};

/// The length of an RTP header without CSRCs and extensions, in bytes: none is negotiated.
const HEADER: usize = 12;
/// How long a packet can be sent again, at least: longer than a receiver waits for it.
const KEPT: Duration = Duration::from_secs(1);
/// How many packets can be sent again, at most.
const CAPACITY: usize = 1024;

/// Where the media comes from.
#[derive(Debug)]
pub enum Source {
    /// A video fixture.
    Video(VideoSender),
    /// An audio fixture.
    Audio(AudioSender),
}

/// What has been sent of a stream in all, retransmissions among it, as W3C webrtc-stats counts it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OutboundCounters {
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP payloads.
    pub payload_bytes: u64,
    /// Bytes of RTP headers.
    pub header_bytes: u64,
    /// Bytes of the datagrams, tags included.
    pub datagram_bytes: u64,
    /// Packets among these that were sent again.
    pub retransmitted: u64,
}

/// Sends one stream of a connection.
#[derive(Debug)]
pub struct FastSender {
    source: Source,
    index: SendIndex,
    counters: OutboundCounters,
    /// Of video; audio is not sent again. Sequence numbers follow one another without a gap.
    history: VecDeque<Kept>,
    /// The timestamp of the latest packet, and when that was due to be sent.
    latest: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct Kept {
    packet: Sent,
    index: u64,
    at: Instant,
}

impl FastSender {
    /// A sender of this media. It is the only one of its stream, from the stream's first packet on.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            index: SendIndex::default(),
            counters: OutboundCounters::default(),
            history: VecDeque::new(),
            latest: None,
        }
    }

    /// When the next video frame or audio packet is due.
    pub fn next_due(&self) -> Instant {
        match &self.source {
            Source::Video(video) => video.next_due(),
            Source::Audio(audio) => audio.next_due(),
        }
    }

    /// Adds the packets of the next frame to the batch, if it is due. What is returned has no list of packets.
    pub fn produce(&mut self, now: Instant, cipher: &Cipher, batch: &mut Batch) -> Option<Produced> {
        let stream = self.stream();
        let Self { source, index, counters, history, latest } = self;
        let keeps = matches!(source, Source::Video(_));
        let emit = |packet: Outgoing<'_>| {
            let index = index.next(packet.sequence_number);
            write(&packet, stream, index, cipher, batch, counters);
            if latest.is_none_or(|(timestamp, _)| timestamp != packet.timestamp) {
                *latest = Some((packet.timestamp, now));
            }
            if keeps {
                history.push_back(Kept { packet: Sent::from(&packet), index, at: now });
            }
        };
        let produced = match source {
            Source::Video(video) => video.produce_each(now, emit),
            Source::Audio(audio) => audio.produce_each(now, emit),
        };
        while history.front().is_some_and(|kept| now - kept.at > KEPT) || history.len() > CAPACITY {
            history.pop_front();
        }
        produced
    }

    /// Adds a packet to the batch that the other end misses (NACK, RFC 4585, section 6.2.1); `false` if it is not kept any
    /// more. It is the same bytes as the first time: the same packet with the same index (RFC 3711, section 3.3).
    pub fn send_again(&mut self, sequence_number: u16, cipher: &Cipher, batch: &mut Batch) -> bool {
        let Source::Video(video) = &self.source else { return false };
        let Some(first) = self.history.front() else { return false };
        let ahead = sequence_number.wrapping_sub(first.packet.sequence_number);
        let Some(kept) = self.history.get(usize::from(ahead)) else { return false };
        write(&video.again(&kept.packet), video.stream(), kept.index, cipher, batch, &mut self.counters);
        self.counters.retransmitted += 1;
        true
    }

    /// Asks for a key frame; see [`VideoSender::request_key_frame`].
    pub fn request_key_frame(&mut self) {
        if let Source::Video(video) = &mut self.source {
            video.request_key_frame();
        }
    }

    /// What identifies the stream.
    pub fn stream(&self) -> RtpStream {
        match &self.source {
            Source::Video(video) => video.stream(),
            Source::Audio(audio) => audio.stream(),
        }
    }

    /// Whether it is video.
    pub fn is_video(&self) -> bool {
        matches!(self.source, Source::Video(_))
    }

    /// What the source has made so far.
    pub fn made(&self) -> SendCounters {
        match &self.source {
            Source::Video(video) => video.counters(),
            Source::Audio(audio) => audio.counters(),
        }
    }

    /// What was sent so far.
    pub fn counters(&self) -> OutboundCounters {
        self.counters
    }

    /// The RTP timestamp of the latest packet, and when it was sent; `None` before the first.
    pub(super) fn latest(&self) -> Option<(u32, Instant)> {
        self.latest
    }

    /// The clock rate of the timestamps, in Hz.
    pub(super) fn clock_rate(&self) -> u32 {
        match &self.source {
            Source::Video(_) => VideoSender::CLOCK_RATE,
            Source::Audio(_) => AudioSender::CLOCK_RATE,
        }
    }
}

fn write(
    packet: &Outgoing<'_>,
    stream: RtpStream,
    index: u64,
    cipher: &Cipher,
    batch: &mut Batch,
    counters: &mut OutboundCounters,
) {
    let length = HEADER + packet.payload_len() + TAG;
    let out = batch.packet(length);
    // RFC 3550, section 5.1: version 2 without padding, extension or CSRC.
    out[0] = 0x80;
    out[1] = (u8::from(packet.marker) << 7) | stream.payload_type;
    out[2..4].copy_from_slice(&packet.sequence_number.to_be_bytes());
    out[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
    out[8..HEADER].copy_from_slice(&stream.ssrc.to_be_bytes());
    packet.write_payload(&mut out[HEADER..length - TAG]);
    cipher.seal(stream.ssrc, index, HEADER, out);
    counters.packets += 1;
    counters.header_bytes += HEADER as u64;
    counters.payload_bytes += packet.payload_len() as u64;
    counters.datagram_bytes += length as u64;
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rtc::rtp::Packet;
    use rtc::shared::marshal::{Marshal, Unmarshal};
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::super::keys::SessionKey;
    use super::*;
    use crate::media::fixture::{AudioFixture, VideoFixture};
    use crate::plan::VideoCodec;

    const STREAM: RtpStream = RtpStream { ssrc: 9, payload_type: 96, seed: 3 };

    fn video(codec: VideoCodec, start: Instant) -> VideoSender {
        let fixture = VideoFixture::load(codec, None).unwrap();
        VideoSender::new(fixture, STREAM, NonZeroU32::new(30).unwrap(), start)
    }

    fn keys() -> (Cipher, Context) {
        let provider = rtc::crypto::default_provider().unwrap();
        let session = SessionKey::derive(provider.crypto(), &[1; 16], &[2; 12]).unwrap();
        let profile = ProtectionProfile::AeadAes128Gcm;
        let core = Context::new(&[1; 16], &[2; 12], profile, None, None, provider.crypto()).unwrap();
        (Cipher::new(&session), core)
    }

    #[test]
    fn the_core_reads_the_packets_of_the_slow_path() {
        let start = Instant::now();
        let (cipher, mut core) = keys();
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            let (mut slow, mut fast) = (video(codec, start), FastSender::new(Source::Video(video(codec, start))));
            let mut counted = OutboundCounters::default();
            for _ in 0..70 {
                let mut batch = Batch::default();
                let due = fast.next_due();
                fast.produce(due, &cipher, &mut batch).unwrap();
                let packets: Vec<Vec<u8>> = batch.runs().flat_map(|run| run.packets().map(<[u8]>::to_vec)).collect();
                let expected = slow.produce(due).unwrap().packets;
                assert_eq!(packets.len(), expected.len());
                for (sealed, expected) in packets.iter().zip(expected) {
                    let opened = core.decrypt_rtp(sealed).unwrap();
                    assert_eq!(opened, expected.marshal().unwrap());
                    counted.packets += 1;
                    counted.header_bytes += 12;
                    counted.payload_bytes += expected.payload.len() as u64;
                    counted.datagram_bytes += sealed.len() as u64;
                }
            }
            assert_eq!(fast.counters(), counted);
            assert_eq!(fast.made(), slow.counters());
        }
    }

    #[test]
    fn a_packet_is_sent_again_as_it_was() {
        let (cipher, mut core) = keys();
        let mut sender = FastSender::new(Source::Video(video(VideoCodec::Vp8, Instant::now())));
        let mut batch = Batch::default();
        for _ in 0..5 {
            let due = sender.next_due();
            sender.produce(due, &cipher, &mut batch);
        }
        let sent: Vec<Vec<u8>> = batch.runs().flat_map(|run| run.packets().map(<[u8]>::to_vec)).collect();
        let numbers: Vec<u16> = sent.iter().map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect();
        for (number, first) in numbers.iter().zip(&sent) {
            batch.clear();
            assert!(sender.send_again(*number, &cipher, &mut batch));
            assert_eq!(batch.runs().next().unwrap().contents, first);
        }
        assert_eq!(sender.counters().retransmitted, sent.len() as u64);
        assert!(!sender.send_again(numbers[0].wrapping_sub(1), &cipher, &mut batch));
        assert!(!sender.send_again(numbers[numbers.len() - 1].wrapping_add(1), &cipher, &mut batch));

        // A second later they are forgotten.
        for _ in 0..40 {
            let due = sender.next_due();
            sender.produce(due, &cipher, &mut batch);
        }
        assert!(!sender.send_again(numbers[0], &cipher, &mut batch));
        let plain = core.decrypt_rtp(&sent[0]).unwrap();
        assert_eq!(Packet::unmarshal(&mut &plain[..]).unwrap().header.ssrc, STREAM.ssrc);
    }

    #[test]
    fn audio_is_sent_once() {
        let (cipher, mut core) = keys();
        let audio = AudioSender::new(AudioFixture::load(None).unwrap(), STREAM, Instant::now());
        let mut sender = FastSender::new(Source::Audio(audio));
        let mut batch = Batch::default();
        let due = sender.next_due();
        sender.produce(due, &cipher, &mut batch).unwrap();
        let opened = core.decrypt_rtp(batch.runs().next().unwrap().contents).unwrap();
        let packet = Packet::unmarshal(&mut &opened[..]).unwrap();
        assert_eq!(packet.payload, AudioFixture::load(None).unwrap().packets()[0]);
        assert!(packet.header.marker);
        assert!(!sender.send_again(packet.header.sequence_number, &cipher, &mut batch));
        assert!(sender.produce(due, &cipher, &mut batch).is_none());
    }
}
