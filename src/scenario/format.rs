//! The scenario file, `schema = 1`: its tables, keys and defaults. The JSON Schema is derived from these types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::Load;
use super::matrix::Matrix;
use super::network::Network;
use super::units::{Share, Size, Time};
use crate::plan::{BrowserSource, Engine, IceTransportPolicy, Layer, MediaDirection, NativeStack};
use crate::record::Metric;
use crate::signaling::dialect::{Janus, LiveKit, Mediasoup, PeerJs, SocketIo, Whip};

/// A test: who calls whom, what flows, and what must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of the format. Always 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// Name of the scenario and of its report directory: letters, digits, `-` and `_`, at most 40.
    pub name: String,
    /// The seed that everything random in the run derives from.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The signaling server. By default the bundled one is started for the run.
    #[serde(default)]
    pub signaling: Signaling,
    /// How candidates are gathered.
    #[serde(default)]
    pub ice: Ice,
    /// What flows in every call.
    #[serde(default)]
    pub media: Media,
    /// The networks between the peers. Without them they use those of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The simulated peers.
    #[serde(default)]
    pub native: Native,
    /// Groups of like peers. At least one, unless `matrix` says which there are.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub peers: Vec<Peers>,
    /// Who calls whom.
    #[serde(default)]
    pub topology: Topology,
    /// Every network calls every other, in place of `topology`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// When calls start, and how long they last.
    #[serde(default)]
    pub load: Load,
    /// How long each step of a call may take before the call has failed.
    #[serde(default)]
    pub deadlines: DeadlineTable,
    /// When the generator, not the service, may have made the numbers: past one of these the verdict is invalid.
    #[serde(default)]
    pub health: Health,
    /// What must hold at the end. Gated at `mean >= 100%` unless a gate on them is given: `setup_success_ratio`; with
    /// peers that can carry media `media_verified_ratio`; with signaling peers `signaling_delivery_ratio`.
    #[serde(default)]
    pub gate: Vec<GateRule>,
    /// Several runs in place of one, as one side of a comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// How often the scenario runs.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Runs that count, after one to warm up. `--repeat` has the last word.
    #[schemars(range(min = 1, max = 1000))]
    pub runs: u32,
}

/// The signaling server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signaling {
    /// `wss://host:port/ws` of a server that runs already; for other protocols than the harness's own the root of the server,
    /// such as `wss://host:port`. Without it the bundled server is started for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the server speaks. Simulated peers speak it, and for pages of browsers and people the harness does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: SignalingProtocol,
    /// With `protocol = "socketio"`: the events of the application. Without it, those of the bundled server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socketio: Option<SocketIo>,
    /// With `protocol = "peerjs"`: how the server is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peerjs: Option<PeerJs>,
    /// With `protocol = "janus"`: how the server is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub janus: Option<Janus>,
    /// With `protocol = "whip"`: where to publish and to play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whip: Option<Whip>,
    /// With `protocol = "mediasoup"`: the form of signaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mediasoup: Option<Mediasoup>,
    /// With `protocol = "livekit"`: what access tokens are made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub livekit: Option<LiveKit>,
    /// Where the bundled server listens, as `address:port`; port 0 takes a free one. With `url` it has the pages of people, and of
    /// browsers if `protocol` is not the harness's own. Default: `127.0.0.1:0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// PEM file of the CA that issued the certificate of the server at `url`, relative to the scenario. Without it the
    /// public CAs are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// A signaling protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalingProtocol {
    /// That of `docs/signaling.md`.
    #[default]
    Harness,
    /// socket.io 4, with the events of an application.
    SocketIo,
    /// That of PeerServer, for clients of PeerJS.
    PeerJs,
    /// That of Janus, which is the other end of every call. The bundled server does not speak it.
    Janus,
    /// WHIP to publish and WHEP to play. The server is the other end of every call.
    Whip,
    /// That of an application of mediasoup, which is the other end of every call. The bundled server does not speak it.
    Mediasoup,
    /// That of Kurento Media Server, which is the other end of every call. The bundled server does not speak it.
    Kurento,
    /// That of LiveKit, which is the other end of every call. The bundled server does not speak it.
    LiveKit,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How candidates are gathered.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ice {
    /// Which candidates may be used: `all`, or `relay` for relayed ones only.
    #[serde(default)]
    pub policy: IceTransportPolicy,
    /// STUN and TURN servers.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub servers: Vec<Server>,
    /// PEM file of a CA that native peers trust for `turns:` servers beside the public ones, relative to the scenario.
    /// Browsers trust what their machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `stun:`, `stuns:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).
    #[schemars(length(min = 1, max = 20))]
    pub urls: Vec<String>,
    /// The user name for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for TURN, as `${VARIABLE}`: it is read from the environment and never written to a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// What flows in a call.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The video codec, or `none`.
    pub video: Video,
    /// Video frames per second that native peers send, 1 to 240. Browsers send what their camera gives.
    #[schemars(range(min = 1, max = 240))]
    pub frame_rate: u32,
    /// The audio codec, or `none`.
    pub audio: Audio,
    /// A directory, relative to the scenario, with video of your own in place of the built-in: `vp8.ivf` or
    /// `h264.h264`; with `simulcast` `vp8.ivf`, `vp8-half.ivf` and `vp8-quarter.ivf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixtures: Option<String>,
    /// Whether native peers publish their video in three sizes at the same time (simulcast, RFC 8853), of which a server that
    /// passes media on gives each subscriber one. VP8 only.
    #[serde(skip_serializing_if = "is_default")]
    pub simulcast: bool,
    /// The data channels.
    pub data: Data,
}

