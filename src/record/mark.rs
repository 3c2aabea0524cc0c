//! The instants of a call that every kind of peer reports in the same words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant in the life of one peer in one call.
///
/// Peers only report marks; durations are derived from them in one place ([`run::phases`](crate::run)), so that a phase
/// means the same for every stack. Each mark is reported at most once per peer and call: the first time counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// When the plan wanted the peer to begin. Latency counts from here, so that a late generator cannot hide delay.
    Intended,
    /// The peer began to connect to the signaling server (before TCP and TLS).
    JoinStarted,
    /// The server's greeting with the peer's id arrived over the secure WebSocket.
    SignalingConnected,
    /// The server confirmed that the peer is in its room.
    Joined,
    /// `createOffer` was called (W3C webrtc, section 4.4.2).
    CreateOffer,
    /// `createOffer` returned.
    OfferCreated,
    /// `setLocalDescription` was called with the offer; `connection_time_ms` starts here.
    SetLocalOffer,
    /// The offer was handed to the signaling transport.
    OfferSent,
    /// The offer arrived from the signaling transport.
    OfferReceived,
    /// `createAnswer` was called, after `setRemoteDescription` of the offer returned.
    CreateAnswer,
    /// `createAnswer` returned.
    AnswerCreated,
    /// `setLocalDescription` was called with the answer.
    SetLocalAnswer,
    /// The answer was handed to the signaling transport.
    AnswerSent,
    /// The answer arrived from the signaling transport.
    AnswerReceived,
    /// `iceGatheringState` became `gathering`.
    GatheringStarted,
    /// The first host candidate was gathered.
    FirstHost,
    /// The first server-reflexive candidate was gathered.
    FirstSrflx,
    /// The first relayed candidate was gathered.
    FirstRelay,
    /// `iceGatheringState` became `complete`.
    GatheringComplete,
    /// `iceConnectionState` became `checking`.
    IceChecking,
    /// `iceConnectionState` became `connected`: a first candidate pair works (RFC 8445, section 7).
    IceConnected,
    /// A candidate pair was nominated and selected (RFC 8445, section 8).
    IceNominated,
    /// The DTLS handshake was complete (RFC 8842).
    DtlsConnected,
    /// `connectionState` became `connected`; `connection_time_ms` ends here.
    Connected,
    /// The data channel opened (RFC 8832).
    DataChannelOpen,
    /// The first RTP packet arrived.
    FirstRtp,
    /// The first complete video frame arrived (native) or was decoded (browser).
    FirstFrame,
    /// First media of every kind that the call carries to this peer has arrived. Where it carries none: the peer is
    /// connected, or, if it is a signaling peer, has all that the other end had to say.
    FirstMedia,
    /// The peer left the call, having closed its connection.
    Left,
}

impl Mark {
    /// Every mark, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::Intended,
        Self::JoinStarted,
        Self::SignalingConnected,
        Self::Joined,
        Self::CreateOffer,
        Self::OfferCreated,
        Self::SetLocalOffer,
        Self::OfferSent,
        Self::OfferReceived,
        Self::CreateAnswer,
        Self::AnswerCreated,
        Self::SetLocalAnswer,
        Self::AnswerSent,
        Self::AnswerReceived,
        Self::GatheringStarted,
        Self::FirstHost,
        Self::FirstSrflx,
        Self::FirstRelay,
        Self::GatheringComplete,
        Self::IceChecking,
        Self::IceConnected,
        Self::IceNominated,
        Self::DtlsConnected,
        Self::Connected,
        Self::DataChannelOpen,
        Self::FirstRtp,
        Self::FirstFrame,
        Self::FirstMedia,
        Self::Left,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_marks_are_listed_in_order() {
        assert!(Mark::ALL.iter().enumerate().all(|(index, mark)| *mark as usize == index));
        assert_eq!(Mark::ALL.last(), Some(&Mark::Left));
    }
}
