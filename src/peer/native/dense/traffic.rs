//! The tracks and channels of a peer on a shard: what it sends when it is due, and what arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rtc::data_channel::{RTCDataChannelId, RTCDataChannelMessage};
use rtc::media_stream::MediaStreamTrackId;
use rtc::peer_connection::RTCPeerConnection;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCTrackEvent};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpReceiverId, RTCRtpSenderId, RTCRtpTransceiverDirection};
use rtc::shared::error::{Error, Result};
use rtc::shared::marshal::MarshalSize;

use super::super::connection::DATA_SEND_BUFFER;
use super::super::data::ChannelRole;
use super::super::media::Media;
use super::super::planned::TrackPlan;
use super::super::source::{Stream, media_sender};
use super::super::tracks::{Negotiated, init, local_track};
use super::bypass::Bypass;
use super::fast::Batch;
use super::fast::path::Shelves;
use super::fast::rtcp::Compound;
use crate::media::send::Produced;
use crate::plan::MediaDirection;

/// Bulk messages that are handed to the core before other peers get their turn.
const BULK_BURST: usize = 32;

/// The media of one peer on its shard.
pub(super) struct Traffic {
    media: Arc<Media>,
    senders: Vec<(RTCRtpSenderId, TrackPlan)>,
    /// Tracks that are being sent.
    streams: Vec<(RTCRtpSenderId, Stream)>,
    started: bool,
    receivers: Vec<(MediaStreamTrackId, RtpCodecKind, RTCRtpReceiverId)>,
    channels: Vec<Channel>,
    /// Takes the media packets, if they go past the core.
    bypass: Option<Bypass>,
}

struct Channel {
    id: RTCDataChannelId,
    role: ChannelRole,
    open: bool,
}

impl Traffic {
    /// Adds tracks and channels to a fresh connection, before any description is made.
    pub(super) fn new(core: &mut RTCPeerConnection, media: Arc<Media>, bypass: Option<Shelves>) -> Result<Self> {
        let mut senders = Vec::new();
        for plan in media.tracks() {
            let Some(track) = local_track(plan) else {
                core.add_transceiver_from_kind(plan.kind, Some(init(RTCRtpTransceiverDirection::Recvonly)))?;
                continue;
            };
            let sender = if media.direction() == MediaDirection::SendRecv {
                core.add_track(track)?
            } else {
                let send = Some(init(RTCRtpTransceiverDirection::Sendonly));
                let transceiver = core.add_transceiver_from_track(track, send)?;
                let sender = core.rtp_transceiver(transceiver).and_then(|transceiver| transceiver.sender());
                sender.ok_or_else(|| Error::Other("the transceiver has no sender".into()))?
            };
            senders.push((sender, plan.clone()));
        }
        let mut channels = Vec::new();
        for (role, label, init) in media.data.to_open() {
            let id = core.create_data_channel(label, init)?.id();
            channels.push(Channel { id, role, open: false });
        }
        let (streams, receivers) = (Vec::new(), Vec::new());
        let bypass = bypass.map(|shelves| Bypass::new(shelves, Arc::clone(&media)));
        Ok(Self { media, senders, streams, started: false, receivers, channels, bypass })
    }

