//! The thread that writes dumps. Files are opened to append and closed again, so that thousands of peers take no
//! descriptors; only whole lines go into them, in one piece.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::Dumps;
use super::lines::{Lines, Told};

/// How often files are written.
const FLUSH: Duration = Duration::from_millis(250);

/// How long a line waits for others that happened earlier: a browser is asked for its events about once a second.
const HELD: Duration = Duration::from_millis(1250);

/// What peers send to the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// Something of one peer.
    Of {
        /// The peer's id.
        peer: Arc<str>,
        /// When it happened.
        at: Instant,
        /// What it is.
        what: What,
    },
    /// The run is over.
    Finish,
}

/// What is sent of one peer.
#[derive(Debug)]
pub(super) enum What {
    /// It has a stack.
    Begun {
        /// The call's id.
        call: Arc<str>,
        /// What the stack calls itself.
        user_agent: String,
    },
    /// It tells something.
    Told(Told),
    /// It tells nothing more.
    Ended,
}

/// The running writer of all dumps of a run.
#[derive(Debug)]
pub struct DumpWriter {
    thread: JoinHandle<Option<io::Error>>,
    messages: Sender<Message>,
}

impl DumpWriter {
    /// Starts to write into `folder`, which is made: `PEER.jsonl` for each peer, with `/` in its id as `.`.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or the thread not be started.
    pub fn start(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (messages, receiver) = channel();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let clock = Clock { instant: Instant::now(), unix };
        let state = State { folder: folder.to_owned(), clock, peers: HashMap::new(), error: None };
        let thread = std::thread::Builder::new().name("rtcstats".into()).spawn(move || state.run(&receiver))?;
        Ok(Self { thread, messages })
    }

    /// Where peers get their dumps.
    pub fn dumps(&self) -> Dumps {
        Dumps { messages: self.messages.clone() }
    }

    /// Writes what is left, and says why dumps are incomplete, if some are; blocks the thread.
    pub fn finish(self) -> Option<io::Error> {
        // A thread that is gone says why when it is joined.
        let _ = self.messages.send(Message::Finish);
        self.thread.join().unwrap_or_else(|_| Some(io::Error::other("the writer broke")))
    }
}

/// The time of day of an instant.
#[derive(Clone, Copy, Debug)]
struct Clock {
    instant: Instant,
    /// Since 1970.
    unix: Duration,
}

impl Clock {
    fn unix_ms(self, at: Instant) -> u64 {
        let unix = match at.checked_duration_since(self.instant) {
            Some(later) => self.unix + later,
            None => self.unix.saturating_sub(self.instant - at),
        };
        unix.as_millis() as u64
    }
}

struct State {
    folder: PathBuf,
    clock: Clock,
    peers: HashMap<Arc<str>, Peer>,
    error: Option<io::Error>,
}

/// The dump of one peer.
#[derive(Default)]
struct Peer {
    begun: Option<(Arc<str>, String)>,
    lines: Option<Lines>,
    /// What is not written yet.
    held: Vec<(Instant, Told)>,
    /// A part of a line may be at the end of the file: no other may follow it.
    broken: bool,
}

impl State {
    fn run(mut self, messages: &Receiver<Message>) -> Option<io::Error> {
        let mut flushed = Instant::now();
        loop {
            match messages.recv_timeout(FLUSH.saturating_sub(flushed.elapsed())) {
                Ok(Message::Of { peer, at, what }) => self.take(peer, at, what),
                Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if flushed.elapsed() >= FLUSH {
                flushed = Instant::now();
                if let Some(until) = flushed.checked_sub(HELD) {
                    self.flush(Some(until));
                }
            }
        }
        self.flush(None);
        self.error
    }

    fn take(&mut self, name: Arc<str>, at: Instant, what: What) {
        match what {
            What::Begun { call, user_agent } => self.peers.entry(name).or_default().begun = Some((call, user_agent)),
            What::Told(told) => self.peers.entry(name).or_default().held.push((at, told)),
            What::Ended => {
                if let Some(mut peer) = self.peers.remove(&name) {
                    let result = peer.write(&self.folder, &name, self.clock, None);
                    self.note(result);
                }
            }
        }
    }

    /// Writes what happened until then, or everything: by a browser's clock something may happen a little later than now.
    fn flush(&mut self, until: Option<Instant>) {
        let mut peers = std::mem::take(&mut self.peers);
        for (name, peer) in &mut peers {
            let result = peer.write(&self.folder, name, self.clock, until);
            self.note(result);
        }
        self.peers = peers;
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl Peer {
    fn write(&mut self, folder: &Path, name: &str, clock: Clock, until: Option<Instant>) -> io::Result<()> {
        let Some((call, user_agent)) = &self.begun else { return Ok(()) };
        self.held.sort_by_key(|(at, _)| *at);
        let due = self.held.partition_point(|(at, _)| until.is_none_or(|until| *at <= until));
        let due = self.held.drain(..due).collect::<Vec<_>>();
        let Some((first, _)) = due.first().filter(|_| !self.broken) else { return Ok(()) };
        let mut text = String::new();
        let lines = self.lines.get_or_insert_with(|| {
            let (lines, beginning) = Lines::begin(name, call, user_agent, clock.unix_ms(*first));
            text = beginning;
            lines
        });
        for (at, told) in due {
            lines.append(&mut text, clock.unix_ms(at), told);
        }
        let result = append(&folder.join(file_name(name)), &text);
        self.broken = result.is_err();
        result
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let written =
        OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// A name that every file system takes, of its own for each peer: `/` becomes `.`, and what else is not a letter, a digit,
/// `-` or `_` becomes its bytes in the way of URLs (RFC 3986, section 2.1).
fn file_name(peer: &str) -> String {
    let mut name = String::new();
    for byte in peer.bytes() {
        match byte {
            b'/' => name.push('.'),
            b'-' | b'_' => name.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => {
                // Writing to a string does not fail.
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    name + ".jsonl"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_are_safe_and_apart() {
        assert_eq!(file_name("native/0-2"), "native.0-2.jsonl");
        assert_eq!(file_name("../ä.b"), "%2E%2E.%C3%A4%2Eb.jsonl");
    }

    #[test]
    fn lines_are_in_the_order_of_time_and_a_peer_without_a_stack_has_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let writer = DumpWriter::start(folder.path()).unwrap();
        let (peer, other) = (writer.dumps().for_peer("a/0", "c"), writer.dumps().for_peer("b/0", "c"));
        let now = Instant::now();
        other.tell(now, "createOffer", Value::Null);
        peer.tell(now + Duration::from_millis(20), "onconnectionstatechange", json!("connected"));
        peer.begin("a browser");
        peer.tell(now, "create", json!({}));
        drop((peer, other));
        assert!(writer.finish().is_none());
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["a.0.jsonl"]);
        let text = fs::read_to_string(folder.path().join("a.0.jsonl")).unwrap();
        let last: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(last, [r#"["create","c",{},0]"#, r#"["onconnectionstatechange","c","connected",20]"#]);
    }

    #[test]
    fn a_dump_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.jsonl")).unwrap();
        let writer = DumpWriter::start(folder.path()).unwrap();
        let peer = writer.dumps().for_peer("a", "c");
        peer.begin("a browser");
        peer.tell(Instant::now(), "create", Value::Null);
        let error = writer.finish().unwrap().to_string();
        assert!(error.contains("a.jsonl"), "{error}");
    }
}
