//! A page of a browser as a peer.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::clock::Clock;
use super::link::Link;
use super::page::{self, Data, Polled, Reading, Step, Traced};
use super::report;
use super::search::{self, Heard};
use super::session::SessionError;
use super::silence::Silence;
use super::stand_in::StandIn;
use super::stats::Stats;
use crate::peer::{Peer, PeerContext, Sent, Snapshot, WaitingFor};
use crate::record::{Failure, Mark, Metric, PathSearch, Phase};
use crate::signaling::client::Sender;

/// How often the page is asked whether it is done. Its instants are its own, so that this adds nothing to them.
const POLL: Duration = Duration::from_millis(30);
/// How often the page's clock is asked for the time.
const CLOCK_PROBES: u32 = 8;
/// An error of the clock beyond this is told.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(5);
/// How long hanging up may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);
/// How long reading the statistics of a call that failed may take.
const SEARCH_DEADLINE: Duration = Duration::from_secs(1);
/// How long what is under way may take to arrive after the senders have stopped.
///
/// A message that is lost twice is repeated for the second time after 3 s (RFC 9260, section 6.3.3).
const SETTLE_DEADLINE: Duration = Duration::from_secs(4);
/// How many warnings of a page are told, and how many characters of any text: a person's page may say anything.
const MOST_WARNINGS: usize = 100;
const LONGEST_TEXT: usize = 2_000;

/// One end of one call, in a page.
pub(super) struct BrowserPeer {
    pub(super) context: PeerContext,
    /// Absent once the peer has left.
    link: Option<Link>,
    /// The connection to the server under test, if the page does not join it itself, and what takes part for it.
    server: Option<Sender>,
    stand_in: Option<StandIn>,
    clock: Clock,
    phase: Phase,
    waiting: String,
    reached: Vec<Step>,
    signaling_rtt: Option<f64>,
    pub(super) instants: Instants,
    /// What it sent itself, once it has stopped.
    sent: Option<Sent>,
    /// The latest statistics, and the first after media began.
    pub(super) latest: Stats,
    first: Option<Stats>,
    pub(super) silence: Silence,
    pub(super) data: Data,
    /// What the page heard of its servers.
    heard: Vec<Heard>,
    warnings: usize,
}

/// Instants that reports count from, in milliseconds of the page's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Instants {
    pub(super) connected: Option<f64>,
    pub(super) first_rtp: Option<f64>,
    pub(super) first_frame: Option<f64>,
}

impl BrowserPeer {
    /// Makes a peer of a page that is loaded; returns once it has its media source.
    pub(super) async fn prepare(context: PeerContext, link: Link) -> Result<Self, Failure> {
        let config = page::config(&context).map_err(|reason| context.failure(Phase::Start, reason))?;
        let clock = match read_clock(&link).await {
            Ok(clock) => clock,
            Err(error) => return Err(context.failure(Phase::Start, link.explain(&error).await)),
        };
        let mut peer = Self {
            context,
            link: Some(link),
            server: None,
            stand_in: None,
            clock,
            phase: Phase::Start,
            waiting: "the media source".into(),
            reached: Vec::new(),
            signaling_rtt: None,
            instants: Instants::default(),
            sent: None,
            latest: Stats::default(),
            first: None,
            silence: Silence::default(),
            data: Data::default(),
            heard: Vec::new(),
            warnings: 0,
        };
        let uncertainty = peer.clock.uncertainty();
        if uncertainty > CLOCK_TOLERANCE {
            peer.context.recorder.warning(
                format!(
                    "the clock of {} is known to ±{:.1} ms only: its instants are that uncertain against those of \
                     other peers; its own durations are exact",
                    peer.context.recorder.peer(),
                    uncertainty.as_secs_f64() * 1e3
                ),
                "give the browser a less loaded machine, or a quicker way to this one",
            );
        }
        peer.begin_dump().await?;
        peer.call::<Value>("prepare", vec![config]).await?;
        peer.wait_for(Step::Prepared).await?;
        Ok(peer)
    }

    /// Begins the peer's dump, if it has one, as the browser calls itself.
    async fn begin_dump(&self) -> Result<(), Failure> {
        let (Some(dump), Some(link)) = (self.context.recorder.dump(), &self.link) else { return Ok(()) };
        match link.agent().await {
            Ok(agent) => dump.begin(&agent),
            Err(error) => return Err(self.fail(link.explain(&error).await)),
        }
        Ok(())
    }

    fn trace(&self, traced: Vec<Traced>) {
        let Some(dump) = self.context.recorder.dump() else { return };
        for (method, value, at) in traced {
            dump.tell(self.clock.instant(at), &method, value);
        }
    }

    /// Calls a function of the page.
    async fn call<T: DeserializeOwned>(&mut self, function: &str, args: Vec<Value>) -> Result<T, Failure> {
        let Some(link) = &self.link else {
            return Err(self.fail("the peer has left its call"));
        };
        match link.call(function, args).await {
            Ok(value) => serde_json::from_value(value)
                .map_err(|error| self.fail(format!("the page answers {function} with something else: {error}"))),
            Err(error) => Err(self.fail(link.explain(&error).await)),
        }
    }

