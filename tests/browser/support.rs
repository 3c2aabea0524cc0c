//! What tests of browsers share: a server with the page, a plan of one call, and both ends of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::peer::browser::{BrowserPool, pages};
use harness::peer::network::PeerNetwork;
use harness::peer::{Peer, PeerContext, Sent};
use harness::plan::{
    BrowserPlan, BrowserSource, BulkPlan, CallPlan, DataPlan, Deadlines, Engine, GroupPlan, HealthLimits, IcePlan,
    MediaDirection, MediaPlan, PeerPlan, Plan, Role, SignalingPlan, VideoCodec, VideoPlan,
};
use harness::record::{Event, EventKind, Failure, Mark, Metric, Recorder};
use harness::signaling::{Endpoint, Identity, Limits, Server, ServerConfig};
use tokio::sync::mpsc::UnboundedReceiver;

/// The executable that guards browsers.
pub fn harness() -> PathBuf {
    env!("CARGO_BIN_EXE_harness").into()
}

pub async fn server() -> Server {
    let identity = Identity::generate(&[]).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    Server::start(ServerConfig { listen, identity, pages: pages(), limits: Limits::default() }).await.unwrap()
}

/// A plan of one call between two groups, named as their ends.
pub fn plan(offerer: Engine, answerer: Engine, media: MediaPlan) -> Plan {
    let group = |name: &str, engine| GroupPlan {
        name: name.into(),
        engine,
        optional: false,
        direction: MediaDirection::SendRecv,
        stack: None,
        browser: Some(BrowserPlan { tabs_per_browser: 4, ..BrowserPlan::default() }),
        message_interval_us: None,
        wait_us: None,
        layers: Vec::new(),
    };
    let peer = |name: &str| PeerPlan {
        id: format!("{name}/0"),
        group: name.into(),
        person: None,
        site: None,
        direction: None,
    };
    Plan {
        plan: Plan::VERSION,
        name: "browser-test".into(),
        scenario: "test".into(),
        digest: String::new(),
        seed: 1,
        signaling: SignalingPlan {
            url: None,
            protocol: harness::signaling::Protocol::Harness,
            listen: "127.0.0.1:0".into(),
            ca: None,
        },
        ice: IcePlan::default(),
        network: None,
        media,
        deadlines: Deadlines {
            start_us: 60_000_000,
            join_us: 20_000_000,
            connect_us: 30_000_000,
            first_media_us: 20_000_000,
        },
        health: HealthLimits {
            machine_cpu_ratio: 1.0,
            scheduling_lag_p99_ms: 1e6,
            send_lateness_p99_ms: 1e6,
            steal_ratio: 1.0,
            udp_receive_buffer_errors: 0,
            ..HealthLimits::default()
        },
        groups: vec![group("offerer", offerer), group("answerer", answerer)],
        start_within_us: None,
        members: Vec::new(),
        calls: vec![CallPlan {
            id: "call/0".into(),
            set: "call".into(),
            room: "room".into(),
            offerer: peer("offerer"),
            answerer: peer("answerer"),
            start_us: 0,
            hold_us: 3_000_000,
            policy: None,
            media: None,
            cell: None,
            feed: None,
            mix: None,
        }],
        gates: Vec::new(),
    }
}

/// Audio, VP8 video and echo.
pub fn media_with_echo() -> MediaPlan {
    MediaPlan {
        video: Some(VideoPlan { codec: VideoCodec::Vp8, frame_rate: 25, fixtures: None, simulcast: false }),
        audio: true,
        data: Some(DataPlan { echo_interval_us: 50_000, echo_bytes: 100, bulk: None }),
    }
}

/// Echo and bulk, without audio and video, which bulk at full speed would starve.
pub fn bulk(reliable: bool) -> MediaPlan {
    let bulk = Some(BulkPlan { reliable, message_bytes: 16_384 });
    MediaPlan { video: None, audio: false, data: Some(DataPlan { echo_interval_us: 50_000, echo_bytes: 100, bulk }) }
}

pub fn with_source(mut plan: Plan, source: BrowserSource) -> Plan {
    for group in &mut plan.groups {
        group.browser.get_or_insert_default().source = source;
    }
    plan
}

