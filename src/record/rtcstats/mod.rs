//! Dumps for the viewers of webrtc-internals and rtcstats: a file for each peer with what was asked of its connection,
//! what happened to it, and its statistics about once a second.
//!
//! Peers tell a [`PeerDump`]; a thread of its own writes, so that a slow disk delays no measurement.

mod delta;
mod lines;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::lines::Told;
pub use self::writer::DumpWriter;
use self::writer::{Message, What};
use super::{Mark, interval_length};

/// How much earlier than planned a reading may come: those who ask do so about once a second.
const EARLY: Duration = Duration::from_millis(500);

/// The dumps of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dumps {
    messages: Sender<Message>,
}

/// The dump of one peer. Cheap to clone; never blocks. It ends with its last clone.
#[derive(Clone, Debug)]
pub struct PeerDump(Arc<Peer>);

#[derive(Debug)]
struct Peer {
    name: Arc<str>,
    call: Arc<str>,
    since: Instant,
    /// When the next reading of the statistics is due, in microseconds from `since`.
    due_us: AtomicU64,
    messages: Sender<Message>,
}

impl Dumps {
    /// The dump of a peer in its call.
    pub fn for_peer(&self, peer: &str, call: &str) -> PeerDump {
        PeerDump(Arc::new(Peer {
            name: peer.into(),
            call: call.into(),
            since: Instant::now(),
            due_us: AtomicU64::new(0),
            messages: self.messages.clone(),
        }))
    }
}

impl PeerDump {
    /// The peer has a stack, which calls itself `user_agent`. What is told earlier waits; without this there is no file.
    pub fn begin(&self, user_agent: &str) {
        let (call, user_agent) = (Arc::clone(&self.0.call), user_agent.to_owned());
        self.0.send(Instant::now(), What::Begun { call, user_agent });
    }

    /// A call to the connection, what came of it, or an event of it, at `at`.
    ///
    /// `method` has the name that W3C webrtc gives it, as in `setLocalDescription`, `setLocalDescriptionOnSuccess`,
    /// `setLocalDescriptionOnFailure` and `onicecandidate`; what only the harness knows begins with `harness.`. `value` is
    /// the argument, the result, the error's text or the event's content, and must hold no secret.
    pub fn tell(&self, at: Instant, method: &str, value: Value) {
        self.0.send(at, What::Told(Told::Event { method: method.to_owned(), value }));
    }

    /// The peer passed an instant of its call at `at`: an event `harness.` with the name of the mark.
    pub(in crate::record) fn mark(&self, at: Instant, mark: Mark) {
        let name = json!(mark);
        self.tell(at, &format!("harness.{}", name.as_str().unwrap_or_default()), Value::Null);
    }

    /// Whether a reading of the statistics is due: once a second, less often the longer the call lasts (see
    /// [`interval_length`]). Asked about once a second.
    pub fn wants_stats(&self) -> bool {
        let age = self.0.since.elapsed();
        let due = Duration::from_micros(self.0.due_us.load(Ordering::Relaxed)) <= age;
        if due {
            let next = age + interval_length(age) - EARLY;
            self.0.due_us.store(next.as_micros() as u64, Ordering::Relaxed);
        }
        due
    }

    /// The statistics as they are now: RTCStats dictionaries.
    pub fn stats(&self, stats: Vec<Value>) {
        self.0.send(Instant::now(), What::Told(Told::Stats(stats)));
    }
}

impl Peer {
    fn send(&self, at: Instant, what: What) {
        // A writer that is gone has nobody left to tell.
        let _ = self.messages.send(Message::Of { peer: Arc::clone(&self.name), at, what });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.send(Instant::now(), What::Ended);
    }
}
