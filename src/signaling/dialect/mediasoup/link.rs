//! Requests, their answers and news, in the two forms in which applications of mediasoup exchange them.
//!
//! | | request | answer | news |
//! |---|---|---|---|
//! | protoo | `{"request": true, "id", "method", "data"}` | `{"response": true, "id", "ok", "data"}` | `{"notification": true, "method", "data"}` |
//! | socket.io | an event with an acknowledgement | the acknowledgement | an event |
//!
//! What is refused comes as `ok: false` with `errorCode` and `errorReason`, or as an acknowledgement with an `error`.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::Waiting;
use super::super::engineio::{Heartbeat, Packet};
use super::super::socketio::Parsed;
use crate::signaling::client::{ClientError, excerpt};

/// One client's line to the server.
#[derive(Debug)]
pub(super) struct Link {
    is_protoo: bool,
    /// Of Engine.IO.
    heartbeat: Heartbeat,
    requests: u64,
    /// Methods of requests that are not answered, by number.
    unanswered: BTreeMap<u64, String>,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// socket.io's namespace is entered.
    Connected,
    /// The answer to the request with this number.
    Answer { number: u64, data: Value },
    /// Something that wants an answer.
    Request { number: u64, method: String, data: Value },
    /// Something that wants none.
    News { method: String, data: Value },
    /// Nothing for anybody.
    Nothing,
}

impl Link {
    pub(super) fn new(is_protoo: bool) -> Self {
        Self { is_protoo, heartbeat: Heartbeat::default(), requests: 0, unanswered: BTreeMap::new() }
    }

    /// Asks the server for something, and gives the number under which the answer will come.
    pub(super) fn request(&mut self, waiting: &mut Waiting, method: &str, data: &Value) -> u64 {
        let number = self.requests;
        self.requests += 1;
        self.unanswered.insert(number, method.to_owned());
        if self.is_protoo {
            waiting.text(json!({"request": true, "id": number, "method": method, "data": data}).to_string());
        } else {
            waiting.text(format!("42{number}{}", json!([method, data])));
        }
        number
    }

    /// Does what the server asks for.
    pub(super) fn accept(&self, waiting: &mut Waiting, number: u64) {
        if self.is_protoo {
            waiting.text(json!({"response": true, "id": number, "ok": true, "data": {}}).to_string());
        } else {
            waiting.text(format!("43{number}[{{}}]"));
        }
    }

    /// Does not.
    pub(super) fn refuse(&self, waiting: &mut Waiting, number: u64, code: u16, reason: &str) {
        if self.is_protoo {
            let response =
                json!({"response": true, "id": number, "ok": false, "errorCode": code, "errorReason": reason});
            waiting.text(response.to_string());
        } else {
            waiting.text(format!("43{number}{}", json!([{"error": reason}])));
        }
    }

    /// # Errors
    ///
    /// The server refuses a request, ends the connection, or what it sent is none of the forms.
    pub(super) fn hear(&mut self, text: &str, now: Instant, waiting: &mut Waiting) -> Result<Heard, ClientError> {
        if self.is_protoo {
            return self.hear_protoo(text);
        }
        self.heartbeat.heard(now);
        match Packet::parse(text)? {
            Packet::Open(handshake) => {
                self.heartbeat.begin(&handshake, now);
                waiting.text("40");
                Ok(Heard::Nothing)
            }
            Packet::Close => {
                Err(ClientError::Closed { code: None, reason: "Engine.IO: the server closed the connection".into() })
            }
            Packet::Ping(payload) => {
                waiting.text(format!("3{payload}"));
                Ok(Heard::Nothing)
            }
            Packet::Message(message) => self.hear_event(message),
            Packet::Other => Ok(Heard::Nothing),
        }
    }

    pub(super) fn dead_at(&self) -> Option<Instant> {
        self.heartbeat.dead_at()
    }

    /// # Errors
    ///
    /// The server is dead.
    pub(super) fn check(&self, now: Instant) -> Result<(), ClientError> {
        self.heartbeat.check(now)
    }

    fn hear_protoo(&mut self, text: &str) -> Result<Heard, ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: detail.into(), quote: excerpt(text) };
        let message: Value = serde_json::from_str(text).map_err(|_| broken("no message of protoo"))?;
        let is = |name: &str| message.get(name).and_then(Value::as_bool).unwrap_or_default();
        let number = message.get("id").and_then(Value::as_u64);
        let method = message.get("method").and_then(Value::as_str);
        let data = message.get("data").cloned().unwrap_or_default();
        match (number, method) {
            (Some(number), _) if is("response") => {
                let method = self.unanswered.remove(&number).ok_or_else(|| broken("an answer to no request"))?;
                if is("ok") {
                    return Ok(Heard::Answer { number, data });
                }
                Err(refusal(&method, message.get("errorCode"), message.get("errorReason"), text))
            }
            (Some(number), Some(method)) if is("request") => {
                Ok(Heard::Request { number, method: method.to_owned(), data })
            }
            (_, Some(method)) if is("notification") => Ok(Heard::News { method: method.to_owned(), data }),
            _ => Err(broken("no message of protoo")),
        }
    }

    fn hear_event(&mut self, text: &str) -> Result<Heard, ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: detail.into(), quote: excerpt(text) };
        let Parsed { kind, ack, content, .. } = Parsed::of(text)?;
        let arguments = || -> Result<Vec<Value>, ClientError> {
            serde_json::from_str(content).map_err(|_| broken("what socket.io carries is a JSON array"))
        };
        match (kind, ack) {
            ("0", _) => Ok(Heard::Connected),
            ("1", _) => {
                Err(ClientError::Closed { code: None, reason: "socket.io: the server disconnected the socket".into() })
            }
            ("2", ack) => {
                let mut arguments = arguments()?.into_iter();
                let method = arguments.next().and_then(|name| name.as_str().map(str::to_owned));
                let method = method.ok_or_else(|| broken("an event without a name"))?;
                let data = arguments.next().unwrap_or_default();
                Ok(match ack {
                    Some(number) => Heard::Request { number, method, data },
                    None => Heard::News { method, data },
                })
            }
            ("3", Some(number)) => {
                let method = self.unanswered.remove(&number).ok_or_else(|| broken("an answer to no request"))?;
                let data = arguments()?.into_iter().next().unwrap_or_default();
                let why = data.get("error").filter(|why| !why.is_null());
                let is_refused = data.get("ok").and_then(Value::as_bool) == Some(false);
                if why.is_some() || is_refused {
                    return Err(refusal(&method, data.get("errorCode"), why.or_else(|| data.get("errorReason")), text));
                }
                Ok(Heard::Answer { number, data })
            }
            ("4", _) => Err(ClientError::Refusal { message: format!("no connection: {}", excerpt(content)) }),
            // Nothing of what mediasoup needs is binary.
            ("5" | "6", _) => Err(broken("a binary event")),
            _ => Err(broken("no packet of socket.io")),
        }
    }
}

/// What a server that refuses something says.
fn refusal(method: &str, code: Option<&Value>, reason: Option<&Value>, text: &str) -> ClientError {
    let reason = match reason {
        Some(Value::String(reason)) => excerpt(reason),
        Some(Value::Object(error)) => {
            error.get("message").and_then(Value::as_str).map_or_else(|| excerpt(text), excerpt)
        }
        _ => excerpt(text),
    };
    let code = code.map_or(String::new(), |code| format!("{code}: "));
    ClientError::Refusal { message: format!("{method}: {code}{reason}") }
}
