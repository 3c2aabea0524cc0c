//! What stands in a mapping: JSON with words in braces, filled in for each message, and pointers into what comes.

use serde_json::{Value, json};

use super::Place;
use crate::plan::Role;
use crate::signaling::protocol::{ClientMessage, IceCandidate};

/// The words that a mapping may use, in braces.
const WORDS: [&str; 15] = [
    "room",
    "role",
    "peer",
    "feed",
    "id",
    "to",
    "type",
    "sdp",
    "description",
    "candidate",
    "line",
    "mid",
    "index",
    "signal",
    "version",
];

/// What the words stand for in one message. Those of the message are made when they are asked for: it may be long.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    place: Vec<(&'static str, Value)>,
    message: Option<&'a ClientMessage>,
}

impl<'a> Words<'a> {
    pub(super) fn new(id: Option<&str>, place: Place<'_>) -> Self {
        let role = place.role.map(|role| match role {
            Role::Offerer => "offerer",
            Role::Answerer => "answerer",
        });
        let known = [
            ("id", id),
            ("room", place.room),
            ("role", role),
            ("peer", place.peer),
            ("feed", place.feed),
            ("version", Some(env!("CARGO_PKG_VERSION"))),
        ];
        let place = known.into_iter().filter_map(|(word, value)| Some((word, value?.into()))).collect();
        Self { place, message: None }
    }

    /// With a word that stands for this, whatever a message gives it.
    pub(super) fn with(mut self, word: &'static str, value: Value) -> Self {
        self.place.push((word, value));
        self
    }

    /// With those of a description or a candidate.
    pub(super) fn of(self, message: &'a ClientMessage) -> Self {
        Self { message: Some(message), ..self }
    }

    /// The template with its words filled in.
    pub(super) fn fill(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => self.fill_text(text),
            Value::Array(values) => values.iter().map(|value| self.fill(value)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.fill(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    /// The text with its words filled in.
    pub(super) fn text(&self, template: &str) -> String {
        match self.fill_text(template) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// The URL with its words filled in, each as one segment of a path or one value of a query.
    pub(super) fn url(&self, template: &str) -> String {
        let encoded = |value: &Value| encode(&written(value)).into();
        let place = self.place.iter().map(|(word, value)| (*word, encoded(value))).collect();
        Words { place, message: None }.text(template)
    }

    /// A text that is one word becomes what the word stands for; words within a text are written into it, and escaped if it is
    /// JSON.
    fn fill_text(&self, text: &str) -> Value {
        if let Some(value) = word(text).and_then(|word| self.get(word)) {
            return value;
        }
        if let Some(json) = as_json(text) {
            return self.fill(&json).to_string().into();
        }
        let mut filled = text.to_owned();
        for word in WORDS {
            let braced = format!("{{{word}}}");
            if let Some(value) = filled.contains(&braced).then(|| self.get(word)).flatten() {
                filled = filled.replace(&braced, &written(&value));
            }
        }
        filled.into()
    }

    fn get(&self, word: &str) -> Option<Value> {
        let known = self.place.iter().find(|(known, _)| *known == word);
        known.map(|(_, value)| value.clone()).or_else(|| of_message(self.message?, word))
    }
}

/// What a word stands for in a description or a candidate.
fn of_message(message: &ClientMessage, word: &str) -> Option<Value> {
    let (kind, to, sdp) = match message {
        ClientMessage::Offer { to, sdp } => ("offer", to, sdp),
        ClientMessage::Answer { to, sdp } => ("answer", to, sdp),
        ClientMessage::Candidate { to, candidate } => return of_candidate(to, candidate.as_ref(), word),
        _ => return None,
    };
    match word {
        "to" => Some(to.as_str().into()),
        "type" => Some(kind.into()),
        "sdp" => Some(sdp.as_str().into()),
        "signal" | "description" => Some(json!({"type": kind, "sdp": sdp})),
        _ => None,
    }
}

fn of_candidate(to: &str, candidate: Option<&IceCandidate>, word: &str) -> Option<Value> {
    // Who hears the end need not know of it.
    let end = IceCandidate::end();
    let candidate = candidate.unwrap_or(&end);
    match word {
        "to" => Some(to.into()),
        "type" => Some("candidate".into()),
        "line" => Some(candidate.candidate.as_str().into()),
        "mid" => Some(json!(candidate.sdp_mid)),
        "index" => Some(json!(candidate.sdp_m_line_index)),
        "candidate" => Some(json!(candidate)),
        "signal" => Some(json!({"type": "candidate", "candidate": candidate})),
        _ => None,
    }
}

fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded += &format!("%{byte:02X}");
        }
        encoded
    })
}

