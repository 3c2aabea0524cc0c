//! Kurento Media Server over a WebSocket: JSON-RPC 2.0, by which a client makes a pipeline with one endpoint that sends back what
//! it gets. The server is the other end of the call.
//!
//! | when | the client asks for |
//! |---|---|
//! | at once | a `MediaPipeline`, in it a `WebRtcEndpoint`, and to be told of that one's candidates |
//! | with its offer | the endpoint connected to itself, `processOffer`, then `gatherCandidates` |
//! | with its candidates, once there is an answer | `addIceCandidate` |
//! | at the end | the release of the pipeline |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::template::read_candidate;
use super::{Dialect, Opening, Waiting, read_json};
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};

/// The server as the other end of the call.
const KURENTO: &str = "kurento";
/// Where it listens, below its root.
const PATH: &str = "kurento";
/// What a client names as the time within which it will ask again: that of Kurento's own clients, after which the server gives
/// up whoever is gone.
const PING_INTERVAL: Duration = Duration::from_secs(240);
/// How often it asks: well within that time.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection that is about to be opened.
pub(super) fn open(url: &str) -> Opening {
    let url = url.trim_end_matches('/');
    let url = if url.ends_with("/kurento") { url.to_owned() } else { format!("{url}/{PATH}") };
    let mut connection = Connection::default();
    let parameters = json!({"type": "MediaPipeline", "constructorParams": {}, "properties": {}});
    connection.request("create", parameters, Asked::Pipeline);
    Opening::new(url, Box::new(connection))
}

/// What an answer is to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Pipeline,
    Endpoint,
    Subscription,
    Offer,
    /// The answer says no more than that it is done.
    Other(&'static str),
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "create MediaPipeline",
            Self::Endpoint => "create WebRtcEndpoint",
            Self::Subscription => "subscribe IceCandidateFound",
            Self::Offer => "processOffer",
            Self::Other(name) => name,
        }
    }
}

/// One client's session.
#[derive(Debug, Default)]
struct Connection {
    waiting: Waiting,
    requests: u64,
    /// What has not been answered, by the number of the request.
    asked: BTreeMap<u64, Asked>,
    session: Option<Value>,
    pipeline: Option<Value>,
    endpoint: Option<Value>,
    is_answered: bool,
    /// Candidates that wait for the answer.
    early: Vec<IceCandidate>,
    next_keepalive: Option<Instant>,
    /// The last event that means nothing here.
    unexpected: Option<String>,
}

impl Connection {
    fn request(&mut self, method: &str, parameters: Value, asked: Asked) {
        self.requests += 1;
        let mut parameters = match parameters {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        };
        if let Some(session) = self.session.clone() {
            parameters.insert("sessionId".into(), session);
        }
        self.asked.insert(self.requests, asked);
        let request = json!({"jsonrpc": "2.0", "id": self.requests, "method": method, "params": parameters});
        self.waiting.text(request.to_string());
    }

    fn invoke(&mut self, operation: &'static str, parameters: Value, asked: Asked) {
        let parameters = json!({"object": self.endpoint, "operation": operation, "operationParams": parameters});
        self.request("invoke", parameters, asked);
    }

    fn offer(&mut self, sdp: &str) {
        let sink = json!({"sink": self.endpoint});
        self.invoke("connect", sink, Asked::Other("connect"));
        self.invoke("processOffer", json!({"offer": sdp}), Asked::Offer);
    }

    fn candidate(&mut self, candidate: &IceCandidate) {
        let IceCandidate { candidate, sdp_mid, sdp_m_line_index, .. } = candidate;
        let candidate = json!({"__module__": "kurento", "__type__": "IceCandidate", "candidate": candidate,
                               "sdpMid": sdp_mid.as_deref().unwrap_or_default(), "sdpMLineIndex": sdp_m_line_index.unwrap_or(0)});
        self.invoke("addIceCandidate", json!({"candidate": candidate}), Asked::Other("addIceCandidate"));
    }

