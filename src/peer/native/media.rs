//! The media of a native peer, whichever stack carries it: tracks and channels, what was sent, and the receivers that
//! verify.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio_util::sync::CancellationToken;

use super::data::{DataTraffic, UnderWay};
use super::key_frame::KeyFrameRequests;
use super::layers;
use super::planned::{Expected, ExpectedVideo, TrackPlan, expected, tracks};
use super::source::{SentCounters, Source};
use super::state::Tracker;
use crate::media::receive::{Arrival, AudioReceiver, Incoming, LayerRequest, Reception, VideoReceiver};
use crate::peer::{PeerContext, Sent, Snapshot};
use crate::plan::{Engine, Layer, MediaDirection, MediaPlan, Role, VideoCodec};
use crate::record::{Lateness, Mark, MediaKind, MediaReport, Metric};

/// How long after the last arrival nothing more is expected once the other end has stopped sending.
const DRAIN: Duration = Duration::from_secs(1);
/// The same for what a data channel repeats until it has arrived: the first repetition comes after 1 s (RTO.Min), the next
/// 2 s later (RFC 9260, sections 6.3.3 and 16), and then it has to come back.
const DRAIN_RELIABLE: Duration = Duration::from_secs(4);

/// The media of one native peer: what it is to send, and what has come of it in both directions.
///
/// A stack moves the packets and messages; everything else about them is here.
pub(super) struct Media {
    context: PeerContext,
    tracker: Tracker,
    received: Received,
    pub(super) data: Arc<DataTraffic>,
    /// Counted by the stack.
    pub(super) sent: SentCounters,
    pub(super) key_frames: KeyFrameRequests,
    pub(super) send_lateness: Lateness,
    /// The tracks that the peer has.
    tracks: Vec<TrackPlan>,
    expected: Expected,
    /// Cancelled when sending is to stop.
    stop: CancellationToken,
    /// Cancelled when everything is to end.
    end: CancellationToken,
}

#[derive(Default)]
struct Received {
    video: Mutex<Option<VideoReceiver>>,
    audio: Mutex<Option<AudioReceiver>>,
    audio_arrived: AtomicBool,
    bytes: AtomicU64,
    last: Mutex<Option<Instant>>,
    /// When the first track came.
    since: Mutex<Option<Instant>>,
    /// The layers that were asked for, which may be before the track comes. Locked after the receiver.
    asked: Mutex<Vec<(Layer, Instant)>>,
    /// Why a layer that was asked for cannot come.
    refusal: Mutex<Option<String>>,
    /// Until when media was expected.
    end: Mutex<Option<Instant>>,
}

impl Media {
    /// The media that the plan gives a peer.
    ///
    /// # Errors
    ///
    /// A fixture that cannot be read.
    pub(super) fn new(context: &PeerContext, tracker: Tracker, send_lateness: Lateness) -> Result<Self, String> {
        let (tracks, expected) = (tracks(context)?, expected(context)?);
        let end = CancellationToken::new();
        let stop = end.child_token();
        let data = Arc::new(DataTraffic::new(context.clone(), tracker.clone(), stop.clone()));
        Ok(Self {
            context: context.clone(),
            tracker,
            tracks,
            expected,
            received: Received::default(),
            data,
            sent: SentCounters::default(),
            key_frames: KeyFrameRequests::default(),
            send_lateness,
            stop,
            end,
        })
    }

    /// The tracks that the peer is to have.
    pub(super) fn tracks(&self) -> &[TrackPlan] {
        &self.tracks
    }

    /// In which direction its tracks go.
    pub(super) fn direction(&self) -> MediaDirection {
        self.context.group.direction
    }