    fn fail(&self, reason: impl Into<String>) -> Failure {
        self.context.failure(self.phase, reason)
    }

    /// Takes over what the page has to say.
    async fn poll(&mut self) -> Result<(), Failure> {
        let polled: Polled = self.call("poll", Vec::new()).await?;
        // Before the marks, which the page's clock may give the same time: what happened, then what follows from it.
        self.trace(polled.traced);
        let recorder = &self.context.recorder;
        for (mark, at) in polled.marks {
            // Of the bundled server, and not of the one under test.
            if self.stand_in.is_some() && matches!(mark, Mark::JoinStarted | Mark::SignalingConnected | Mark::Joined) {
                continue;
            }
            recorder.mark_at(self.clock.instant(at), mark);
            match mark {
                Mark::Connected => self.instants.connected = Some(at),
                Mark::FirstRtp => self.instants.first_rtp = Some(at),
                Mark::FirstFrame => self.instants.first_frame = Some(at),
                _ => {}
            }
        }
        for text in polled.warnings.iter().take(MOST_WARNINGS.saturating_sub(self.warnings)) {
            let text = brief(text);
            self.warnings += 1;
            recorder.warning(format!("{}: {text}", recorder.peer()), "see the raw statistics of the peer");
        }
        self.heard.extend(polled.heard);
        for latency in polled.latencies {
            recorder.sample(Metric::DataChannelLatencyMs, latency);
        }
        if let (Some(rtt), None, None) = (polled.signaling_rtt, self.signaling_rtt, &self.stand_in) {
            recorder.sample(Metric::SignalingRttMs, rtt);
            self.signaling_rtt = Some(rtt);
        }
        (self.phase, self.waiting, self.reached, self.data) =
            (polled.phase, brief(&polled.waiting), polled.reached, polled.data);
        // Before what the page says: that may follow from it.
        self.check_signaling()?;
        match polled.error {
            Some(problem) => Err(self.context.failure(problem.phase, brief(&problem.reason))),
            None => Ok(()),
        }
    }

    /// Whether the call can do without what went wrong on its way through this process.
    fn check_signaling(&self) -> Result<(), Failure> {
        let troubles = self.stand_in.as_ref().map(StandIn::troubles).unwrap_or_default();
        let (connected, complete) = (self.instants.connected.is_some(), self.reached.contains(&Step::FirstMedia));
        match troubles.into_iter().find(|trouble| !connected || trouble.is_refusal && !complete) {
            Some(trouble) => Err(self.fail(trouble.reason)),
            None => Ok(()),
        }
    }

    /// Joins the server under test in the page's place, if the page cannot; returns the room that is the page's.
    async fn meet(&mut self) -> Result<String, Failure> {
        let Some(bundled) = self.context.network.stand_in.clone() else { return Ok(self.context.call.room.clone()) };
        let (server, waiting) = (&mut self.server, &mut self.waiting);
        let waits = |what: &'static str, sender: Option<&Sender>| {
            *server = sender.cloned();
            *waiting = what.into();
        };
        let joined = self.context.join(waits).await?;
        self.waiting = "the bundled server to accept the connection".into();
        let stand_in = StandIn::start(&bundled, self.context.role, joined).await;
        let stand_in = stand_in.map_err(|error| self.fail(format!("the bundled server: {error}")))?;
        Ok(self.stand_in.insert(stand_in).room.clone())
    }

    /// Polls until a step is done.
    async fn wait_for(&mut self, step: Step) -> Result<(), Failure> {
        loop {
            self.poll().await?;
            if self.reached.contains(&step) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    async fn read(&mut self, function: &str) -> Result<Stats, Failure> {
        let reading: Reading = self.call(function, Vec::new()).await?;
        self.data = reading.data;
        Ok(Stats(reading.stats))
    }

    /// Records how the path was looked for, if it was.
    async fn record_search(&mut self) {
        let recorder = self.context.recorder.clone();
        let marks = recorder.marks();
        if marks.get(Mark::SetLocalOffer).or_else(|| marks.get(Mark::SetLocalAnswer)).is_none() {
            return;
        }
        // A call that failed on the way has no statistics yet.
        if self.latest.0.is_empty()
            && let Ok(Ok(stats)) = timeout(SEARCH_DEADLINE, self.read("stats")).await
        {
            if let Some(dump) = recorder.dump() {
                dump.stats(stats.0.clone());
            }
            self.latest = stats;
        }
        let micros = |at| recorder.micros(self.clock.instant(at));
        let found = search::search(&self.context.network.ice.servers, &self.heard, &self.latest, micros);
        let (peer, call) = (recorder.peer().to_owned(), recorder.call().to_owned());
        recorder.search(PathSearch { peer, call, ..found });
    }

    /// Reads statistics until what was under way when the senders stopped has arrived.
    async fn settle(&mut self, sent: Option<&Sent>) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut seen = None;
        loop {
            self.latest = self.read("stats").await?;
            let count = self.latest.sum("inbound-rtp", &["packetsReceived"]);
            let progress = (count, self.latest.sum("inbound-rtp", &["framesDecoded"]), report::outstanding(self, sent));
            let quiet = seen.replace(progress) == Some(progress) && progress.2 == 0;
            if quiet || begun.elapsed() >= SETTLE_DEADLINE {
                return Ok(());
            }
            // Longer than the 50 ms for which Chromium repeats its statistics.
            sleep(Duration::from_millis(120)).await;
        }
    }
}

