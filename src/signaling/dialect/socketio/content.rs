//! What stands in the arguments of an event: ids, rooms' people, and what goes from peer to peer.

use serde_json::Value;

use crate::signaling::dialect::Exchange;
use crate::signaling::dialect::template::{read_candidate, read_description};
use crate::signaling::protocol::{IceCandidate, ServerMessage};

/// An id, as it is or in an object.
pub(super) fn read_id(value: &Value) -> Option<String> {
    plain_id(value).map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned))
}

/// The text or the number that is the id.
pub(super) fn plain_id(value: &Value) -> Option<&Value> {
    match value {
        Value::String(_) | Value::Number(_) => Some(value),
        Value::Object(members) => {
            ["id", "socketId", "userId", "peerId"].iter().find_map(|name| plain_id(members.get(*name)?))
        }
        _ => None,
    }
}

/// The ids of people: a list of them, or an object whose keys they are.
pub(super) fn read_people(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(people) => Some(people.iter().filter_map(read_id).collect()),
        // Other objects, such as `{"error": "…"}`, have members that are no people.
        Value::Object(people) if people.values().all(Value::is_object) => Some(people.keys().cloned().collect()),
        _ => None,
    }
}

/// Which of the kinds that one event stands for it brings this time, and what: what it says by its `type`, or else what it looks
/// like.
pub(super) fn sort_out<'a, 'b>(
    exchanges: &[(&'static str, &'b Exchange)],
    arguments: &'a Value,
) -> Option<(&'static str, &'b Exchange, &'a Value)> {
    exchanges.iter().find_map(|(what, exchange)| {
        let content = arguments.pointer(&exchange.at)?;
        let around = exchange.at.rsplit_once('/').and_then(|(around, _)| arguments.pointer(around));
        let said = said_kind(content).or_else(|| said_kind(around?));
        let is_end = || (*what == "candidate" && content.is_null()).then_some("candidate");
        let kind = said.or_else(|| seen_kind(content)).or_else(is_end)?;
        (*what == "signal" || *what == kind).then_some((kind, *exchange, content))
    })
}

/// The messages that a content of this kind is; `None` if it is not of it.
pub(super) fn messages(kind: &str, from: &str, content: &Value) -> Option<Vec<ServerMessage>> {
    let from = || from.to_owned();
    let sdp = || read_description(content).filter(|sdp| !sdp.is_empty());
    match kind {
        "offer" => Some(vec![ServerMessage::Offer { from: from(), sdp: sdp()? }]),
        "answer" => Some(vec![ServerMessage::Answer { from: from(), sdp: sdp()? }]),
        _ => {
            let candidates = read_candidates(content)?.into_iter();
            Some(candidates.map(|candidate| ServerMessage::Candidate { from: from(), candidate }).collect())
        }
    }
}

/// One candidate, or several at once; by itself, or as simple-peer wraps it.
fn read_candidates(content: &Value) -> Option<Vec<Option<IceCandidate>>> {
    match content {
        Value::Array(candidates) => candidates.iter().map(|candidate| read_candidate(unwrapped(candidate))).collect(),
        one => Some(vec![read_candidate(unwrapped(one))?]),
    }
}

/// `{type: "candidate", candidate: {candidate: "…"}}` without what is around it.
fn unwrapped(content: &Value) -> &Value {
    content.get("candidate").filter(|inner| inner.is_object() || inner.is_null()).unwrap_or(content)
}

fn said_kind(content: &Value) -> Option<&'static str> {
    let said = content.get("type")?.as_str()?;
    ["offer", "answer", "candidate"].into_iter().find(|kind| *kind == said)
}

fn seen_kind(content: &Value) -> Option<&'static str> {
    if let Some(sdp) = read_description(content).filter(|sdp| sdp.trim_start().starts_with("v=0")) {
        // An offer leaves it to the other end who begins DTLS, and an answer settles it (RFC 8829, sections 5.2.1 and 5.3.1).
        return Some(if sdp.contains("a=setup:actpass") { "offer" } else { "answer" });
    }
    let is_line = |line: &str| line.trim_start_matches("a=").starts_with("candidate:");
    let candidates = read_candidates(content).filter(|_| !content.is_null())?;
    candidates.iter().flatten().all(|candidate| is_line(&candidate.candidate)).then_some("candidate")
}
