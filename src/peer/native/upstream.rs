//! Watches the defects of the stack that this room works around: a test here fails once upstream has mended one, and says
//! which work-around to remove.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::peer_connection::transport::RTCIceCandidateInit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{PeerConnection, RTCStatsReport, StatsSelector};

use super::connection;
use super::events::{Handler, StackEvent};
use super::key_frame::KeyFrameRequests;
use super::relays::Relays;
use super::runtime::HarnessRuntime;
use super::strangers::Strangers;
use super::wire::Wire;
use crate::lab::place::Machine;
use crate::peer::network::{IceServers, PeerHost};
use crate::plan::{IceTransportPolicy, MediaPlan, Role};
use crate::record::Recorder;
use crate::signaling::protocol::IceCandidate;

const DEADLINE: Duration = Duration::from_secs(30);

/// Two peers in this process, connected without signaling.
struct Pair {
    a: Arc<dyn PeerConnection>,
    b: Arc<dyn PeerConnection>,
    /// From `setLocalDescription` to the open data channel.
    opened: Duration,
}

impl Pair {
    async fn connect(cap_sleeps: bool) -> Self {
        let (a, a_events) = peer(cap_sleeps).await;
        let (b, b_events) = peer(cap_sleeps).await;
        let channel = a.create_data_channel("test", None).await.unwrap();
        let start = Instant::now();
        let offer = a.create_offer(None).await.unwrap();
        a.set_local_description(offer.clone()).await.unwrap();
        b.set_remote_description(offer).await.unwrap();
        let answer = b.create_answer(None).await.unwrap();
        b.set_local_description(answer.clone()).await.unwrap();
        a.set_remote_description(answer).await.unwrap();
        tokio::spawn(trickle(a_events, Arc::clone(&b)));
        tokio::spawn(trickle(b_events, Arc::clone(&a)));
        timeout(DEADLINE, open(&channel)).await.expect("the channel opens");
        Self { a, b, opened: start.elapsed() }
    }

    async fn close(self) {
        self.a.close().await.unwrap();
        self.b.close().await.unwrap();
    }
}

async fn peer(cap_sleeps: bool) -> (Arc<dyn PeerConnection>, UnboundedReceiver<StackEvent>) {
    let recorder = Recorder::new().0.for_peer("peer", "call");
    let (handler, events) = Handler::new(recorder.clone());
    let relays = Arc::new(Relays::new(&IceServers::default(), Arc::new(Machine)).unwrap());
    let strangers = Arc::new(Strangers::new(Role::Answerer));
    let runtime = HarnessRuntime::new(
        PeerHost::Machine,
        Arc::new(Wire::new(recorder)),
        Arc::clone(&relays),
        strangers,
        cap_sleeps,
    );
    let media = MediaPlan { video: None, audio: false, data: None };
    let (policy, key_frames) = (IceTransportPolicy::All, KeyFrameRequests::default());
    let connection =
        connection::connect(policy, &PeerHost::Machine, &relays, &media, runtime, handler, key_frames).await;
    (connection.unwrap(), events)
}

async fn trickle(mut events: UnboundedReceiver<StackEvent>, to: Arc<dyn PeerConnection>) {
    while let Some(event) = events.recv().await {
        if let StackEvent::Candidate(Some(IceCandidate { candidate, sdp_mid, sdp_m_line_index, .. })) = event {
            let init =
                RTCIceCandidateInit { candidate, sdp_mid, sdp_mline_index: sdp_m_line_index, ..Default::default() };
            to.add_ice_candidate(init).await.unwrap();
        }
    }
}

async fn open(channel: &Arc<dyn DataChannel>) {
    while let Some(event) = channel.poll().await {
        if matches!(event, DataChannelEvent::OnOpen) {
            return;
        }
    }
    panic!("the channel closed before it opened");
}

async fn stats(connection: &Arc<dyn PeerConnection>) -> RTCStatsReport {
    connection.get_stats(Instant::now(), StatsSelector::None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_cap_on_sleeps_the_stack_still_waits_for_its_timers() {
    let pair = Pair::connect(false).await;
    assert!(
        pair.opened > Duration::from_millis(150),
        "the data channel opened after {:?} without `CONNECTING_SLEEP`: upstream has mended it, remove the cap",
        pair.opened
    );
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_in_the_statistics_still_name_their_candidates_without_the_prefix() {
    let pair = Pair::connect(true).await;
    let report = stats(&pair.a).await;
    let selected = report.candidate_pairs().find(|pair| pair.nominated).expect("a nominated pair");
    assert!(
        report.get(&selected.local_candidate_id).is_none(),
        "the pair names its candidate as the report does: remove `local_id` and `remote_id`"
    );
    pair.close().await;
}
