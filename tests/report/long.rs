//! The record of a long run stays small: an hour of 50 calls, with simulated time, through the writer of every run.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Run, good};
use harness::gate::judge;
use harness::plan::*;
use harness::record::*;
use harness::report::Format;

const CALLS: usize = 50;
const LIMIT: usize = 20_000_000;
/// Packets per second that a call sends one way, as with video and audio of 1 Mbit/s.
const PACKETS: usize = 155;

/// A file in memory.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Values as irregular as measured ones, the same in every run.
struct Noise(u64);

impl Noise {
    /// Between 0 and 1, and seldom near 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let even = (self.0 >> 33) as f64 / f64::from(1_u32 << 31);
        even.powi(4)
    }
}

/// Everything that a run of 50 calls records in an hour. `grown` is how many bytes of memory it has at a time.
fn hour(grown: impl Fn(Duration) -> f64) -> Run {
    let mut run = good();
    let mut peers = Vec::new();
    let template = run.plan.calls[0].clone();
    run.plan.calls = (0..CALLS)
        .map(|index| {
            let peer = |end: &str| PeerPlan { id: format!("native/{end}{index}"), ..template.offerer.clone() };
            let (offerer, answerer) = (peer("o"), peer("a"));
            let id = format!("native-native/{index}");
            peers.extend([(offerer.id.clone(), id.clone()), (answerer.id.clone(), id.clone())]);
            CallPlan { id: id.clone(), room: id, offerer, answerer, hold_us: 3_600_000_000, ..template.clone() }
        })
        .collect();
    // What each of 12 calls of the made-up run records, for each of the 50.
    let calls: Vec<Event> = std::mem::take(&mut run.events);
    let of_first = |event: &&Event| serde_json::to_string(event).unwrap().contains("native-native/0\"");
    let first: Vec<String> = calls.iter().filter(of_first).map(|event| serde_json::to_string(event).unwrap()).collect();
    for index in 0..CALLS {
        for line in &first {
            let line = line.replace("native-native/0\"", &format!("native-native/{index}\""));
            let line = line
                .replace("native/o0\"", &format!("native/o{index}\""))
                .replace("native/a0\"", &format!("native/a{index}\""));
            run.events.push(serde_json::from_str(&line).unwrap());
        }
    }
    let mut noise = Noise(7);
    let mut age = Duration::ZERO;
    while age < Duration::from_secs(3600) {
        let length = interval_length(age);
        age += length;
        second(&mut run, age, length, grown(age), &mut noise);
    }
    for (peer, call) in peers {
        let stats = (0..12).map(|id| serde_json::json!({"id": format!("T{id}"), "type": "candidate-pair", "bytesSent": id * 1000, "currentRoundTripTime": 0.000_123, "state": "succeeded", "nominated": true}));
        run.at(3_600_000, EventKind::Stats { peer, call, stats: stats.collect() });
    }
    run.at(3_601_000, EventKind::RunEnded { outcome: Outcome::Completed });
    run
}

fn distribution(count: usize, scale: f64, unit: Unit, noise: &mut Noise) -> Distribution {
    let mut values = Distribution::new(unit);
    (0..count).for_each(|_| values.record(noise.next() * scale));
    values
}

