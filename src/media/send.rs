//! Senders: fixtures in a loop, on an exact schedule, as RTP packets.
//!
//! A sender is driven by its owner: sleep until [`next_due`](VideoSender::next_due), call
//! [`produce`](VideoSender::produce) until it gives `None`, write the packets to the track, repeat. Timestamps follow the
//! schedule, not the moment of sending, and run on across the loop. When ticks have to be dropped, their timestamps pass
//! but the content does not: as with a camera whose frames are dropped before the encoder, every frame that is sent can be
//! decoded after the one that was sent before it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtc::rtp::header::Header;

use super::Packet;
use super::fixture::{AudioFixture, VideoFixture};
use super::packetize;
use super::schedule::Schedule;
use crate::plan::VideoCodec;

/// RTP clock rate of video (RFC 7741, RFC 6184), in Hz.
pub(super) const VIDEO_CLOCK: u32 = 90_000;
/// RTP clock rate of Opus (RFC 7587), in Hz.
pub(super) const AUDIO_CLOCK: u32 = 48_000;
/// The shortest time between two key frames that are sent on request, as in libwebrtc's senders.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(300);
/// Bytes of an RTP header without extensions.
const RTP_HEADER: u64 = 12;

/// What identifies an RTP stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpStream {
    /// The synchronization source, as signalled in SDP.
    pub ssrc: u32,
    /// The negotiated payload type.
    pub payload_type: u8,
    /// Where the initial sequence number, timestamp and PictureID derive from.
    pub seed: u64,
}

/// What is to be sent for one tick of the schedule.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    /// The packets of one frame, to be written in this order.
    pub packets: Vec<Packet>,
    /// How late it is: a reading of the generator's health. Where ticks were dropped, of the first of them.
    pub lateness: Duration,
    /// How many ticks were dropped because they were more than 100 ms and two intervals late.
    pub skipped: u64,
}

/// A packet that is due, before it is written anywhere.
///
/// Whoever sends the same fixture shares its payloads; what differs is in the other fields.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The last of a video frame, or the first of a talkspurt (RFC 3551, section 4.1).
    pub marker: bool,
    /// RFC 3550, section 5.1.
    pub sequence_number: u16,
    /// RFC 3550, section 5.1.
    pub timestamp: u32,
    /// The PictureID of VP8 (RFC 7741, section 4.2), 15 bits.
    pub picture_id: Option<u16>,
    /// Where the payload is in the fixture.
    pub place: Place,
    payload: &'a [u8],
}

/// Where a payload is in a fixture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The index of the video frame, or of the audio packet.
    pub frame: u32,
    /// Which of the packets of the frame.
    pub part: u32,
}

/// What has to be kept of a packet to send it again.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// See [`Outgoing::marker`].
    pub marker: bool,
    /// See [`Outgoing::sequence_number`].
    pub sequence_number: u16,
    /// See [`Outgoing::timestamp`].
    pub timestamp: u32,
    /// See [`Outgoing::picture_id`].
    pub picture_id: Option<u16>,
    /// See [`Outgoing::place`].
    pub place: Place,
}

impl Sent {
    fn outgoing<'a>(&self, payload: &'a [u8]) -> Outgoing<'a> {
        let Self { marker, sequence_number, timestamp, picture_id, place } = *self;
        Outgoing { marker, sequence_number, timestamp, picture_id, place, payload }
    }
}

impl From<&Outgoing<'_>> for Sent {
    fn from(packet: &Outgoing<'_>) -> Self {
        let Outgoing { marker, sequence_number, timestamp, picture_id, place, .. } = *packet;
        Self { marker, sequence_number, timestamp, picture_id, place }
    }
}

