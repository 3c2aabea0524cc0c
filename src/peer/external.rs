//! A client that somebody else starts. The harness makes its call's other end and measures there; this end only keeps
//! the place, and reports nothing.

use async_trait::async_trait;

use super::{Peer, Sent, Snapshot, WaitingFor};
use crate::record::{Failure, Phase};

/// The place of a client that joins the room by itself.
pub(super) struct ExternalPeer;

#[async_trait]
impl Peer for ExternalPeer {
    async fn join(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn first_media(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        Ok(Snapshot::default())
    }

    async fn stop_media(&mut self) -> Result<Sent, Failure> {
        Ok(Sent::default())
    }

    async fn report(&mut self, _sent_by_other: Option<&Sent>) -> Result<(), Failure> {
        Ok(())
    }

    async fn leave(&mut self) {}

    fn waiting_for(&self) -> WaitingFor {
        WaitingFor::new(Phase::Start, "the external client")
    }
}
