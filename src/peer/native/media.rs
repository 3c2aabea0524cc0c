//! The media of a native peer: tracks and channels, the tasks that send on schedule, and the receivers that verify.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::shared::error::{Error, Result};
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::PeerConnection;

use super::connection::{opus, video_codec};
use super::data::DataTasks;
use super::key_frame::KeyFrameRequests;
use super::state::Tracker;
use super::tracks::{LocalTrack, SendTask, SentCounters, Source, add};
use crate::media::fixture::{AudioFixture, VideoFixture};
use crate::media::receive::{AudioReceiver, VideoReceiver};
use crate::peer::{PeerContext, Sent, Snapshot};
use crate::plan::{MediaPlan, Role, VideoCodec};
use crate::record::{Lateness, Mark, MediaKind, MediaReport, Metric};

/// How long after the last arrival nothing more is expected once the other end has stopped sending.
const DRAIN: Duration = Duration::from_secs(1);

/// The media of one native peer.
pub(super) struct MediaTasks {
    context: PeerContext,
    tracker: Tracker,
    tracks: Vec<LocalTrack>,
    received: Arc<Received>,
    data: DataTasks,
    sent: Arc<SentCounters>,
    key_frames: KeyFrameRequests,
    send_lateness: Lateness,
    /// Cancelled when sending is to stop.
    stop: CancellationToken,
    /// Cancelled when everything is to end.
    end: CancellationToken,
    started: AtomicBool,
}

#[derive(Default)]
struct Received {
    video: Mutex<Option<VideoReceiver>>,
    audio: Mutex<Option<AudioReceiver>>,
    bytes: AtomicU64,
    last: Mutex<Option<Instant>>,
    /// When the first track came.
    since: Mutex<Option<Instant>>,
}

impl MediaTasks {
    /// Adds tracks and channels to a fresh connection, before any description is made.
    pub(super) async fn prepare(
        context: &PeerContext,
        connection: &Arc<dyn PeerConnection>,
        tracker: Tracker,
        key_frames: KeyFrameRequests,
        send_lateness: Lateness,
    ) -> Result<Self> {
        let media = context.plan.media_of(&context.call);
        let direction = context.group.direction;
        let mut tracks = Vec::new();
        if let Some(video) = &media.video {
            let source = if direction.sends() {
                let fixture =
                    VideoFixture::load(video.codec, video.fixtures.as_deref().map(Path::new)).map_err(other)?;
                Some(Source::Video(fixture, video.frame_rate))
            } else {
                None
            };
            tracks.extend(add(connection, video_codec(video.codec), RtpCodecKind::Video, direction, source).await?);
        }
        if media.audio {
            let source =
                if direction.sends() { Some(Source::Audio(AudioFixture::load(None).map_err(other)?)) } else { None };
            tracks.extend(add(connection, opus(), RtpCodecKind::Audio, direction, source).await?);
        }
        let end = CancellationToken::new();
        let stop = end.child_token();
        let data = DataTasks::new(context.clone(), tracker.clone(), stop.clone(), end.clone());
        if context.role == Role::Offerer && media.data.is_some() {
            data.open(connection).await?;
        }
        Ok(Self {
            context: context.clone(),
            tracker,
            tracks,
            received: Arc::default(),
            data,
            sent: Arc::default(),
            key_frames,
            send_lateness,
            stop,
            end,
            started: AtomicBool::new(false),
        })
    }

    /// Starts to send, once the connection is up.
    pub(super) async fn start(&self) -> std::result::Result<(), String> {
        if self.started.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for track in &self.tracks {
            let parameters = track.sender.get_parameters().await.map_err(|error| error.to_string())?;
            let Some(codec) = parameters.rtp_parameters.codecs.first() else {
                return Err(format!("the other end does not accept {}", track.source.mime_type()));
            };
            let task = SendTask {
                track: Arc::clone(&track.track),
                source: track.source.clone(),
                ssrc: track.ssrc,
                payload_type: codec.payload_type,
                seed: seed(&self.context, track.source.mime_type()),
                sent: Arc::clone(&self.sent),
                key_frames: self.key_frames.clone(),
                send_lateness: self.send_lateness.clone(),
                stop: self.stop.clone(),
            };
            tokio::spawn(task.run());
        }
        Ok(())
    }

