//! Makes the table of `docs/performance.md`: the floor of the machine, this project's engines, Pion and the signaling
//! server, all in one run, because only ratios within a run hold from one day to the next.
//!
//! `ci/bench` runs it. `cargo bench --bench performance -- --smoke` tries every program for a moment and keeps nothing.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod bookkeeping;
mod dialects;
mod engine;
mod floor;
mod pion;
mod process;
mod schedule;
mod signaling;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Engine, Streaming};
use floor::Sending;
use schedule::Schedule;
use table::Figures;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    /// Pairs that carry media.
    pairs: u32,
    /// Pairs that are set up and stay idle.
    idle_pairs: u32,
    /// Clients of the signaling server, each of which sends [`MESSAGES`](signaling::MESSAGES) per second.
    clients: u32,
    /// How often each protocol is measured, in turn.
    rounds: usize,
    /// How long what is steady is measured.
    window: Duration,
    /// Until processes, memory and connections are as they stay.
    settle: Duration,
}

const FULL: Size = Size {
    pairs: 300,
    idle_pairs: 500,
    clients: 10_000,
    rounds: 3,
    window: Duration::from_secs(10),
    settle: Duration::from_secs(2),
};
const SMOKE: Size = Size {
    pairs: 4,
    idle_pairs: 4,
    clients: 20,
    rounds: 1,
    window: Duration::from_secs(1),
    settle: Duration::from_millis(500),
};

fn main() -> Result<()> {
    let (mut size, mut update) = (FULL, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--smoke" => size = SMOKE,
            "--update" => update = Some(PathBuf::from(arguments.next().ok_or("--update: which file?")?)),
            other => return Err(format!("unknown argument {other:?}: --smoke and --update FILE are known").into()),
        }
    }
    let load_average = process::load_average();
    let schedule = Schedule::of_fixtures();
    println!("floor");
    let plain = floor::measure(&schedule, size, Sending::Plain)?;
    let offload = floor::measure(&schedule, size, Sending::Offload)?;
    let mut engines = Vec::new();
    for stack in ["async", "dense"] {
        println!("engine {stack}");
        engines.push((stack, Engine::measure(stack, &schedule, size)?));
    }
    println!("Pion");
    let pion = pion::measure(&schedule, size)?;
    println!("signaling");
    let signaling = signaling::measure(size)?;
    println!("dialects");
    let dialects = dialects::measure(size)?;
    let figures = Figures { size, schedule, load_average, plain, offload, engines, pion, signaling, dialects };
    let text = table::render(&figures);
    println!("\n{text}");
    match update {
        Some(file) => table::replace(&file, &text),
        None => Ok(()),
    }
}

/// CPU time of both ends of a pair for each packet, in microseconds.
fn micros_per_packet(cpu: Duration, packets: f64) -> f64 {
    cpu.as_secs_f64() * 1e6 / packets
}

/// What streaming pairs of any kind cost.
fn per_packet(streaming: &Streaming) -> f64 {
    micros_per_packet(streaming.cpu, streaming.packets)
}