/// The video codec.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Video {
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 constrained baseline (RFC 6184).
    H264,
    /// No video.
    None,
}

/// The audio codec.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audio {
    /// Opus (RFC 7587).
    Opus,
    /// No audio.
    None,
}

/// The data channels of a call.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Whether calls have a data channel at all.
    pub enabled: bool,
    /// Time between two messages of the offerer that the answerer echoes, 1ms to 1min.
    pub echo_interval: Time,
    /// Size of an echoed message, 16 B to 16 KiB.
    pub echo_size: Size,
    /// Bulk transfer from offerer to answerer, as fast as it goes, over a channel of its own.
    pub bulk: Bulk,
    /// Size of a bulk message, 16 B to 256 KiB.
    pub message_size: Size,
}

/// Bulk transfer over a data channel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bulk {
    /// No bulk transfer.
    None,
    /// Ordered, retransmitted without limit.
    Reliable,
    /// Unordered, never retransmitted.
    Unreliable,
}

/// The simulated peers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// What they run on: `async` or `dense`.
    #[serde(default)]
    pub stack: NativeStack,
}

/// A group of like peers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Name of the group: letters, digits, `-` and `_`, at most 40. Default: the engine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kind of peer. Default: `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// What the simulated peers of the group run on. Only with `native`. Default: `stack` of `[native]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<NativeStack>,
    /// How many peers, 1 to 400000. Default: as many as the calls need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 400_000))]
    pub count: Option<u32>,
    /// Whether the run may do without this group when its engine is missing on the machine. Otherwise the verdict of
    /// such a run is invalid.
    #[serde(default)]
    pub optional: bool,
    /// The network that the peers are in. Only with `[network]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Whether the peers send media, receive it, or both.
    #[serde(default)]
    pub direction: MediaDirection,
    /// Browsers only: URL of a WebDriver server that runs already, such as a Grid. Default: the harness starts the
    /// driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webdriver_url: Option<String>,
    /// Browsers only: the driver's program. Default: found on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Browsers only: the browser's program. Default: found on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// Browsers only: media from the browser's fake camera and microphone, or from a canvas and an oscillator. Default:
    /// `fake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BrowserSource>,
    /// Browsers only: how many peers share one browser, each in a tab of its own, 1 to 50. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub tabs_per_browser: Option<u32>,
    /// Signaling peers only: time between two messages that a peer sends to the other end of its call through the
    /// signaling server, 1ms to 1min. Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_interval: Option<Time>,
    /// People only: how long the run waits until all of them have joined, 1s to 1h. Default: 2min.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Time>,
    /// With `simulcast`: the layers that a subscriber asks for in turn, each for the same share of `hold`: `full`, `half` or
    /// `quarter`, at most 20. Default: it asks for none, and takes what the server gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub layers: Vec<Layer>,
}

/// Who calls whom.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The shape. `pairs`: every peer takes part in one call between two. `rooms`: everybody calls everybody else who is in
    /// the same room (a full mesh). `sfu`: everybody is in a room of a server that passes media on. `mcu`: everybody is in a
    /// room of a server that mixes.
    #[serde(default)]
    pub kind: TopologyKind,
    /// How many people a room has room for at a time, 2 to 50. For `rooms`, and for an `sfu` into which people come over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 50))]
    pub size: Option<u32>,
    /// Rooms, of any kind: how many there are, 1 to 10000. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// Pairs only: sets of like calls. Without any, the peers of a single group call each other in order (the first offers to the
    /// second), and of two groups the first calls the second.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub calls: Vec<Calls>,
}

/// The shape of the calls.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TopologyKind {
    /// Every peer takes part in one call between two.
    #[default]
    Pairs,
    /// Everybody calls everybody else who is in the same room: one signaling connection per person, one peer connection
    /// per pair. Who comes later offers.
    Rooms,
    /// Everybody is in a room of a server that passes media on: who sends publishes once, and who receives subscribes to
    /// everybody else.
    Sfu,
    /// Everybody is in a room of a server that mixes what all say: each hears the others, and not itself.
    Mcu,
}

impl TopologyKind {
    /// Whether its rooms are those of a server, which is the other end of every call.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Sfu | Self::Mcu)
    }
}

