//! The tracks of a native peer on the async stack: made with the connection, one task for each direction of each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionParameters, RTCRtpParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::{Error, Result};
use rtc::shared::marshal::MarshalSize;
use tokio::time::sleep_until;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::{RtpSender, RtpTransceiver};

use super::media::Media;
use super::planned::TrackPlan;
use super::source::Stream;
use crate::media::send::Produced;
use crate::plan::{Layer, MediaDirection};

/// Header extensions (RFC 8843, RFC 8852).
const SDES_MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const SDES_RTP_STREAM_ID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";

/// A track that this peer sends.
pub(super) struct LocalTrack {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    /// Of a track that only sends.
    transceiver: Option<Arc<dyn RtpTransceiver>>,
    plan: TrackPlan,
}

/// What the other end has accepted of a track.
pub(super) struct Negotiated {
    pub(super) payload_type: u8,
    /// The media section.
    mid: Option<String>,
    extensions: Vec<RTCRtpHeaderExtensionParameters>,
}

impl Negotiated {
    /// Of a track with this plan.
    ///
    /// # Errors
    ///
    /// The other end does not accept its codec.
    pub(super) fn new(
        plan: &TrackPlan,
        parameters: &RTCRtpParameters,
        mid: Option<String>,
    ) -> std::result::Result<Self, String> {
        let Some(codec) = parameters.codecs.first() else {
            return Err(format!("the other end does not accept {}", plan.codec.rtp_codec.mime_type));
        };
        Ok(Self { payload_type: codec.payload_type, mid, extensions: parameters.header_extensions.clone() })
    }

    /// The header extensions that say of a packet which layer it is of: the RtpStreamId and, for servers that look for the
    /// media section first, its MID (RFC 8852, RFC 8843).
    ///
    /// # Errors
    ///
    /// The other end does not accept the first.
    pub(super) fn extensions_of(&self, layer: Layer) -> std::result::Result<Vec<(u8, Bytes)>, String> {
        let id = |uri: &str| {
            self.extensions.iter().find(|extension| extension.uri == uri).map(|extension| extension.id as u8)
        };
        let Some(rid) = id(SDES_RTP_STREAM_ID_URI) else {
            return Err(format!("the other end does not accept simulcast: its answer lacks {SDES_RTP_STREAM_ID_URI}"));
        };
        let mut extensions = vec![(rid, Bytes::from_static(layer.rid().as_bytes()))];
        extensions.extend(id(SDES_MID_URI).zip(self.mid.clone()).map(|(id, mid)| (id, Bytes::from(mid))));
        Ok(extensions)
    }
}

/// A track with this plan, as both stacks make it; `None` if it only receives.
pub(super) fn local_track(plan: &TrackPlan) -> Option<MediaStreamTrack> {
    let id = plan.encodings.first()?.source.mime_type().replace('/', "-");
    let encodings = plan.encodings.iter().map(|encoding| RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            rid: encoding.layer.map(Layer::rid).unwrap_or_default().into(),
            ssrc: Some(encoding.ssrc),
            ..Default::default()
        },
        codec: plan.codec.rtp_codec.clone(),
        ..Default::default()
    });
    Some(MediaStreamTrack::new("harness".into(), id.clone(), id, plan.kind, encodings.collect()))
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
        let (sender, transceiver) = if media.direction() == MediaDirection::SendRecv {
            (connection.add_track(local).await?, None)
        } else {
            let send = Some(init(RTCRtpTransceiverDirection::Sendonly));
            let transceiver = connection.add_transceiver_from_track(local, send).await?;
            let sender = transceiver.sender().await?;
            (sender.ok_or_else(|| Error::Other("the transceiver has no sender".into()))?, Some(transceiver))
        };
        tracks.push(LocalTrack { track, sender, transceiver, plan: plan.clone() });
    }
    Ok(tracks)
}

/// Starts to send a track, once the connection is up.
pub(super) async fn start(track: &LocalTrack, media: &Arc<Media>) -> std::result::Result<(), String> {
    let parameters = track.sender.get_parameters().await.map_err(|error| error.to_string())?;
    let mid = match &track.transceiver {
        Some(transceiver) => transceiver.mid().await.map_err(|error| error.to_string())?,
        None => None,
    };
    let negotiated = Negotiated::new(&track.plan, &parameters.rtp_parameters, mid)?;
    let stream = Stream::new(&track.plan, &negotiated, media.key_frames.clone(), Instant::now())?;
    if let Some(stream) = stream {
        tokio::spawn(send(Arc::clone(&track.track), stream, Arc::clone(media)));
    }
    Ok(())
}

/// Sends one track on its schedule until sending is to stop.
async fn send(track: Arc<TrackLocalStaticRTP>, mut stream: Stream, media: Arc<Media>) {
    while let Some(due) = stream.next_due() {
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = media.stopping().cancelled() => return,
        }
        let Some(Produced { packets, lateness, skipped }) = stream.produce(Instant::now()) else { continue };
        media.send_lateness.record_ticks(lateness, skipped);
        for packet in packets {
            let bytes = packet.marshal_size() as u64;
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
