//! The receiver of a video stream.

mod layers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::layers::Found;
pub use self::layers::{LayerRequest, Layers};
use super::Incoming;
use super::assemble::{self, Assembled, Assembler};
use super::playout::Playout;
use super::reorder::{Ordered, Reorder};
use super::sequence::{Arrival, Jitter, Rate, Reception, Sequence};
use super::silence;
use crate::media::Packet;
use crate::media::fixture::{Position, VideoFixture};
use crate::media::send::VIDEO_CLOCK;
use crate::plan::{Layer, VideoCodec};

/// Packets may come this much before the first one that arrived, if that is not the beginning of a frame.
const EARLIER: u64 = 16;

/// What was received of a video stream.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoReport {
    /// Frames of which at least a part arrived: the sum of the next four.
    pub frames: u64,
    /// Frames that are what was sent: equal to a frame of the fixture and in its order or, without a fixture, complete and
    /// well-formed.
    pub intact: u64,
    /// Frames that lack a part or are malformed.
    pub damaged: u64,
    /// Complete frames that are not in the fixture.
    pub foreign: u64,
    /// Frames of the fixture that came out of its order although nothing was lost.
    pub misplaced: u64,
    /// Intact frames that are key frames.
    pub key_frames: u64,
    /// Width in pixels, as the latest intact key frame says.
    pub width: Option<u32>,
    /// Height in pixels, as the latest intact key frame says.
    pub height: Option<u32>,
    /// RTP packets received, each counted once.
    pub packets: u64,
    /// RTP packets expected and never received (RFC 3550, A.3); recovered ones are not lost.
    pub lost: u64,
    /// RTP packets received again.
    pub duplicates: u64,
    /// Bytes of all RTP headers and payloads received.
    pub bytes: u64,
    /// Bytes of RTP payloads, each packet counted once.
    pub payload_bytes: u64,
    /// Interarrival jitter in milliseconds (RFC 3550, 6.4.1), as it stands now.
    pub jitter_ms: Option<f64>,
    /// Intact frames per second from the first to the last.
    pub rate: Option<f64>,
    /// How often the picture froze: a time between two decodable frames of more than three times the average of the last
    /// 30, and more than 150 ms above it (W3C webrtc-stats, `freezeCount`).
    pub freezes: u64,
    /// The sum of the times of freezes (W3C webrtc-stats, `totalFreezesDuration`). A picture that stands still at the end has
    /// been frozen since its last frame; W3C counts a freeze only once it is over.
    pub freeze_time: Duration,
    /// How long no frame came at the end, if that is as long as makes a freeze.
    pub silence: Option<Duration>,
    /// Frames that would have come in that time at the average rate.
    pub missing: u64,
    /// How often [`VideoReceiver::needs_key_frame`] asked for one.
    pub key_frames_requested: u64,
}

/// Receives and verifies a video stream.
///
/// Frames count from the first that is seen to begin: what precedes it belongs to a frame that began before the receiver
/// listened. A packet that is missing is waited for, for half a second or 2048 packets.
#[derive(Debug)]
pub struct VideoReceiver {
    sequence: Sequence,
    jitter: Jitter,
    reorder: Reorder,
    assembler: Assembler,
    judge: Judge,
    first_packet: Option<Instant>,
    bytes: u64,
    payload_bytes: u64,
}

impl VideoReceiver {
    /// A receiver of a stream whose sender sends `expected`, or anything that is well-formed if `None`.
    pub fn new(codec: VideoCodec, expected: Option<Arc<VideoFixture>>) -> Self {
        Self::expecting(codec, expected.map_or(Expected::Form, Expected::Fixture))
    }

    /// A receiver of one layer at a time of a publisher that sends all of these (simulcast), in VP8.
    pub fn of_layers(layers: Vec<(Layer, Arc<VideoFixture>)>) -> Self {
        Self::expecting(VideoCodec::Vp8, Expected::Layers(Layers::new(layers)))
    }

    fn expecting(codec: VideoCodec, expected: Expected) -> Self {
        Self {
            sequence: Sequence::new(),
            jitter: Jitter::new(VIDEO_CLOCK),
            reorder: Reorder::default(),
            assembler: Assembler::new(codec),
            judge: Judge {
                codec,
                expected,
                position: None,
                counts: Counts::default(),
                arrivals: Rate::default(),
                silence: None,
                playout: Playout::default(),
            },
            first_packet: None,
            bytes: 0,
            payload_bytes: 0,
        }
    }

