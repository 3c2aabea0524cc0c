//! The writer: nothing is lost, and a full disk ends the run with an error that says so.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::support::good;
use harness::gate::{Verdict, judge};
use harness::record::{EventKind, Metric, Outcome, Record, Recorder, RunDirectory, Writer};

/// A disk with room for so many bytes.
#[derive(Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Write for Disk {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().unwrap();
        let fits = buffer.len().min(self.room - bytes.len());
        if fits == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.extend_from_slice(&buffer[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn play(disk: &Disk) -> (Writer, Recorder) {
    let (recorder, events) = Recorder::new();
    let writer = Writer::start(disk.clone(), events, recorder.tallies(), |_| ()).unwrap();
    let run = good();
    for line in run.ndjson().lines() {
        let event: harness::record::Event = serde_json::from_str(line).unwrap();
        if matches!(event.kind, EventKind::RunEnded { .. }) {
            recorder.tally(Metric::RttMs, "native", "native-native").record(0.25);
        }
        recorder.record(event.kind);
    }
    (writer, recorder)
}

#[test]
fn every_event_and_tally_is_on_disk_when_the_writer_ends() {
    let disk = Disk { room: 10_000_000, ..Disk::default() };
    let (writer, _recorder) = play(&disk);
    let written = writer.finish();
    assert!(written.error.is_none());
    let bytes = disk.bytes.lock().unwrap();
    let record = Record::read(&bytes[..]).unwrap();
    assert_eq!(record.outcome(), Some(&Outcome::Completed));
    assert_eq!(record.count(Metric::RttMs, harness::record::Selection::ALL), 1);
    assert_eq!(record.call_counts(), written.record.call_counts());
}

#[test]
fn a_run_that_is_dropped_leaves_a_record_without_an_end() {
    let disk = Disk { room: 10_000_000, ..Disk::default() };
    let (recorder, events) = Recorder::new();
    let writer = Writer::start(disk, events, recorder.tallies(), |_| ()).unwrap();
    drop(recorder);
    assert_eq!(writer.finish().record.outcome(), None);
}

#[test]
fn a_full_disk_is_an_error_that_keeps_what_is_there() {
    let disk = Disk { room: 20_000, ..Disk::default() };
    let (writer, _recorder) = play(&disk);
    let broken = writer.broken();
    let written = writer.finish();
    assert!(broken.is_cancelled() && written.error.is_some());
    let judgement = judge(&written.record);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Error, 4));
    assert!(judgement.reasons[0].contains("could not be written"), "{:?}", judgement.reasons);
    let kept = Record::read(&disk.bytes.lock().unwrap()[..]).unwrap();
    assert!(kept.plan().is_some());
    assert_eq!(judge(&kept).verdict, Verdict::Error);
}

#[test]
fn a_number_that_json_cannot_say_is_absent_with_the_reason() {
    let disk = Disk { room: 10_000_000, ..Disk::default() };
    let (recorder, events) = Recorder::new();
    let writer = Writer::start(disk, events, recorder.tallies(), |_| ()).unwrap();
    let sample = EventKind::Sample { metric: Metric::RttMs, value: f64::NAN, call: "c".into(), peer: None };
    recorder.record(sample);
    drop(recorder);
    let record = writer.finish().record;
    assert_eq!(record.count(Metric::RttMs, harness::record::Selection::ALL), 0);
    assert!(record.absences().any(|(_, reason, _)| reason.contains("not a number")));
}

#[test]
fn the_command_renders_a_directory_again_and_exits_with_its_verdict() {
    let root = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(root.path(), "lan", "2026-11-21T12:00:00Z".parse().unwrap()).unwrap();
    directory.create_events().unwrap().write_all(crate::support::bad().ndjson().as_bytes()).unwrap();
    let harness = || assert_cmd::Command::cargo_bin("harness").unwrap();
    harness().arg("report").arg(directory.path()).assert().code(1).stdout("");
    for file in ["report.json", "report.html", "junit.xml", "summary.md", "metrics.om", "histograms.hlog", "plan.toml"]
    {
        assert!(directory.path().join(file).metadata().unwrap().len() > 100, "{file}");
    }
    let out = harness().arg("report").arg(directory.path()).args(["--format", "om"]).assert().code(1);
    assert!(String::from_utf8_lossy(&out.get_output().stdout).ends_with("# EOF\n"));
    let gone = harness().arg("report").arg(root.path()).assert().code(2);
    assert!(String::from_utf8_lossy(&gone.get_output().stderr).contains("give the directory of a run"));
}
