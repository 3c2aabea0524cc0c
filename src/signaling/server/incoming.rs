//! What a client sent, read only as far as the server must know it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::signaling::protocol::ErrorCode;

/// Longer ids and types are not sent back in errors.
const ECHO_BYTES: usize = 64;

/// A JSON object whose members are read only where they are needed.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// Why a message is not acted upon.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl<'a> Incoming<'a> {
    /// Reads a text frame. A member may not stand twice: its readers would not agree on which one counts.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let incoming: Self = serde_json::from_str(text)
            .map_err(|error| Refusal::new(ErrorCode::Malformed, format!("not a JSON object: {error}")))?;
        for (index, (name, _)) in incoming.members.iter().enumerate() {
            if incoming.members[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refusal::new(ErrorCode::Malformed, "a member stands twice"));
            }
        }
        Ok(incoming)
    }

    /// A member as it stands in the text.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// A member that must be a string.
    pub(super) fn string(&self, name: &'static str) -> Result<Cow<'a, str>, Refusal> {
        let missing = || Refusal::new(ErrorCode::Malformed, format!("the member {name:?} must be a string"));
        let raw = self.raw(name).ok_or_else(missing)?;
        borrowed_string(raw).ok_or_else(missing)
    }

    /// A string member, if it is there and short enough for an error message to carry it back.
    pub(super) fn echo(&self, name: &str) -> Option<String> {
        let value = borrowed_string(self.raw(name)?)?;
        (value.len() <= ECHO_BYTES).then(|| value.into_owned())
    }

    /// The message as its recipient gets it: `from` says who sent it, whatever the sender wrote there; `to` is gone;
    /// everything else is untouched.
    pub(super) fn relayed(&self, kind: &str, from: &str, size_hint: usize) -> Utf8Bytes {
        let mut text = String::with_capacity(size_hint + from.len() + 16);
        text.push_str("{\"type\":\"");
        text.push_str(kind);
        text.push_str("\",\"from\":\"");
        text.push_str(from);
        text.push('"');
        for (name, value) in self.members_but(&["type", "from", "to"]) {
            text.push(',');
            push_member(&mut text, name, value);
        }
        text.push('}');
        text.into()
    }

    /// The members that have other names than these.
    pub(super) fn members_but(&self, names: &[&str]) -> impl Iterator<Item = (&str, &'a RawValue)> {
        let members = self.members.iter().filter(move |(name, _)| !names.contains(&name.as_ref()));
        members.map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Incoming<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Incoming<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    // The check for twins is quadratic; no message has this many members.
                    if members.len() == 32 {
                        return Err(serde::de::Error::custom("more than 32 members"));
                    }
                    members.push((name.0, map.next_value()?));
                }
                Ok(Incoming { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Writes a member of an object, without what stands between members.
pub(super) fn push_member(text: &mut String, name: &str, value: &RawValue) {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        text.push('"');
        text.push_str(name);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(name).to_string());
    }
    text.push(':');
    text.push_str(value.get());
}

/// A string that borrows unless it has escapes: `Cow` alone never borrows.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The string that stands there, if one does.
pub(super) fn borrowed_string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(raw.get()).ok().map(|name| name.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_message_keeps_what_the_server_does_not_know() {
        let text = r#"{"to":"b","sdp":"v=0\r\n\u00e9","x-note": {"a": [1, 2.50, null]} ,"type":"offer","a \"b\"":1}"#;
        let incoming = Incoming::parse(text).unwrap();
        let relayed = incoming.relayed("offer", "a", text.len());
        let expected =
            r#"{"type":"offer","from":"a","sdp":"v=0\r\n\u00e9","x-note":{"a": [1, 2.50, null]},"a \"b\"":1}"#;
        assert_eq!(relayed.as_str(), expected);
    }

    #[test]
    fn a_forged_sender_is_overwritten() {
        for text in [
            r#"{"type":"offer","from":"victim","to":"b","sdp":"x"}"#,
            r#"{"type":"offer","fr\u006fm":"victim","to":"b","sdp":"x"}"#,
        ] {
            let relayed = Incoming::parse(text).unwrap().relayed("offer", "a", text.len());
            assert_eq!(relayed.as_str(), r#"{"type":"offer","from":"a","sdp":"x"}"#);
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for text in
            ["", "x", "[]", "1", "null", "{", "{}{}", r#"{"a":1"#, r#"{"a"}"#, r#"{"a":nan}"#, r#"{"a":1,"\u0061":2}"#]
        {
            assert_eq!(Incoming::parse(text).unwrap_err().code, ErrorCode::Malformed, "{text}");
        }
        let many: Vec<String> = (0..33).map(|index| format!("\"{index}\":0")).collect();
        assert!(Incoming::parse(&format!("{{{}}}", many.join(","))).is_err());
    }

    #[test]
    fn a_member_of_the_wrong_kind_is_malformed() {
        let incoming = Incoming::parse(r#"{"type":1,"room":null}"#).unwrap();
        assert_eq!(incoming.string("type").unwrap_err().code, ErrorCode::Malformed);
        assert!(incoming.string("room").unwrap_err().message.contains("\"room\""));
        assert!(incoming.string("to").is_err());
    }
}
