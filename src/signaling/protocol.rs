//! The messages of the signaling protocol, version 1: one JSON object per WebSocket text frame.
//!
//! `docs/signaling.md` is the specification. These types are what native peers read and write; the server relays
//! `offer`, `answer` and `candidate` without going through them, so that members it does not know survive.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The version of the protocol that `welcome` announces.
pub const PROTOCOL: u32 = 1;

/// What a client sends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Enters a room.
    Join {
        /// Its name: 1 to 128 bytes without control characters.
        room: String,
    },
    /// Leaves the room.
    Leave,
    /// Offers a call to a client of the same room.
    Offer {
        /// The recipient's id.
        to: String,
        /// The session description.
        sdp: String,
    },
    /// Answers an offer.
    Answer {
        /// The recipient's id.
        to: String,
        /// The session description.
        sdp: String,
    },
    /// One more candidate (trickle ICE, RFC 8838), or the end of candidates.
    Candidate {
        /// The recipient's id.
        to: String,
        /// The candidate; `None` (JSON `null`) is the end of candidates.
        #[serde(deserialize_with = "present")]
        candidate: Option<IceCandidate>,
    },
    /// Asks the server for a `pong`.
    Ping {
        /// Comes back in the `pong`.
        nonce: Value,
    },
}

/// What the server sends, or relays from another client.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// The greeting: the first message on every connection.
    Welcome {
        /// The version of the protocol.
        protocol: u32,
        /// The id that the client has on this connection.
        id: String,
        /// What the server allows, if it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<WelcomeLimits>,
    },
    /// The client is in the room.
    Joined {
        /// The room.
        room: String,
        /// The ids of the clients that were there already.
        peers: Vec<String>,
    },
    /// Another client entered the room.
    PeerJoined {
        /// Its id.
        id: String,
    },
    /// Another client left the room, or its connection ended.
    PeerLeft {
        /// Its id.
        id: String,
    },
    /// The client is out of the room.
    Left {
        /// The room.
        room: String,
    },
    /// An offer from a client of the same room.
    Offer {
        /// The sender's id.
        from: String,
        /// The session description.
        sdp: String,
    },
    /// An answer from a client of the same room.
    Answer {
        /// The sender's id.
        from: String,
        /// The session description.
        sdp: String,
    },
    /// A candidate from a client of the same room, or the end of its candidates.
    Candidate {
        /// The sender's id.
        from: String,
        /// The candidate; `None` (JSON `null`) is the end of candidates.
        #[serde(deserialize_with = "present")]
        candidate: Option<IceCandidate>,
    },
    /// The answer to a `ping`.
    Pong {
        /// The nonce of the `ping`.
        nonce: Value,
    },
    /// A message of this client was not acted upon.
    Error {
        /// What kind of error.
        code: ErrorCode,
        /// What is wrong and what to do about it, for people.
        message: String,
        /// The `type` of the message that it is about, where it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
        /// The `to` of the message that it is about, where it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// A type that this version does not know; clients pass over it.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What the server allows a client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WelcomeLimits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Messages per second in the long run.
    pub messages_per_second: u32,
    /// Messages at once, after a pause.
    pub burst: u32,
}

/// A candidate (W3C `RTCIceCandidateInit`).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// The `candidate-attribute` of RFC 8839, section 5.1.
    pub candidate: String,
    /// The media section's identification tag.
    #[serde(default)]
    pub sdp_mid: Option<String>,
    /// The media section's index, from 0.
    #[serde(default, rename = "sdpMLineIndex")]
    pub sdp_m_line_index: Option<u16>,
    /// The ICE generation's user name fragment.
    #[serde(default)]
    pub username_fragment: Option<String>,
}

impl IceCandidate {
    /// What browsers have in place of a candidate when there are no more (W3C webrtc-pc, section 4.8.1.1).
    pub(crate) fn end() -> Self {
        Self { sdp_mid: Some("0".into()), sdp_m_line_index: Some(0), ..Self::default() }
    }
}

/// Why a message was not acted upon.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// Not a JSON object in a text frame, or a member is missing or of the wrong kind.
    Malformed,
    /// The `type` is none of the protocol's.
    UnknownType,
    /// Longer than the limit; the connection is closed with 1009.
    TooLarge,
    /// Faster than the limit; dropped. The connection is closed with 1008 if it goes on.
    TooManyMessages,
    /// The room's name is empty, too long, or has control characters.
    BadRoom,
    /// The room has as many clients as it may have.
    RoomFull,
    /// The client is in a room already.
    AlreadyJoined,
    /// The client is in no room.
    NotJoined,
    /// No client has the id in `to`.
    UnknownRecipient,
    /// The recipient is not in the sender's room.
    WrongRoom,
    /// A code that this version does not know.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl ErrorCode {
    /// Every code that the server sends.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::UnknownType,
        Self::TooLarge,
        Self::TooManyMessages,
        Self::BadRoom,
        Self::RoomFull,
        Self::AlreadyJoined,
        Self::NotJoined,
        Self::UnknownRecipient,
        Self::WrongRoom,
    ];

    /// The code as it stands in the message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownType => "unknown-type",
            Self::TooLarge => "too-large",
            Self::TooManyMessages => "too-many-messages",
            Self::BadRoom => "bad-room",
            Self::RoomFull => "room-full",
            Self::AlreadyJoined => "already-joined",
            Self::NotJoined => "not-joined",
            Self::UnknownRecipient => "unknown-recipient",
            Self::WrongRoom => "wrong-room",
            Self::Unknown => "an error",
        }
    }
}

/// Takes `null` for `None` but not a missing member: that would turn a faulty message into an end of candidates.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IceCandidate>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_candidate_has_the_w3c_names() {
        let candidate = IceCandidate {
            candidate: "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some("abcd".into()),
        };
        let message = ClientMessage::Candidate { to: "x".into(), candidate: Some(candidate) };
        let expected = json!({"type": "candidate", "to": "x", "candidate": {
            "candidate": "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host",
            "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "abcd",
        }});
        assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        assert_eq!(serde_json::from_value::<ClientMessage>(expected).unwrap(), message);
    }

    #[test]
    fn the_end_of_candidates_is_null_and_never_a_missing_member() {
        let end = ClientMessage::Candidate { to: "x".into(), candidate: None };
        assert_eq!(serde_json::to_string(&end).unwrap(), r#"{"type":"candidate","to":"x","candidate":null}"#);
        let parsed: ServerMessage =
            serde_json::from_str(r#"{"type":"candidate","from":"y","candidate":null}"#).unwrap();
        assert_eq!(parsed, ServerMessage::Candidate { from: "y".into(), candidate: None });
        assert!(serde_json::from_str::<ServerMessage>(r#"{"type":"candidate","from":"y"}"#).is_err());
    }

    #[test]
    fn types_and_codes_of_a_later_version_are_passed_over() {
        let later: ServerMessage = serde_json::from_str(r#"{"type":"weather","sun":true}"#).unwrap();
        assert_eq!(later, ServerMessage::Unknown);
        let later: ServerMessage = serde_json::from_str(r#"{"type":"error","code":"x","message":"m"}"#).unwrap();
        assert!(matches!(later, ServerMessage::Error { code: ErrorCode::Unknown, .. }));
    }

    #[test]
    fn the_serialised_code_is_its_name() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
