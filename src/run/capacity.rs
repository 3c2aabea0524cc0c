//! The runs of a search for the capacity: one after the other, each at the load that the search asks for.
//!
//! A run begins when everything of the one before is closed, which is seen at the sockets of this process, not guessed by
//! a pause. Every run has a deadline, and the number of runs a bound, so that a search ends.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::arrivals::TEARDOWN;
use super::{Finished, Options, interrupt, run_in};
use crate::capacity::{Capacity, CutShort, Probe, Range, Search, Step};
use crate::gate::{Judgement, Verdict};
use crate::plan::Plan;
use crate::record::RunDirectory;

/// How long the sockets of a run may take to close after its end; what is open longer stands in the report.
const CLOSING: Duration = Duration::from_secs(10);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// What a search needs from those who know scenarios, files and the display.
pub trait Prober {
    /// The plan at a load.
    ///
    /// # Errors
    ///
    /// There is none, as one message.
    fn plan(&mut self, load: u64, seed: u64) -> Result<Plan, String>;

    /// A run is about to start: its number, and its load.
    fn options(&mut self, number: u32, load: u64) -> Options;

    /// A run has ended: judges it, and writes what belongs into its directory.
    ///
    /// # Errors
    ///
    /// Something could not be written, as one message.
    fn judge(&mut self, finished: &Finished) -> Result<Judgement, String>;

    /// The search so far, after every run: what it would come to if it were cut short now.
    ///
    /// # Errors
    ///
    /// Something could not be written, as one message.
    fn show(&mut self, capacity: &Capacity) -> Result<(), String>;
}

/// Searches `range`, and returns what the search came to. `capacity` says what is searched, and has no run yet.
pub async fn find_capacity(
    range: Range,
    directory: &RunDirectory,
    mut capacity: Capacity,
    prober: &mut impl Prober,
) -> Capacity {
    let begun = Instant::now();
    let interrupt = interrupt::watch(CancellationToken::new()).await;
    let mut search = Search::new(range);
    let closed = open_sockets();
    loop {
        let caught = interrupt.caught().map(|signal| CutShort::Signal(signal.to_owned()));
        let (answer, cut_short) = match (caught, search.next()) {
            (Some(signal), _) => (search.so_far(), Some(signal)),
            (None, Step::Done(answer)) => (answer, None),
            (None, Step::Try(load)) => match probe(load, range, directory, &mut capacity, prober).await {
                Ok(mut probe) => {
                    search.tell(load, probe.finding);
                    probe.left_open = quiescence(closed).await;
                    capacity.probes.push(probe);
                    capacity.conclude(search.so_far(), None);
                    capacity.duration_ms = begun.elapsed().as_secs_f64() * 1e3;
                    match prober.show(&capacity) {
                        Ok(()) => continue,
                        Err(error) => (search.so_far(), Some(CutShort::Broke(error))),
                    }
                }
                Err(why) => (search.so_far(), Some(why)),
            },
        };
        capacity.conclude(answer, cut_short.as_ref());
        capacity.duration_ms = begun.elapsed().as_secs_f64() * 1e3;
        return capacity;
    }
}

/// One run. One that was cut short says nothing of its load.
async fn probe(
    load: u64,
    range: Range,
    directory: &RunDirectory,
    capacity: &mut Capacity,
    prober: &mut impl Prober,
) -> Result<Probe, CutShort> {
    let number = capacity.probes.len() as u32 + 1;
    let plan = prober.plan(load, derived(capacity.seed, number)).map_err(CutShort::Broke)?;
    let value = range.quantity.value(load);
    let record = format!("runs/{number:02}-{value}");
    let within = directory.create_within(&record).map_err(|error| CutShort::Broke(error.to_string()))?;
    let deadline = deadline(&plan);
    let finished = tokio::time::timeout(deadline, run_in(plan, within, prober.options(number, load))).await;
    let finished = finished
        .map_err(|_| format!("run {number} at {} did not end within {} s", capacity.show(value), deadline.as_secs()))
        .and_then(|finished| finished.map_err(|error| error.to_string()))
        .map_err(CutShort::Broke)?;
    let judgement = prober.judge(&finished).map_err(CutShort::Broke)?;
    match judgement.verdict {
        Verdict::Pass | Verdict::Fail | Verdict::Invalid => {
            Ok(Probe { number, load: value, record, ..Probe::of(&finished.record, &judgement) })
        }
        Verdict::Interrupted => {
            let signal = if judgement.exit_code == 143 { "SIGTERM" } else { "SIGINT" };
            Err(CutShort::Signal(signal.into()))
        }
        Verdict::Error => {
            let reasons = judgement.reasons.join("; ");
            Err(CutShort::Broke(format!("run {number} at {} broke: {reasons}", capacity.show(value))))
        }
    }
}

/// A seed of its own for each run, so that no two runs share what is random.
fn derived(seed: u64, number: u32) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(number.to_be_bytes()).finalize();
    let bytes: [u8; 8] = std::array::from_fn(|index| digest[index]);
    // A seed in a file is a signed number.
    u64::from_be_bytes(bytes) >> 1
}

/// Longer than a run of this plan can take whose every step uses up its own deadline.
fn deadline(plan: &Plan) -> Duration {
    let deadlines = &plan.deadlines;
    let steps = [deadlines.start_us, deadlines.join_us, deadlines.connect_us, deadlines.first_media_us];
    let us = steps.into_iter().fold(plan.load_us(), u64::saturating_add);
    // Once for the load, and as much again for what stands around it: browsers, networks and their checks.
    Duration::from_micros(us).saturating_mul(2) + 3 * TEARDOWN
}

/// Waits until no more sockets are open than before the first run. Returns how many more there are if that is in vain.
async fn quiescence(closed: Option<u64>) -> Option<u64> {
    let left = || Some(open_sockets()?.saturating_sub(closed?)).filter(|left| *left > 0);
    let give_up = Instant::now() + CLOSING;
    while left().is_some() && Instant::now() < give_up {
        tokio::time::sleep(LOOK).await;
    }
    left()
}

/// The open sockets of this process; absent where the system does not tell.
fn open_sockets() -> Option<u64> {
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?;
    let is_socket = |path: std::path::PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    Some(descriptors.filter_map(Result::ok).filter(|entry| is_socket(entry.path())).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_seed_of_its_own() {
        let seeds: std::collections::BTreeSet<u64> = (1..=100).map(|number| derived(7, number)).collect();
        assert_eq!(seeds.len(), 100);
        assert!(seeds.iter().all(|seed| i64::try_from(*seed).is_ok()));
        assert_eq!(derived(7, 1), derived(7, 1));
        assert_ne!(derived(7, 1), derived(8, 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_is_seen_while_it_is_open() {
        // Other tests open and close sockets meanwhile, so that only a lower bound can be told.
        let sockets: Vec<_> = (0..50).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        assert!(open_sockets().is_some_and(|open| open >= 50));
        drop(sockets);
    }
}