#[async_trait]
impl Peer for BrowserPeer {
    async fn join(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Signaling;
        let room = self.meet().await?;
        self.call::<Value>("join", vec![json!(room)]).await?;
        self.wait_for(Step::Joined).await?;
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.begin();
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Offer;
        self.call::<Value>("connect", Vec::new()).await?;
        self.wait_for(Step::Connected).await
    }

    async fn first_media(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Media;
        self.wait_for(Step::FirstMedia).await?;
        self.latest = self.read("stats").await?;
        self.first = Some(self.latest.clone());
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        self.poll().await?;
        let stats = self.read("stats").await?;
        if let Some(dump) = self.context.recorder.dump().filter(|dump| dump.wants_stats()) {
            dump.stats(stats.0.clone());
        }
        report::stream_samples(&self.context.recorder, &stats, &self.latest);
        self.silence.read(&stats);
        let snapshot = Snapshot {
            bytes_sent: stats.bytes_sent(),
            bytes_received: stats.bytes_received(),
            data_bytes_received: stats.sum("data-channel", &["bytesReceived"]),
        };
        self.latest = stats;
        Ok(snapshot)
    }

    async fn stop_media(&mut self) -> Result<Sent, Failure> {
        self.poll().await?;
        let stats = self.read("stop").await?;
        self.silence.read(&stats);
        let video = stats.rtp("outbound-rtp", "video");
        let member = |name: &str| video.and_then(|stat| stat[name].as_u64());
        let size = (member("frameWidth"), member("frameHeight"));
        let pixels = |value: u64| u32::try_from(value).ok();
        let sent = Sent {
            video_frames: member("framesSent"),
            video_rate: self.first.as_ref().and_then(|first| stats.frame_rate_since(first)),
            video_size: size.0.and_then(pixels).zip(size.1.and_then(pixels)),
            video_is_fixture: false,
            audio_packets: stats.rtp("outbound-rtp", "audio").and_then(|stat| stat["packetsSent"].as_u64()),
            data_messages: self.data.bulk.as_ref().and_then(|bulk| bulk.sent),
            signaling_messages: None,
        };
        self.latest = stats;
        self.sent = Some(sent.clone());
        Ok(sent)
    }

    async fn report(&mut self, sent_by_other: Option<&Sent>) -> Result<(), Failure> {
        // A server that sends back what it gets says nothing of its own.
        let own = self.sent.take().filter(|_| self.context.gets_its_own());
        let sent = sent_by_other.or(own.as_ref());
        self.settle(sent).await?;
        self.poll().await?;
        report::report(self, sent);
        Ok(())
    }

    async fn gone(&mut self) -> Option<Failure> {
        let reason = self.link.as_ref()?.gone().await?;
        Some(self.fail(reason))
    }

    async fn leave(&mut self) {
        self.record_search().await;
        let farewell = farewell(self.server.take(), self.stand_in.take());
        let Some(link) = self.link.take() else { return farewell.await };
        self.phase = Phase::Teardown;
        let left = match timeout(LEAVE_DEADLINE, link.call("leave", Vec::new())).await {
            Ok(Ok(traced)) => {
                self.trace(serde_json::from_value(traced).unwrap_or_default());
                true
            }
            Ok(Err(_)) => false,
            Err(_) => {
                link.condemn();
                false
            }
        };
        tokio::join!(link.close(), farewell);
        if left {
            self.context.recorder.mark(Mark::Left);
        }
    }

    fn waiting_for(&self) -> WaitingFor {
        WaitingFor::with_unexpected(self.phase, self.waiting.clone(), self.server.as_ref())
    }
}

/// Leaves the server under test and the page's room, in which this process took part; bounded in time.
async fn farewell(server: Option<Sender>, stand_in: Option<StandIn>) {
    let leave = async {
        if let Some(server) = server {
            server.close().await;
        }
        if let Some(stand_in) = stand_in {
            stand_in.leave().await;
        }
    };
    if timeout(LEAVE_DEADLINE, leave).await.is_err() {
        tracing::warn!("the good-bye to the signaling servers took longer than {LEAVE_DEADLINE:?}");
    }
}

pub(super) fn brief(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

async fn read_clock(link: &Link) -> Result<Clock, SessionError> {
    let mut best: Option<Clock> = None;
    for _ in 0..CLOCK_PROBES {
        let asked = Instant::now();
        let now = link.call("now", Vec::new()).await?;
        let answered = Instant::now();
        let Some(now) = now.as_f64() else {
            return Err(SessionError::Refused(format!("the page's clock says {}", json!(now))));
        };
        let clock = Clock::from_probe(asked, now, answered);
        best = Some(best.map_or(clock, |best| best.better(clock)));
    }
    best.ok_or_else(|| SessionError::Refused("the page's clock was not read".into()))
}