    fn hear(&mut self, message: &Value, text: &str, now: Instant) -> Result<(), ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: detail.into(), quote: excerpt(text) };
        if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(broken("no message of JSON-RPC 2.0"));
        }
        if let Some("onEvent") = message.get("method").and_then(Value::as_str) {
            self.hear_event(message.pointer("/params/value").unwrap_or(&Value::Null));
            return Ok(());
        }
        let asked = message.get("id").and_then(Value::as_u64).and_then(|id| self.asked.remove(&id));
        let what = asked.map_or("a request", Asked::name);
        if let Some(error) = message.get("error") {
            return Err(refusal(what, error, text));
        }
        let result = message.get("result").ok_or_else(|| broken("neither a result nor an error nor an event"))?;
        if let Some(rejected) = result.get("rejected") {
            return Err(refusal(what, rejected, text));
        }
        let asked = asked.ok_or_else(|| broken("an answer to no request"))?;
        if let (None, Some(session)) = (&self.session, result.get("sessionId")) {
            self.session = Some(session.clone());
            self.next_keepalive = Some(now + KEEPALIVE);
        }
        let value = || {
            let value = result.get("value").filter(|value| value.is_string()).cloned();
            value.ok_or_else(|| broken(&format!("{what}: no text at /result/value")))
        };
        match asked {
            Asked::Pipeline => {
                let pipeline = value()?;
                let of = json!({"type": "WebRtcEndpoint", "constructorParams": {"mediaPipeline": pipeline}, "properties": {}});
                self.pipeline = Some(pipeline);
                self.request("create", of, Asked::Endpoint);
            }
            Asked::Endpoint => {
                let endpoint = value()?;
                let of = json!({"type": "IceCandidateFound", "object": endpoint});
                self.endpoint = Some(endpoint);
                self.request("subscribe", of, Asked::Subscription);
            }
            Asked::Subscription => {
                let id = self.endpoint.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                self.waiting.messages.push_back(ServerMessage::Welcome { protocol: 0, id, limits: None });
            }
            Asked::Offer => {
                let sdp = value()?.as_str().unwrap_or_default().to_owned();
                self.waiting.messages.push_back(ServerMessage::Answer { from: KURENTO.into(), sdp });
                self.is_answered = true;
                self.invoke("gatherCandidates", json!({}), Asked::Other("gatherCandidates"));
                std::mem::take(&mut self.early).iter().for_each(|candidate| self.candidate(candidate));
            }
            Asked::Other(_) => {}
        }
        Ok(())
    }

    fn hear_event(&mut self, event: &Value) {
        let candidate = event.pointer("/data/candidate").and_then(read_candidate).flatten();
        match (event.get("type").and_then(Value::as_str), candidate) {
            (Some("IceCandidateFound" | "OnIceCandidate"), Some(candidate)) => {
                let candidate = ServerMessage::Candidate { from: KURENTO.into(), candidate: Some(candidate) };
                self.waiting.messages.push_back(candidate);
            }
            _ => self.unexpected = Some(excerpt(&event.to_string())),
        }
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        match read_json(frame, "Kurento", &mut self.waiting)? {
            Some((message, text)) => self.hear(&message, &text, now),
            None => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => {
                let (room, peers) = (room.clone(), vec![KURENTO.into()]);
                self.waiting.messages.push_back(ServerMessage::Joined { room, peers });
            }
            ClientMessage::Offer { sdp, .. } => self.offer(sdp),
            // Kurento has no word for the end of candidates.
            ClientMessage::Candidate { candidate, .. } => match candidate {
                Some(candidate) if !candidate.candidate.is_empty() && self.is_answered => self.candidate(candidate),
                Some(candidate) if !candidate.candidate.is_empty() => self.early.push(candidate.clone()),
                _ => {}
            },
            ClientMessage::Ping { nonce } => self.waiting.ping(nonce),
            ClientMessage::Leave => {
                let pipeline = json!({"object": self.pipeline});
                self.request("release", pipeline, Asked::Other("release"));
            }
            ClientMessage::Answer { .. } => {
                let detail = "Kurento answers, and offers nothing".to_owned();
                return Err(ClientError::Protocol { detail, quote: "nothing".into() });
            }
        }
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_keepalive
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.next_keepalive.is_some_and(|due| due <= now) {
            if self.asked.values().any(|asked| *asked == Asked::Other("ping")) {
                return Err(ClientError::Silent { after: KEEPALIVE });
            }
            self.next_keepalive = Some(now + KEEPALIVE);
            let interval = u64::try_from(PING_INTERVAL.as_millis()).unwrap_or(u64::MAX);
            self.request("ping", json!({"interval": interval}), Asked::Other("ping"));
        }
        Ok(())
    }

    fn says_goodbye(&self) -> bool {
        true
    }

    fn unexpected(&self) -> Option<String> {
        self.unexpected.as_ref().map(|event| format!("the last event that meant nothing: {event}"))
    }
}

/// What a server that refuses something says.
fn refusal(what: &str, error: &Value, text: &str) -> ClientError {
    let message = match (error.get("code"), error.get("message").and_then(Value::as_str)) {
        // Some versions write the code as a text.
        (Some(code), Some(message)) => {
            let code = code.as_str().map_or_else(|| code.to_string(), str::to_owned);
            format!("{what}: {code}: {}", excerpt(message))
        }
        _ => format!("{what}: {}", excerpt(text)),
    };
    ClientError::Refusal { message }
}

#[cfg(test)]
mod tests;
