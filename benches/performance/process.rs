//! What the kernel says of processes and of the machine (`/proc`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use procfs::process::Process;

use super::Result;

/// The program under test.
pub(super) fn harness() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.env("CI", "true").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A child that does not outlive its measurement.
pub(super) struct Measured {
    child: Child,
    process: Process,
    pub(super) began: Instant,
}

impl Measured {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn()?;
        let process = Process::new(child.id().try_into()?)?;
        Ok(Self { child, process, began: Instant::now() })
    }

    /// CPU time so far; the kernel counts it in steps of 10 ms.
    pub(super) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.process)
    }

    /// Resident memory in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        Ok(self.process.statm()?.resident * procfs::page_size())
    }

    /// Sleeps until `after` its start; an error if it ends before.
    pub(super) fn at(&mut self, after: Duration) -> Result<()> {
        std::thread::sleep(after.saturating_sub(self.began.elapsed()));
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the program ended early, with {status}").into()),
        }
    }

    /// Waits for its end, which any exit code may be; gives the CPU time of its whole life.
    pub(super) fn finish(mut self) -> Result<Duration> {
        // The kernel adds a child's time to its parent's once the parent has waited for it.
        let before = cpu_of_children()?;
        self.child.wait()?;
        Ok(cpu_of_children()? - before)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process so far.
pub(super) fn own_cpu() -> Result<Duration> {
    cpu_of(&Process::myself()?)
}

fn cpu_of(process: &Process) -> Result<Duration> {
    let stat = process.stat()?;
    Ok(from_ticks((stat.utime + stat.stime) as f64))
}

fn cpu_of_children() -> Result<Duration> {
    let stat = Process::myself()?.stat()?;
    Ok(from_ticks((stat.cutime + stat.cstime) as f64))
}

fn from_ticks(ticks: f64) -> Duration {
    Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64)
}

/// The load average of the last minute: what else the machine did before the measurement.
pub(super) fn load_average() -> Option<f32> {
    use procfs::Current;
    procfs::LoadAverage::current().ok().map(|load| load.one)
}

/// The model of the CPU and how many cores there are.
pub(super) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.map_or("unknown CPU", |(_, model)| model.trim()))
}

/// As many descriptors as this process, and those that it starts, may have.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A directory of its own for one measurement, gone afterwards.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("harness-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