/// Both ends of the plan's only call, not joined yet.
pub struct Call {
    pub offerer: Box<dyn Peer>,
    pub answerer: Box<dyn Peer>,
    pub events: UnboundedReceiver<Event>,
    pub started: Instant,
}

/// This machine, with its signaling server.
pub fn machine(endpoint: &Endpoint) -> PeerNetwork {
    PeerNetwork::of_machine(Arc::default(), Arc::new(endpoint.clone()))
}

/// Starts the browsers and makes both ends; panics with the remedy if a browser cannot be had.
pub async fn create(pool: &BrowserPool, plan: &Plan, endpoint: &Endpoint) -> Call {
    let network = machine(endpoint);
    for (group, answer) in pool.prepare(plan, &|_| network.clone()).await {
        if let Err(error) = answer {
            panic!("{group}: {error}; {}", error.remedy());
        }
    }
    create_in(pool, plan, endpoint).await
}

/// Makes both ends in browsers that run.
pub async fn create_in(pool: &BrowserPool, plan: &Plan, endpoint: &Endpoint) -> Call {
    let network = machine(endpoint);
    let started = Instant::now();
    let (recorder, events) = Recorder::new();
    let plan = Arc::new(plan.clone());
    let context = |role| {
        let call = Arc::new(plan.calls[0].clone());
        let peer = match role {
            Role::Offerer => &call.offerer,
            Role::Answerer => &call.answerer,
        };
        PeerContext {
            group: Arc::new(plan.group(&peer.group).unwrap().clone()),
            recorder: recorder.for_peer(&peer.id, &call.id),
            plan: plan.clone(),
            network: network.clone(),
            seat: None,
            call,
            role,
        }
    };
    let (offerer, answerer) = tokio::join!(pool.create(context(Role::Offerer)), pool.create(context(Role::Answerer)));
    Call { offerer: offerer.unwrap(), answerer: answerer.unwrap(), events, started }
}

impl Call {
    /// Joins, connects, and waits for first media.
    pub async fn set_up(&mut self) -> Result<(), Failure> {
        let end = async |peer: &mut Box<dyn Peer>| {
            peer.join().await?;
            peer.connect().await?;
            peer.first_media().await
        };
        tokio::try_join!(end(&mut self.offerer), end(&mut self.answerer))?;
        Ok(())
    }

    /// Lets media flow, stops it, and reports.
    pub async fn hold_and_report(&mut self, hold: Duration) -> Result<(Sent, Sent), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < hold {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::try_join!(self.offerer.snapshot(), self.answerer.snapshot())?;
        }
        let (offered, answered) = tokio::try_join!(self.offerer.stop_media(), self.answerer.stop_media())?;
        tokio::try_join!(self.offerer.report(Some(&answered)), self.answerer.report(Some(&offered)))?;
        Ok((offered, answered))
    }

    /// Hangs up at both ends; returns everything that was recorded.
    pub async fn leave(mut self) -> Vec<EventKind> {
        tokio::join!(self.offerer.leave(), self.answerer.leave());
        drop((self.offerer, self.answerer));
        let mut events = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            events.push(event.kind);
        }
        events
    }
}

pub fn has_mark(events: &[EventKind], peer: &str, wanted: Mark) -> bool {
    events.iter().any(|event| matches!(event, EventKind::Mark { peer: of, mark, .. } if of == peer && *mark == wanted))
}

pub fn values(events: &[EventKind], wanted: Metric) -> Vec<f64> {
    let value = |event: &EventKind| match event {
        EventKind::Sample { metric, value, .. } if *metric == wanted => Some(*value),
        _ => None,
    };
    events.iter().filter_map(value).collect()
}

/// The live processes that descend from this one, with their names.
pub fn descendants() -> Vec<String> {
    let all: Vec<_> = procfs::process::all_processes().unwrap().flatten().filter_map(|p| p.stat().ok()).collect();
    let mut pending = vec![std::process::id() as i32];
    let mut found = Vec::new();
    while let Some(parent) = pending.pop() {
        for stat in all.iter().filter(|stat| stat.ppid == parent && stat.state != 'Z') {
            pending.push(stat.pid);
            found.push(format!("{} {}", stat.pid, stat.comm));
        }
    }
    found
}
