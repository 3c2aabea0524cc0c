//! Two peers of the core, connected in memory and in simulated time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use harness::peer::native::dense::fast::keys::KeyWatch;
use harness::peer::native::dense::fast::path::Shelves;
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

/// The payload type of VP8.
pub(crate) const PAYLOAD_TYPE: u8 = 96;

/// One end.
pub(crate) struct CorePeer {
    pub(crate) core: RTCPeerConnection,
    pub(crate) shelves: Shelves,
    pub(crate) address: SocketAddr,
    pub(crate) sender: RTCRtpSenderId,
    pub(crate) ssrc: u32,
    connected: bool,
}

/// Both ends.
pub(crate) struct CorePair {
    pub(crate) offerer: CorePeer,
    pub(crate) answerer: CorePeer,
    pub(crate) now: Instant,
}

impl CorePair {
    /// A pair that is connected and can send VP8 both ways.
    pub(crate) fn connect() -> Self {
        let now = Instant::now();
        let mut pair = Self { offerer: CorePeer::new(now, 1), answerer: CorePeer::new(now, 2), now };
        let (offerer, answerer) = (&mut pair.offerer.core, &mut pair.answerer.core);
        let offer = offerer.create_offer(None).expect("an offer");
        offerer.set_local_description(now, offer.clone()).expect("the offer");
        answerer.set_remote_description(now, offer).expect("the offer");
        let answer = answerer.create_answer(None).expect("an answer");
        answerer.set_local_description(now, answer.clone()).expect("the answer");
        offerer.set_remote_description(now, answer).expect("the answer");
        for _ in 0..10_000 {
            pair.step();
            if pair.offerer.connected && pair.answerer.connected {
                return pair;
            }
        }
        panic!("the core does not connect to itself");
    }

    /// Carries what is to be carried, and lets a millisecond pass.
    pub(crate) fn step(&mut self) {
        let now = self.now;
        loop {
            let there = self.offerer.datagrams();
            let back = self.answerer.datagrams();
            if there.is_empty() && back.is_empty() {
                break;
            }
            there.into_iter().for_each(|datagram| self.answerer.handle(datagram, self.offerer.address, now));
            back.into_iter().for_each(|datagram| self.offerer.handle(datagram, self.answerer.address, now));
        }
        self.now += Duration::from_millis(1);
        for peer in [&mut self.offerer, &mut self.answerer] {
            if peer.core.poll_timeout().is_some_and(|due| due <= self.now) {
                peer.core.handle_timeout(self.now).expect("time passes");
            }
            while let Some(event) = peer.core.poll_event() {
                peer.connected |= matches!(
                    event,
                    RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected)
                );
            }
        }
    }
}

impl CorePeer {
    fn new(now: Instant, number: u32) -> Self {
        let shelves = Shelves::default();
        let crypto = rtc::crypto::default_provider().expect("a provider");
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(Arc::new(KeyWatch::new(crypto, shelves.keys.clone())))
            .with_include_loopback_candidate(true)
            .build();
        let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
        let codec = RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: "video/VP8".into(),
                clock_rate: 90_000,
                rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("transport-cc", "")],
                ..RTCRtpCodec::default()
            },
            payload_type: PAYLOAD_TYPE,
        };
        let mut media = MediaEngine::default();
        media.register_codec(codec.clone(), RtpCodecKind::Video).expect("a codec");
        let registry = register_default_interceptors(Registry::new(), &mut media).expect("interceptors");
        let mut core = RTCPeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .build(now)
            .expect("a connection");
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(number), ..RTCRtpCodingParameters::default() },
            codec: codec.rtp_codec,
            ..RTCRtpEncodingParameters::default()
        };
        let name = || format!("video-{number}");
        let track = MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Video, vec![encoding]);
        let sender = core.add_track(track).expect("a track");
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + number as u16));
        let candidate = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".into(),
                address: address.ip().to_string(),
                port: address.port(),
                component: 1,
                ..CandidateConfig::default()
            },
            ..CandidateHostConfig::default()
        };
        let candidate = candidate.new_candidate_host().expect("a candidate");
        let candidate = RTCIceCandidate::from(&candidate).to_json().expect("a candidate");
        core.add_local_candidate(candidate).expect("a candidate");
        Self { core, shelves, address, sender, ssrc: number, connected: false }
    }

    /// What this end has to send.
    pub(crate) fn datagrams(&mut self) -> Vec<BytesMut> {
        std::iter::from_fn(|| self.core.poll_write()).map(|datagram| datagram.message).collect()
    }

    /// Takes what the other end sent.
    pub(crate) fn handle(&mut self, message: BytesMut, from: SocketAddr, now: Instant) {
        let transport = TransportContext {
            local_addr: self.address,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        // What cannot be read is dropped, as on a socket.
        let _ = self.core.handle_read(TaggedBytesMut { now, transport, message });
    }
}
