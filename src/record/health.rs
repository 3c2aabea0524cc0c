//! Generator health: whether the machine could keep up with what the plan asked of it.
//!
//! A slow generator must never look like a slow service, so its state is measured while it runs: CPU of the machine, of
//! this process and of everybody else, how late timers fire, how late packets leave, what full buffers dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::machine::{self, Counters};
use super::{Distribution, Unit};

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
    /// Datagrams that full receive buffers of the network namespace dropped in the second.
    pub const UDP_RECEIVE_BUFFER_ERRORS: &str = "udp_receive_buffer_errors";
    /// Open file descriptors of this process.
    pub const OPEN_FILES: &str = "open_files";
    /// Resident memory of this process.
    pub const RESIDENT_BYTES: &str = "resident_bytes";
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
/// Shares over a shorter time than this are rounding errors of the kernel's clock ticks (10 ms).
const SHORTEST: Duration = Duration::from_millis(100);

/// Measures generator health. Lives as long as the run.
#[derive(Debug)]
pub struct Health {
    read_at: Instant,
    counters: Counters,
    lag: Lateness,
    send: Lateness,
    probe: JoinHandle<()>,
}

/// The readings of one interval: two fields of [`Interval`](super::Interval).
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// By name of the [`reading`].
    pub health: BTreeMap<String, f64>,
    /// The values behind quantiles.
    pub health_histograms: BTreeMap<String, String>,
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
        Self { read_at: Instant::now(), counters: machine::counters(), lag, send: Lateness::default(), probe }
    }

    /// Where senders report how late each packet left.
    pub fn send_lateness(&self) -> Lateness {
        self.send.clone()
    }

    /// The readings since the last call; call it once per second and once at the end.
    ///
    /// It reads a few files of `/proc`, and one per process of the machine: a few milliseconds.
    pub fn read(&mut self) -> Readings {
        let mut readings = Readings::default();
        self.lag.drain_into(&mut readings, reading::SCHEDULING_LAG_P99_MS);
        self.send.drain_into(&mut readings, reading::SEND_LATENESS_P99_MS);
        let levels = machine::levels();
        let health = &mut readings.health;
        insert(health, reading::OPEN_FILES, levels.open_files.map(|count| count as f64));
        insert(health, reading::RESIDENT_BYTES, levels.resident_bytes.map(|bytes| bytes as f64));
        let elapsed = self.read_at.elapsed();
        let now = machine::counters();
        if elapsed >= SHORTEST {
            shares(health, &self.counters, &now, elapsed);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(late.as_secs_f64() * 1e3);
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
    insert(health, reading::WAITING_THREADS, growth(|counters| counters.waited_seconds).map(|time| time / elapsed));
    insert(health, reading::THROTTLED_RATIO, growth(|counters| counters.throttled_seconds).map(|time| time / elapsed));
    if let (Some(before), Some(now)) = (before.udp_dropped, now.udp_dropped) {
        health.insert(reading::UDP_RECEIVE_BUFFER_ERRORS.into(), now.saturating_sub(before) as f64);
    }
}

fn insert(health: &mut BTreeMap<String, f64>, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        health.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::CpuTicks;
    use super::*;

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

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_every_counter() {
        let counters = machine::counters();
        assert!(counters.cpu.is_some() && counters.tree_seconds.is_some() && counters.own_seconds.is_some());
        assert!(machine::levels().resident_bytes.is_some_and(|bytes| bytes > 1_000_000));
        assert!(machine::levels().open_files.is_some_and(|count| count >= 3));
    }
}
