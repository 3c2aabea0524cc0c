//! From the stack's callbacks to marks, and to messages for the peer's own tasks.
//!
//! Callbacks run on the stack's driver: they only stamp and pass on.

use std::sync::Arc;

use async_trait::async_trait;
use rtc::peer_connection::event::RTCPeerConnectionIceEvent;
use rtc::peer_connection::transport::RTCIceCandidateType;
use tokio::sync::mpsc;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCIceGatheringState, RTCPeerConnectionState,
};

use crate::record::{Mark, PeerRecorder};
use crate::signaling::protocol::IceCandidate;

/// What the stack tells the peer.
pub(super) enum StackEvent {
    /// A local candidate; `None` at the end of candidates.
    Candidate(Option<IceCandidate>),
    /// A candidate pair works.
    IceConnected,
    /// `connectionState` changed.
    State(RTCPeerConnectionState),
    /// The other end opened a data channel.
    DataChannel(Arc<dyn DataChannel>),
    /// The other end sends a track.
    Track(Arc<dyn TrackRemote>),
}

/// Stamps what happens and passes it on.
pub(super) struct Handler {
    recorder: PeerRecorder,
    events: mpsc::UnboundedSender<StackEvent>,
}

impl Handler {
    /// A handler, and the end at which the peer receives.
    pub(super) fn new(recorder: PeerRecorder) -> (Arc<Self>, mpsc::UnboundedReceiver<StackEvent>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { recorder, events }), receiver)
    }

    fn pass_on(&self, event: StackEvent) {
        // The peer may have left already.
        let _ = self.events.send(event);
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
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
            self.pass_on(StackEvent::Candidate(Some(IceCandidate {
                candidate: init.candidate,
                sdp_mid: init.sdp_mid,
                sdp_m_line_index: init.sdp_mline_index,
                username_fragment: init.username_fragment,
            })));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        match state {
            RTCIceGatheringState::Gathering => self.recorder.mark(Mark::GatheringStarted),
            RTCIceGatheringState::Complete => {
                self.recorder.mark(Mark::GatheringComplete);
                self.pass_on(StackEvent::Candidate(None));
            }
            _ => {}
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        match state {
            RTCIceConnectionState::Checking => self.recorder.mark(Mark::IceChecking),
            RTCIceConnectionState::Connected => self.pass_on(StackEvent::IceConnected),
            _ => {}
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            // The stack has no event of its own for DTLS; it is connected when both transports are (W3C webrtc, 4.3.3),
            // and DTLS is the later of them.
            self.recorder.mark(Mark::DtlsConnected);
            self.recorder.mark(Mark::Connected);
        }
        self.pass_on(StackEvent::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.pass_on(StackEvent::DataChannel(channel));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.pass_on(StackEvent::Track(track));
    }
}
