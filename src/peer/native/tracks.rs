//! The tracks of a native peer on the async stack: made with the connection, one task for each direction of each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::{Error, Result};
use tokio::time::sleep_until;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::RtpSender;

use super::media::{Media, TrackPlan};
use super::source::{Source, Stream};
use crate::media::send::Produced;
use crate::plan::MediaDirection;

/// A track that this peer sends.
pub(super) struct LocalTrack {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    plan: TrackPlan,
}

/// A track with this plan, as both stacks make it; `None` if it only receives.
pub(super) fn local_track(plan: &TrackPlan) -> Option<MediaStreamTrack> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(plan.ssrc), ..Default::default() },
        codec: plan.codec.rtp_codec.clone(),
        ..Default::default()
    };
    let id = plan.source.as_ref().map(Source::mime_type)?.replace('/', "-");
    Some(MediaStreamTrack::new("harness".into(), id.clone(), id, plan.kind, vec![encoding]))
}

/// How a transceiver begins.
pub(super) fn init(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] }
}

/// Transceivers in the group's direction; gives the tracks that are sent.
pub(super) async fn add(connection: &Arc<dyn PeerConnection>, media: &Media) -> Result<Vec<LocalTrack>> {
    let mut tracks = Vec::new();
    for plan in media.tracks() {
        let Some(track) = local_track(plan) else {
            let receive = Some(init(RTCRtpTransceiverDirection::Recvonly));
            connection.add_transceiver_from_kind(plan.kind, receive).await?;
            continue;
        };
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let local = Arc::clone(&track) as Arc<dyn TrackLocal>;
        let sender = if media.direction() == MediaDirection::SendRecv {
            connection.add_track(local).await?
        } else {
            let send = Some(init(RTCRtpTransceiverDirection::Sendonly));
            let transceiver = connection.add_transceiver_from_track(local, send).await?;
            transceiver.sender().await?.ok_or_else(|| Error::Other("the transceiver has no sender".into()))?
        };
        tracks.push(LocalTrack { track, sender, plan: plan.clone() });
    }
    Ok(tracks)
}

/// Starts to send a track, once the connection is up.
pub(super) async fn start(track: &LocalTrack, media: &Arc<Media>) -> std::result::Result<(), String> {
    let parameters = track.sender.get_parameters().await.map_err(|error| error.to_string())?;
    let Some(codec) = parameters.rtp_parameters.codecs.first() else { return Err(not_accepted(&track.plan)) };
    let stream = Stream::new(&track.plan, codec.payload_type, media.key_frames.clone(), Instant::now());
    if let Some(stream) = stream {
        tokio::spawn(send(Arc::clone(&track.track), stream, Arc::clone(media)));
    }
    Ok(())
}

/// Why a track cannot be sent for which no codec was negotiated.
pub(super) fn not_accepted(track: &TrackPlan) -> String {
    format!("the other end does not accept {}", track.codec.rtp_codec.mime_type)
}

/// Sends one track on its schedule until sending is to stop.
async fn send(track: Arc<TrackLocalStaticRTP>, mut stream: Stream, media: Arc<Media>) {
    loop {
        tokio::select! {
            () = sleep_until(stream.next_due().into()) => {}
            () = media.stopping().cancelled() => return,
        }
        let Some(Produced { packets, lateness, skipped }) = stream.produce(Instant::now()) else { continue };
        media.send_lateness.record_ticks(lateness, skipped);
        for packet in packets {
            let bytes = packet.payload.len() as u64 + 12;
            if track.write_rtp(packet).await.is_err() {
                return;
            }
            media.sent.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        stream.sent(&media.sent);
    }
}

/// Takes a track of the other end, and everything that arrives on it.
pub(super) async fn accept(track: Arc<dyn TrackRemote>, media: Arc<Media>) {
    let kind = track.kind().await;
    if media.track_begins(kind) {
        tokio::select! {
            () = read(&track, kind, &media) => {}
            () = media.ending().cancelled() => {}
        }
    }
}

async fn read(track: &Arc<dyn TrackRemote>, kind: RtpCodecKind, media: &Media) {
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        if media.received(kind, &packet, Instant::now()) {
            let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc: packet.header.ssrc };
            // A connection that is closing needs no key frame.
            let _ = track.write_rtcp(vec![Box::new(pli)]).await;
        }
    }
}
