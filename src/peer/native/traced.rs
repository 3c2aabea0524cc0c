//! A connection whose calls go into the peer's dump. Without a dump there is none of it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::shared::error::Result;
use serde_json::{Value, json};

use super::connection::{Connection, Statistics};
use crate::record::PeerDump;

/// Passes every call on, and tells of those that W3C webrtc has too: of the call, and of what came of it.
pub(super) struct Traced {
    connection: Arc<dyn Connection>,
    dump: PeerDump,
}

impl Traced {
    pub(super) fn new(connection: Arc<dyn Connection>, dump: PeerDump) -> Self {
        Self { connection, dump }
    }

    fn tell(&self, method: &str, value: Value) {
        self.dump.tell(Instant::now(), method, value);
    }

    fn tell_outcome<T, E: Display>(
        &self,
        method: &str,
        outcome: &std::result::Result<T, E>,
        value: impl FnOnce(&T) -> Value,
    ) {
        match outcome {
            Ok(result) => self.tell(&format!("{method}OnSuccess"), value(result)),
            Err(error) => self.tell(&format!("{method}OnFailure"), json!(error.to_string())),
        }
    }
}

#[async_trait]
impl Connection for Traced {
    async fn create_offer(&self) -> Result<RTCSessionDescription> {
        self.tell("createOffer", Value::Null);
        let outcome = self.connection.create_offer().await;
        self.tell_outcome("createOffer", &outcome, description);
        outcome
    }

    async fn create_answer(&self) -> Result<RTCSessionDescription> {
        self.tell("createAnswer", Value::Null);
        let outcome = self.connection.create_answer().await;
        self.tell_outcome("createAnswer", &outcome, description);
        outcome
    }

    async fn set_local_description(&self, local: RTCSessionDescription) -> Result<()> {
        self.tell("setLocalDescription", description(&local));
        let outcome = self.connection.set_local_description(local).await;
        self.tell_outcome("setLocalDescription", &outcome, nothing);
        outcome
    }

    async fn set_remote_description(&self, remote: RTCSessionDescription) -> Result<()> {
        self.tell("setRemoteDescription", description(&remote));
        let outcome = self.connection.set_remote_description(remote).await;
        self.tell_outcome("setRemoteDescription", &outcome, nothing);
        outcome
    }

    async fn add_ice_candidate(&self, candidate: RTCIceCandidateInit) -> Result<()> {
        self.tell("addIceCandidate", json!(candidate));
        let outcome = self.connection.add_ice_candidate(candidate).await;
        self.tell_outcome("addIceCandidate", &outcome, nothing);
        outcome
    }

    async fn stats(&self) -> Result<Statistics> {
        self.connection.stats().await
    }

    async fn start_media(&self) -> std::result::Result<(), String> {
        self.connection.start_media().await
    }

    async fn close(&self) -> Result<()> {
        self.tell("close", Value::Null);
        self.connection.close().await
    }
}

fn description(description: &RTCSessionDescription) -> Value {
    json!({"type": description.sdp_type.to_string(), "sdp": description.sdp})
}

fn nothing(_: &()) -> Value {
    Value::Null
}