    /// Takes a packet that arrived at `now`.
    pub fn handle(&mut self, packet: &Packet, now: Instant) {
        self.take(&Incoming::from(packet), now);
    }

    /// As [`handle`](Self::handle), for a packet whose payload lies in somebody's buffer.
    pub fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival {
        self.bytes += (packet.header_len + packet.payload.len()) as u64;
        if self.first_packet.is_none() {
            self.first_packet = Some(now);
            self.judge.playout.begin(now);
        }
        let arrival = self.sequence.note(packet.sequence_number);
        if let Arrival::New(number) | Arrival::Restarted(number) = arrival {
            self.payload_bytes += packet.payload.len() as u64;
            self.jitter.note(number, packet.timestamp, now);
            let (assembler, judge) = (&mut self.assembler, &mut self.judge);
            let begins = assembler.begins_frame(packet.payload);
            let mut release = |packet: Ordered<'_>| assembler.push(&packet, |frame| judge.frame(&frame));
            if let Arrival::Restarted(number) = arrival {
                self.reorder.restart(number, &mut release);
            }
            self.reorder.start_at(if begins { number } else { number - EARLIER });
            let &Incoming { timestamp, marker, payload, .. } = packet;
            self.reorder.insert(
                number,
                Ordered { timestamp, marker, payload, at: now, after_gap: false },
                &mut release,
            );
        }
        self.expire(now);
        arrival
    }

    /// Sequence numbers, loss and jitter as they stand now.
    pub fn reception(&self) -> Reception {
        Reception::new(&self.sequence, &self.jitter)
    }

    /// Whether the owner should send a PLI (RFC 4585) now: the picture cannot be decoded without a key frame. Asks again
    /// after 500 ms, then with doubled patience up to 4 s. To be called regularly, also when no packet arrives.
    pub fn needs_key_frame(&mut self, now: Instant) -> bool {
        self.expire(now);
        self.judge.playout.needs_key_frame(now)
    }

    /// From `now` on this layer is wanted. Once a frame of it has come, those of others are misplaced.
    pub fn ask_for(&mut self, layer: Layer, now: Instant) {
        if let Expected::Layers(layers) = &mut self.judge.expected {
            layers.ask_for(layer, now);
        }
    }

    /// What came of each layer, if the publisher sends several.
    pub fn layers(&self) -> Option<&Layers> {
        match &self.judge.expected {
            Expected::Layers(layers) => Some(layers),
            _ => None,
        }
    }

    /// When the first packet arrived.
    pub fn first_packet(&self) -> Option<Instant> {
        self.first_packet
    }

    /// When the first frame was complete that can be decoded.
    pub fn first_frame(&self) -> Option<Instant> {
        self.judge.playout.first()
    }

    /// Gives up what is still missing, before the last report. Frames were expected until `end`; later ones may have come.
    pub fn finish(&mut self, end: Instant) {
        let (assembler, judge) = (&mut self.assembler, &mut self.judge);
        self.reorder.finish(|packet| assembler.push(&packet, |frame| judge.frame(&frame)));
        assembler.finish(|frame| judge.frame(&frame));
        judge.playout.finish(end);
        judge.silence = silence::at_end(judge.arrivals.last(), end, judge.arrivals.interval());
    }

    /// What was received so far. Frames behind a packet that is still waited for are not in it.
    pub fn report(&self) -> VideoReport {
        let Judge { counts, playout, silence, arrivals, .. } = &self.judge;
        VideoReport {
            frames: counts.intact + counts.damaged + counts.foreign + counts.misplaced,
            intact: counts.intact,
            damaged: counts.damaged,
            foreign: counts.foreign,
            misplaced: counts.misplaced,
            key_frames: counts.key_frames,
            width: counts.size.map(|(width, _)| width),
            height: counts.size.map(|(_, height)| height),
            packets: self.sequence.received(),
            lost: self.sequence.lost(),
            duplicates: self.sequence.duplicates(),
            bytes: self.bytes,
            payload_bytes: self.payload_bytes,
            jitter_ms: self.jitter.milliseconds(),
            rate: counts.rate.per_second(),
            freezes: playout.freezes(),
            freeze_time: playout.frozen(),
            silence: *silence,
            missing: silence.map_or(0, |silence| silence::missing(silence, arrivals.interval())),
            key_frames_requested: playout.requests(),
        }
    }

