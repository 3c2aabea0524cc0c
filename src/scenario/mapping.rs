//! What a scenario says about an application: events with words and pointers, and ids.

use serde_json::Value;

use super::format::{Scenario, TopologyKind};
use super::report::Report;
use crate::plan::room;
use crate::signaling::dialect::{SocketIo, check_arguments, check_pointer, has_any, known_words};

/// Checks what an application of socket.io says and hears.
pub(super) fn check(mapping: &SocketIo, report: &mut Report<'_>) {
    let table = "signaling.socketio";
    let exchanges: Vec<_> = mapping.exchanges().collect();
    if mapping.signal.is_none() {
        for what in ["offer", "answer", "candidate"] {
            if !exchanges.iter().any(|(name, _)| *name == what) {
                let help =
                    format!("add {what} = {{ event = \"{what}\", args = […], at = \"/0/{what}\" }}, or `signal`");
                report.wrong(table, format!("it is not said which event is the {what}"), help);
            }
        }
    }
    let replaced = [("offer", &mapping.offer), ("answer", &mapping.answer), ("candidate", &mapping.candidate)];
    for (what, _) in replaced.iter().filter(|(_, exchange)| mapping.signal.is_some() && exchange.is_some()) {
        let help = format!("remove `signal`, or `{what}`");
        report.wrong(&format!("{table}.{what}"), format!("`signal` stands for it: the {what} is said twice"), help);
    }
    for (what, exchange) in exchanges {
        let path = format!("{table}.{what}");
        let args = Value::from(exchange.args.clone());
        let (missing, needed): (_, &[&str]) = match what {
            "candidate" => ("there is no candidate in it", &["candidate", "line", "signal"]),
            "signal" => ("it does not say the signal", &["signal"]),
            _ => ("there is no description in it", &["description", "sdp", "signal"]),
        };
        if !has_any(&args, needed) {
            let words: Vec<_> = needed.iter().map(|word| format!("{{{word}}}")).collect();
            report.wrong(&format!("{path}.args"), missing, format!("write one of these words: {}", words.join(", ")));
        }
        pointer(report, &format!("{path}.at"), &exchange.at);
        if let Some(from) = &exchange.from {
            pointer(report, &format!("{path}.from"), from);
        }
        words(report, &format!("{path}.args"), &Value::from(exchange.args.clone()));
    }
    for (what, hear) in mapping.hearings() {
        pointer(report, &format!("{table}.{what}.at"), &hear.at);
    }
    if let Some(join) = &mapping.join {
        words(report, &format!("{table}.join.args"), &Value::from(join.args.clone()));
    }
    if let Some(auth) = &mapping.auth {
        words(report, &format!("{table}.auth"), auth);
    }
    for (name, value) in &mapping.query {
        words(report, &format!("{table}.query.{name}"), &Value::from(value.as_str()));
    }
}

fn pointer(report: &mut Report<'_>, path: &str, pointer: &str) {
    if !check_pointer(pointer) {
        let message = format!("{pointer:?} does not lead into the arguments of an event");
        report.wrong(path, message, "write the number of the argument, then the members: /0/offer/sdp");
    }
}

pub(super) fn words(report: &mut Report<'_>, path: &str, template: &Value) {
    for word in check_arguments(template) {
        let message = format!("{{{word}}} stands for nothing");
        report.wrong(path, message, format!("the words are {}", known_words()));
    }
}

/// Checks the ids that both ends of a call have at a PeerServer.
pub(super) fn peerjs_id(id: &str, scenario: &Scenario, report: &mut Report<'_>) {
    let path = "signaling.peerjs.id";
    let filled = id.replace("{role}", "offerer");
    if let Some((word, _)) = filled.replace("{room}", "").split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        let help = "an id is made from {room} and {role}, which both ends of a call know";
        return report.wrong(path, format!("{{{word}}} stands for nothing in an id"), help);
    }
    if scenario.topology.kind != TopologyKind::Pairs {
        return;
    }
    let help = "write \"{room}-{role}\"";
    let calls: u32 = scenario.topology.calls.iter().map(|calls| calls.count).sum();
    if !id.contains("{role}") {
        report.wrong(path, format!("both ends of a call would have the id {id:?}"), help);
    } else if !id.contains("{room}") && calls > 1 {
        report.wrong(path, format!("{calls} calls would have the same ids, and a PeerServer gives an id once"), help);
    }
    let mut ids = scenario.topology.calls.iter().map(|calls| filled.replace("{room}", &room(&scenario.name, calls, 0)));
    if let Some(id) = ids.find(|id| !is_id(id)) {
        let help = "use letters and digits, with single `-`, `_` and spaces between them";
        report.wrong(path, format!("no PeerServer takes the id {id:?}"), help);
    }
}

/// As PeerJS checks it: `/^[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*$/`.
fn is_id(id: &str) -> bool {
    id.split([' ', '_', '-']).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()))
}