/// What is recorded at the end of an interval: the state of the run, and every metric with many values.
fn second(run: &mut Run, age: Duration, length: Duration, memory: f64, noise: &mut Noise) {
    let at_ms = age.as_millis() as u64;
    let seconds = length.as_secs() as usize;
    let lag = distribution(90 * seconds, 20.0, Unit::Milliseconds, noise);
    let late = distribution(2 * PACKETS * CALLS * seconds, 20.0, Unit::Milliseconds, noise);
    let mut health: BTreeMap<String, f64> = [
        (reading::MACHINE_CPU_RATIO, 0.4),
        (reading::OTHERS_CPU_RATIO, 0.1),
        (reading::STEAL_RATIO, 0.001),
        (reading::PROCESS_CPU_CORES, 0.6),
        (reading::WAITING_THREADS, 0.1),
        (reading::UDP_RECEIVE_BUFFER_ERRORS, 0.0),
        (reading::UDP_RECEIVE_ERRORS, 0.0),
        (reading::UDP_SEND_BUFFER_ERRORS, 0.0),
        (reading::OPEN_FILES, 314.0),
        (reading::OPEN_FILES_RATIO, 0.0157),
        (reading::TASKS, 1234.0),
        (reading::MEMORY_RATIO, 0.3),
    ]
    .map(|(name, value)| (name.to_owned(), value * (1.0 + noise.next() / 100.0)))
    .into();
    health.insert(reading::RESIDENT_BYTES.into(), memory);
    health.insert(reading::SCHEDULING_LAG_P99_MS.into(), lag.quantile(0.99).unwrap());
    health.insert(reading::SEND_LATENESS_P99_MS.into(), late.quantile(0.99).unwrap());
    let load = ThreadLoad { threads: 2, cpu_cores: 0.312_345_678, busiest: 0.161_234_567 };
    let interval = Interval {
        covers_us: length.as_micros() as u64,
        peers: BTreeMap::from([(Phase::Media, 2 * CALLS as u32)]),
        send_bps: 1e8,
        recv_bps: 1e8,
        health,
        health_histograms: [
            (reading::SCHEDULING_LAG_P99_MS.to_owned(), lag.encode()),
            (reading::SEND_LATENESS_P99_MS.to_owned(), late.encode()),
        ]
        .into(),
        threads: ["tokio-rt-worker", "record", "main"].map(|name| (name.to_owned(), load)).into(),
    };
    run.at(at_ms, EventKind::Interval(Box::new(interval)));
    for (metric, per_second, scale) in [
        (Metric::SendBitrateBps, 2, 1.1e6),
        (Metric::RecvBitrateBps, 2, 1.1e6),
        (Metric::JitterMs, 4, 2.0),
        (Metric::RttMs, 2, 1.0),
        (Metric::DataChannelLatencyMs, 20, 5.0),
    ] {
        let values = distribution(per_second * CALLS * seconds, scale, metric.unit(), noise);
        let report = TallyReport {
            metric,
            group: "native".into(),
            set: "native-native".into(),
            sum: values.sum(),
            min: values.min().unwrap(),
            max: values.max().unwrap(),
            histogram: values.encode(),
        };
        run.at(at_ms, EventKind::Tally(Box::new(report)));
    }
}

/// What the writer makes of a run's events.
fn written(run: &Run) -> Vec<u8> {
    let file = File::default();
    let (events, stream) = tokio::sync::mpsc::unbounded_channel();
    let (recorder, _) = Recorder::new();
    let writer = Writer::start(file.clone(), stream, recorder.tallies(), |_| ()).unwrap();
    for line in run.ndjson().lines() {
        events.send(serde_json::from_str(line).unwrap()).unwrap();
    }
    drop(events);
    assert!(writer.finish().error.is_none());
    file.0.lock().unwrap().clone()
}

#[test]
fn an_hour_of_fifty_calls_takes_less_than_20_mb_in_all_files() {
    let events = written(&hour(|_| 90e6));
    let begun = std::time::Instant::now();
    let record = Record::read(BufReader::new(&events[..])).unwrap();
    let judgement = judge(&record);
    let formats = [Format::Html, Format::Json, Format::Md, Format::Junit, Format::Om, Format::Hlog, Format::Plan];
    let rendered: Vec<usize> = formats.map(|format| format.render(&record, &judgement).unwrap().len()).into();
    let took = begun.elapsed();
    let all = events.len() + rendered.iter().sum::<usize>();
    eprintln!("events {} B, rendered {rendered:?} B, all {all} B; read, judged and rendered in {took:?}", events.len());
    assert!(all < LIMIT, "{all} bytes");
    assert_eq!(record.intervals().len(), 630);
    assert_eq!(record.call_counts().attempted, CALLS as u64);
}

#[test]
fn a_leak_in_that_hour_is_a_finding_and_makes_the_result_invalid() {
    let record = |grown: fn(Duration) -> f64| Record::read(BufReader::new(&written(&hour(grown))[..])).unwrap();
    let steady = record(|_| 90e6);
    assert!(judge(&steady).reasons.iter().all(|reason| !reason.contains("growth")), "{:?}", judge(&steady).reasons);
    let leaking = record(|age| 90e6 + 5_000.0 * age.as_secs_f64());
    let judgement = judge(&leaking);
    assert_eq!(judgement.exit_code, 3);
    assert!(
        judgement.reasons[0].contains("resident memory grew by 0.3 MB a minute over 48 min"),
        "{:?}",
        judgement.reasons
    );
    let page = Format::Html.render(&leaking, &judgement).unwrap();
    assert!(page.contains("resident memory grew by 0.3 MB a minute"));
    let report: serde_json::Value = serde_json::from_str(&Format::Json.render(&leaking, &judgement).unwrap()).unwrap();
    let growth = &report["generator"]["growth"][0];
    assert!(growth["reading"] == "resident_bytes" && growth["grows"] == true, "{growth}");
}
