//! Where the media that a native peer sends comes from: packets that are due at exact instants.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::media::fixture::{AudioFixture, VideoFixture};
use crate::media::send::{AudioSender, Produced, RtpStream, VideoSender};

use super::dense::fast::send::Source as MediaSender;
use super::key_frame::KeyFrameRequests;
use super::media::TrackPlan;

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
    sender: MediaSender,
    key_frames: KeyFrameRequests,
    /// Requests for key frames that were answered.
    answered: u64,
}

/// What makes the packets of a track, the first due at `start`. `None` for one that does not send.
pub(super) fn media_sender(track: &TrackPlan, payload_type: u8, start: Instant) -> Option<MediaSender> {
    let stream = RtpStream { ssrc: track.ssrc, payload_type, seed: track.seed };
    Some(match track.source.clone()? {
        Source::Video(fixture, frame_rate) => {
            MediaSender::Video(VideoSender::new(fixture, stream, NonZeroU32::new(frame_rate)?, start))
        }
        Source::Audio(fixture) => MediaSender::Audio(AudioSender::new(fixture, stream, start)),
    })
}

impl Stream {
    /// The packets of a track that sends, the first due at `start`. `None` for one that does not.
    pub(super) fn new(
        track: &TrackPlan,
        payload_type: u8,
        key_frames: KeyFrameRequests,
        start: Instant,
    ) -> Option<Self> {
        let sender = media_sender(track, payload_type, start)?;
        let answered = key_frames.count();
        Some(Self { sender, key_frames, answered })
    }

    /// When the next packets are due.
    pub(super) fn next_due(&self) -> Instant {
        match &self.sender {
            MediaSender::Video(sender) => sender.next_due(),
            MediaSender::Audio(sender) => sender.next_due(),
        }
    }

    /// The next packets, if they are due. Counts nothing.
    pub(super) fn produce(&mut self, now: Instant) -> Option<Produced> {
        match &mut self.sender {
            MediaSender::Video(sender) => {
                let asked = self.key_frames.count();
                if asked > self.answered {
                    self.answered = asked;
                    sender.request_key_frame();
                }
                sender.produce(now)
            }
            MediaSender::Audio(sender) => sender.produce(now),
        }
    }

    /// Counts the frame of packets that were sent.
    pub(super) fn sent(&self, counters: &SentCounters) {
        let counter = match &self.sender {
            MediaSender::Video(_) => &counters.video_frames,
            MediaSender::Audio(_) => &counters.audio_packets,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
