//! What a WebSocket client says and hears. The hub speaks the protocol of `docs/signaling.md`, and so do most clients; those
//! of another protocol have a tongue of their own.

use std::time::Instant;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::hub::{Hub, Id, encode};
use super::incoming::{Incoming, Refusal};
use super::outbox::Outbox;
use crate::signaling::protocol::{ErrorCode, PROTOCOL, ServerMessage, WelcomeLimits};

/// Where a client is.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) hub: &'a Hub,
    pub(super) id: &'a Id,
    /// For what this client alone is to hear, in the hub's words.
    pub(super) outbox: &'a Outbox,
}

impl Scene<'_> {
    /// Tells the client of a message that was not acted upon.
    pub(super) fn refuse(&self, refusal: &Refusal, about: Option<String>, to: Option<String>) {
        self.hub.metrics.error(refusal.code);
        let (code, message) = (refusal.code, refusal.message.to_string());
        self.outbox.push(encode(&ServerMessage::Error { code, message, about, to }));
    }
}

/// A client's protocol.
pub(super) trait Tongue: Send {
    /// The client is there: says what it hears first, if anything.
    fn greet(&mut self, scene: Scene<'_>);

    /// Acts upon a text frame, or refuses it.
    fn act(&mut self, scene: Scene<'_>, text: &str);

    /// A message of the hub in the client's words; `None` if it has none for it.
    fn hear(&mut self, text: Utf8Bytes) -> Option<Utf8Bytes>;

    /// Whether the client is told who is in its room, who comes and who leaves.
    fn wants_to_know_who_is_there(&self) -> bool {
        true
    }

    /// By what the client is known again if it connects once more under its id.
    fn token(&self) -> Option<String> {
        None
    }

    /// When to call `lapse`; absent: never.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// The time of `due` has come.
    fn lapse(&mut self, _scene: Scene<'_>, _now: Instant) {}
}

/// The hub's own.
#[derive(Debug)]
pub(super) struct Own;

impl Tongue for Own {
    fn greet(&mut self, scene: Scene<'_>) {
        let limits = &scene.hub.limits;
        scene.outbox.push(encode(&ServerMessage::Welcome {
            protocol: PROTOCOL,
            id: scene.id.to_string(),
            limits: Some(WelcomeLimits {
                message_bytes: limits.message_bytes,
                messages_per_second: limits.messages_per_second,
                burst: limits.burst,
            }),
        }));
    }

    fn act(&mut self, scene: Scene<'_>, text: &str) {
        let incoming = Incoming::parse(text);
        let outcome = match &incoming {
            Ok(incoming) => act(scene, incoming, text.len()),
            Err(refusal) => Err(Refusal::new(refusal.code, refusal.message.clone())),
        };
        if let Err(refusal) = outcome {
            let echo = |name| incoming.as_ref().ok().and_then(|incoming| incoming.echo(name));
            scene.refuse(&refusal, echo("type"), echo("to"));
        }
    }

    fn hear(&mut self, text: Utf8Bytes) -> Option<Utf8Bytes> {
        Some(text)
    }
}

fn act(scene: Scene<'_>, incoming: &Incoming<'_>, length: usize) -> Result<(), Refusal> {
    let Scene { hub, id, outbox } = scene;
    let kind = incoming.string("type")?;
    match kind.as_ref() {
        "offer" | "answer" | "candidate" => {
            let to = incoming.string("to")?;
            hub.relay(id, &to, || incoming.relayed(&kind, id, length))
        }
        "join" => hub.join(id, &incoming.string("room")?),
        "leave" => hub.leave(id),
        "ping" => {
            let missing = || Refusal::new(ErrorCode::Malformed, "the member \"nonce\" is missing");
            let nonce = incoming.raw("nonce").ok_or_else(missing)?;
            outbox.push(format!("{{\"type\":\"pong\",\"nonce\":{}}}", nonce.get()).into());
            Ok(())
        }
        _ => Err(Refusal::new(ErrorCode::UnknownType, "the types are join, leave, offer, answer, candidate and ping")),
    }
}
