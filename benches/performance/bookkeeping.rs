//! What the record of a run costs: its events and values are recorded once more, with nothing else going on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use harness::record::{Event, Metric, Record, Recorder, Scope, Selection, Writer};
use harness::report::progress_line;

use super::{Result, process};

/// How often the display is drawn anew.
const DISPLAYS_PER_SECOND: f64 = 4.0;
/// Draws of the display that are measured.
const DISPLAYS: u32 = 200;

/// CPU time of the bookkeeping of one run.
pub(super) struct Bookkeeping {
    /// Of CPU time while media flows, between 0 and 1.
    pub(super) share: f64,
    /// Events of the whole run.
    pub(super) events: usize,
}

/// Records a run's events again. Calls begin and end in it too, while `cpu` is what media took for `window`: the share is
/// the bookkeeping of the average second against the CPU time of a steady one.
pub(super) fn measure(events: &Path, cpu: Duration, window: Duration) -> Result<Bookkeeping> {
    let lines: std::io::Result<Vec<String>> = BufReader::new(File::open(events)?).lines().collect();
    let events: std::result::Result<Vec<Event>, _> = lines?.iter().map(|line| serde_json::from_str(line)).collect();
    let events = events?;
    let count = events.len();
    let seconds = events.last().map_or(0.0, |event| event.at_us as f64 / 1e6);

    let before = process::own_cpu()?;
    let (recorder, receiver) = Recorder::new();
    let writer = Writer::start(tempfile::tempfile()?, receiver, recorder.tallies(), |_| {})?;
    for Event { kind, .. } in events {
        recorder.record(kind);
    }
    drop(recorder);
    let record = writer.finish().record;
    let recorded = process::own_cpu()? - before;

    let tallied = tally(&record)?;
    let before = process::own_cpu()?;
    for _ in 0..DISPLAYS {
        std::hint::black_box(progress_line(&record));
    }
    let display = (process::own_cpu()? - before).as_secs_f64() / f64::from(DISPLAYS) * DISPLAYS_PER_SECOND;
    let per_second = (recorded + tallied).as_secs_f64() / seconds + display;
    Ok(Bookkeeping { share: per_second / (cpu.as_secs_f64() / window.as_secs_f64()), events: count })
}

/// As many values into histograms as the run put into them.
fn tally(record: &Record) -> Result<Duration> {
    let (recorder, _receiver) = Recorder::new();
    let before = process::own_cpu()?;
    for metric in record.metrics().filter(|metric: &Metric| metric.scope() == Scope::Stream) {
        let tally = recorder.tally(metric, "group", "set");
        for value in 0..record.count(metric, Selection::default()) {
            tally.record(value as f64);
        }
    }
    let elapsed = process::own_cpu()? - before;
    Ok(elapsed)
}