    /// Starts to send, once the connection is up.
    pub(super) fn start(&mut self, core: &mut RTCPeerConnection, now: Instant) -> std::result::Result<(), String> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        if self.bypass.as_mut().is_some_and(|bypass| !bypass.open(now)) {
            return Err("the SRTP keys of the connection are not known".into());
        }
        for (id, plan) in &self.senders {
            let mid = core.rtp_transceiver((*id).into()).and_then(|transceiver| transceiver.mid().clone());
            let Some(mut sender) = core.rtp_sender(*id) else { continue };
            let negotiated = Negotiated::new(plan, &sender.get_parameters().rtp_parameters, mid)?;
            if let Some(bypass) = &mut self.bypass {
                let sources = plan.encodings.iter().filter_map(|of| media_sender(of, negotiated.payload_type, now));
                sources.for_each(|source| bypass.send(source));
                continue;
            }
            let stream = Stream::new(plan, &negotiated, self.media.key_frames.clone(), now)?;
            self.streams.extend(stream.map(|stream| (*id, stream)));
        }
        Ok(())
    }

    /// When something is to be sent next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let media = self.streams.iter().filter_map(|(_, stream)| stream.next_due()).min();
        let echoes = self.channels.iter().any(|channel| channel.open && channel.role == ChannelRole::EchoSender);
        let echo = if echoes { self.media.data.next_echo_due() } else { None };
        let bypass = self.bypass.as_ref().and_then(Bypass::poll_timeout);
        media.into_iter().chain(echo).chain(bypass).min()
    }

    /// Hands the core what is due, and adds to the batch what goes past it. True if the core has got more than media:
    /// data, which has timers of its own, or RTCP.
    pub(super) fn handle_timeout(&mut self, core: &mut RTCPeerConnection, now: Instant, batch: &mut Batch) -> bool {
        if self.media.stopping().is_cancelled() {
            self.streams.clear();
            self.bypass.iter_mut().for_each(Bypass::stop);
        }
        let compounds = self.bypass.as_mut().map(|bypass| bypass.handle_timeout(now, batch)).unwrap_or_default();
        let mut sent = !compounds.is_empty();
        for compound in compounds {
            if let Err(error) = self.send_rtcp(core, compound, now) {
                tracing::debug!(%error, "RTCP is not sent");
            }
        }
        let media = &self.media;
        self.streams.retain_mut(|(sender, stream)| match send_due(core, *sender, stream, media, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a track is not sent any more");
                false
            }
        });
        let echo = |channel: &&Channel| channel.open && channel.role == ChannelRole::EchoSender;
        if let Some(channel) = self.channels.iter().find(echo) {
            while let Some(message) = self.media.data.next_echo() {
                sent |= send_data(core, channel.id, message, now);
            }
        }
        sent
    }

    /// The connection is up.
    pub(super) fn connected(&mut self, now: Instant) {
        self.bypass.iter_mut().for_each(|bypass| {
            bypass.open(now);
        });
    }

    /// What takes the media packets, once they go past the core.
    pub(super) fn bypass(&mut self) -> Option<&mut Bypass> {
        self.bypass.as_mut().filter(|bypass| bypass.is_open())
    }

    /// Has the core send RTCP: on behalf of a track that is sent, or of one that arrives.
    fn send_rtcp(&self, core: &mut RTCPeerConnection, compound: Compound, now: Instant) -> Result<()> {
        if let Some(mut sender) = self.senders.first().and_then(|(id, _)| core.rtp_sender(*id)) {
            return sender.write_rtcp(now, compound);
        }
        let receiver = self.receivers.first().and_then(|(.., id)| core.rtp_receiver(*id));
        receiver.ok_or(Error::ErrConnectionClosed)?.write_rtcp(now, compound)
    }

    /// Hands the core as much bulk data as it has room for now. True if there may be more in a moment.
    pub(super) fn send_bulk(&mut self, core: &mut RTCPeerConnection, now: Instant) -> bool {
        let bulk = |channel: &&Channel| channel.open && channel.role == ChannelRole::BulkSender;
        let Some(channel) = self.channels.iter().find(bulk) else { return false };
        for _ in 0..BULK_BURST {
            let waiting = core.data_channel(channel.id).map_or(usize::MAX, |channel| channel.outstanding_bytes());
            if waiting >= DATA_SEND_BUFFER {
                return false;
            }
            let Some(message) = self.media.data.next_bulk() else { return false };
            if !send_data(core, channel.id, RTCDataChannelMessage { is_string: false, data: message }, now) {
                return false;
            }
            self.media.data.bulk_was_sent();
        }
        true
    }

    /// A track of the other end begins or ends.
    pub(super) fn on_track(&mut self, core: &mut RTCPeerConnection, event: RTCTrackEvent) {
        let RTCTrackEvent::OnOpen(track) = event else { return };
        let Some(receiver) = core.rtp_receiver(track.receiver_id) else { return };
        let kind = receiver.track().kind();
        if self.media.track_begins(kind) {
            if let Some(bypass) = &mut self.bypass {
                receiver.track().ssrcs().for_each(|ssrc| bypass.receive(ssrc, kind));
            }
            self.receivers.push((track.track_id, kind, track.receiver_id));
        }
    }

    /// A packet of a track of the other end. True if it leads to more: a request for a key frame, or a track that has only
    /// begun.
    pub(super) fn on_rtp(&mut self, core: &mut RTCPeerConnection, track: &str, packet: &Packet, now: Instant) -> bool {
        if self.bypass.as_mut().is_some_and(|bypass| bypass.handle_opened(packet, now)) {
            return false;
        }
        let Some((_, kind, receiver)) = self.receivers.iter().find(|(id, ..)| id == track) else { return true };
        if !self.media.received(*kind, packet, now) {
            return false;
        }
        if let Some(mut receiver) = core.rtp_receiver(*receiver) {
            let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc: packet.header.ssrc };
            if let Err(error) = receiver.write_rtcp(now, vec![Box::new(pli)]) {
                tracing::debug!(%error, "a key frame is not asked for");
            }
        }
        true
    }

    /// A channel opens or closes.
    pub(super) fn on_channel(&mut self, core: &mut RTCPeerConnection, event: RTCDataChannelEvent) {
        match event {
            RTCDataChannelEvent::OnOpen(id) => self.on_open(core, id),
            RTCDataChannelEvent::OnClose(id) | RTCDataChannelEvent::OnError(id) => {
                self.channels.retain(|channel| channel.id != id);
            }
            _ => {}
        }
    }

    fn on_open(&mut self, core: &mut RTCPeerConnection, id: RTCDataChannelId) {
        if !self.channels.iter().any(|channel| channel.id == id) {
            let label = core.data_channel(id).map(|channel| channel.label().to_owned()).unwrap_or_default();
            let role = self.media.data.role_on(&label);
            self.channels.extend(role.map(|role| Channel { id, role, open: false }));
        }
        if let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id && !channel.open) {
            channel.open = true;
            self.media.data.opened(channel.role);
        }
    }

    /// A message on a channel.
    pub(super) fn on_message(
        &self,
        core: &mut RTCPeerConnection,
        id: RTCDataChannelId,
        message: RTCDataChannelMessage,
        now: Instant,
    ) {
        let Some(channel) = self.channels.iter().find(|channel| channel.id == id) else { return };
        if self.media.data.received(channel.role, &message.data) && send_data(core, id, message, now) {
            self.media.data.was_sent_back();
        }
    }
}