/// A set of like calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The group whose peers offer.
    pub offerer: String,
    /// The group whose peers answer; may be the same.
    pub answerer: String,
    /// How many calls, 1 to 200000. Not with a `[load]` that says itself how many arrive.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 200_000))]
    pub count: u32,
    /// Name of the set: letters, digits, `-` and `_`, at most 81. Default: `OFFERER-ANSWERER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The room on the signaling server, with the call's number appended if there are several. Default:
    /// `SCENARIO-SET-NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// When the set's first call starts; the others follow at the rate of arrivals. Default: in turn, after the calls
    /// of the sets before that have no start of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// What flows in these calls, in place of the whole of the scenario's `[media]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
}

/// How long each step of a call may take, 1ms to 24h.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadlineTable {
    /// Until a browser is up, with its page loaded.
    pub start: Time,
    /// From the start of the signaling connection to the room.
    pub join: Time,
    /// From the room to connected, with open data channel.
    pub connect: Time,
    /// From connected to first media at both ends.
    pub first_media: Time,
}

/// When the generator, not the service, may have made the numbers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Median over the run of the machine's busy share of CPU time, whoever used it.
    pub machine_cpu: Share,
    /// 99th percentile of how late timers of the harness fire.
    pub scheduling_lag_p99: Time,
    /// 99th percentile of how late media packets leave.
    pub send_lateness_p99: Time,
    /// Share of CPU time that the hypervisor took away.
    pub steal: Share,
    /// Share of time for which a control group's CPU quota stopped the harness.
    pub throttled: Share,
    /// Datagrams dropped by full receive buffers.
    pub udp_receive_buffer_errors: u64,
    /// Datagrams that found a full send buffer.
    pub udp_send_buffer_errors: u64,
    /// The greatest share of the limit of open file descriptors that the harness used.
    pub open_files: Share,
    /// The greatest share of the machine's memory, or of the control group's, that was in use, by whomever.
    pub memory: Share,
    /// Share by which the memory of the harness grew while the number of peers was steady; looked at in runs of six
    /// minutes or more.
    pub memory_growth: Share,
    /// The same for its open file descriptors.
    pub open_files_growth: Share,
    /// The same for its tasks.
    pub tasks_growth: Share,
    /// 99th percentile of how late calls are started.
    pub start_lateness_p99: Time,
    /// Calls that could not be started within `load.start_within`, and were dropped.
    pub arrivals_dropped: u64,
}

/// Something that must hold at the end of the run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GateRule {
    /// The metric.
    pub metric: Metric,
    /// Which samples count. Default: all.
    #[serde(default, rename = "where")]
    pub scope: Where,
    /// What must hold: a statistic (`min`, `mean`, `max`, `count`, `median`, `p95`, `p99.9`), one of `<`, `<=`, `>`,
    /// `>=`, `==`, and a number with unit, such as `p95 < 400ms`.
    pub expect: String,
    /// With fewer samples than this the gate fails; at least 1.
    #[serde(default = "one_sample")]
    #[schemars(range(min = 1))]
    pub min_samples: u64,
    /// Whether the run ends as soon as the gate cannot hold any more.
    #[serde(default)]
    pub abort: bool,
}

/// Which samples of a metric count.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// Only those of this peer group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only those of this set of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<String>,
}

impl Scenario {
    /// The version that this binary reads.
    pub const SCHEMA: u32 = 1;

    /// The JSON Schema of the format.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

impl Peers {
    /// The name, given or implied.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.engine().name())
    }

    /// The engine, given or implied.
    pub fn engine(&self) -> Engine {
        self.engine.unwrap_or(Engine::Native)
    }
}

impl Calls {
    /// The name, given or implied.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}-{}", self.offerer, self.answerer))
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            video: Video::Vp8,
            frame_rate: 30,
            audio: Audio::Opus,
            fixtures: None,
            simulcast: false,
            data: Data::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            enabled: true,
            echo_interval: Time::from_millis(50),
            echo_size: Size { bytes: 64 },
            bulk: Bulk::None,
            message_size: Size { bytes: 16 << 10 },
        }
    }
}

impl Default for DeadlineTable {
    fn default() -> Self {
        Self {
            start: Time::from_millis(60_000),
            join: Time::from_millis(10_000),
            connect: Time::from_millis(30_000),
            first_media: Time::from_millis(10_000),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            machine_cpu: Share { ppm: 950_000 },
            scheduling_lag_p99: Time::from_millis(30),
            send_lateness_p99: Time::from_millis(30),
            steal: Share { ppm: 100_000 },
            throttled: Share { ppm: 50_000 },
            udp_receive_buffer_errors: 0,
            udp_send_buffer_errors: 0,
            open_files: Share { ppm: 950_000 },
            memory: Share { ppm: 950_000 },
            memory_growth: Share { ppm: 100_000 },
            open_files_growth: Share { ppm: 100_000 },
            tasks_growth: Share { ppm: 100_000 },
            start_lateness_p99: Time::from_millis(250),
            arrivals_dropped: 0,
        }
    }
}

fn one() -> u32 {
    1
}

fn one_sample() -> u64 {
    1
}

fn default_seed() -> u64 {
    1
}