impl Outgoing<'_> {
    /// The length of the payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Writes the payload.
    ///
    /// # Panics
    ///
    /// `out` is not [`payload_len`](Self::payload_len) bytes long.
    pub fn write_payload(&self, out: &mut [u8]) {
        out.copy_from_slice(self.payload);
        if let Some(picture_id) = self.picture_id {
            packetize::set_picture_id(out, picture_id);
        }
    }

    fn packet(&self, stream: RtpStream) -> Packet {
        let mut payload = BytesMut::zeroed(self.payload.len());
        self.write_payload(&mut payload);
        let header = Header {
            version: 2,
            marker: self.marker,
            payload_type: stream.payload_type,
            sequence_number: self.sequence_number,
            timestamp: self.timestamp,
            ssrc: stream.ssrc,
            ..Header::default()
        };
        Packet { header, payload: payload.freeze() }
    }
}

/// What a sender has sent so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SendCounters {
    /// Video frames or audio packets.
    pub frames: u64,
    /// RTP packets, without retransmissions.
    pub packets: u64,
    /// Bytes of RTP headers (12 each) and payloads.
    pub bytes: u64,
    /// Ticks dropped because the generator was late.
    pub skipped: u64,
    /// Key frames asked for; requests that are close together count as one.
    pub key_frames_requested: u64,
    /// Key frames sent because they were asked for.
    pub key_frames_answered: u64,
}

/// Sends a video fixture.
#[derive(Debug)]
pub struct VideoSender {
    fixture: Arc<VideoFixture>,
    /// Of the next frame.
    picture_id: Option<u16>,
    rtp: Numbering,
    frame_rate: NonZeroU32,
    schedule: Schedule,
    next_frame: usize,
    key_frame_requested: bool,
    last_key_frame: Option<Instant>,
    counters: SendCounters,
}

impl VideoSender {
    /// The clock rate of RTP timestamps in Hz (RFC 7741, RFC 6184).
    pub const CLOCK_RATE: u32 = VIDEO_CLOCK;

    /// A sender whose first frame is due at `start`.
    pub fn new(fixture: Arc<VideoFixture>, stream: RtpStream, frame_rate: NonZeroU32, start: Instant) -> Self {
        let (rtp, mut random) = Numbering::new(stream);
        Self {
            picture_id: (fixture.codec() == VideoCodec::Vp8).then(|| random.random_range(0..0x8000)),
            fixture,
            rtp,
            frame_rate,
            schedule: Schedule::per_second(start, frame_rate),
            next_frame: 0,
            key_frame_requested: false,
            last_key_frame: None,
            counters: SendCounters::default(),
        }
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Instant {
        self.schedule.next_due()
    }

    /// The next frame, if it is due.
    pub fn produce(&mut self, now: Instant) -> Option<Produced> {
        let (stream, mut packets) = (self.rtp.stream, Vec::new());
        let produced = self.produce_each(now, |packet| packets.push(packet.packet(stream)))?;
        Some(Produced { packets, ..produced })
    }

    /// As [`produce`](Self::produce), but hands out each packet instead of making a list.
    pub fn produce_each(&mut self, now: Instant, mut emit: impl FnMut(Outgoing<'_>)) -> Option<Produced> {
        let tick = self.schedule.take(now)?;
        self.answer_request(now);
        let frame = self.next_frame;
        if self.fixture.frames()[frame].key {
            self.last_key_frame = Some(now);
        }
        let payloads = &self.fixture.payloads()[frame];
        let clock = u128::from(tick.index) * u128::from(VIDEO_CLOCK) / u128::from(self.frame_rate.get());
        for (part, payload) in payloads.iter().enumerate() {
            let marker = part + 1 == payloads.len();
            let place = Place { frame: frame as u32, part: part as u32 };
            emit(self.rtp.packet(clock as u32, marker, self.picture_id, place, payload, &mut self.counters));
        }
        self.next_frame = (frame + 1) % self.fixture.frames().len();
        self.picture_id = self.picture_id.map(|id| id.wrapping_add(1) & 0x7fff);
        self.counters.frames += 1;
        self.counters.skipped += tick.skipped;
        Some(Produced { packets: Vec::new(), lateness: tick.lateness, skipped: tick.skipped })
    }

    /// A packet that was handed out before, for who did not receive it.
    ///
    /// # Panics
    ///
    /// `place` is not in the fixture.
    pub fn again(&self, sent: &Sent) -> Outgoing<'_> {
        sent.outgoing(&self.fixture.payloads()[sent.place.frame as usize][sent.place.part as usize])
    }

    /// What identifies the stream.
    pub fn stream(&self) -> RtpStream {
        self.rtp.stream
    }

    /// Asks for a key frame (PLI, RFC 4585, or FIR, RFC 5104): the next frame is one, but for 300 ms after a key frame the
    /// request waits.
    pub fn request_key_frame(&mut self) {
        self.counters.key_frames_requested += u64::from(!self.key_frame_requested);
        self.key_frame_requested = true;
    }

    /// What was sent so far.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    fn answer_request(&mut self, now: Instant) {
        let too_soon = self.last_key_frame.is_some_and(|last| now.duration_since(last) < KEY_FRAME_INTERVAL);
        if self.key_frame_requested && !too_soon {
            self.next_frame = 0;
            self.key_frame_requested = false;
            self.counters.key_frames_answered += 1;
        }
    }
}