/// Hands the core the frames of a track that are due. A frame counts once the core has taken all of it.
fn send_due(
    core: &mut RTCPeerConnection,
    sender: RTCRtpSenderId,
    stream: &mut Stream,
    media: &Media,
    now: Instant,
) -> Result<()> {
    while let Some(Produced { packets, lateness, skipped }) = stream.produce(now) {
        media.send_lateness.record_ticks(lateness, skipped);
        for packet in packets {
            let bytes = packet.marshal_size() as u64;
            send_rtp(core, sender, packet, now)?;
            media.sent.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        stream.sent(&media.sent);
    }
    Ok(())
}

/// Hands a media packet to the core.
fn send_rtp(core: &mut RTCPeerConnection, sender: RTCRtpSenderId, packet: Packet, now: Instant) -> Result<()> {
    let mut sender = core.rtp_sender(sender).ok_or(Error::ErrConnectionClosed)?;
    sender.write_rtp(now, packet)
}

/// Hands a message to the core; false if it does not take it.
fn send_data(core: &mut RTCPeerConnection, id: RTCDataChannelId, message: RTCDataChannelMessage, now: Instant) -> bool {
    let Some(mut channel) = core.data_channel(id) else { return false };
    let sent = if message.is_string {
        channel.send_text(now, String::from_utf8_lossy(&message.data))
    } else {
        channel.send(now, message.data)
    };
    if let Err(error) = &sent {
        tracing::debug!(%error, "a message is not sent");
    }
    sent.is_ok()
}
