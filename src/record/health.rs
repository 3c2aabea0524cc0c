//! Generator health: whether the machine could keep up with what the plan asked of it.
//!
//! A slow generator must never look like a slow service, so its state is measured while it runs: CPU of the machine, of
//! this process and of everybody else, how late timers fire, how late packets leave, what full buffers dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::{Distribution, ThreadLoad, Unit};
use crate::machine::{self, Counters};

/// Names of the readings, as in [`Interval::health`](super::Interval) and, where there is one, as the limit in `[health]`.
pub mod reading {
    /// Busy share of the machine's CPU time, whoever used it.
    pub const MACHINE_CPU_RATIO: &str = "machine_cpu_ratio";
    /// Share of the machine's CPU time that other programs used: not this process, nor a child of it.
    pub const OTHERS_CPU_RATIO: &str = "others_cpu_ratio";
    /// Share of the machine's CPU time that the hypervisor took away.
    pub const STEAL_RATIO: &str = "steal_ratio";
    /// CPU time of this process per second: 1.0 is one core.
    pub const PROCESS_CPU_CORES: &str = "process_cpu_cores";
    /// How many threads of this process, on average, were ready to run but had no core.
    pub const WAITING_THREADS: &str = "waiting_threads";
    /// Share of the time for which the control group's quota stopped this process.
    pub const THROTTLED_RATIO: &str = "throttled_ratio";
    /// Datagrams that full receive buffers of the network namespace dropped.
    pub const UDP_RECEIVE_BUFFER_ERRORS: &str = "udp_receive_buffer_errors";
    /// Datagrams that came and were dropped for another reason, such as a wrong checksum.
    pub const UDP_RECEIVE_ERRORS: &str = "udp_receive_errors";
    /// Datagrams that found a full send buffer: they were dropped, or had to wait.
    pub const UDP_SEND_BUFFER_ERRORS: &str = "udp_send_buffer_errors";
    /// Open file descriptors of this process.
    pub const OPEN_FILES: &str = "open_files";
    /// Share of the soft limit of open file descriptors that this process uses.
    pub const OPEN_FILES_RATIO: &str = "open_files_ratio";
    /// Resident memory of this process.
    pub const RESIDENT_BYTES: &str = "resident_bytes";
    /// Share of the memory that is in use, by whomever: the machine's, or the control group's where less is available.
    pub const MEMORY_RATIO: &str = "memory_ratio";
    /// Tasks of the asynchronous runtime that have not ended.
    pub const TASKS: &str = "tasks";
    /// 99th percentile of how late timers fire.
    pub const SCHEDULING_LAG_P99_MS: &str = "scheduling_lag_p99_ms";
    /// 99th percentile of how late media packets leave.
    pub const SEND_LATENESS_P99_MS: &str = "send_lateness_p99_ms";
    /// 99th percentile of how late calls were started; of the whole run only.
    pub const START_LATENESS_P99_MS: &str = "start_lateness_p99_ms";
    /// Calls that were dropped because they could not be started in time; of the whole run only.
    pub const ARRIVALS_DROPPED: &str = "arrivals_dropped";
}

/// The probe of scheduling lag sleeps this long, again and again.
const PROBE: Duration = Duration::from_millis(10);
/// Names of threads that an interval tells of at most: those that used most CPU.
const THREADS: usize = 6;
/// Threads that used less of a core are not told of.
const LEAST_CORES: f64 = 0.01;
/// Shares over a shorter time than this are rounding errors of the kernel's clock ticks (10 ms).
const SHORTEST: Duration = Duration::from_millis(100);

/// Measures generator health. Lives as long as the run.
#[derive(Debug)]
pub struct Health {
    told_at: Instant,
    read_at: Instant,
    counters: Counters,
    lag: Lateness,
    send: Lateness,
    probe: JoinHandle<()>,
}

/// The readings of one interval: the fields of the same names of [`Interval`](super::Interval).
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Microseconds since the last readings.
    pub covers_us: u64,
    /// By name of the [`reading`].
    pub health: BTreeMap<String, f64>,
    /// The values behind quantiles.
    pub health_histograms: BTreeMap<String, String>,
    /// The busiest threads of this process, by name.
    pub threads: BTreeMap<String, ThreadLoad>,
}

