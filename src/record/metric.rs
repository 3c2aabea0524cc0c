//! The metrics of the harness: names, units, direction of goodness, and how many samples a call gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Engine;

/// What a metric's numbers are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Unit {
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Bits per second.
    #[serde(rename = "bit/s")]
    BitsPerSecond,
    /// Things per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A share between 0 and 1.
    #[serde(rename = "ratio")]
    Ratio,
}

impl Unit {
    /// How many histogram steps one unit has: a histogram counts whole microseconds, bits per second, things per
    /// 1,000 s or parts per million.
    pub fn scale(self) -> f64 {
        match self {
            Self::Milliseconds => 1e3,
            Self::BitsPerSecond => 1.0,
            Self::PerSecond => 1e3,
            Self::Ratio => 1e6,
        }
    }

    /// The unit's symbol, as in `report.json`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::BitsPerSecond => "bit/s",
            Self::PerSecond => "1/s",
            Self::Ratio => "ratio",
        }
    }
}

/// Which way a metric gets better.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A lower value is better.
    SmallerIsBetter,
    /// A higher value is better.
    BiggerIsBetter,
}

/// How many samples a metric gives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One sample per call.
    Call,
    /// One sample per peer of a call.
    Peer,
    /// Many samples per peer, taken while media flows.
    Stream,
}

/// A metric. Its serialised name is the name in every file, gate and report.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "Metric::description documents each, for people and for docs/metrics.md alike")]
pub enum Metric {
    SetupSuccessRatio,
    CallSetupMs,
    ConnectionTimeMs,
    SignalingConnectMs,
    SignalingRttMs,
    SignalingDeliveryRatio,
    SignalingDeliveryMs,
    SignalingMessagesPerSecond,
    OfferCreateMs,
    SignalingExchangeMs,
    AnswerCreateMs,
    IceGatheringMs,
    FirstHostMs,
    FirstSrflxMs,
    FirstRelayMs,
    IceConnectMs,
    IceNominationMs,
    TimeToFallbackMs,
    FallbackNominationMs,
    DtlsHandshakeMs,
    DataChannelOpenMs,
    TimeToFirstRtpMs,
    TimeToFirstFrameMs,
    MediaVerifiedRatio,
    FrameIntegrityRatio,
    SendBitrateBps,
    RecvBitrateBps,
    GoodputBps,
    PacketLossRatio,
    JitterMs,
    RttMs,
    AudioGapMs,
    FreezeTimeMs,
    LayerSwitchTimeMs,
    DataChannelLatencyMs,
    DataChannelThroughputBps,
    StartLatenessMs,
}

