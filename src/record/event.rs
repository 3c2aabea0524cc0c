//! The one event type: everything that happens in a run, one JSON object per line in `events.ndjson`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mark, Metric, PathSearch};
use crate::plan::Plan;

/// Something that happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Event {
    /// Microseconds since the start of the run, on the monotonic clock.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. Adding a variant or an optional field is compatible; anything else needs a new schema version.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The first event: what was going to be done, and where.
    RunStarted(Box<RunStarted>),
    /// What is known of the environment only after the start, such as the versions of the browsers, by name.
    Environment(BTreeMap<String, String>),
    /// A peer passed an instant of its call.
    Mark {
        /// The peer.
        peer: String,
        /// The call.
        call: String,
        /// The instant.
        mark: Mark,
    },
    /// One value of a metric, measured for one peer in one call.
    Sample {
        /// The metric.
        metric: Metric,
        /// Its value in the metric's unit.
        value: f64,
        /// The call that it belongs to.
        call: String,
        /// The peer that it was measured at; absent for a value of the call as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Many values of one metric, collected over about a second.
    Tally(Box<TallyReport>),
    /// A metric that some calls cannot have, with the reason.
    Absent(Absence),
    /// Raw statistics of a peer under their W3C webrtc-stats names: a list of RTCStats dictionaries.
    Stats {
        /// The peer.
        peer: String,
        /// The call.
        call: String,
        /// The dictionaries, each with `id`, `type` and the members the stack provides.
        stats: Vec<serde_json::Value>,
    },
    /// The path that a call's media takes, as one of its ends sees it.
    Path(Box<Path>),
    /// How one end of a call looked for its path.
    Search(Box<PathSearch>),
    /// The model kept packets of every host: those of the peers of each pair of networks that is not as it must be go to
    /// a file.
    PacketsKept {
        /// How many of each host at most: as many of the first as of the last.
        per_host: u32,
    },
    /// What a peer received of one media stream, and whether it is what was sent.
    Media(MediaReport),
    /// A network was measured, to see whether it is what was asked for.
    LabCheck(LabCheck),
    /// A program of the scenario ended by itself.
    ProgramEnded(ProgramEnd),
    /// The state of the run over the last second or longer.
    Interval(Box<Interval>),
    /// A call failed at one of its peers.
    Failure(Failure),
    /// A call was not started, because the harness could not start it in time.
    Dropped {
        /// The call.
        call: String,
        /// How late it was, in milliseconds.
        late_ms: f64,
    },
    /// Something that the scenario asks for was not done.
    Skipped(Skip),
    /// Something that the reader of the report should know.
    Warning(Warning),
    /// The last event of a run that ended by itself. A record without it was cut off.
    RunEnded {
        /// How it ended.
        outcome: Outcome,
    },
}

/// What was going to be done, and where.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunStarted {
    /// Version of the record's schema: [`RunStarted::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Wall-clock time in RFC 3339, UTC.
    pub started_at: String,
    /// The resolved plan.
    pub plan: Plan,
    /// The machine and the versions of everything that takes part, by name.
    pub environment: BTreeMap<String, String>,
    /// The command line, secrets redacted.
    pub command: Vec<String>,
}

impl RunStarted {
    /// The version that this binary writes. Older ones are read as well.
    ///
    /// - 1: the first.
    /// - 2: a run can end as [`Outcome::Aborted`].
    pub const SCHEMA_VERSION: u32 = 2;
}

/// Many values of one metric, from the peers of one group in the calls of one set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TallyReport {
    /// The metric.
    pub metric: Metric,
    /// The group of the peers that measured.
    pub group: String,
    /// The set of their calls.
    pub set: String,
    /// The sum of the values, in the metric's unit.
    pub sum: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// How often each value occurred: an HdrHistogram (V2, deflated, base64) in steps of [`Unit::scale`](super::Unit).
    pub histogram: String,
}

/// A metric that some calls cannot have.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Absence {
    /// The metric.
    pub metric: Metric,
    /// The peer that lacks it.
    pub peer: String,
    /// The call.
    pub call: String,
    /// Why, such as "no STUN server configured".
    pub reason: String,
}

/// A phase of a call, in the order of its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The peer is being made: a browser started, a page loaded, sockets opened.
    Start,
    /// Connecting to the signaling server and joining the room.
    Signaling,
    /// Creating, sending or awaiting the offer.
    Offer,
    /// Creating, sending or awaiting the answer.
    Answer,
    /// Connectivity checks.
    Ice,
    /// The DTLS handshake.
    Dtls,
    /// Opening the data channel.
    DataChannel,
    /// First media, and media as it flows.
    Media,
    /// Hanging up.
    Teardown,
}

impl Phase {
    /// The word in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signaling => "signaling",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Ice => "ICE",
            Self::Dtls => "DTLS",
            Self::DataChannel => "data channel",
            Self::Media => "media",
            Self::Teardown => "teardown",
        }
    }
}

/// A call failed at one of its peers.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize, thiserror::Error)]
#[error("{peer} failed in phase {phase:?}: {reason}")]
pub struct Failure {
    /// The peer at which it was seen.
    pub peer: String,
    /// The call.
    pub call: String,
    /// Where in the call's life.
    pub phase: Phase,
    /// What went wrong and, where known, what to do about it.
    pub reason: String,
}

