//! One call against the path that it had to find.
//!
//! Only an end whose *local* candidate is relayed uses a relay of its own, and only its `relay_protocol` counts. An end that
//! sees a relayed remote candidate talks to the relay of the other end, which may show as peer-reflexive as well.

use super::CellOutcome;
use crate::net::oracle::{RelayTransport, Route};
use crate::plan::{CallPlan, CellPlan, Engine, IceTransportPolicy, PeerPlan, Role};
use crate::record::{Mark, Path, Record};

/// How a call ended.
pub(super) struct Judged {
    pub(super) outcome: CellOutcome,
    /// The path that it took.
    pub(super) observed: Option<String>,
    /// What happened, as the end of a sentence that begins with the call.
    pub(super) detail: String,
}

pub(super) fn judge(record: &Record, cell: &CellPlan, call: &CallPlan) -> Judged {
    let told = |outcome, detail: String| Judged { outcome, observed: None, detail };
    let Some((_, state)) = record.call(&call.id).filter(|(_, state)| state.attempted()) else {
        return told(CellOutcome::Unjudged, "no call was made".into());
    };
    let ends = [(Role::Offerer, &call.offerer), (Role::Answerer, &call.answerer)];
    let connected = |(role, peer): (Role, &PeerPlan)| {
        record.engine(peer) == Some(Engine::External) || state.end(role).get(Mark::Connected).is_some()
    };
    if !ends.into_iter().all(connected) {
        let detail = match (cell.expected, state.failed) {
            (Route::None, _) => format!("could not connect, since {}", cell.reason),
            (_, Some(phase)) => format!("failed in phase {phase:?}, where {} was expected", cell.expected),
            (_, None) => format!("did not connect, where {} was expected", cell.expected),
        };
        return told(CellOutcome::Failed, detail);
    }
    let Some(taken) = Taken::of(record, call) else {
        return told(CellOutcome::Unjudged, "connected, but neither end said over which path".into());
    };
    let (outcome, detail) =
        impossible(record, call).map_or_else(|| taken.against(cell), |said| (CellOutcome::LabLies, said));
    Judged { outcome, observed: Some(taken.to_string()), detail }
}

/// A network that lets no UDP out can only take part through a relay of its own.
fn impossible(record: &Record, call: &CallPlan) -> Option<String> {
    let network = record.plan()?.network.as_ref()?;
    if call.offerer.site == call.answerer.site {
        return None;
    }
    [&call.offerer, &call.answerer].into_iter().find_map(|peer| {
        let site = peer.site.as_deref()?;
        let path = record.paths().iter().rev().find(|path| path.call == call.id && path.peer == peer.id)?;
        let escaped =
            path.local.candidate_type != "relay" && path.protocol == "udp" && !network.end(site)?.lets_udp_out();
        escaped.then(|| format!("sent UDP from {site} without a relay, although it lets none out"))
    })
}

/// The path that a call took.
struct Taken {
    /// The relays in use, one for each end at most: how its owner reaches it, if that is known.
    own: [Option<Option<RelayTransport>>; 2],
    /// Whether a relay takes part.
    relayed: bool,
}

impl Taken {
    /// The last path that each end reported counts: ICE may have moved.
    fn of(record: &Record, call: &CallPlan) -> Option<Self> {
        let paths = [&call.offerer, &call.answerer]
            .map(|peer| record.paths().iter().rev().find(|path| path.call == call.id && path.peer == peer.id));
        let is_relay = |candidate: &crate::record::Candidate| candidate.candidate_type == "relay";
        let own = paths.map(|path| path.filter(|path| is_relay(&path.local)).map(transport));
        let local = own.iter().any(Option::is_some);
        let relayed = match paths {
            [None, None] => return None,
            // Both ends know best what they use themselves; one alone also tells about the other.
            [Some(_), Some(_)] => local,
            [one, other] => local || one.or(other).is_some_and(|path| is_relay(&path.remote)),
        };
        Some(Self { own, relayed })
    }

    fn against(&self, cell: &CellPlan) -> (CellOutcome, String) {
        let expected = match cell.expected {
            Route::Direct if self.relayed => {
                let detail = format!("took {self} although a direct path is there: {}", cell.reason);
                return (CellOutcome::OverRelayed, detail);
            }
            Route::Direct => return (CellOutcome::Ok, "went direct, as it must".into()),
            Route::None => {
                let detail = format!("took {self}, where no path can be: {}", cell.reason);
                return (CellOutcome::LabLies, detail);
            }
            Route::Relayed { .. } if !self.relayed && cell.policy == IceTransportPolicy::Relay => {
                let detail = "went direct, although only relayed candidates are allowed".into();
                return (CellOutcome::WrongTransport, detail);
            }
            Route::Relayed { .. } if !self.relayed => {
                let detail = format!("went direct, where no direct path can be: {}", cell.reason);
                return (CellOutcome::LabLies, detail);
            }
            Route::Relayed { first, second } => [first, second],
        };
        let names = [&cell.first, &cell.second];
        let mut unknown = None;
        for (((own, expected), name), engine) in self.own.iter().zip(expected).zip(names).zip(cell.engines) {
            match (own, expected) {
                (None, _) => {}
                // Firefox gives relays over TCP and over TLS one priority, and takes the one that comes first.
                (Some(Some(RelayTransport::Tls)), Some(RelayTransport::Tcp)) if engine == Engine::Firefox => {}
                (Some(None), _) => unknown = Some(name),
                (Some(Some(used)), Some(expected)) if *used == expected => {}
                // ICE prefers UDP to TCP and TCP to TLS; what is better than expected is what the network has to block.
                (Some(Some(used)), expected) if expected.is_none_or(|expected| *used < expected) => {
                    let detail =
                        format!("reached the relay of {name} over {}, which cannot get through there", used.name());
                    return (CellOutcome::LabLies, detail);
                }
                (Some(Some(used)), expected) => {
                    let expected = expected.map_or("nothing", RelayTransport::name);
                    let used = used.name();
                    let detail = format!("reached the relay of {name} over {used}, where {expected} was expected");
                    return (CellOutcome::WrongTransport, detail);
                }
            }
        }
        match unknown {
            Some(name) => {
                (CellOutcome::Unjudged, format!("was relayed, but {name} did not say how it reaches its relay"))
            }
            None => (CellOutcome::Ok, format!("took {self}, as it must: {}", cell.reason)),
        }
    }
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.relayed {
            return f.write_str("direct");
        }
        let known: Vec<&str> =
            self.own.iter().flatten().map(|own| own.map_or("unknown", RelayTransport::name)).collect();
        match known[..] {
            [] => f.write_str("relay"),
            [one, other] if one != other => write!(f, "relay {one}/{other}"),
            [one, ..] => write!(f, "relay {one}"),
        }
    }
}

fn transport(path: &Path) -> Option<RelayTransport> {
    path.relay_protocol.as_deref().and_then(RelayTransport::from_name)
}
