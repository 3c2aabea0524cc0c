//! The thread between the event stream and the disk: it appends every event to `events.ndjson`, folds it into the record,
//! and shows the record to whoever displays progress.
//!
//! It has a thread and a timer of its own, so that neither a slow disk delays a measurement nor a busy run the disk.

use std::io::{self, BufWriter, Write};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{Absence, Event, EventKind, Record, Tallies, interval_length};

/// What was not flushed for this long can be lost by a crash.
const FLUSH: Duration = Duration::from_millis(250);
/// Events handled between two looks at the clock.
const BATCH: usize = 1024;

/// The running writer of a record.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<Written>,
    broken: CancellationToken,
}

/// What the writer leaves behind.
#[derive(Debug)]
pub struct Written {
    /// The record, complete even if the file is not. If the file is not, the record's outcome says so.
    pub record: Record,
    /// Why events are missing from the file, if any are.
    pub error: Option<io::Error>,
}

impl Writer {
    /// Starts to write the events to `file` and to show the record to `observe` about four times per second.
    ///
    /// The writer ends by itself after [`EventKind::RunEnded`], or when every recorder is gone.
    pub fn start(
        file: impl Write + Send + 'static,
        events: UnboundedReceiver<Event>,
        tallies: Tallies,
        observe: impl FnMut(&Record) + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let broken = CancellationToken::new();
        let state =
            State { file: BufWriter::new(file), record: Record::default(), error: None, broken: broken.clone() };
        let thread = std::thread::Builder::new()
            .name("record".into())
            .spawn(move || runtime.block_on(state.run(events, tallies, observe)))?;
        Ok(Self { thread, broken })
    }

    /// Is cancelled once an event could not be written: the run should end then, because its record is incomplete.
    pub fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Waits for the writer to end; blocks the thread.
    pub fn finish(self) -> Written {
        self.thread.join().unwrap_or_else(|_| {
            let mut record = Record::default();
            record
                .break_off("the writer of the record broke; this is a defect of the harness, please report it".into());
            Written { record, error: Some(io::Error::other("the writer broke")) }
        })
    }
}

struct State<W: Write> {
    file: BufWriter<W>,
    record: Record,
    error: Option<io::Error>,
    broken: CancellationToken,
}

impl<W: Write> State<W> {
    async fn run(
        mut self,
        mut events: UnboundedReceiver<Event>,
        tallies: Tallies,
        mut observe: impl FnMut(&Record),
    ) -> Written {
        let (mut flushed, mut tallied) = (Instant::now(), Instant::now());
        let mut batch = Vec::with_capacity(BATCH);
        'run: loop {
            let received = tokio::time::timeout_at((flushed + FLUSH).into(), events.recv_many(&mut batch, BATCH)).await;
            for event in batch.drain(..) {
                if matches!(event.kind, EventKind::RunEnded { .. }) {
                    self.take_all(tallies.drain());
                    self.take(event);
                    break 'run;
                }
                self.take(event);
            }
            if received == Ok(0) {
                self.take_all(tallies.drain());
                break;
            }
            if tallied.elapsed() >= interval_length(tallied - tallies.start()) {
                tallied = Instant::now();
                self.take_all(tallies.drain());
            }
            if flushed.elapsed() >= FLUSH {
                flushed = Instant::now();
                let result = self.file.flush();
                self.note(result);
                observe(&self.record);
            }
        }
        let result = self.file.flush();
        self.note(result);
        if let Some(error) = &self.error {
            self.record.break_off(format!("events of the run could not be written: {error}"));
        }
        observe(&self.record);
        Written { record: self.record, error: self.error }
    }

    fn take_all(&mut self, events: Vec<Event>) {
        events.into_iter().for_each(|event| self.take(event));
    }

    fn take(&mut self, event: Event) {
        let event = refuse_non_finite(event);
        self.record.apply(&event);
        if self.error.is_none() {
            let result = append(&mut self.file, &event);
            self.note(result);
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.error.is_none()
        {
            self.error = Some(error);
            self.broken.cancel();
        }
    }
}

fn append(file: &mut impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *file, event)?;
    file.write_all(b"\n")
}

/// JSON has no word for a number that is not finite, and a record must be readable: such a value is absent, with the
/// reason.
fn refuse_non_finite(mut event: Event) -> Event {
    if let EventKind::Sample { metric, value, call, peer } = &event.kind
        && !value.is_finite()
    {
        event.kind = EventKind::Absent(Absence {
            metric: *metric,
            peer: peer.clone().unwrap_or_default(),
            call: call.clone(),
            reason: format!("the measured value is not a number ({value})"),
        });
    }
    event
}
