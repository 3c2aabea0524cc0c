//! What a media packet costs, sender and receiver together: the physical floor, the fast path of the dense engine, and the
//! core with its default interceptors, in turns on one thread, with the same frames over the same kind of sockets.
//!
//!     cargo bench --bench fast
//!
//! Prints a table; asserts nothing but that every frame was intact. Ratios within a run hold, absolute figures drift.
#![expect(clippy::print_stdout, reason = "the table is the product")]

#[path = "../../tests/fast_path_support/mod.rs"]
mod fast_path_support;
mod floor;
mod link;
mod stacks;

use std::time::{Duration, Instant};

use harness::media::fixture::VideoFixture;
use harness::plan::VideoCodec;

use self::floor::Floor;
use self::stacks::{Core, Fast};

/// Pairs that send in turn: enough that their state does not stay in the nearest cache.
const PAIRS: usize = 100;
/// Frames of each pair in each slice: the fixture once.
const FRAMES: usize = 60;
/// Slices of each contender, in turns; the cheapest counts, because what disturbs only adds.
const SLICES: usize = 7;

/// One way to send frames from one end to the other.
trait Contender {
    /// Sends one frame of every pair and receives it; gives the number of media packets.
    fn round(&mut self) -> u64;
}

fn main() {
    let mut contenders: Vec<(&str, Box<dyn Contender>)> = vec![
        ("floor: AES-128-GCM, GSO and GRO", Box::new(Floor::new(PAIRS))),
        ("fast path, every frame verified", Box::new(Fast::new(PAIRS))),
        ("core on a plain loop, every frame verified", Box::new(Core::new(PAIRS))),
    ];
    let mut best = vec![f64::INFINITY; contenders.len()];
    for slice in 0..=SLICES {
        for (best, (_, contender)) in best.iter_mut().zip(&mut contenders) {
            let (before, mut packets) = (own_cpu(), 0);
            for _ in 0..FRAMES {
                packets += contender.round();
            }
            let each = (own_cpu() - before).as_secs_f64() * 1e6 / packets as f64;
            // The first slice warms up.
            if slice > 0 {
                *best = best.min(each);
            }
        }
    }
    println!("{:<44} {:>9} {:>9} {:>9}", "media packet, sender and receiver", "µs", "÷ floor", "÷ core");
    for ((name, _), each) in contenders.iter().zip(&best) {
        println!("{name:<44} {each:>9.2} {:>9.2} {:>9.2}", each / best[0], each / best[2]);
    }
    stacks::parts();
}

/// The CPU time of this thread.
fn own_cpu() -> Duration {
    // The scheduler keeps the sum up to date when a thread lets others go first.
    std::thread::yield_now();
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says what a thread ran");
    let nanoseconds = schedstat.split(' ').next().and_then(|word| word.parse().ok()).expect("nanoseconds");
    Duration::from_nanos(nanoseconds)
}

fn fixture() -> std::sync::Arc<VideoFixture> {
    VideoFixture::load(VideoCodec::Vp8, None).expect("the built-in fixture")
}

/// Runs `work` for a while, and prints what one of its units takes.
fn time(name: &str, mut work: impl FnMut() -> u64) {
    let (mut best, begin) = (f64::INFINITY, Instant::now());
    while begin.elapsed() < Duration::from_secs(1) {
        let (before, mut units) = (own_cpu(), 0);
        for _ in 0..FRAMES {
            units += work();
        }
        best = best.min((own_cpu() - before).as_secs_f64() * 1e9 / units as f64);
    }
    println!("{name:<44} {best:>9.0} ns");
}