impl Metric {
    /// Every metric, in the order of a call's life: the order of every table.
    pub const ALL: &'static [Self] = &[
        Self::SetupSuccessRatio,
        Self::CallSetupMs,
        Self::ConnectionTimeMs,
        Self::SignalingConnectMs,
        Self::SignalingRttMs,
        Self::SignalingDeliveryRatio,
        Self::SignalingDeliveryMs,
        Self::SignalingMessagesPerSecond,
        Self::OfferCreateMs,
        Self::SignalingExchangeMs,
        Self::AnswerCreateMs,
        Self::IceGatheringMs,
        Self::FirstHostMs,
        Self::FirstSrflxMs,
        Self::FirstRelayMs,
        Self::IceConnectMs,
        Self::IceNominationMs,
        Self::TimeToFallbackMs,
        Self::FallbackNominationMs,
        Self::DtlsHandshakeMs,
        Self::DataChannelOpenMs,
        Self::TimeToFirstRtpMs,
        Self::TimeToFirstFrameMs,
        Self::MediaVerifiedRatio,
        Self::FrameIntegrityRatio,
        Self::SendBitrateBps,
        Self::RecvBitrateBps,
        Self::GoodputBps,
        Self::PacketLossRatio,
        Self::JitterMs,
        Self::RttMs,
        Self::AudioGapMs,
        Self::FreezeTimeMs,
        Self::LayerSwitchTimeMs,
        Self::DataChannelLatencyMs,
        Self::DataChannelThroughputBps,
        Self::StartLatenessMs,
    ];

    /// The name in files, gates and reports, such as `connection_time_ms`.
    pub fn name(self) -> &'static str {
        self.definition().0
    }

    /// The metric with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.name() == name)
    }

    /// What the numbers are.
    pub fn unit(self) -> Unit {
        if self.name().ends_with("_ms") {
            Unit::Milliseconds
        } else if self.name().ends_with("_bps") {
            Unit::BitsPerSecond
        } else if self.name().ends_with("_per_second") {
            Unit::PerSecond
        } else {
            Unit::Ratio
        }
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Self::SetupSuccessRatio
            | Self::MediaVerifiedRatio
            | Self::SignalingDeliveryRatio
            | Self::SignalingMessagesPerSecond
            | Self::FrameIntegrityRatio
            | Self::SendBitrateBps
            | Self::RecvBitrateBps
            | Self::GoodputBps
            | Self::DataChannelThroughputBps => Direction::BiggerIsBetter,
            _ => Direction::SmallerIsBetter,
        }
    }

    /// Whether peers of this kind can have it.
    pub fn is_of(self, engine: Engine) -> bool {
        let of_signaling_peers =
            matches!(self, Self::SignalingDeliveryRatio | Self::SignalingDeliveryMs | Self::SignalingMessagesPerSecond);
        engine != Engine::External && (engine == Engine::Signaling || !of_signaling_peers)
    }

    /// How many samples it gives.
    pub fn scope(self) -> Scope {
        self.definition().1
    }

    /// What it measures, from which instant to which, in one sentence.
    pub fn description(self) -> &'static str {
        self.definition().2
    }

    fn definition(self) -> (&'static str, Scope, &'static str) {
        use Scope::{Call, Peer, Stream};
        match self {
            Self::SetupSuccessRatio => {
                ("setup_success_ratio", Call, "1 for a call whose two ends connected and received first media, else 0.")
            }
            Self::CallSetupMs => {
                ("call_setup_ms", Call, "From the intended start of the call's first peer to first media at both ends.")
            }
            Self::ConnectionTimeMs => (
                "connection_time_ms",
                Call,
                "At the offerer, from setLocalDescription of the offer to connectionState connected.",
            ),
            Self::SignalingConnectMs => (
                "signaling_connect_ms",
                Peer,
                "From the start of the TCP connection to the server's greeting: TCP, TLS and WebSocket upgrade.",
            ),
            Self::SignalingRttMs => {
                ("signaling_rtt_ms", Peer, "From a ping on the signaling connection to its pong, after joining.")
            }
            Self::SignalingDeliveryRatio => (
                "signaling_delivery_ratio",
                Peer,
                "Of a signaling peer: messages that arrived unaltered and in order over messages that the other end sent.",
            ),
            Self::SignalingDeliveryMs => (
                "signaling_delivery_ms",
                Stream,
                "Of a message between two signaling peers, from its planned sending to its arrival, through the server.",
            ),
            Self::SignalingMessagesPerSecond => (
                "signaling_messages_per_second",
                Peer,
                "Messages of the other end that reached a signaling peer per second; the mean times the count of peers is what the server relayed.",
            ),
            Self::OfferCreateMs => ("offer_create_ms", Call, "The duration of createOffer."),
            Self::SignalingExchangeMs => (
                "signaling_exchange_ms",
                Call,
                "At the offerer, from setLocalDescription of the offer (signaling peers: from sending it) to the arrival of the answer.",
            ),
            Self::AnswerCreateMs => ("answer_create_ms", Call, "The duration of createAnswer."),
            Self::IceGatheringMs => {
                ("ice_gathering_ms", Peer, "From setLocalDescription to iceGatheringState complete.")
            }
            Self::FirstHostMs => ("first_host_ms", Peer, "From setLocalDescription to the first host candidate."),
            Self::FirstSrflxMs => {
                ("first_srflx_ms", Peer, "From setLocalDescription to the first server-reflexive candidate.")
            }
            Self::FirstRelayMs => ("first_relay_ms", Peer, "From setLocalDescription to the first relayed candidate."),
            Self::IceConnectMs => {
                ("ice_connect_ms", Call, "At the offerer, from the arrival of the answer to the first working pair.")
            }
            Self::IceNominationMs => {
                ("ice_nomination_ms", Call, "At the offerer, from the arrival of the answer to the nominated pair.")
            }
            Self::TimeToFallbackMs => (
                "time_to_fallback_ms",
                Peer,
                "Of a peer whose path goes through a relay of its own, from its first connectivity check to the first working pair with such a relay.",
            ),
            Self::FallbackNominationMs => (
                "fallback_nomination_ms",
                Peer,
                "Of a peer whose path goes through a relay of its own, from its first connectivity check to the nominated pair: `time_to_fallback_ms` and the wait of the nominating end's policy.",
            ),
            Self::DtlsHandshakeMs => (
                "dtls_handshake_ms",
                Call,
                "At the offerer, from the first working pair to the end of the DTLS handshake (connectionState connected).",
            ),
            Self::DataChannelOpenMs => (
                "data_channel_open_ms",
                Call,
                "At the offerer, from setLocalDescription of the offer to the open data channel.",
            ),
            Self::TimeToFirstRtpMs => {
                ("time_to_first_rtp_ms", Peer, "From connectionState connected to the first RTP packet received.")
            }
            Self::TimeToFirstFrameMs => (
                "time_to_first_frame_ms",
                Peer,
                "From connectionState connected to the first complete (native) or decoded (browser) video frame.",
            ),
            Self::MediaVerifiedRatio => {
                ("media_verified_ratio", Peer, "1 for a peer whose every received stream was verified, else 0.")
            }
            Self::FrameIntegrityRatio => (
                "frame_integrity_ratio",
                Peer,
                "Frames received intact over frames sent to the peer (native sender) or seen by it (browser sender).",
            ),
            Self::SendBitrateBps => ("send_bitrate_bps", Stream, "RTP payload and header bits sent per second."),
            Self::RecvBitrateBps => ("recv_bitrate_bps", Stream, "RTP payload and header bits received per second."),
            Self::GoodputBps => {
                ("goodput_bps", Stream, "RTP payload bits received per second, without retransmissions.")
            }
            Self::PacketLossRatio => {
                ("packet_loss_ratio", Peer, "RTP packets lost over packets expected (RFC 3550, 6.4.1).")
            }
            Self::JitterMs => ("jitter_ms", Stream, "Interarrival jitter of each stream (RFC 3550, 6.4.1)."),
            Self::RttMs => ("rtt_ms", Stream, "Round-trip time of the selected candidate pair (STUN, RFC 7675)."),
            Self::AudioGapMs => (
                "audio_gap_ms",
                Peer,
                "The longest time without an audio packet beyond the packet interval, up to the end of the call.",
            ),
            Self::FreezeTimeMs => (
                "freeze_time_ms",
                Peer,
                "Total time that the received video stood still (W3C totalFreezesDuration), at simulated peers up to the end of the call.",
            ),
            Self::LayerSwitchTimeMs => (
                "layer_switch_time_ms",
                Stream,
                "Of each layer of simulcast that a subscriber asks for, from asking to the first intact frame of it.",
            ),
            Self::DataChannelLatencyMs => (
                "data_channel_latency_ms",
                Stream,
                "Round trip of an echoed data-channel message, from its planned sending.",
            ),
            Self::DataChannelThroughputBps => (
                "data_channel_throughput_bps",
                Peer,
                "User bits received over the bulk data channel per second, from first to last message.",
            ),
            Self::StartLatenessMs => (
                "start_lateness_ms",
                Call,
                "How long after its planned arrival a call was started by the harness itself.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serialised_name_is_the_name() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert_eq!(Metric::from_name(metric.name()), Some(*metric));
        }
    }
}
