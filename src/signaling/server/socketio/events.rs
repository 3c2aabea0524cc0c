//! What clients of such an application say in the hub's words, and the hub's messages as events.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::super::incoming::{Incoming, push_member};
use crate::signaling::dialect::read_description;

/// The member that carries what only applications of socket.io know.
const MEMBER: &str = "socketio";

/// An event in the hub's words. What they have no place for goes along as it is. Nothing is read that need not be.
pub(super) fn relayed(event: &str, from: &str, said: &Incoming<'_>) -> Result<Utf8Bytes, &'static str> {
    let content = said.raw(event).ok_or("its member of the same name is missing")?;
    let mut text = format!("{{\"type\":\"{event}\",\"from\":\"{from}\",");
    let is_plain = if event == "candidate" {
        push_member(&mut text, event, content);
        true
    } else if let Some(sdp) = plain_description(event, content) {
        push_member(&mut text, "sdp", sdp);
        true
    } else {
        let content = serde_json::from_str(content.get()).unwrap_or_default();
        let sdp = read_description(&content).ok_or("its member of the same name has no session description")?;
        text += &format!("\"sdp\":{}", Value::from(sdp));
        false
    };
    if !is_plain || said.members_but(&["to", event]).next().is_some() {
        text += &format!(",\"{MEMBER}\":");
        for (number, (name, value)) in said.members_but(&["to"]).enumerate() {
            text.push(if number == 0 { '{' } else { ',' });
            push_member(&mut text, name, value);
        }
        text.push('}');
    }
    text.push('}');
    Ok(text.into())
}

/// The `sdp` of a description that has nothing else but its type.
fn plain_description<'a>(event: &str, content: &'a RawValue) -> Option<&'a RawValue> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Description<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        sdp: &'a RawValue,
    }
    let description: Description<'_> = serde_json::from_str(content.get()).ok()?;
    (description.kind == event && description.sdp.get().starts_with('"')).then_some(description.sdp)
}

/// What an event brings: several arguments are a tuple.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Arguments<'a> {
    One(&'a RawValue),
    Two(&'a str, &'a RawValue),
    Relayed(Relayed<'a>),
}

/// What another client says, with who it is.
pub(super) struct Relayed<'a> {
    from: &'a RawValue,
    said: Said<'a>,
}

enum Said<'a> {
    Description {
        kind: &'static str,
        sdp: &'a RawValue,
    },
    Candidate(&'a RawValue),
    /// As a client of socket.io said it.
    Whole(Incoming<'a>),
}

impl Serialize for Relayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Description<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            sdp: &'a RawValue,
        }
        let mut members = serializer.serialize_map(None)?;
        match &self.said {
            Said::Description { kind, sdp } => members.serialize_entry(kind, &Description { kind, sdp })?,
            Said::Candidate(candidate) => members.serialize_entry("candidate", candidate)?,
            Said::Whole(said) => {
                for (name, value) in said.members_but(&["from"]) {
                    members.serialize_entry(name, value)?;
                }
            }
        }
        members.serialize_entry("from", self.from)?;
        members.end()
    }
}

/// A message of the hub as an event; `None` if there is none for it.
pub(super) fn heard<'a>(own: &'a str, text: &'a str) -> Option<(&'static str, Arguments<'a>)> {
    let message = Incoming::parse(text).ok()?;
    let one = |event, member| Some((event, Arguments::One(message.raw(member)?)));
    let event = match message.string("type").ok()?.as_ref() {
        "joined" => return Some(("newUser", Arguments::Two(own, message.raw("peers")?))),
        "peer-joined" => return one("newUser", "id"),
        "peer-left" => return one("userLeft", "id"),
        "error" => return one("refused", "message"),
        "offer" => "offer",
        "answer" => "answer",
        "candidate" => "candidate",
        _ => return None,
    };
    let whole = message.raw(MEMBER).and_then(|whole| Incoming::parse(whole.get()).ok());
    let said = match (whole, event) {
        (Some(whole), _) => Said::Whole(whole),
        (None, "candidate") => Said::Candidate(message.raw("candidate")?),
        (None, kind) => Said::Description { kind, sdp: message.raw("sdp")? },
    };
    Some((event, Arguments::Relayed(Relayed { from: message.raw("from")?, said })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passed(event: &str, said: &Value) -> (String, Option<(&'static str, Value)>) {
        let text = relayed(event, "a", &Incoming::parse(&said.to_string()).unwrap()).unwrap().to_string();
        let heard = as_json("b", &text);
        (text, heard)
    }

    fn as_json(own: &str, text: &str) -> Option<(&'static str, Value)> {
        heard(own, text).map(|(event, arguments)| (event, serde_json::to_value(&arguments).unwrap()))
    }

    #[test]
    fn an_offer_is_the_same_for_all() {
        let (text, heard) = passed("offer", &json!({"offer": {"type": "offer", "sdp": "v=0\r\n"}, "to": "b"}));
        assert_eq!(text, r#"{"type":"offer","from":"a","sdp":"v=0\r\n"}"#);
        let arrived = json!({"offer": {"type": "offer", "sdp": "v=0\r\n"}, "from": "a"});
        assert_eq!(heard, Some(("offer", arrived)));
    }

    #[test]
    fn what_an_application_adds_goes_along() {
        let said = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada", "from": "victim", "to": "b"});
        let (text, heard) = passed("candidate", &said);
        let init = r#"{"candidate":"candidate:1"}"#;
        let whole = format!(r#"{{"candidate":{init},"from":"victim","name":"Ada"}}"#);
        assert_eq!(text, format!(r#"{{"type":"candidate","from":"a","candidate":{init},"socketio":{whole}}}"#));
        let arrived = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada", "from": "a"});
        assert_eq!(heard, Some(("candidate", arrived)));
    }

    #[test]
    fn a_description_in_another_form_arrives_in_it_and_is_understood_by_others() {
        let (text, heard) = passed("answer", &json!({"answer": "v=0", "to": "b"}));
        assert_eq!(text, r#"{"type":"answer","from":"a","sdp":"v=0","socketio":{"answer":"v=0"}}"#);
        assert_eq!(heard, Some(("answer", json!({"answer": "v=0", "from": "a"}))));
        let wrong = Incoming::parse(r#"{"offer": 7}"#).unwrap();
        assert_eq!(relayed("offer", "a", &wrong), Err("its member of the same name has no session description"));
    }

    #[test]
    fn a_newcomer_hears_who_is_there() {
        let joined = r#"{"type":"joined","room":"r","peers":["a"]}"#;
        assert_eq!(as_json("b", joined), Some(("newUser", json!(["b", ["a"]]))));
        assert_eq!(as_json("b", r#"{"type":"left","room":"r"}"#), None);
    }
}
