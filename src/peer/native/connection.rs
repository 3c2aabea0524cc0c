//! The connection of a native peer, and what it begins with on every stack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use rtc::crypto::{self, SignatureScheme};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::peer_connection::certificate::RTCCertificate;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::configuration::{RTCConfiguration, RTCConfigurationBuilder, RTCIceTransportPolicy};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCDtlsRole, RTCDtlsTransportState, RTCIceCandidateInit, RTCSctpTransportState};
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::shared::error::{Error, Result};
use rtc::statistics::report::RTCStatsReport;

use super::dense::Bypassed;
use super::dense::fast::path::{FeedbackShelf, Shelves};
use super::interceptor::Watched;
use super::key_frame::{KeyFrameRequests, KeyFrameWatch};
use super::relays::Relays;
use crate::peer::network::PeerHost;
use crate::plan::{IceTransportPolicy, MediaPlan, VideoCodec};

/// The stack's default waits 200 ms between checks, and so before the first.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks per pair: with the interval above, a pair is tried for 1.4 s, as by default.
const MAX_CHECKS: u16 = 70;

/// How long after the start of the checks a relayed pair is nominated at the earliest. Without a wait the relay wins
/// wherever its answer comes before that of a hole that is being punched. `ice_connect_ms` is not affected: it ends with
/// the first pair that works.
const RELAY_WAIT: Duration = Duration::from_millis(500);

/// Unsent data-channel bytes after which sending waits; the stack's default is no limit.
pub(super) const DATA_SEND_BUFFER: usize = 2 << 20;

/// The connection of a native peer, whichever stack it runs on. Its events go to the peer's
/// [`Events`](super::events::Events).
#[async_trait]
pub(super) trait Connection: Send + Sync {
    async fn create_offer(&self) -> Result<RTCSessionDescription>;
    async fn create_answer(&self) -> Result<RTCSessionDescription>;
    /// Applies an own description, and begins to gather candidates.
    async fn set_local_description(&self, description: RTCSessionDescription) -> Result<()>;
    async fn set_remote_description(&self, description: RTCSessionDescription) -> Result<()>;
    async fn add_ice_candidate(&self, candidate: RTCIceCandidateInit) -> Result<()>;
    async fn stats(&self) -> Result<Statistics>;
    /// Starts to send media: the connection is up. Once is enough.
    ///
    /// # Errors
    ///
    /// The other end does not accept a codec.
    async fn start_media(&self) -> std::result::Result<(), String>;
    /// Says good-bye and frees everything.
    async fn close(&self) -> Result<()>;
}

/// What a connection counts.
pub(super) struct Statistics {
    /// What went through the core.
    pub(super) report: RTCStatsReport,
    /// What went past it.
    pub(super) bypassed: Option<Bypassed>,
    pub(super) transports: Transports,
}

/// The states of a connection's transports. A `close_notify` leaves `connectionState` connected (W3C webrtc, 4.3.3), and
/// `dtlsState` in the stack's statistics, too; so they are asked themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transports {
    pub(super) dtls: Option<RTCDtlsTransportState>,
    pub(super) sctp: Option<RTCSctpTransportState>,
}

impl Transports {
    /// How the other end has hung up, if it has: to be asked before this end does.
    pub(super) fn closed(self) -> Option<&'static str> {
        if self.dtls == Some(RTCDtlsTransportState::Closed) {
            return Some("it closed the DTLS transport");
        }
        (self.sctp == Some(RTCSctpTransportState::Closed))
            .then_some("it closed the SCTP association of the data channels")
    }
}

/// What every native connection begins with.
pub(super) struct Setup {
    pub(super) media_engine: MediaEngine,
    pub(super) registry: Registry,
    pub(super) settings: SettingEngineBuilder,
    pub(super) configuration: RTCConfiguration,
    /// Where to listen.
    pub(super) addresses: Vec<SocketAddr>,
    /// Present if media packets are to go past the core.
    pub(super) bypass: Option<Shelves>,
}