/// An object or a list that is written as a text.
fn as_json(text: &str) -> Option<Value> {
    let is_it = text.trim_start().starts_with(['{', '[']);
    is_it.then(|| serde_json::from_str(text).ok()).flatten()
}

/// The word of a text that is nothing else.
fn word(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').filter(|word| !word.contains(['{', '}']))
}

/// Puts the values of the environment in place of `${NAME}`.
pub(super) fn resolve(template: &mut Value) -> Result<(), String> {
    match template {
        Value::String(text) => resolve_text(text).map(|resolved| *text = resolved),
        Value::Array(values) => values.iter_mut().try_for_each(resolve),
        Value::Object(members) => members.values_mut().try_for_each(resolve),
        _ => Ok(()),
    }
}

/// A text with the values of the environment in place of `${NAME}`.
pub(crate) fn resolve_text(text: &str) -> Result<String, String> {
    replace_variables(text, |name| {
        std::env::var(name).map_err(|error| format!("the environment variable {name} of [signaling]: {error}"))
    })
}

fn replace_variables(text: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some((before, (name, after))) =
        rest.split_once("${").and_then(|(b, rest)| Some((b, rest.split_once('}')?)))
    {
        replaced += before;
        replaced += &value(name)?;
        rest = after;
    }
    Ok(replaced + rest)
}

