//! From a stack's events to marks, and to messages for the peer's own tasks.

use std::time::Instant;

use rtc::peer_connection::event::RTCPeerConnectionIceEvent;
use rtc::peer_connection::state::{
    RTCIceConnectionState, RTCIceGatheringState, RTCPeerConnectionState, RTCSignalingState,
};
use rtc::peer_connection::transport::RTCIceCandidateType;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::record::{Mark, PeerRecorder};
use crate::signaling::protocol::IceCandidate;

/// What the stack tells the peer.
pub(super) enum StackEvent {
    /// A local candidate; `None` at the end of candidates.
    Candidate(Option<IceCandidate>),
    /// A candidate pair works.
    IceConnected,
    /// ICE and the DTLS handshake are complete, since then.
    Connected(Instant),
    /// `connectionState` changed to another state.
    State(RTCPeerConnectionState),
}

/// Stamps what happens and passes it on.
#[derive(Clone)]
pub(super) struct Events {
    recorder: PeerRecorder,
    events: mpsc::UnboundedSender<StackEvent>,
}

impl Events {
    /// The end at which the stack reports, and the end at which the peer receives.
    pub(super) fn new(recorder: PeerRecorder) -> (Self, mpsc::UnboundedReceiver<StackEvent>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Self { recorder, events }, receiver)
    }

    pub(super) fn candidate(&self, event: &RTCPeerConnectionIceEvent) {
        let mark = match event.candidate.typ {
            RTCIceCandidateType::Host => Some(Mark::FirstHost),
            RTCIceCandidateType::Srflx => Some(Mark::FirstSrflx),
            RTCIceCandidateType::Relay => Some(Mark::FirstRelay),
            _ => None,
        };
        if let Some(mark) = mark {
            self.recorder.mark(mark);
        }
        if let Ok(init) = event.candidate.to_json() {
            self.recorder.trace("onicecandidate", || json!(init));
            self.pass_on(StackEvent::Candidate(Some(IceCandidate {
                candidate: init.candidate,
                sdp_mid: init.sdp_mid,
                sdp_m_line_index: init.sdp_mline_index,
                username_fragment: init.username_fragment,
            })));
        }
    }

    pub(super) fn signaling(&self, state: RTCSignalingState) {
        self.recorder.trace("onsignalingstatechange", || json!(state.to_string()));
    }

    pub(super) fn gathering(&self, state: RTCIceGatheringState) {
        self.recorder.trace("onicegatheringstatechange", || json!(state.to_string()));
        match state {
            RTCIceGatheringState::Gathering => self.recorder.mark(Mark::GatheringStarted),
            RTCIceGatheringState::Complete => {
                self.recorder.mark(Mark::GatheringComplete);
                self.recorder.trace("onicecandidate", || Value::Null);
                self.pass_on(StackEvent::Candidate(None));
            }
            _ => {}
        }
    }

    pub(super) fn ice(&self, state: RTCIceConnectionState) {
        self.recorder.trace("oniceconnectionstatechange", || json!(state.to_string()));
        match state {
            RTCIceConnectionState::Checking => self.recorder.mark(Mark::IceChecking),
            RTCIceConnectionState::Connected => self.pass_on(StackEvent::IceConnected),
            _ => {}
        }
    }

    pub(super) fn connection(&self, state: RTCPeerConnectionState) {
        self.recorder.trace("onconnectionstatechange", || json!(state.to_string()));
        self.pass_on(match state {
            RTCPeerConnectionState::Connected => StackEvent::Connected(Instant::now()),
            state => StackEvent::State(state),
        });
    }

    fn pass_on(&self, event: StackEvent) {
        // The peer may have left already.
        let _ = self.events.send(event);
    }
}