impl Setup {
    /// For a peer at `host` with this media, whose packets go past the core if `bypass`.
    pub(super) fn new(
        policy: IceTransportPolicy,
        host: &PeerHost,
        relays: &Relays,
        media: &MediaPlan,
        key_frames: KeyFrameRequests,
        bypass: bool,
    ) -> Result<Self> {
        let mut media_engine = MediaEngine::default();
        if let Some(video) = &media.video {
            let mut codec = video_codec(video.codec);
            if bypass {
                codec.rtp_codec.rtcp_feedback.retain(|feedback| feedback.typ != "transport-cc");
            }
            media_engine.register_codec(codec, RtpCodecKind::Video)?;
        }
        if media.audio {
            media_engine.register_codec(opus(), RtpCodecKind::Audio)?;
        }
        let bypass = (bypass && (media.video.is_some() || media.audio)).then(Shelves::default);
        let registry = match &bypass {
            // The core's reports would be wrong, as it does not see the packets.
            Some(shelves) => Registry::new().with(FeedbackShelf::SLOT, shelves.told.interceptor()),
            None if media.video.is_some() || media.audio => {
                register_default_interceptors(Registry::new(), &mut media_engine)?
                    .with(KeyFrameWatch::SLOT, Watched::new(KeyFrameWatch(key_frames)))
            }
            // A call without RTP needs nothing that looks at RTP: it costs memory and timers of every peer.
            None => Registry::new(),
        };
        let addresses = match host {
            PeerHost::Machine => host_addresses(),
            host => host.addresses().iter().map(|address| SocketAddr::new(*address, 0)).collect(),
        };
        let settings = SettingEngineBuilder::new()
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(MAX_CHECKS))
            // The waits before a direct pair is accepted would be measured as if the network had caused them.
            .with_host_acceptance_min_wait(Some(Duration::ZERO))
            .with_srflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_relay_acceptance_min_wait(Some(RELAY_WAIT))
            // The stack initiates the SCTP association as DTLS client only, and ignores the `setup` of the offer; the
            // offerer is made the client in every call (see `offer_to_be_dtls_client`).
            .with_answering_dtls_role(RTCDtlsRole::Server)
            // The stack knows one fingerprint of one hash function; `Fingerprints` compares all of them.
            .with_disable_certificate_fingerprint_verification(true)
            // With mDNS each peer opens a multicast socket, and fails where there is no route for it.
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(addresses.iter().any(|address| address.ip().is_loopback()));
        let settings = match &bypass {
            Some(_) => settings.with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]),
            None => settings,
        };
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(relays.servers())
            .with_ice_transport_policy(match policy {
                IceTransportPolicy::All => RTCIceTransportPolicy::All,
                IceTransportPolicy::Relay => RTCIceTransportPolicy::Relay,
            })
            .with_certificates(vec![shared_certificate()?])
            .build();
        Ok(Self { media_engine, registry, settings, configuration, addresses, bypass })
    }
}

/// The offer as it is sent: with data channels, it asks for the DTLS client's role instead of leaving it open.
///
/// The stack initiates the SCTP association as DTLS client only. A peer that becomes DTLS client by answering `actpass`
/// and leaves the association to the ICE-controlling end, as aiortc does, would wait for ever.
pub(super) fn offer_to_be_dtls_client(sdp: &str) -> String {
    if sdp.contains("\r\nm=application ") { sdp.replace("a=setup:actpass", "a=setup:active") } else { sdp.to_owned() }
}

/// The answer to an offer to be DTLS client, as it is applied.
///
/// An answer that claims the client's role as well is none (RFC 8842, section 5.3). Pion writes one, and waits for the
/// client nevertheless, as it follows the offer. So an own role that was offered stays.
pub(super) fn answer_to_dtls_client(sdp: &str) -> String {
    sdp.replace("a=setup:active", "a=setup:passive")
}

/// The codec as it is offered.
pub(super) fn video_codec(codec: VideoCodec) -> RTCRtpCodecParameters {
    let (payload_type, sdp_fmtp_line) = match codec {
        VideoCodec::Vp8 => (96, ""),
        VideoCodec::H264 => (102, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    };
    let feedback = [("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("transport-cc", "")];
    let rtcp_feedback = feedback
        .iter()
        .map(|(typ, parameter)| RTCPFeedback { typ: (*typ).into(), parameter: (*parameter).into() })
        .collect();
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: codec.mime_type().into(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: sdp_fmtp_line.into(),
            rtcp_feedback,
        },
        payload_type,
    }
}

/// Opus as it is offered.
pub(super) fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: "audio/opus".into(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
            rtcp_feedback: vec![],
        },
        payload_type: 111,
    }
}

/// Where to listen: the IPv4 addresses of the machine's interfaces, or loopback where there is nothing else.
pub(crate) fn host_addresses() -> Vec<SocketAddr> {
    let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
    let mut addresses: Vec<SocketAddr> = interfaces
        .iter()
        .filter_map(|interface| interface.addr)
        .map(|address| address.ip())
        .filter(|ip| matches!(ip, IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified()))
        .map(|ip| SocketAddr::new(ip, 0))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        addresses.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
    }
    addresses
}

/// One certificate for all native peers: making one for each would cost the generator, and prove nothing.
fn shared_certificate() -> Result<RTCCertificate> {
    static CERTIFICATE: OnceLock<RTCCertificate> = OnceLock::new();
    if let Some(certificate) = CERTIFICATE.get() {
        return Ok(certificate.clone());
    }
    let provider = crypto::default_provider().map_err(|error| Error::Crypto(error.to_string()))?;
    let params = rcgen::CertificateParams::new(vec!["harness".to_owned()])
        .map_err(|error| Error::Crypto(format!("certificate parameters: {error}")))?;
    let certificate = RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, params)?;
    Ok(CERTIFICATE.get_or_init(|| certificate).clone())
}