    /// Takes a track of the other end and verifies what arrives on it.
    pub(super) async fn accept_track(&self, track: Arc<dyn TrackRemote>) {
        let media = self.media();
        let kind = track.kind().await;
        let now = Instant::now();
        match (kind, &media.video) {
            (RtpCodecKind::Video, Some(video)) => {
                // What a native peer sends is known frame by frame; what a browser encodes is not.
                let expected = if self.other_is_native() {
                    VideoFixture::load(video.codec, video.fixtures.as_deref().map(Path::new)).ok()
                } else {
                    None
                };
                *lock(&self.received.video) = Some(VideoReceiver::new(video.codec, expected));
            }
            (RtpCodecKind::Audio, _) => {
                let expected = if self.other_is_native() { AudioFixture::load(None).ok() } else { None };
                *lock(&self.received.audio) = Some(AudioReceiver::new(expected));
            }
            _ => return,
        }
        *lock(&self.received.last) = Some(now);
        lock(&self.received.since).get_or_insert(now);
        let (received, tracker, end) = (Arc::clone(&self.received), self.tracker.clone(), self.end.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = read(&track, kind, &received, &tracker) => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// Takes a data channel of the other end.
    pub(super) async fn accept_channel(&self, channel: Arc<dyn DataChannel>) {
        self.data.accept(channel).await;
    }

    /// The counters so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        let expected = self.tracker.expected();
        let receives = expected.video || expected.audio;
        Snapshot {
            bytes_sent: (!self.tracks.is_empty()).then(|| self.sent.bytes.load(Ordering::Relaxed)),
            bytes_received: receives.then(|| self.received.bytes.load(Ordering::Relaxed)),
            data_bytes_received: expected.data().then(|| self.data.bytes_received()),
        }
    }

    /// Records the present jitter of each stream.
    pub(super) fn sample_jitter(&self) {
        let tally = self.context.recorder.tally(Metric::JitterMs, &self.context.group.name, &self.context.call.set);
        if let Some(jitter) = lock(&self.received.video).as_ref().and_then(|video| video.report().jitter_ms) {
            tally.record(jitter);
        }
        if let Some(jitter) = lock(&self.received.audio).as_ref().and_then(|audio| audio.report().jitter_ms) {
            tally.record(jitter);
        }
    }

    /// Stops sending, and says what was sent.
    pub(super) async fn stop(&self) -> Sent {
        let media = self.media();
        self.record_goodput();
        self.stop.cancel();
        self.data.stop();
        let sends = self.context.group.direction.sends();
        let video = media.video.as_ref().filter(|_| sends);
        let fixture = self.tracks.iter().find_map(|track| match &track.source {
            Source::Video(fixture, _) => Some(fixture),
            Source::Audio(_) => None,
        });
        Sent {
            video_frames: video.map(|_| self.sent.video_frames.load(Ordering::Relaxed)),
            video_rate: video.map(|video| f64::from(video.frame_rate)),
            video_size: fixture.map(|fixture| (fixture.width(), fixture.height())),
            video_is_fixture: fixture.is_some(),
            audio_packets: (sends && media.audio).then(|| self.sent.audio_packets.load(Ordering::Relaxed)),
            data_messages: self.data.bulk_messages_sent(),
            signaling_messages: None,
        }
    }

    /// Waits until everything that the other end sent has arrived and every echo has come back, or nothing arrives any
    /// more. An end that cannot say what it sent may go on sending: it is given a fixed time.
    pub(super) async fn drained(&self, sent: Option<&Sent>) {
        let start = Instant::now();
        loop {
            let arrived = sent.is_none_or(|sent| {
                let frames = lock(&self.received.video).as_ref().map(|video| video.report().intact);
                let packets = lock(&self.received.audio).as_ref().map(|audio| audio.report().packets);
                frames >= sent.video_frames && packets >= sent.audio_packets
            });
            let last = lock(&self.received.last).unwrap_or(start).max(self.data.last_arrival().unwrap_or(start));
            let quiet = if sent.is_some() { last.elapsed() } else { start.elapsed() };
            if (arrived && self.data.is_drained(sent)) || quiet >= DRAIN {
                return;
            }
            tokio::time::sleep((DRAIN - quiet).min(Duration::from_millis(20))).await;
        }
    }

    /// Records what arrived.
    pub(super) fn report(&self, sent: Option<&Sent>) {
        let recorder = &self.context.recorder;
        let mut reports = Vec::new();
        let expected = self.tracker.expected();
        if expected.video {
            reports.push(self.video_report(sent));
        }
        if expected.audio {
            reports.push(self.audio_report(sent));
        }
        reports.extend(self.data.reports(sent));
        let (packets, lost) = reports.iter().fold((0, 0), |(packets, lost), report| match report.packets_lost {
            Some(more) => (packets + report.packets, lost + more),
            None => (packets, lost),
        });
        if packets + lost > 0 {
            recorder.sample(Metric::PacketLossRatio, lost as f64 / (packets + lost) as f64);
        } else {
            recorder.absent(Metric::PacketLossRatio, "the peer receives no RTP");
        }
        if !reports.is_empty() {
            let verified = reports.iter().all(|report| report.verified);
            recorder.sample(Metric::MediaVerifiedRatio, if verified { 1.0 } else { 0.0 });
        } else {
            recorder.absent(Metric::MediaVerifiedRatio, "the peer receives no media");
        }
        for report in reports {
            recorder.media(report);
        }
    }

    /// The call is over: what the other end does now is no failure.
    pub(super) fn is_ending(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Ends every task.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    fn video_report(&self, sent: Option<&Sent>) -> MediaReport {
        let recorder = &self.context.recorder;
        let codec = self.media().video.as_ref().map_or(VideoCodec::Vp8, |video| video.codec);
        let mut report = self.context.media_report(MediaKind::Video, codec.mime_type());
        let mut receiver = lock(&self.received.video);
        let Some(receiver) = receiver.as_mut() else {
            report.detail = "no video track arrived".into();
            return report;
        };
        receiver.finish();
        let seen = receiver.report();
        let of = sent.and_then(|sent| sent.video_frames).unwrap_or(seen.frames).max(seen.frames);
        if of > 0 {
            recorder.sample(Metric::FrameIntegrityRatio, seen.intact as f64 / of as f64);
        }
        recorder.sample(Metric::FreezeTimeMs, seen.freeze_time.as_secs_f64() * 1e3);
        let compared = if self.other_is_native() { "every frame with the fixture" } else { "every frame's form" };
        report.verified = enough(seen.intact, of) && seen.foreign + seen.misplaced == 0;
        report.detail = format!(
            "compared {compared}: {} of {of} intact, {} damaged, {} foreign, {} out of place",
            seen.intact, seen.damaged, seen.foreign, seen.misplaced
        );
        report.packets = seen.packets;
        report.packets_lost = Some(seen.lost);
        report.frames = seen.frames;
        report.frames_intact = seen.intact;
        report.frames_sent = sent.and_then(|sent| sent.video_frames);
        (report.width, report.height, report.rate) = (seen.width, seen.height, seen.rate);
        report.pli_count = Some(seen.key_frames_requested);
        report
    }

    fn audio_report(&self, sent: Option<&Sent>) -> MediaReport {
        let recorder = &self.context.recorder;
        let mut report = self.context.media_report(MediaKind::Audio, "audio/opus");
        let receiver = lock(&self.received.audio);
        let Some(receiver) = receiver.as_ref() else {
            report.detail = "no audio track arrived".into();
            return report;
        };
        let seen = receiver.report();
        let of = sent.and_then(|sent| sent.audio_packets).unwrap_or(seen.frames).max(seen.frames);
        let gap = seen.longest_gap.map(|gap| gap.as_secs_f64() * 1e3);
        if let Some(gap) = gap {
            recorder.sample(Metric::AudioGapMs, gap);
        }
        report.verified = enough(seen.intact, of) && seen.foreign + seen.misplaced == 0;
        report.detail = format!(
            "{} of {of} packets intact, {} lost, {} foreign, {} out of place; longest gap {:.0} ms",
            seen.intact,
            seen.lost,
            seen.foreign,
            seen.misplaced,
            gap.unwrap_or_default(),
        );
        report.packets = seen.packets;
        report.packets_lost = Some(seen.lost);
        report.frames = seen.frames;
        report.frames_intact = seen.intact;
        report.frames_sent = sent.and_then(|sent| sent.audio_packets);
        report.rate = seen.rate;
        report
    }

    fn record_goodput(&self) {
        let Some(since) = *lock(&self.received.since) else { return };
        let seconds = since.elapsed().as_secs_f64();
        let video = lock(&self.received.video).as_ref().map_or(0, |video| video.report().payload_bytes);
        let audio = lock(&self.received.audio).as_ref().map_or(0, |audio| audio.report().payload_bytes);
        let tally = self.context.recorder.tally(Metric::GoodputBps, &self.context.group.name, &self.context.call.set);
        tally.record((video + audio) as f64 * 8.0 / seconds);
    }

    fn media(&self) -> &MediaPlan {
        self.context.plan.media_of(&self.context.call)
    }

    fn other_is_native(&self) -> bool {
        let other = match self.context.role {
            Role::Offerer => &self.context.call.answerer,
            Role::Answerer => &self.context.call.offerer,
        };
        self.context.plan.group(&other.group).is_some_and(|group| group.engine == crate::plan::Engine::Native)
    }
}

/// Whether so much arrived intact that the stream can be said to have been carried: nine tenths. How much was lost is
/// for the gates to judge, over `frame_integrity_ratio` and `packet_loss_ratio`.
fn enough(intact: u64, of: u64) -> bool {
    intact > 0 && intact * 10 >= of * 9
}

async fn read(track: &Arc<dyn TrackRemote>, kind: RtpCodecKind, received: &Received, tracker: &Tracker) {
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        let now = Instant::now();
        received.bytes.fetch_add(packet.payload.len() as u64 + 12, Ordering::Relaxed);
        *lock(&received.last) = Some(now);
        if kind == RtpCodecKind::Video {
            let ask = {
                let mut video = lock(&received.video);
                let Some(receiver) = video.as_mut() else { continue };
                let before = receiver.first_frame().is_some();
                receiver.handle(&packet, now);
                if receiver.first_frame().is_some() && !before {
                    tracker.recorder().mark_at(now, Mark::FirstFrame);
                    tracker.arrived(|arrived| arrived.video = true);
                }
                receiver.needs_key_frame(now)
            };
            if ask {
                request_key_frame(track, packet.header.ssrc).await;
            }
        } else {
            if let Some(receiver) = lock(&received.audio).as_mut() {
                receiver.handle(&packet, now);
            }
            tracker.arrived(|arrived| arrived.audio = true);
        }
    }
}

async fn request_key_frame(track: &Arc<dyn TrackRemote>, media_ssrc: u32) {
    let pli =
        rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication { sender_ssrc: 0, media_ssrc };
    // A connection that is closing needs no key frame.
    let _ = track.write_rtcp(vec![Box::new(pli)]).await;
}

fn seed(context: &PeerContext, stream: &str) -> u64 {
    crate::plan::derive_seed(context.plan.seed, &format!("{}/{stream}", context.recorder.peer()))
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