/// The variables of the environment that a text needs.
pub(crate) fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// What must be `${NAME}` of the environment in a template, by its place: what is, and what stands under the name of a secret.
pub(crate) fn secrets(place: &str, template: &Value) -> Vec<(String, String)> {
    let literal = |text: String| is_secret(place).then(|| (place.to_owned(), text)).into_iter().collect();
    match template {
        Value::String(text) if variables(text).next().is_some() => {
            variables(text).map(|name| (place.to_owned(), format!("${{{name}}}"))).collect()
        }
        Value::String(text) if !text.is_empty() && !has_word(text, &WORDS) => literal(text.clone()),
        Value::Number(number) => literal(number.to_string()),
        Value::Array(values) => {
            (0..).zip(values).flat_map(|(index, value)| secrets(&format!("{place}.{index}"), value)).collect()
        }
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| secrets(&format!("{place}.{name}"), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether what stands at a place is a secret, by its name.
fn is_secret(place: &str) -> bool {
    let name = place.rsplit('.').next().unwrap_or(place).to_ascii_lowercase();
    ["token", "secret", "password", "authorization", "apikey", "api_key", "api-key"].iter().any(|of| name.contains(of))
        || ["key", "pass", "pwd"].contains(&name.as_str())
}

/// Whether a URL's query has a secret, by its name, that is written out.
pub(crate) fn secrets_of_query(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut members = form_urlencoded::parse(query.as_bytes());
    members.any(|(name, value)| is_secret(&name) && !value.is_empty() && variables(&value).next().is_none())
}

/// Whether any of these words is in it.
pub(crate) fn has_any(template: &Value, words: &[&str]) -> bool {
    has_word(&template.to_string(), words)
}

fn has_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(&format!("{{{word}}}")))
}

/// The words in braces that no mapping may use.
pub(crate) fn check_arguments(template: &Value) -> Vec<String> {
    let known = |word: &str| WORDS.contains(&word);
    match template {
        Value::String(text) => replace_variables(text, |_| Ok(String::new()))
            .unwrap_or_default()
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}'))
            .map(|(word, _)| word)
            .filter(|word| !known(word) && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            .map(str::to_owned)
            .collect(),
        Value::Array(values) => values.iter().flat_map(check_arguments).collect(),
        Value::Object(members) => members.values().flat_map(check_arguments).collect(),
        _ => Vec::new(),
    }
}

/// The words that a mapping may use, for messages.
pub(crate) fn known_words() -> String {
    WORDS.map(|word| format!("{{{word}}}")).join(", ")
}

/// Whether a text is a JSON pointer (RFC 6901) into the arguments of an event.
pub(crate) fn check_pointer(pointer: &str) -> bool {
    let mut parts = pointer.split('/');
    parts.next() == Some("") && parts.next().is_some_and(|index| index.parse::<u16>().is_ok())
}

/// A session description where a mapping points: an object with an `sdp`, such an object as a text, or the text itself.
pub(crate) fn read_description(value: &Value) -> Option<String> {
    match value {
        Value::Object(members) => members.get("sdp")?.as_str().map(str::to_owned),
        Value::String(text) if text.trim_start().starts_with('{') => {
            read_description(&serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?)
        }
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// A candidate where a mapping points: in the form of the W3C, in the older one with `id` and `label`, or its line alone.
/// `Some(None)` is the end of candidates.
pub(super) fn read_candidate(value: &Value) -> Option<Option<IceCandidate>> {
    let candidate = match value {
        Value::Null => return Some(None),
        Value::String(text) if text.trim_start().starts_with('{') => {
            return read_candidate(&serde_json::from_str::<Value>(text).ok().filter(Value::is_object)?);
        }
        Value::String(line) => {
            IceCandidate { candidate: line.clone(), sdp_m_line_index: Some(0), ..IceCandidate::default() }
        }
        Value::Object(members) => {
            let text = |names: [&str; 2]| names.iter().find_map(|name| Some(members.get(*name)?.as_str()?.to_owned()));
            let number =
                |names: [&str; 2]| names.iter().find_map(|name| u16::try_from(members.get(*name)?.as_u64()?).ok());
            IceCandidate {
                candidate: members.get("candidate")?.as_str()?.to_owned(),
                sdp_mid: text(["sdpMid", "id"]),
                sdp_m_line_index: number(["sdpMLineIndex", "label"]),
                username_fragment: text(["usernameFragment", "ufrag"]),
            }
        }
        _ => return None,
    };
    Some(Some(candidate).filter(|candidate| !candidate.candidate.is_empty()))
}

/// Whether there is a session description or a candidate anywhere in it.
pub(super) fn brings_signaling(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with("v=0") || text.starts_with("candidate:") || text.contains("\\r\\nm="),
        Value::Array(values) => values.iter().any(brings_signaling),
        Value::Object(members) => members.values().any(brings_signaling),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_with_what_they_stand_for() {
        let offer = ClientMessage::Offer { to: "b".into(), sdp: "v=0\r\n".into() };
        let words = Words::new(Some("a"), Place { room: Some("r"), ..Place::default() }).of(&offer);
        let template =
            json!({"offer": "{description}", "to": "{to}", "from": "user-{id}", "n": 1, "in": ["{room}/{type}"]});
        let filled = json!({"offer": {"type": "offer", "sdp": "v=0\r\n"}, "to": "b", "from": "user-a", "n": 1, "in": ["r/offer"]});
        assert_eq!(words.fill(&template), filled);
    }

    #[test]
    fn a_text_that_is_json_stays_json() {
        let offer = ClientMessage::Offer { to: "b".into(), sdp: "v=0\r\na=\"\r\n".into() };
        let words = Words::default().of(&offer);
        for template in [r#"{"type":"{type}","sdp":"{sdp}"}"#, "{description} ", r#"[{"sdp":"{sdp}"}]"#] {
            let filled = words.fill(&template.into());
            let parsed: Value = serde_json::from_str(filled.as_str().unwrap()).unwrap();
            assert_eq!(read_description(parsed.get(0).unwrap_or(&parsed)).unwrap(), "v=0\r\na=\"\r\n", "{template}");
        }
        assert_eq!(words.fill(&json!("{not json} {to}")), "{not json} b");
    }

    #[test]
    fn variables_and_what_should_be_one_are_found() {
        let template = json!({
            "token": "hunter2", "Authorization": "Bearer ${TOKEN}", "roomPassword": 1234, "key": "{room}", "name": "n",
            "in": [{"secret": "${A}${B}"}],
        });
        let found: Vec<_> =
            secrets("auth", &template).into_iter().map(|(place, secret)| place + "=" + &secret).collect();
        let expected =
            ["Authorization=${TOKEN}", "in.0.secret=${A}", "in.0.secret=${B}", "roomPassword=1234", "token=hunter2"];
        assert_eq!(found, expected.map(|it| format!("auth.{it}")));
        assert_eq!(check_arguments(&template), Vec::<String>::new());
        let resolved = replace_variables("Bearer ${A}-${B}} ${", |name| Ok(name.to_lowercase()));
        assert_eq!(resolved.as_deref(), Ok("Bearer a-b} ${"));
        assert!(secrets_of_query("wss://h/?room=a&token=x") && !secrets_of_query("wss://h/?token=${X}&room=a"));
        assert!(secrets_of_query("wss://h/?%74oken=x"));
    }

    #[test]
    fn braces_that_are_no_word_stay() {
        assert_eq!(Words::default().fill(&json!("{to} {}")), json!("{to} {}"));
        assert_eq!(
            check_arguments(&json!([{"a": "{sdpp}", "b": "{sdp}"}, "x {whom} y", "{\"a\":1}"])),
            ["sdpp", "whom"]
        );
    }

    #[test]
    fn descriptions_are_read_in_every_form() {
        let forms = [json!({"type": "offer", "sdp": "v=0"}), json!("v=0"), json!("{\"sdp\":\"v=0\"}")];
        assert!(forms.iter().all(|form| read_description(form).as_deref() == Some("v=0")));
        assert_eq!(read_description(&json!(7)), None);
    }

    #[test]
    fn candidates_are_read_in_every_form() {
        let line = "candidate:1 1 udp 1 192.0.2.1 5 typ host";
        let expected = IceCandidate {
            candidate: line.into(),
            sdp_mid: Some("1".into()),
            sdp_m_line_index: Some(1),
            ..IceCandidate::default()
        };
        let new = json!({"candidate": line, "sdpMid": "1", "sdpMLineIndex": 1});
        let old = json!({"candidate": line, "id": "1", "label": 1});
        let text = json!(new.to_string());
        for form in [new, old, text] {
            assert_eq!(read_candidate(&form), Some(Some(expected.clone())), "{form}");
        }
        assert_eq!(read_candidate(&json!(line)).flatten().map(|it| it.candidate), Some(line.to_owned()));
        for end in [json!(null), json!({"candidate": ""})] {
            assert_eq!(read_candidate(&end), Some(None), "{end}");
        }
        assert_eq!(read_candidate(&json!({"foo": 1})), None);
    }

    #[test]
    fn the_end_of_candidates_is_said_as_browsers_say_it() {
        let end = ClientMessage::Candidate { to: "b".into(), candidate: None };
        let words = Words::default().of(&end);
        assert_eq!(words.fill(&json!("{candidate}"))["candidate"], "");
        assert_eq!(read_candidate(&words.fill(&json!("{candidate}"))), Some(None));
    }

    #[test]
    fn pointers_lead_into_arguments() {
        assert!(["/0", "/0/offer/sdp", "/1/from"].into_iter().all(check_pointer));
        assert!(!["", "0", "/", "/from", "offer"].into_iter().any(check_pointer));
    }
}