    fn expire(&mut self, now: Instant) {
        let (assembler, judge) = (&mut self.assembler, &mut self.judge);
        self.reorder.expire(now, |packet| assembler.push(&packet, |frame| judge.frame(&frame)));
    }
}

/// Says of each frame whether it is what was sent.
#[derive(Debug)]
struct Judge {
    codec: VideoCodec,
    expected: Expected,
    /// Where in the fixture the last frame was, if that is certain.
    position: Option<usize>,
    counts: Counts,
    /// Of frames, whatever they are.
    arrivals: Rate,
    silence: Option<Duration>,
    playout: Playout,
}

/// What the sender sends.
#[derive(Debug, Default)]
enum Expected {
    /// Anything that is well-formed.
    #[default]
    Form,
    Fixture(Arc<VideoFixture>),
    Layers(Layers),
}

#[derive(Debug, Default)]
struct Counts {
    intact: u64,
    damaged: u64,
    foreign: u64,
    misplaced: u64,
    key_frames: u64,
    size: Option<(u32, u32)>,
    rate: Rate,
}

enum Verdict {
    Intact { key: bool, size: Option<(u32, u32)> },
    Damaged,
    Foreign,
    Misplaced,
}

impl Judge {
    fn frame(&mut self, frame: &Assembled<'_>) {
        self.arrivals.note(frame.at);
        // Taken out for the comparison: counting the references of one fixture from all cores costs more than the rest.
        let mut expected = std::mem::take(&mut self.expected);
        let verdict = match &mut expected {
            Expected::Fixture(fixture) => self.compare(fixture, frame),
            Expected::Layers(layers) => self.compare_layers(layers, frame),
            Expected::Form => match assemble::parse(self.codec, frame.content) {
                Some(parsed) if frame.complete => Verdict::Intact { key: parsed.key, size: parsed.size },
                _ => Verdict::Damaged,
            },
        };
        self.expected = expected;
        let counts = &mut self.counts;
        match verdict {
            Verdict::Intact { key, size } => {
                counts.intact += 1;
                counts.key_frames += u64::from(key);
                counts.size = size.or(counts.size);
                counts.rate.note(frame.at);
                // What was lost before a frame that is not a key frame may be what it refers to.
                self.playout.frame(key, key || !frame.after_gap, frame.at);
                return;
            }
            Verdict::Damaged => counts.damaged += 1,
            Verdict::Foreign => counts.foreign += 1,
            Verdict::Misplaced => counts.misplaced += 1,
        }
        self.playout.frame(false, false, frame.at);
    }

    /// The next frame of the fixture, its first one (a key frame on request), or, after a loss, any.
    fn compare(&mut self, fixture: &VideoFixture, frame: &Assembled<'_>) -> Verdict {
        let frames = fixture.frames();
        let next = self.position.map(|position| (position + 1) % frames.len());
        let (position, in_order) = match next {
            // Almost always so, and much cheaper than the search.
            Some(next) if frames[next].data == frame.content => (Some(next), true),
            _ => match fixture.position(frame.content) {
                Position::At(index) => (Some(index), index == 0 || next.is_none() || frame.after_gap),
                Position::Several => (None, next.is_none() || frame.after_gap),
                Position::Nowhere => {
                    self.position = None;
                    // After a loss an H.264 payload cannot tell whether its frame begins with it (RFC 6184).
                    let complete = frame.complete && !(frame.after_gap && self.codec == VideoCodec::H264);
                    return if complete { Verdict::Foreign } else { Verdict::Damaged };
                }
            },
        };
        self.position = position;
        if !in_order {
            return Verdict::Misplaced;
        }
        let key = position.is_some_and(|index| frames[index].key);
        Verdict::Intact { key, size: key.then_some((fixture.width(), fixture.height())) }
    }

    /// The next frame of the layer that comes, or the key frame of another one; no other than the layer that was asked for,
    /// once that has come.
    fn compare_layers(&mut self, layers: &mut Layers, frame: &Assembled<'_>) -> Verdict {
        let Some(Found { layer, fixture, changes }) = layers.find(frame.content, self.position) else {
            // As of a single fixture. If it was damaged, it may have been the first one of another layer.
            let verdict = self.compare(layers.any(), frame);
            layers.lose();
            return verdict;
        };
        if changes {
            self.position = None;
        }
        match self.compare(fixture, frame) {
            Verdict::Intact { key, .. } if changes && !key && !frame.after_gap => Verdict::Misplaced,
            Verdict::Intact { .. } if !layers.take(layer, frame.at) => Verdict::Misplaced,
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests;
