//! What a native peer has reached, shared between its tasks and the run.

use tokio::sync::watch;

use crate::record::{Failure, Mark, PeerRecorder, Phase};

/// How far a native peer is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    /// What it waits for, in words that end the sentence "timed out waiting for …".
    pub(super) waiting_for: &'static str,
    pub(super) connected: bool,
    pub(super) data_open: bool,
    /// Kinds of media that have arrived, of those that the call carries to this peer.
    pub(super) arrived: Expected,
    /// The last message of a negotiation that was of no use.
    pub(super) passed_over: Option<String>,
    pub(super) failure: Option<Failure>,
}

/// The kinds of media that a call carries to a peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Expected {
    pub(super) video: bool,
    pub(super) audio: bool,
    pub(super) echo: bool,
    pub(super) bulk: bool,
}

impl Expected {
    /// What of `self` is missing in `arrived`, for people.
    pub(super) fn missing(self, arrived: Self) -> Option<&'static str> {
        if self.video && !arrived.video {
            Some("the first video frame")
        } else if self.audio && !arrived.audio {
            Some("the first audio packet")
        } else if self.echo && !arrived.echo {
            Some("the first echo message on the data channel")
        } else if self.bulk && !arrived.bulk {
            Some("the first message on the bulk data channel")
        } else {
            None
        }
    }

    /// Whether there is data-channel traffic.
    pub(super) fn data(self) -> bool {
        self.echo || self.bulk
    }
}

/// The writing end of [`Progress`]; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    progress: watch::Sender<Progress>,
    recorder: PeerRecorder,
    expected: Expected,
}

impl Tracker {
    pub(super) fn new(recorder: PeerRecorder, expected: Expected) -> Self {
        let progress = Progress {
            phase: Phase::Start,
            waiting_for: "the peer to start",
            connected: false,
            data_open: false,
            arrived: Expected::default(),
            passed_over: None,
            failure: None,
        };
        Self { progress: watch::Sender::new(progress), recorder, expected }
    }

    pub(super) fn expected(&self) -> Expected {
        self.expected
    }

    pub(super) fn recorder(&self) -> &PeerRecorder {
        &self.recorder
    }

    pub(super) fn get(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Enters a phase; a phase that has passed is not entered again.
    pub(super) fn enter(&self, phase: Phase, waiting_for: &'static str) {
        self.progress.send_if_modified(|progress| {
            let forward = phase >= progress.phase;
            if forward {
                (progress.phase, progress.waiting_for) = (phase, waiting_for);
            }
            forward
        });
    }

    pub(super) fn connected(&self) {
        let next = if self.expected.data() { "the data channel to open" } else { "first media" };
        let phase = if self.expected.data() { Phase::DataChannel } else { Phase::Media };
        self.progress.send_modify(|progress| progress.connected = true);
        self.enter(phase, next);
    }

    pub(super) fn data_open(&self) {
        self.recorder.mark(Mark::DataChannelOpen);
        self.progress.send_modify(|progress| progress.data_open = true);
        self.enter(Phase::Media, "first media");
    }

    /// Notes that media of some kind has arrived; marks the instant at which all of it has.
    pub(super) fn arrived(&self, kind: impl FnOnce(&mut Expected)) {
        let mut complete = false;
        self.progress.send_if_modified(|progress| {
            let before = progress.arrived;
            kind(&mut progress.arrived);
            let changed = before != progress.arrived;
            complete = changed && self.expected.missing(progress.arrived).is_none();
            changed
        });
        if complete {
            self.recorder.mark(Mark::FirstMedia);
        }
    }

    /// Something came that is of no use.
    pub(super) fn pass_over(&self, what: String) {
        self.progress.send_modify(|progress| progress.passed_over = Some(what));
    }

    /// The call fails in the phase that it is in; the first failure counts.
    pub(super) fn fail(&self, reason: impl Into<String>) {
        let phase = self.progress.borrow().phase;
        self.fail_in(phase, reason);
    }

    /// The call fails in this phase; the first failure counts.
    pub(super) fn fail_in(&self, phase: Phase, reason: impl Into<String>) {
        let (peer, call) = (self.recorder.peer().to_owned(), self.recorder.call().to_owned());
        self.progress.send_if_modified(|progress| {
            let first = progress.failure.is_none();
            if first {
                progress.failure = Some(Failure { peer, call, phase, reason: reason.into() });
            }
            first
        });
    }

    /// Waits until `reached` holds, or the call has failed.
    pub(super) async fn wait(&self, mut reached: impl FnMut(&Progress) -> bool) -> Result<(), Failure> {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`, so that waiting cannot end otherwise.
        match progress.wait_for(|progress| progress.failure.is_some() || reached(progress)).await {
            Ok(progress) => progress.failure.clone().map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }
}
