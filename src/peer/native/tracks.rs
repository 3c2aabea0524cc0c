//! The tracks that a native peer sends: made with the connection, sent on an exact schedule once it is up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::{Error, Result};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpSender;

use super::key_frame::KeyFrameRequests;
use crate::media::fixture::{AudioFixture, VideoFixture};
use crate::media::send::{AudioSender, Produced, RtpStream, VideoSender};
use crate::plan::MediaDirection;
use crate::record::Lateness;

/// A track of this peer.
pub(super) struct LocalTrack {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) sender: Arc<dyn RtpSender>,
    pub(super) ssrc: u32,
    pub(super) source: Source,
}

/// Where a track's media comes from.
#[derive(Clone)]
pub(super) enum Source {
    Video(Arc<VideoFixture>, u32),
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

/// A transceiver in the group's direction, with a track if it sends.
pub(super) async fn add(
    connection: &Arc<dyn PeerConnection>,
    codec: RTCRtpCodecParameters,
    kind: RtpCodecKind,
    direction: MediaDirection,
    source: Option<Source>,
) -> Result<Option<LocalTrack>> {
    let init = |direction| Some(RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] });
    let Some(source) = source else {
        connection.add_transceiver_from_kind(kind, init(RTCRtpTransceiverDirection::Recvonly)).await?;
        return Ok(None);
    };
    let ssrc: u32 = rand::random();
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: codec.rtp_codec,
        ..Default::default()
    };
    let id = source.mime_type().replace('/', "-");
    let track = MediaStreamTrack::new("harness".into(), id.clone(), id, kind, vec![encoding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let sender = if direction == MediaDirection::SendRecv {
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?
    } else {
        let transceiver = connection
            .add_transceiver_from_track(
                Arc::clone(&track) as Arc<dyn TrackLocal>,
                init(RTCRtpTransceiverDirection::Sendonly),
            )
            .await?;
        transceiver.sender().await?.ok_or_else(|| Error::Other("the transceiver has no sender".into()))?
    };
    Ok(Some(LocalTrack { track, sender, ssrc, source }))
}

/// Sends one track on its schedule.
pub(super) struct SendTask {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) source: Source,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) seed: u64,
    pub(super) sent: Arc<SentCounters>,
    pub(super) key_frames: KeyFrameRequests,
    pub(super) send_lateness: Lateness,
    pub(super) stop: CancellationToken,
}

impl SendTask {
    pub(super) async fn run(self) {
        match self.source.clone() {
            Source::Video(fixture, frame_rate) => self.run_video(fixture, frame_rate).await,
            Source::Audio(fixture) => self.run_audio(fixture).await,
        }
    }

    async fn run_video(self, fixture: Arc<VideoFixture>, frame_rate: u32) {
        let Some(frame_rate) = NonZeroU32::new(frame_rate) else { return };
        let mut sender = VideoSender::new(fixture, self.stream(), frame_rate, Instant::now());
        let mut answered = self.key_frames.count();
        while self.wait_for(sender.next_due()).await {
            let asked = self.key_frames.count();
            if asked > answered {
                answered = asked;
                sender.request_key_frame();
            }
            if let Some(produced) = sender.produce(Instant::now()) {
                if !self.send(produced).await {
                    return;
                }
                self.sent.video_frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn run_audio(self, fixture: Arc<AudioFixture>) {
        let mut sender = AudioSender::new(fixture, self.stream(), Instant::now());
        while self.wait_for(sender.next_due()).await {
            if let Some(produced) = sender.produce(Instant::now()) {
                if !self.send(produced).await {
                    return;
                }
                self.sent.audio_packets.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn stream(&self) -> RtpStream {
        RtpStream { ssrc: self.ssrc, payload_type: self.payload_type, seed: self.seed }
    }

    /// Waits for the next tick; false once sending is to stop.
    async fn wait_for(&self, due: Instant) -> bool {
        tokio::select! {
            () = sleep_until(due.into()) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Hands packets to the stack; false once the connection is closed.
    async fn send(&self, produced: Produced) -> bool {
        self.send_lateness.record(produced.lateness);
        for packet in produced.packets {
            let bytes = packet.payload.len() as u64 + 12;
            if self.track.write_rtp(packet).await.is_err() {
                return false;
            }
            self.sent.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        true
    }
}