/// Sends an audio fixture.
#[derive(Debug)]
pub struct AudioSender {
    fixture: Arc<AudioFixture>,
    rtp: Numbering,
    schedule: Schedule,
    next_packet: usize,
    counters: SendCounters,
}

impl AudioSender {
    /// The clock rate of RTP timestamps in Hz (RFC 7587).
    pub const CLOCK_RATE: u32 = AUDIO_CLOCK;

    /// A sender whose first packet is due at `start`.
    pub fn new(fixture: Arc<AudioFixture>, stream: RtpStream, start: Instant) -> Self {
        let schedule = Schedule::every(start, fixture.duration());
        let (rtp, _) = Numbering::new(stream);
        Self { fixture, rtp, schedule, next_packet: 0, counters: SendCounters::default() }
    }

    /// When the next packet is due.
    pub fn next_due(&self) -> Instant {
        self.schedule.next_due()
    }

    /// The next packet, if it is due.
    pub fn produce(&mut self, now: Instant) -> Option<Produced> {
        let (stream, mut packets) = (self.rtp.stream, Vec::new());
        let produced = self.produce_each(now, |packet| packets.push(packet.packet(stream)))?;
        Some(Produced { packets, ..produced })
    }

    /// As [`produce`](Self::produce), but hands out the packet instead of making a list.
    pub fn produce_each(&mut self, now: Instant, mut emit: impl FnMut(Outgoing<'_>)) -> Option<Produced> {
        let tick = self.schedule.take(now)?;
        // Of audio, the marker says that a talkspurt begins (RFC 3551, section 4.1).
        let marker = self.counters.packets == 0;
        let clock = u128::from(tick.index) * self.fixture.duration().as_nanos() * u128::from(AUDIO_CLOCK);
        let clock = (clock / 1_000_000_000) as u32;
        let payload = &self.fixture.packets()[self.next_packet];
        let place = Place { frame: self.next_packet as u32, part: 0 };
        emit(self.rtp.packet(clock, marker, None, place, payload, &mut self.counters));
        self.next_packet = (self.next_packet + 1) % self.fixture.packets().len();
        self.counters.frames += 1;
        self.counters.skipped += tick.skipped;
        Some(Produced { packets: Vec::new(), lateness: tick.lateness, skipped: tick.skipped })
    }

    /// What identifies the stream.
    pub fn stream(&self) -> RtpStream {
        self.rtp.stream
    }

    /// What was sent so far.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }
}

/// Numbers the packets of a stream (RFC 3550, section 5.1).
#[derive(Debug)]
struct Numbering {
    stream: RtpStream,
    sequence: u16,
    timestamp: u32,
}

impl Numbering {
    fn new(stream: RtpStream) -> (Self, ChaCha8Rng) {
        let mut random = ChaCha8Rng::seed_from_u64(stream.seed);
        // In the lower half, so that a loss among the first packets cannot be mistaken for a roll-over by SRTP (RFC 3711,
        // section 3.3.1).
        let sequence = random.random_range(0..0x8000);
        let timestamp = random.random();
        (Self { stream, sequence, timestamp }, random)
    }