/// A transport address of a candidate pair.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Candidate {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub candidate_type: String,
    /// The address, absent where the stack hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// The path that a call's media takes, as one of its ends sees it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Path {
    /// The call.
    pub call: String,
    /// The end that reports it.
    pub peer: String,
    /// The local candidate of the selected pair.
    pub local: Candidate,
    /// The remote candidate of the selected pair.
    pub remote: Candidate,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// How the local relayed candidate reaches its TURN server: `udp`, `tcp` or `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_protocol: Option<String>,
    /// `ipv4` or `ipv6`; absent where the stack hides the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// A kind of media stream.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// An audio track.
    Audio,
    /// A video track.
    Video,
    /// The data channel whose messages are echoed.
    DataEcho,
    /// The data channel that carries bulk data.
    DataBulk,
}

/// What a peer received of one media stream, and whether it is what was sent.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct MediaReport {
    /// The receiving peer.
    pub peer: String,
    /// The call.
    pub call: String,
    /// The kind of stream.
    pub kind: MediaKind,
    /// The codec's MIME type, or the channel's label.
    pub codec: String,
    /// Whether what arrived is what was sent.
    pub verified: bool,
    /// What was compared, or why the stream is not verified.
    pub detail: String,
    /// RTP packets or data-channel messages received.
    pub packets: u64,
    /// RTP packets lost and never recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_lost: Option<u64>,
    /// Video frames, audio packets or messages that were seen, at least in part.
    pub frames: u64,
    /// Those of them that were found intact (native) or were decoded (browser).
    pub frames_intact: u64,
    /// Frames that the other end says it sent, where it can say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_sent: Option<u64>,
    /// Pixels, of video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels, of video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames (video), packets (audio) or messages (data) per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Pictures asked for with PLI or FIR by the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pli_count: Option<u64>,
    /// Packets asked for again with NACK by the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nack_count: Option<u64>,
}

/// A property of a network, measured from inside before calls are judged by it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LabCheck {
    /// The network.
    pub site: String,
    /// What was measured, such as "NAT mapping" or "delay up".
    pub what: String,
    /// What was asked for.
    pub expected: String,
    /// What was found.
    pub measured: String,
    /// Whether that is what was asked for.
    pub ok: bool,
}

/// The end of a program of the scenario that was not asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProgramEnd {
    /// The program.
    pub name: String,
    /// How it ended, such as "ended with exit code 1".
    pub how: String,
    /// Whether it says itself that all was well, with exit code 0.
    pub ok: bool,
    /// What it said last, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// The file of the run with all that it said.
    pub log: String,
}

/// The state of the run, and of the machine, over the last second or longer: see
/// [`interval_length`](super::interval_length).
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Interval {
    /// How long the interval is, in microseconds.
    #[serde(default = "second_us")]
    pub covers_us: u64,
    /// Peers by the phase that they are in.
    pub peers: BTreeMap<Phase, u32>,
    /// Bits sent per second, over all peers that can say so.
    pub send_bps: f64,
    /// Bits received per second, over all peers that can say so.
    pub recv_bps: f64,
    /// Generator health by reading, named as the limits in `[health]`; a reading that the machine does not provide is
    /// absent.
    pub health: BTreeMap<String, f64>,
    /// The values behind those readings that are quantiles, by the reading's name, as HdrHistograms of microseconds (V2,
    /// deflated, base64): quantiles of single seconds cannot be merged, and limits apply to the whole run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub health_histograms: BTreeMap<String, String>,
    /// The threads of the harness that used most CPU, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub threads: BTreeMap<String, ThreadLoad>,
}

impl Default for Interval {
    fn default() -> Self {
        Self {
            covers_us: second_us(),
            peers: BTreeMap::new(),
            send_bps: 0.0,
            recv_bps: 0.0,
            health: BTreeMap::new(),
            health_histograms: BTreeMap::new(),
            threads: BTreeMap::new(),
        }
    }
}

/// Earlier records do not say how long an interval is: all of them are of a second.
fn second_us() -> u64 {
    1_000_000
}

/// What the threads of one name used over an interval.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ThreadLoad {
    /// How many there were.
    pub threads: u32,
    /// CPU seconds per second of all of them.
    pub cpu_cores: f64,
    /// CPU seconds per second of the one that used most: near 1 it has no more to give, whatever else is idle.
    pub busiest: f64,
}

/// Something that the scenario asks for was not done.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Skip {
    /// What: the call set, peer group or engine.
    pub what: String,
    /// Why.
    pub reason: String,
    /// How to have it next time.
    pub remedy: String,
    /// Whether the scenario allows it (`optional = true`); otherwise the verdict is invalid.
    pub optional: bool,
    /// How many calls were not made.
    pub calls: u32,
}

/// Something that the reader of the report should know.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Warning {
    /// What was noticed.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

/// How a run ended.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was planned was done.
    Completed,
    /// A signal asked for the end.
    Interrupted {
        /// `SIGINT` or `SIGTERM`.
        signal: String,
    },
    /// A gate with `abort` could not hold any more.
    Aborted {
        /// Which, and what was seen of it by then.
        reason: String,
    },
    /// The harness or the run broke.
    Error {
        /// What broke.
        message: String,
    },
}
