//! The handle through which everything that happens gets onto the event stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Absence, Dumps, Event, EventKind, Failure, Mark, Marks, MediaReport, Metric, Path, PathSearch, PeerDump, Tallies,
    Tally, Warning,
};

/// Puts events on the stream, stamped on the run's monotonic clock. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Recorder {
    start: Instant,
    events: mpsc::UnboundedSender<Event>,
    tallies: Tallies,
    dumps: Option<Dumps>,
}

impl Recorder {
    /// A stream that starts now, and its receiving end.
    ///
    /// The stream is unbounded because a measurement must not wait for a disk; what goes on it is bounded per peer and
    /// second instead.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let start = Instant::now();
        (Self { start, events, tallies: Tallies::new(start), dumps: None }, receiver)
    }

    /// The same, whose peers have dumps.
    pub fn with_dumps(self, dumps: Dumps) -> Self {
        Self { dumps: Some(dumps), ..self }
    }

    /// The start of the run.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Records something that happens now.
    pub fn record(&self, kind: EventKind) {
        self.record_at(Instant::now(), kind);
    }

    /// Records something that happened at `at`; an instant before the run counts as its start.
    pub fn record_at(&self, at: Instant, kind: EventKind) {
        let at_us = at.saturating_duration_since(self.start).as_micros() as u64;
        // A closed stream means that the run is over; a late event has nobody left to tell.
        let _ = self.events.send(Event { at_us, kind });
    }

    /// Where the peers of a group in the calls of a set record the values of a metric that has many per second.
    pub fn tally(&self, metric: Metric, group: &str, set: &str) -> Tally {
        self.tallies.tally(metric, group, set)
    }

    /// Every tally of the run, for the writer to turn into events.
    pub fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// The recorder of one peer in one call.
    pub fn for_peer(&self, peer: &str, call: &str) -> PeerRecorder {
        let dump = self.dumps.as_ref().map(|dumps| dumps.for_peer(peer, call));
        PeerRecorder { recorder: self.clone(), peer: peer.into(), call: call.into(), marks: Arc::default(), dump }
    }
}

/// A [`Recorder`] that knows its peer and call.
#[derive(Clone, Debug)]
pub struct PeerRecorder {
    recorder: Recorder,
    peer: Arc<str>,
    call: Arc<str>,
    marks: Arc<Mutex<Marks>>,
    dump: Option<PeerDump>,
}

impl PeerRecorder {
    /// The peer's id.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The call's id.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// The start of the run.
    pub fn start(&self) -> Instant {
        self.recorder.start
    }

    /// An instant on the run's clock: microseconds since the start of the run.
    pub fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.recorder.start).as_micros() as u64
    }

    /// The peer passes an instant of its call now.
    pub fn mark(&self, mark: Mark) {
        self.mark_at(Instant::now(), mark);
    }

    /// The peer passed an instant of its call at `at`. The first time counts; later ones are not recorded.
    pub fn mark_at(&self, at: Instant, mark: Mark) {
        let at_us = self.micros(at);
        if self.marks.lock().unwrap_or_else(PoisonError::into_inner).set(mark, at_us) {
            let (peer, call) = (self.peer.to_string(), self.call.to_string());
            self.recorder.record_at(at, EventKind::Mark { peer, call, mark });
            if let Some(dump) = &self.dump {
                dump.mark(at, mark);
            }
        }
    }

    /// The marks so far.
    pub fn marks(&self) -> Marks {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The peer's dump, if it has one.
    pub fn dump(&self) -> Option<&PeerDump> {
        self.dump.as_ref()
    }

    /// Tells the peer's dump, if it has one, what happens now, as [`PeerDump::tell`] does; `value` is made only then.
    pub fn trace(&self, method: &str, value: impl FnOnce() -> Value) {
        if let Some(dump) = &self.dump {
            dump.tell(Instant::now(), method, value());
        }
    }

    /// Where to record the values of a metric that has many per second; `group` and `set` as in the plan.
    pub fn tally(&self, metric: Metric, group: &str, set: &str) -> Tally {
        self.recorder.tally(metric, group, set)
    }

    /// One value of a metric, in the metric's unit.
    pub fn sample(&self, metric: Metric, value: f64) {
        let (peer, call) = (Some(self.peer.to_string()), self.call.to_string());
        self.recorder.record(EventKind::Sample { metric, value, call, peer });
    }

    /// The peer cannot have this metric.
    pub fn absent(&self, metric: Metric, reason: &str) {
        let (peer, call) = (self.peer.to_string(), self.call.to_string());
        self.recorder.record(EventKind::Absent(Absence { metric, peer, call, reason: reason.into() }));
    }

    /// Raw statistics under their W3C names.
    pub fn stats(&self, stats: Vec<Value>) {
        if let Some(dump) = &self.dump {
            dump.stats(stats.clone());
        }
        let (peer, call) = (self.peer.to_string(), self.call.to_string());
        self.recorder.record(EventKind::Stats { peer, call, stats });
    }

    /// The path that the call's media takes.
    pub fn path(&self, path: Path) {
        self.recorder.record(EventKind::Path(Box::new(path)));
    }

    /// How the peer looked for the path.
    pub fn search(&self, search: PathSearch) {
        self.recorder.record(EventKind::Search(Box::new(search)));
    }

    /// What arrived of one media stream.
    pub fn media(&self, media: MediaReport) {
        self.recorder.record(EventKind::Media(media));
    }

    /// Something that the reader of the report should know, and what to do about it.
    pub fn warning(&self, text: String, advice: &str) {
        self.recorder.record(EventKind::Warning(Warning { text, advice: advice.into() }));
    }

    /// The call failed at this peer.
    pub fn failure(&self, failure: Failure) {
        self.recorder.record(EventKind::Failure(failure));
    }
}
