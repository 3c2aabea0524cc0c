//! The page that a browser peer runs, and what it says.

use serde::Deserialize;
use serde_json::{Value, json};

use super::search::Heard;
use crate::peer::PeerContext;
use crate::plan::{BrowserSource, Engine, GroupPlan, IceTransportPolicy, Role};
use crate::record::{Mark, MediaKind, Phase};

/// Where the page lies on the server, relative to its root.
pub(super) const PATH: &str = "harness/index.html";

/// What a call of the page's `poll` returns.
#[derive(Debug, Deserialize)]
pub(super) struct Polled {
    /// Instants that were passed since the last time, in milliseconds of the page's clock.
    pub(super) marks: Vec<(Mark, f64)>,
    /// What is worth knowing, since the last time.
    pub(super) warnings: Vec<String>,
    /// What was heard of STUN and TURN servers, since the last time.
    pub(super) heard: Vec<Heard>,
    /// What went wrong.
    pub(super) error: Option<Problem>,
    /// The steps that are done.
    pub(super) reached: Vec<Step>,
    /// Where the peer is in its call.
    pub(super) phase: Phase,
    /// What it waits for.
    pub(super) waiting: String,
    /// Round trips of echo messages since the last time, in milliseconds.
    pub(super) latencies: Vec<f64>,
    /// The round trip of a ping on the signaling connection, in milliseconds.
    pub(super) signaling_rtt: Option<f64>,
    /// The data channels.
    pub(super) data: Data,
    /// What there is for the peer's dump, since the last time.
    pub(super) traced: Vec<Traced>,
}

/// A call to the connection, what came of it or an event of it, with its content and the milliseconds of the page's clock.
pub(super) type Traced = (String, Value, f64);

/// What went wrong in the page.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    pub(super) phase: Phase,
    pub(super) reason: String,
}

/// A step that the peer waits for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// There is a media source.
    Prepared,
    /// The peer is in its room.
    Joined,
    /// The connection and the data channel are up.
    Connected,
    /// First media of every kind has arrived.
    FirstMedia,
}

/// What a call of the page's `stats` or `stop` returns.
#[derive(Debug, Deserialize)]
pub(super) struct Reading {
    /// RTCStats dictionaries.
    pub(super) stats: Vec<Value>,
    /// The data channels.
    pub(super) data: Data,
}

/// What the page counts of its data channels.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Data {
    pub(super) echo: Option<Channel>,
    pub(super) bulk: Option<Channel>,
}

/// What the page counts of a data channel; the offerer sends, the answerer receives.
#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    /// Messages sent, by the offerer.
    pub(super) sent: Option<u64>,
    /// Messages that came back unchanged, at the offerer of an echo channel.
    pub(super) replies: Option<u64>,
    /// Messages received, by the answerer.
    pub(super) received: Option<u64>,
    /// Messages that are not as they should be.
    pub(super) wrong: Option<u64>,
    /// User bytes received, by the answerer of a bulk channel.
    pub(super) bytes: Option<u64>,
    /// When the first of them arrived, in milliseconds of the page's clock.
    pub(super) first: Option<f64>,
    /// When the last of them arrived.
    pub(super) last: Option<f64>,
}

/// How long an answerer's media waits after the connection is up when Firefox offers, in milliseconds.
///
/// Firefox acknowledges the packets that arrive while it sets its receivers up to the answer (in transport-wide feedback)
/// but loses some of them. Chromium keeps nothing that was acknowledged, so that NACKs bring nothing back, and in a few
/// calls of a hundred the picture stands still until Firefox asks for a key frame after three seconds.
const HOLD_FOR_FIREFOX_MS: u32 = 50;

/// Whether this peer receives media of this kind in its call.
pub(super) fn receives(context: &PeerContext, kind: MediaKind) -> bool {
    let PeerContext { plan, group, call, role, .. } = context;
    let offered = context.source().is_none_or(|source| source.direction.sends());
    let planned = match kind {
        MediaKind::Audio => plan.media_of(call).audio,
        MediaKind::Video => plan.media_of(call).video.is_some(),
        MediaKind::DataEcho => return plan.media_of(call).data.is_some(),
        MediaKind::DataBulk => {
            let bulk = plan.media_of(call).data.as_ref().is_some_and(|data| data.bulk.is_some());
            return bulk && *role == Role::Answerer;
        }
    };
    planned && offered && group.direction.receives()
}

/// The group of the peer at the other end.
fn other_group(context: &PeerContext) -> Option<&GroupPlan> {
    let other = match context.role {
        Role::Offerer => &context.call.answerer,
        Role::Answerer => &context.call.offerer,
    };
    context.plan.group(&other.group)
}

/// What the page is told of its call.
///
/// # Errors
///
/// When a TURN password names a variable that is not in the environment.
pub(super) fn config(context: &PeerContext) -> Result<Value, String> {
    let PeerContext { plan, group, call, role, network, .. } = context;
    let media = |kind| json!({"send": group.direction.sends(), "receive": receives(context, kind)});
    let video = plan.media_of(call).video.as_ref().map(|video| {
        let mut stream = media(MediaKind::Video);
        stream["codec"] = json!(video.codec.mime_type());
        stream
    });
    // What browser a person has is not known to the plan.
    let firefox = other_group(context).is_some_and(|other| matches!(other.engine, Engine::Firefox | Engine::Human));
    // A person's page knows itself whether the person sends something else.
    let source = group.browser.as_ref().map_or(BrowserSource::Canvas, |browser| browser.source);
    let servers = network.ice.servers.iter().map(|server| {
        let mut dictionary = json!({"urls": server.urls});
        if let Some(username) = &server.username {
            dictionary["username"] = json!(username);
        }
        if let Some(credential) = &server.credential {
            dictionary["credential"] = json!(credential.expose());
        }
        dictionary
    });
    Ok(json!({
        "url": network.pages.url,
        "role": role,
        "ice_servers": servers.collect::<Vec<_>>(),
        "ice_policy": match context.ice_policy() {
            IceTransportPolicy::All => "all",
            IceTransportPolicy::Relay => "relay",
        },
        "source": source,
        "hold_media_ms": if *role == Role::Answerer && firefox { HOLD_FOR_FIREFOX_MS } else { 0 },
        "audio": plan.media_of(call).audio.then(|| media(MediaKind::Audio)),
        "video": video,
        "data": plan.media_of(call).data,
        "trace": context.recorder.dump().is_some(),
    }))
}
