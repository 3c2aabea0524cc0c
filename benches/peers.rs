//! What native peers cost, and how fast their data channels are. Prints a table; asserts nothing.
//!
//!     cargo bench --bench peers
//!
//! Each line is one run of the engine, with the bundled server and its TLS in the same process.
#![expect(clippy::print_stdout, reason = "the table is the product")]

use std::sync::{Arc, Mutex};

use harness::record::{Metric, Record, Selection};
use harness::run::{self, Finished, Options};
use harness::scenario::{self, Overrides};

struct Case {
    name: &'static str,
    calls: u32,
    text: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "100 pairs at 50/s, idle data channel",
        calls: 100,
        text: "[media]\nvideo = \"none\"\naudio = \"none\"\n[media.data]\necho_interval = \"1s\"\n\
               [load]\narrivals = \"50/s\"\nhold = \"3s\"\n[[peers]]\ncount = 200\n",
    },
    Case {
        name: "100 pairs at once, idle data channel",
        calls: 100,
        text: "[media]\nvideo = \"none\"\naudio = \"none\"\n[media.data]\necho_interval = \"1s\"\n\
               [load]\nhold = \"3s\"\n[[peers]]\ncount = 200\n",
    },
    Case {
        name: "50 pairs at 50/s, 1 Mbit/s video and audio both ways",
        calls: 50,
        text: "[load]\narrivals = \"50/s\"\nhold = \"5s\"\n[[peers]]\ncount = 100\n",
    },
    Case {
        name: "one reliable data channel",
        calls: 1,
        text: "[media]\nvideo = \"none\"\naudio = \"none\"\n[media.data]\nbulk = \"reliable\"\n\
               [load]\nhold = \"4s\"\n[[peers]]\ncount = 2\n",
    },
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!(
        "{:<54} {:>6} {:>9} {:>9} {:>9} {:>11} {:>8} {:>7}",
        "case", "failed", "DC p50", "DC p95", "conn p95", "CPU ms/pair", "kB/peer", "Mbit/s"
    );
    for case in CASES {
        runtime.block_on(measure(case));
    }
}

async fn measure(case: &Case) {
    let text = format!("schema = 1\nname = \"bench\"\n{}", case.text);
    let plan = scenario::load("bench.toml", &text, &Overrides::default()).expect("the scenario is valid").plan;
    let out = std::env::temp_dir().join(format!("harness-bench-{}", std::process::id()));
    let before = resident_kilobytes();
    let peak = Arc::new(Mutex::new(before));
    let watched = Arc::clone(&peak);
    let cpu = cpu_milliseconds();
    let options = Options {
        out: out.clone(),
        command: vec![],
        rtcstats: false,
        observe: Box::new(move |_| {
            let mut peak = watched.lock().expect("the peak");
            *peak = peak.max(resident_kilobytes());
        }),
        announce: Box::new(|_, _| {}),
        tell_guests: Box::new(|_| {}),
    };
    let Finished { record, .. } = run::run(plan, options).await.expect("the run begins");
    let cpu = (cpu_milliseconds() - cpu) / f64::from(case.calls);
    let memory = (*peak.lock().expect("the peak") - before) / (2.0 * f64::from(case.calls));
    let throughput = record.distribution(Metric::DataChannelThroughputBps, Selection::default()).mean();
    println!(
        "{:<54} {:>6} {:>9} {:>9} {:>9} {:>11.2} {:>8.0} {:>7}",
        case.name,
        record.call_counts().failed,
        quantile(&record, Metric::DataChannelOpenMs, 0.5),
        quantile(&record, Metric::DataChannelOpenMs, 0.95),
        quantile(&record, Metric::ConnectionTimeMs, 0.95),
        cpu,
        memory,
        throughput.map_or_else(|| "-".into(), |bps| format!("{:.0}", bps / 1e6)),
    );
    let _ = std::fs::remove_dir_all(out);
}

fn quantile(record: &Record, metric: Metric, quantile: f64) -> String {
    let value = record.distribution(metric, Selection::default()).quantile(quantile);
    value.map_or_else(|| "-".into(), |value| format!("{value:.1} ms"))
}

/// CPU time of this process, in milliseconds; the kernel counts it in steps of 10 ms.
fn cpu_milliseconds() -> f64 {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).expect("/proc/self/stat");
    (stat.utime + stat.stime) as f64 * 1e3 / procfs::ticks_per_second() as f64
}

fn resident_kilobytes() -> f64 {
    let statm = procfs::process::Process::myself().and_then(|process| process.statm()).expect("/proc/self/statm");
    statm.resident as f64 * procfs::page_size() as f64 / 1024.0
}
