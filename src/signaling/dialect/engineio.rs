//! Engine.IO, version 4, over a WebSocket: the layer below socket.io, with its handshake and its heartbeat.
//!
//! Packets are text frames that begin with a digit. The server pings; a client that hears nothing for the interval and the
//! patience that the handshake names takes the server for dead.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::signaling::client::{ClientError, excerpt};

/// The version in the URL's query (`EIO`).
pub(super) const VERSION: u32 = 4;

/// A packet from the server.
#[derive(Debug, PartialEq)]
pub(super) enum Packet<'a> {
    Open(Handshake),
    Close,
    Ping(&'a str),
    Message(&'a str),
    /// Upgrades and no-ops, which a client that begins with a WebSocket does not get.
    Other,
}

/// What the server says first.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handshake {
    ping_interval: u64,
    ping_timeout: u64,
}

impl Handshake {
    /// How long the server may be silent.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.ping_interval.saturating_add(self.ping_timeout))
    }
}

impl<'a> Packet<'a> {
    /// # Errors
    ///
    /// It is none, or that of another version.
    pub(super) fn parse(text: &'a str) -> Result<Self, ClientError> {
        let broken = |detail: String| ClientError::Protocol { detail, quote: excerpt(text) };
        match text.split_at_checked(1) {
            Some(("0", handshake)) => {
                let open = serde_json::from_str(handshake);
                open.map(Self::Open).map_err(|error| broken(format!("no handshake of Engine.IO {VERSION}: {error}")))
            }
            Some(("1", _)) => Ok(Self::Close),
            Some(("2", payload)) => Ok(Self::Ping(payload)),
            Some(("3", _)) => {
                Err(broken(format!("a pong: the server speaks Engine.IO 3 (socket.io 2), and harness {VERSION}")))
            }
            Some(("4", message)) => Ok(Self::Message(message)),
            Some(("5" | "6", _)) => Ok(Self::Other),
            _ => Err(broken("no packet of Engine.IO: is a socket.io server listening there?".into())),
        }
    }
}

/// A server's silence.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    patience: Duration,
    dead_at: Option<Instant>,
}

impl Heartbeat {
    pub(super) fn begin(&mut self, handshake: &Handshake, now: Instant) {
        self.patience = handshake.patience();
        self.heard(now);
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.dead_at = (!self.patience.is_zero()).then(|| now + self.patience);
    }

    pub(super) fn dead_at(&self) -> Option<Instant> {
        self.dead_at
    }

    /// # Errors
    ///
    /// The server is dead.
    pub(super) fn check(&self, now: Instant) -> Result<(), ClientError> {
        match self.dead_at.filter(|dead_at| *dead_at <= now) {
            Some(_) => Err(ClientError::Silent { after: self.patience }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_tells_how_long_a_server_may_be_silent() {
        let text = r#"0{"sid":"a","upgrades":[],"pingInterval":2000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let Ok(Packet::Open(handshake)) = Packet::parse(text) else { panic!("no handshake") };
        let (now, mut heartbeat) = (Instant::now(), Heartbeat::default());
        heartbeat.begin(&handshake, now);
        assert_eq!(heartbeat.dead_at(), Some(now + Duration::from_secs(22)));
        let later = now + Duration::from_secs(21);
        heartbeat.check(later).unwrap();
        heartbeat.heard(later);
        heartbeat.check(now + Duration::from_secs(42)).unwrap();
        let error = heartbeat.check(now + Duration::from_secs(43)).unwrap_err();
        assert!(error.to_string().contains("22s"), "{error}");
    }

    #[test]
    fn other_versions_and_other_servers_are_named() {
        let said = |text: &str| Packet::parse(text).unwrap_err().to_string();
        assert!(said("3").contains("Engine.IO 3"), "{}", said("3"));
        assert!(said("{}").contains("is a socket.io server listening there?"));
        assert!(said("0{}").contains("no handshake of Engine.IO 4"));
        assert!(said("").contains("no packet"));
    }
}