impl Health {
    /// Starts to measure, on the current tokio runtime: its scheduling lag is what a peer's timers suffer.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start() -> Self {
        let lag = Lateness::default();
        let probe = tokio::spawn(probe(lag.clone()));
        let (now, counters) = (Instant::now(), machine::counters(&Counters::default()));
        Self { told_at: now, read_at: now, counters, lag, send: Lateness::default(), probe }
    }

    /// Where senders report how late each packet left.
    pub fn send_lateness(&self) -> Lateness {
        self.send.clone()
    }

    /// The readings since the last call; call it once per interval and once at the end.
    ///
    /// It reads some twenty small files of `/proc`, a few more per thread of this process, and, only while the process has
    /// children (browsers), one per process of the machine.
    pub fn read(&mut self) -> Readings {
        let mut readings = Readings { covers_us: self.told_at.elapsed().as_micros() as u64, ..Readings::default() };
        self.told_at = Instant::now();
        self.lag.drain_into(&mut readings, reading::SCHEDULING_LAG_P99_MS);
        self.send.drain_into(&mut readings, reading::SEND_LATENESS_P99_MS);
        let levels = machine::levels();
        let health = &mut readings.health;
        let open_files = levels.open_files.map(|count| count as f64);
        insert(health, reading::OPEN_FILES, open_files);
        let limit = levels.open_files_limit.map(|limit| limit.max(1) as f64);
        insert(health, reading::OPEN_FILES_RATIO, open_files.zip(limit).map(|(used, limit)| used / limit));
        insert(health, reading::RESIDENT_BYTES, levels.resident_bytes.map(|bytes| bytes as f64));
        insert(health, reading::MEMORY_RATIO, levels.memory.map(machine::Memory::used_ratio));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            insert(health, reading::TASKS, Some(runtime.metrics().num_alive_tasks() as f64));
        }
        let elapsed = self.read_at.elapsed();
        let now = machine::counters(&self.counters);
        if elapsed >= SHORTEST {
            shares(health, &self.counters, &now, elapsed);
            readings.threads = thread_loads(&self.counters, &now, elapsed);
            (self.read_at, self.counters) = (Instant::now(), now);
        }
        readings
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

/// How late something was, from many senders at once. Cheap to clone; a value costs a lock and no allocation.
#[derive(Clone, Debug)]
pub struct Lateness(Arc<Mutex<Distribution>>);

impl Default for Lateness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Distribution::new(Unit::Milliseconds))))
    }
}

impl Lateness {
    /// Something was this late.
    pub fn record(&self, late: Duration) {
        self.record_ticks(late, 0);
    }

    /// A tick of a schedule was this late, and so many after it were so late that they were dropped: each of them counts.
    pub fn record_ticks(&self, late: Duration, dropped: u64) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.record_n(late.as_secs_f64() * 1e3, dropped + 1);
    }

    fn drain_into(&self, readings: &mut Readings, name: &str) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(p99) = values.quantile(0.99) {
            readings.health.insert(name.to_owned(), p99);
            readings.health_histograms.insert(name.to_owned(), values.encode());
            values.clear();
        }
    }
}

async fn probe(lag: Lateness) {
    loop {
        let due = tokio::time::Instant::now() + PROBE;
        tokio::time::sleep_until(due).await;
        // tokio rounds timers up to its millisecond wheel; that much is no lag.
        lag.record(due.elapsed().saturating_sub(Duration::from_millis(1)));
    }
}

/// Shares of `elapsed` from two readings of the counters.
fn shares(health: &mut BTreeMap<String, f64>, before: &Counters, now: &Counters, elapsed: Duration) {
    let elapsed = elapsed.as_secs_f64();
    let growth = |of: fn(&Counters) -> Option<f64>| Some((of(now)? - of(before)?).max(0.0));
    if let (Some(before), Some(now)) = (before.cpu, now.cpu) {
        let total = now.total.saturating_sub(before.total) as f64;
        if total > 0.0 {
            let idle = now.idle.saturating_sub(before.idle) as f64;
            let stolen = now.stolen.saturating_sub(before.stolen) as f64;
            let busy = (total - idle - stolen).max(0.0) / total;
            health.insert(reading::MACHINE_CPU_RATIO.into(), busy);
            health.insert(reading::STEAL_RATIO.into(), stolen / total);
            if let Some(ours) = growth(|counters| counters.tree_seconds) {
                let others = (busy - ours * now.per_second / total).clamp(0.0, 1.0);
                health.insert(reading::OTHERS_CPU_RATIO.into(), others);
            }
        }
    }
    insert(health, reading::PROCESS_CPU_CORES, growth(|counters| counters.own_seconds).map(|time| time / elapsed));
    let waited = threads_since(before, now).map(|threads| threads.map(|(_, _, waited)| waited).sum::<f64>());
    insert(health, reading::WAITING_THREADS, waited.map(|time| time / elapsed));
    insert(health, reading::THROTTLED_RATIO, growth(|counters| counters.throttled_seconds).map(|time| time / elapsed));
    if let (Some(before), Some(now)) = (before.udp, now.udp) {
        for (name, before, now) in [
            (reading::UDP_RECEIVE_BUFFER_ERRORS, before.receive_buffer, now.receive_buffer),
            (reading::UDP_RECEIVE_ERRORS, before.receive_other, now.receive_other),
            (reading::UDP_SEND_BUFFER_ERRORS, before.send_buffer, now.send_buffer),
        ] {
            health.insert(name.into(), now.saturating_sub(before) as f64);
        }
    }
}

