//! The messages of LiveKit's signaling that simulated peers need, with the numbers of `livekit_rtc.proto` and
//! `livekit_models.proto`. Fields that nobody here looks at are left out: protobuf skips them.

use prost::{Message, Oneof};

/// From the client.
#[derive(Clone, Message, PartialEq)]
pub(super) struct SignalRequest {
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 6, 8, 16")]
    pub(super) message: Option<Request>,
}

#[derive(Clone, Oneof, PartialEq)]
pub(super) enum Request {
    #[prost(message, tag = "1")]
    Offer(SessionDescription),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "3")]
    Trickle(Trickle),
    #[prost(message, tag = "4")]
    AddTrack(AddTrack),
    #[prost(message, tag = "6")]
    Subscription(UpdateSubscription),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "16")]
    Ping(Ping),
}

/// From the server.
#[derive(Clone, Message, PartialEq)]
pub(super) struct SignalResponse {
    #[prost(oneof = "Heard", tags = "1, 2, 3, 4, 6, 8, 9, 15, 17, 20, 21, 22")]
    pub(super) message: Option<Heard>,
}

#[derive(Clone, Oneof, PartialEq)]
pub(super) enum Heard {
    #[prost(message, tag = "1")]
    Join(Box<Join>),
    #[prost(message, tag = "2")]
    Answer(SessionDescription),
    #[prost(message, tag = "3")]
    Offer(SessionDescription),
    #[prost(message, tag = "4")]
    Trickle(Trickle),
    #[prost(message, tag = "6")]
    TrackPublished(TrackPublished),
    #[prost(message, tag = "8")]
    Leave(Leave),
    #[prost(message, tag = "9")]
    Mute(Mute),
    #[prost(message, tag = "15")]
    Permission(SubscriptionPermission),
    #[prost(message, tag = "17")]
    TrackUnpublished(TrackUnpublished),
    #[prost(message, tag = "20")]
    Pong(Pong),
    #[prost(message, tag = "21")]
    Subscription(SubscriptionResponse),
    #[prost(message, tag = "22")]
    Request(RequestResponse),
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct SessionDescription {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) sdp: String,
    /// By which an answer says to which offer it is; 0 from servers that do not count.
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Trickle {
    /// JSON, as of W3C's `RTCIceCandidateInit`.
    #[prost(string, tag = "1")]
    pub(super) candidate_init: String,
    #[prost(int32, tag = "2")]
    pub(super) target: i32,
    /// The end of candidates.
    #[prost(bool, tag = "3")]
    pub(super) is_final: bool,
}

/// The connection that a candidate is for.
pub(super) const PUBLISHER: i32 = 0;
/// The other one.
pub(super) const SUBSCRIBER: i32 = 1;

#[derive(Clone, Message, PartialEq)]
pub(super) struct AddTrack {
    /// The track's id in the offer.
    #[prost(string, tag = "1")]
    pub(super) cid: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    /// `AUDIO` or `VIDEO`.
    #[prost(int32, tag = "3")]
    pub(super) kind: i32,
    #[prost(int32, tag = "8")]
    pub(super) source: i32,
    #[prost(message, repeated, tag = "9")]
    pub(super) layers: Vec<VideoLayer>,
    #[prost(bool, tag = "13")]
    pub(super) disable_red: bool,
}

pub(super) const AUDIO: i32 = 0;
pub(super) const VIDEO: i32 = 1;
pub(super) const CAMERA: i32 = 1;
pub(super) const MICROPHONE: i32 = 2;

#[derive(Clone, Message, PartialEq)]
pub(super) struct VideoLayer {
    #[prost(int32, tag = "1")]
    pub(super) quality: i32,
}

/// That of a track with a single layer.
pub(super) const HIGH: i32 = 2;

#[derive(Clone, Message, PartialEq)]
pub(super) struct UpdateSubscription {
    #[prost(string, repeated, tag = "1")]
    pub(super) track_sids: Vec<String>,
    #[prost(bool, tag = "2")]
    pub(super) subscribe: bool,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Leave {
    #[prost(int32, tag = "2")]
    pub(super) reason: i32,
    #[prost(int32, tag = "3")]
    pub(super) action: i32,
}

/// The reason of a client that leaves.
pub(super) const CLIENT_INITIATED: i32 = 1;

#[derive(Clone, Message, PartialEq)]
pub(super) struct Ping {
    /// Milliseconds, on the client's clock.
    #[prost(int64, tag = "1")]
    pub(super) timestamp: i64,
    /// Milliseconds, as of the last pong.
    #[prost(int64, tag = "2")]
    pub(super) rtt: i64,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Pong {
    #[prost(int64, tag = "1")]
    pub(super) last_ping_timestamp: i64,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Join {
    #[prost(message, optional, tag = "2")]
    pub(super) participant: Option<Participant>,
    /// Where to go instead; all else is empty then.
    #[prost(string, tag = "7")]
    pub(super) alternative_url: String,
    /// Seconds, as is the next.
    #[prost(int32, tag = "10")]
    pub(super) ping_timeout: i32,
    #[prost(int32, tag = "11")]
    pub(super) ping_interval: i32,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Participant {
    #[prost(string, tag = "1")]
    pub(super) sid: String,
    #[prost(string, tag = "2")]
    pub(super) identity: String,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct TrackPublished {
    #[prost(string, tag = "1")]
    pub(super) cid: String,
    #[prost(message, optional, tag = "2")]
    pub(super) track: Option<Track>,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Track {
    #[prost(string, tag = "1")]
    pub(super) sid: String,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct TrackUnpublished {
    #[prost(string, tag = "1")]
    pub(super) track_sid: String,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct Mute {
    #[prost(string, tag = "1")]
    pub(super) sid: String,
    #[prost(bool, tag = "2")]
    pub(super) muted: bool,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct SubscriptionPermission {
    #[prost(string, tag = "2")]
    pub(super) track_sid: String,
    #[prost(bool, tag = "3")]
    pub(super) allowed: bool,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct SubscriptionResponse {
    #[prost(string, tag = "1")]
    pub(super) track_sid: String,
    #[prost(int32, tag = "2")]
    pub(super) error: i32,
}

#[derive(Clone, Message, PartialEq)]
pub(super) struct RequestResponse {
    #[prost(int32, tag = "2")]
    pub(super) reason: i32,
    #[prost(string, tag = "3")]
    pub(super) message: String,
}

impl Leave {
    /// Why, and what the client is to do.
    pub(super) fn text(&self) -> String {
        const REASONS: [&str; 17] = [
            "UNKNOWN_REASON",
            "CLIENT_INITIATED",
            "DUPLICATE_IDENTITY",
            "SERVER_SHUTDOWN",
            "PARTICIPANT_REMOVED",
            "ROOM_DELETED",
            "STATE_MISMATCH",
            "JOIN_FAILURE",
            "MIGRATION",
            "SIGNAL_CLOSE",
            "ROOM_CLOSED",
            "USER_UNAVAILABLE",
            "USER_REJECTED",
            "SIP_TRUNK_FAILURE",
            "CONNECTION_TIMEOUT",
            "MEDIA_FAILURE",
            "AGENT_ERROR",
        ];
        let action = name(self.action, &["DISCONNECT", "RESUME", "RECONNECT"]);
        format!("leave: {}, {action}", name(self.reason, &REASONS))
    }
}

impl SubscriptionResponse {
    /// Which track cannot be had, and why.
    pub(super) fn text(&self) -> String {
        let error = name(self.error, &["SE_UNKNOWN", "SE_CODEC_UNSUPPORTED", "SE_TRACK_NOTFOUND"]);
        format!("subscription of {}: {error}", self.track_sid)
    }
}

impl RequestResponse {
    /// Whether something has been refused: not if it is done, or will be.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self.reason, 0 | 4)
    }

    /// Why, with what the server says to it.
    pub(super) fn text(&self) -> String {
        const REASONS: [&str; 7] =
            ["OK", "NOT_FOUND", "NOT_ALLOWED", "LIMIT_EXCEEDED", "QUEUED", "UNSUPPORTED_TYPE", "UNCLASSIFIED_ERROR"];
        let reason = name(self.reason, &REASONS);
        if self.message.is_empty() { reason } else { format!("{reason}: {}", self.message) }
    }
}

/// The name of a value, or its number if it is newer than this list.
fn name(value: i32, names: &[&str]) -> String {
    let known = usize::try_from(value).ok().and_then(|at| names.get(at));
    known.map_or_else(|| format!("number {value}"), |name| (*name).to_owned())
}