    fn packet<'a>(
        &mut self,
        clock: u32,
        marker: bool,
        picture_id: Option<u16>,
        place: Place,
        payload: &'a Bytes,
        counters: &mut SendCounters,
    ) -> Outgoing<'a> {
        let sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        counters.packets += 1;
        counters.bytes += RTP_HEADER + payload.len() as u64;
        let timestamp = self.timestamp.wrapping_add(clock);
        Outgoing { marker, sequence_number, timestamp, picture_id, place, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: RtpStream = RtpStream { ssrc: 7, payload_type: 96, seed: 1 };

    fn video(start: Instant, frame_rate: u32) -> VideoSender {
        let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
        VideoSender::new(fixture, STREAM, NonZeroU32::new(frame_rate).unwrap(), start)
    }

    #[test]
    fn sequence_numbers_and_timestamps_run_on_across_the_loop() {
        let mut sender = video(Instant::now(), 30);
        let mut last: Option<Packet> = None;
        for frame in 0..200 {
            let produced = sender.produce(sender.next_due()).unwrap();
            for (index, packet) in produced.packets.iter().enumerate() {
                if let Some(last) = last {
                    assert_eq!(packet.header.sequence_number, last.header.sequence_number.wrapping_add(1));
                    let step = packet.header.timestamp.wrapping_sub(last.header.timestamp);
                    assert_eq!(step, if index == 0 { 3000 } else { 0 }, "frame {frame}");
                    assert_eq!(last.header.marker, index == 0);
                }
                last = Some(packet.clone());
            }
        }
        let counters = sender.counters();
        assert_eq!((counters.frames, counters.skipped), (200, 0));
        assert!(counters.bytes > counters.packets * RTP_HEADER);
    }

    #[test]
    fn a_request_is_answered_with_the_key_frame_at_most_every_300_ms() {
        let start = Instant::now();
        let mut sender = video(start, 30);
        let key = |produced: Produced| produced.packets[0].payload[4] & 1 == 0;
        let mut keys = Vec::new();
        for frame in 0..30 {
            if matches!(frame, 3 | 4 | 12 | 13) {
                sender.request_key_frame();
            }
            if key(sender.produce(sender.next_due()).unwrap()) {
                keys.push(frame);
            }
        }
        assert_eq!(keys, [0, 9, 18], "300 ms are 9 frames");
        let counters = sender.counters();
        assert_eq!((counters.key_frames_requested, counters.key_frames_answered), (2, 2));
    }

    #[test]
    fn a_stall_drops_ticks_but_not_content() {
        let start = Instant::now();
        let mut sender = video(start, 10);
        let first = sender.produce(start).unwrap().packets;
        let second = sender.produce(start + Duration::from_millis(1050)).unwrap();
        assert_eq!((second.skipped, sender.counters().skipped), (9, 9));
        assert_eq!(second.lateness, Duration::from_millis(950));
        assert_eq!(second.packets[0].header.timestamp.wrapping_sub(first[0].header.timestamp), 90_000);
        let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
        assert!(fixture.frames()[1].data.starts_with(&second.packets[0].payload[4..]));
        assert!(sender.produce(start + Duration::from_millis(1050)).is_none(), "no burst");
    }

    #[test]
    fn audio_advances_by_960_samples() {
        let start = Instant::now();
        let mut sender = AudioSender::new(AudioFixture::load(None).unwrap(), STREAM, start);
        assert!(sender.produce(start - Duration::from_millis(1)).is_none());
        let packets: Vec<_> = (0..300).map(|_| sender.produce(sender.next_due()).unwrap().packets.remove(0)).collect();
        for pair in packets.windows(2) {
            assert_eq!(pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp), 960);
            assert!(!pair[1].header.marker);
        }
        assert!(packets[0].header.marker);
        assert_eq!(packets[100].payload, packets[0].payload);
        assert_eq!(sender.next_due(), start + Duration::from_secs(6));
    }
}