/// The name of each thread, and for how many seconds it ran and waited since `before`; all of it for a new one.
fn threads_since<'a>(before: &'a Counters, now: &'a Counters) -> Option<impl Iterator<Item = (&'a str, f64, f64)>> {
    let before = before.threads.as_ref()?;
    let none = (0.0, 0.0);
    Some(now.threads.as_ref()?.iter().map(move |(id, thread)| {
        let (ran, waited) = before.get(id).map_or(none, |before| (before.ran, before.waited));
        (thread.name.as_str(), (thread.ran - ran).max(0.0), (thread.waited - waited).max(0.0))
    }))
}

/// Threads of one name are told together: a pool's are alike, and a record must not grow with their number.
fn thread_loads(before: &Counters, now: &Counters, elapsed: Duration) -> BTreeMap<String, ThreadLoad> {
    let mut loads: BTreeMap<&str, ThreadLoad> = BTreeMap::new();
    for (name, ran, _) in threads_since(before, now).into_iter().flatten() {
        let cores = ran / elapsed.as_secs_f64();
        let load = loads.entry(name).or_default();
        load.threads += 1;
        load.cpu_cores += cores;
        load.busiest = load.busiest.max(cores);
    }
    let mut loads: Vec<_> = loads.into_iter().filter(|(_, load)| load.cpu_cores >= LEAST_CORES).collect();
    loads.sort_by(|(_, a), (_, b)| b.cpu_cores.total_cmp(&a.cpu_cores));
    loads.into_iter().take(THREADS).map(|(name, load)| (name.to_owned(), load)).collect()
}

fn insert(health: &mut BTreeMap<String, f64>, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        health.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::machine::{CpuTicks, Thread};

    #[test]
    fn shares_follow_from_the_growth_of_counters() {
        let cpu = |total, idle, stolen| Some(CpuTicks { total, idle, stolen, per_second: 100.0 });
        let before = Counters { cpu: cpu(1000, 500, 0), tree_seconds: Some(1.0), ..Counters::default() };
        let now = Counters { cpu: cpu(1200, 550, 10), tree_seconds: Some(1.5), ..Counters::default() };
        let mut health = BTreeMap::new();
        shares(&mut health, &before, &now, Duration::from_secs(1));
        assert_eq!(health[reading::MACHINE_CPU_RATIO], 0.7);
        assert_eq!(health[reading::STEAL_RATIO], 0.05);
        assert!((health[reading::OTHERS_CPU_RATIO] - 0.45).abs() < 1e-9);
        assert!(!health.contains_key(reading::PROCESS_CPU_CORES), "what was not read is absent, not 0");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_blocked_runtime_shows_as_scheduling_lag() {
        let mut health = Health::start();
        let lateness = health.send_lateness();
        lateness.record(Duration::from_millis(3));
        tokio::spawn(async { std::thread::sleep(Duration::from_millis(200)) }).await.unwrap();
        // The probe's turn comes with the next timer; wait for it, however long this machine takes.
        let lag = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(lag) = health.read().health.get(reading::SCHEDULING_LAG_P99_MS).copied() {
                break lag;
            }
        };
        assert!(lag > 50.0, "{lag}");
        assert!(!health.read().health_histograms.contains_key(reading::SEND_LATENESS_P99_MS), "told once");
    }

    #[test]
    fn threads_of_one_name_are_one_line_and_idle_ones_none() {
        let thread = |name: &str, ran| Thread { name: name.into(), ran, waited: 0.25 };
        let of = |threads: Vec<(i32, Thread)>| Counters {
            threads: Some(HashMap::from_iter(threads)),
            ..Counters::default()
        };
        let before = of(vec![(1, thread("main", 3.0)), (2, thread("worker", 1.0))]);
        let mut pool: Vec<_> = (0..40).map(|id| (10 + id, thread(&format!("other-{id}"), 0.001))).collect();
        pool.extend([(1, thread("main", 3.0)), (2, thread("worker", 1.8)), (3, thread("worker", 0.4))]);
        let now = of(pool);
        let loads = thread_loads(&before, &now, Duration::from_secs(2));
        assert_eq!(loads.len(), 1, "{loads:?}");
        let worker = loads["worker"];
        assert_eq!(worker.threads, 2);
        assert!((worker.cpu_cores - 0.6).abs() < 1e-9 && (worker.busiest - 0.4).abs() < 1e-9, "{worker:?}");
        let mut health = BTreeMap::new();
        shares(&mut health, &before, &now, Duration::from_secs(2));
        // Only what is new counts: a quarter of a second of each of the 41 new threads.
        assert!((health[reading::WAITING_THREADS] - 41.0 * 0.25 / 2.0).abs() < 1e-9);
    }
}
