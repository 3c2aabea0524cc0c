//! The packets of one pair: those that our own senders make of the built-in fixtures.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use harness::media::fixture::{AudioFixture, VideoFixture};
use harness::media::send::{AudioSender, RtpStream, VideoSender};
use harness::plan::VideoCodec;

const FRAME_RATE: u32 = 30;
/// An RTP header without extensions.
pub(super) const RTP_HEADER: usize = 12;

/// What one pair sends in each round of its loop.
pub(super) struct Schedule {
    /// One round.
    pub(super) length: Duration,
    /// In the order of `at`.
    pub(super) packets: Vec<Packet>,
}

#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub(super) video: bool,
    /// Since the begin of the round.
    pub(super) at: Duration,
    /// Bytes of RTP payload.
    pub(super) payload: usize,
}

impl Schedule {
    pub(super) fn of_fixtures() -> Self {
        let start = Instant::now();
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 1 };
        let video = VideoFixture::load(VideoCodec::Vp8, None).expect("the built-in fixture");
        let rate = NonZeroU32::new(FRAME_RATE).expect("not zero");
        let frames = video.frames().len() as u32;
        let length = Duration::from_secs(1) * frames / FRAME_RATE;
        let mut packets = Vec::new();
        let mut video = VideoSender::new(video, stream, rate, start);
        while video.next_due() < start + length {
            let due = video.next_due();
            let produced = video.produce(due).expect("it is due");
            packets.extend(produced.packets.iter().map(|packet| (true, due, packet.payload.len())));
        }
        let mut audio = AudioSender::new(AudioFixture::load(None).expect("the built-in fixture"), stream, start);
        while audio.next_due() < start + length {
            let due = audio.next_due();
            let produced = audio.produce(due).expect("it is due");
            packets.extend(produced.packets.iter().map(|packet| (false, due, packet.payload.len())));
        }
        let packet = |(video, due, payload): (bool, Instant, usize)| Packet { video, at: due - start, payload };
        let mut packets: Vec<Packet> = packets.into_iter().map(packet).collect();
        packets.sort_by_key(|packet| packet.at);
        Self { length, packets }
    }

    /// Packets of one pair per second.
    pub(super) fn packets_per_second(&self) -> f64 {
        self.packets.len() as f64 / self.length.as_secs_f64()
    }

    /// Bits of RTP of one pair per second.
    pub(super) fn bits_per_second(&self) -> f64 {
        let bytes: usize = self.packets.iter().map(|packet| packet.payload + RTP_HEADER).sum();
        bytes as f64 * 8.0 / self.length.as_secs_f64()
    }

    /// As the program with Pion reads it.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.length.as_micros());
        for Packet { video, at, payload } in &self.packets {
            let _ = writeln!(text, "{} {} {payload}", if *video { 'v' } else { 'a' }, at.as_micros());
        }
        text
    }
}