    /// Cancelled when sending is to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when everything is to end.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.end
    }

    /// A track of the other end begins. False if it is not one of the call's.
    pub(super) fn track_begins(&self, kind: RtpCodecKind) -> bool {
        let now = Instant::now();
        match (kind, &self.media().video) {
            (RtpCodecKind::Video, Some(video)) => {
                let mut receiver = match &self.expected.video {
                    None => VideoReceiver::new(video.codec, None),
                    Some(ExpectedVideo::Fixture(fixture)) => VideoReceiver::new(video.codec, Some(fixture.clone())),
                    Some(ExpectedVideo::Layers(layers)) => VideoReceiver::of_layers(layers.clone()),
                };
                let mut slot = lock(&self.received.video);
                lock(&self.received.asked).iter().for_each(|(layer, at)| receiver.ask_for(*layer, *at));
                *slot = Some(receiver);
            }
            (RtpCodecKind::Audio, _) => {
                *lock(&self.received.audio) = Some(AudioReceiver::new(self.expected.audio.clone()));
            }
            _ => return false,
        }
        *lock(&self.received.last) = Some(now);
        lock(&self.received.since).get_or_insert(now);
        true
    }

    /// This layer of simulcast is being asked for.
    pub(super) fn ask_for(&self, layer: Layer, now: Instant) {
        let mut video = lock(&self.received.video);
        lock(&self.received.asked).push((layer, now));
        if let Some(receiver) = video.as_mut() {
            receiver.ask_for(layer, now);
        }
    }

    /// A layer that was asked for cannot come; the first reason counts.
    pub(super) fn layer_refused(&self, reason: String) {
        lock(&self.received.refusal).get_or_insert(reason);
    }

    /// Takes a packet of a track of the other end. True if a key frame is to be asked for.
    pub(super) fn received(&self, kind: RtpCodecKind, packet: &Packet, now: Instant) -> bool {
        self.take(kind, &Incoming::from(packet), now);
        self.needs_key_frame(kind, now)
    }

    /// Takes a packet of a track of the other end; `None` if no track of this kind has begun.
    pub(super) fn take(&self, kind: RtpCodecKind, packet: &Incoming<'_>, now: Instant) -> Option<Arrival> {
        self.received.bytes.fetch_add(packet.payload.len() as u64 + 12, Ordering::Relaxed);
        *lock(&self.received.last) = Some(now);
        if kind == RtpCodecKind::Video {
            let mut video = lock(&self.received.video);
            let receiver = video.as_mut()?;
            let before = receiver.first_frame().is_some();
            let arrival = receiver.take(packet, now);
            if receiver.first_frame().is_some() && !before {
                self.tracker.recorder().mark_at(now, Mark::FirstFrame);
                self.tracker.arrived(|arrived| arrived.video = true);
            }
            return Some(arrival);
        }
        let arrival = lock(&self.received.audio).as_mut().map(|receiver| receiver.take(packet, now));
        if let (Some(mix), Some(Arrival::New(_) | Arrival::Restarted(_))) = (&self.expected.mix, &arrival) {
            mix.take(packet.payload);
        }
        if !self.received.audio_arrived.swap(true, Ordering::Relaxed) {
            self.tracker.arrived(|arrived| arrived.audio = true);
        }
        arrival
    }

    /// Whether a key frame is to be asked for now.
    pub(super) fn needs_key_frame(&self, kind: RtpCodecKind, now: Instant) -> bool {
        kind == RtpCodecKind::Video
            && lock(&self.received.video).as_mut().is_some_and(|receiver| receiver.needs_key_frame(now))
    }

    /// How a track of the other end arrives; `None` if none of this kind has begun.
    pub(super) fn reception(&self, kind: RtpCodecKind) -> Option<Reception> {
        match kind {
            RtpCodecKind::Video => lock(&self.received.video).as_ref().map(VideoReceiver::reception),
            _ => lock(&self.received.audio).as_ref().map(AudioReceiver::reception),
        }
    }

    /// The counters so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        let expected = self.tracker.expected();
        let receives = expected.video || expected.audio;
        Snapshot {
            bytes_sent: self
                .tracks
                .iter()
                .any(|track| !track.encodings.is_empty())
                .then(|| self.sent.bytes.load(Ordering::Relaxed)),
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

    /// Stops sending, and says what was sent. Media of the other end was expected until `end`.
    pub(super) async fn stop(&self, end: Instant) -> Sent {
        let media = self.media();
        *lock(&self.received.end) = Some(end);
        self.record_goodput();
        self.stop.cancel();
        self.data.stop();
        let sends = self.context.group.direction.sends();
        let video = media.video.as_ref().filter(|_| sends);
        let fixture =
            self.tracks.iter().flat_map(|track| &track.encodings).find_map(|encoding| match &encoding.source {
                Source::Video(fixture, _) => Some(fixture),
                Source::Audio(_) => None,
            });
        // Of layers nobody gets all frames, and who gets how many of which is up to the server.
        let counted = video.filter(|video| !video.simulcast);
        Sent {
            video_frames: counted.map(|_| self.sent.video_frames.load(Ordering::Relaxed)),
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
        let deadline = Duration::from_micros(self.context.plan.deadlines.first_media_us);
        loop {
            let arrived = sent.is_none_or(|sent| {
                let frames = lock(&self.received.video).as_ref().map(|video| video.report().intact);
                let packets = lock(&self.received.audio).as_ref().map(|audio| audio.report().packets);
                frames >= sent.video_frames && packets >= sent.audio_packets
            });
            let last = lock(&self.received.last).unwrap_or(start).max(self.data.last_arrival().unwrap_or(start));
            let quiet = if sent.is_some() { last.elapsed() } else { start.elapsed() };
            let data = self.data.under_way(sent);
            let limit = if data == UnderWay::Repeated { DRAIN_RELIABLE } else { DRAIN };
            // What is missing then is to be reported, which a deadline that passes would prevent.
            let limit = limit.min(deadline / 2);
            if (arrived && data == UnderWay::Nothing) || quiet >= limit {
                return;
            }
            tokio::time::sleep((limit - quiet).min(Duration::from_millis(20))).await;
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
        receiver.finish(self.expected_until());
        let seen = receiver.report();
        let of = sent.and_then(|sent| sent.video_frames).unwrap_or(seen.frames + seen.missing).max(seen.frames);
        if of > 0 {
            recorder.sample(Metric::FrameIntegrityRatio, seen.intact as f64 / of as f64);
        }
        recorder.sample(Metric::FreezeTimeMs, seen.freeze_time.as_secs_f64() * 1e3);
        let compared = match &self.expected.video {
            Some(ExpectedVideo::Fixture(_)) => "every frame with the fixture",
            Some(ExpectedVideo::Layers(_)) => "every frame with the fixture of each layer",
            None => "every frame's form",
        };
        report.verified = enough(seen.intact, of) && seen.foreign + seen.misplaced == 0;
        report.detail = format!(
            "compared {compared}: {} of {of} intact, {} damaged, {} foreign, {} out of place",
            seen.intact, seen.damaged, seen.foreign, seen.misplaced
        );
        report.detail += &told(seen.silence);
        if let Some(layers) = receiver.layers() {
            let (fits, told) = layers::verdict(layers, lock(&self.received.refusal).as_deref());
            report.verified &= fits;
            report.detail = format!("{}; {told}", report.detail);
            self.record_switches(layers.requests());
        }
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
        let mut receiver = lock(&self.received.audio);
        let Some(receiver) = receiver.as_mut() else {
            report.detail = "no audio track arrived".into();
            return report;
        };
        receiver.finish(self.expected_until());
        let seen = receiver.report();
        let sent = sent.filter(|_| self.expected.mix.is_none());
        let of = sent.and_then(|sent| sent.audio_packets).unwrap_or(seen.frames + seen.missing).max(seen.frames);
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
        report.detail += &told(seen.silence);
        if let Some(mix) = &self.expected.mix {
            let (fits, told) = mix.verdict();
            report.verified &= fits;
            report.detail = format!("{told}; {}", report.detail);
        }
        report.packets = seen.packets;
        report.packets_lost = Some(seen.lost);
        report.frames = seen.frames;
        report.frames_intact = seen.intact;
        report.frames_sent = sent.and_then(|sent| sent.audio_packets);
        report.rate = seen.rate;
        report
    }

    fn record_switches(&self, requests: &[LayerRequest]) {
        let recorder = &self.context.recorder;
        let reached = requests.iter().filter_map(LayerRequest::took);
        reached.for_each(|took| recorder.sample(Metric::LayerSwitchTimeMs, took.as_secs_f64() * 1e3));
        if requests.is_empty() {
            recorder.absent(Metric::LayerSwitchTimeMs, "the peer asks for no layer");
        } else if requests.iter().any(|request| request.reached.is_none()) {
            recorder.absent(Metric::LayerSwitchTimeMs, "a layer that was asked for did not come");
        }
    }

    fn record_goodput(&self) {
        let Some(since) = *lock(&self.received.since) else { return };
        let seconds = since.elapsed().as_secs_f64();
        let video = lock(&self.received.video).as_ref().map_or(0, |video| video.report().payload_bytes);
        let audio = lock(&self.received.audio).as_ref().map_or(0, |audio| audio.report().payload_bytes);
        let tally = self.context.recorder.tally(Metric::GoodputBps, &self.context.group.name, &self.context.call.set);
        tally.record((video + audio) as f64 * 8.0 / seconds);
    }

    fn expected_until(&self) -> Instant {
        lock(&self.received.end).unwrap_or_else(Instant::now)
    }

    fn media(&self) -> &MediaPlan {
        self.context.plan.media_of(&self.context.call)
    }
}

/// Whether so much arrived intact that the stream can be said to have been carried: nine tenths. How much was lost is
/// for the gates to judge, over `frame_integrity_ratio` and `packet_loss_ratio`.
fn enough(intact: u64, of: u64) -> bool {
    intact > 0 && intact * 10 >= of * 9
}

/// A silence at the end of the call, for people.
fn told(silence: Option<Duration>) -> String {
    silence.map(|silence| format!("; nothing came in the last {:.1} s", silence.as_secs_f64())).unwrap_or_default()
}

/// Whether the other end of the call is simulated, too.
pub(super) fn other_is_native(context: &PeerContext) -> bool {
    let other = match context.role {
        Role::Offerer => &context.call.answerer,
        Role::Answerer => &context.call.offerer,
    };
    context.plan.group(&other.group).is_some_and(|group| group.engine == Engine::Native)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
