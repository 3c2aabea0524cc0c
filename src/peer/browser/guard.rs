//! The guard: a small process between the harness and a driver, so that browsers die with the harness, whichever way
//! it ends.
//!
//! The harness starts itself as `harness guard --dir DIR -- PROGRAM ARGS…` and holds the guard's standard input. When
//! that reaches its end, because the harness closed it or was killed, the guard ends every process that descends from
//! the program, removes the program's directory, and exits. Browsers detach themselves from their driver and from its
//! process group; the guard is their subreaper, so that they cannot leave its tree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Begins every line that the guard itself writes to its standard output; all others are the program's.
pub(super) const PREFIX: &str = "guard: ";

/// How long processes have to end by themselves after SIGTERM, and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Why a guard could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The operating system refuses what the guard needs.
    #[error("the guard cannot {what}: {source}")]
    System {
        /// What was refused.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The directory cannot be made.
    #[error("cannot create the directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Processes outlived SIGKILL, such as in an uninterruptible sleep.
    #[error("these processes do not die: {0:?}")]
    Left(Vec<i32>),
}

/// Runs `program` in `dir`, a directory that must not exist yet, until it ends or standard input does; then ends
/// everything that it started and removes `dir`.
///
/// The program gets a process group of its own, and finds its temporary files, home and XDG directories in `dir`.
/// Its output goes to the guard's own; how it ended is written there too, in a line that begins with `guard: `.
/// Must be called within a tokio runtime, and blocks.
///
/// # Errors
///
/// When the directory or the program cannot be had, or a process is left behind.
pub fn watch(dir: &Path, program: &Path, args: &[OsString]) -> Result<(), GuardError> {
    let outcome = watch_quietly(dir, program, args);
    if let Err(error) = &outcome {
        say(&error.to_string());
    }
    outcome
}

enum Change {
    ParentGone,
    ProgramEnded(WaitStatus),
    AllReaped,
}

fn watch_quietly(dir: &Path, program: &Path, args: &[OsString]) -> Result<(), GuardError> {
    let system = |what| move |source| GuardError::System { what, source };
    // A handler takes the place of the default action, for the rest of the process's life. Exec resets it, so that the
    // program can be ended as usual.
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let _never_read = signal(kind).map_err(system("ignore signals"))?;
    }
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| system("become a subreaper")(error.into()))?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|source| GuardError::Directory { path: dir.to_owned(), source })?;
    let directory = Directory(dir);
    let child = Command::new(program)
        .args(args)
        .envs(environment(dir)?)
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| GuardError::Start { program: program.to_owned(), source })?;
    let program_pid = Pid::from_child(&child);

    let (changes, changed) = mpsc::channel();
    let gone = changes.clone();
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = gone.send(Change::ParentGone);
    });
    thread::spawn(move || reap(program_pid, &changes));
    if let Ok(Change::ProgramEnded(status)) = changed.recv() {
        say(&format!("{} {}", program.display(), describe(status)));
    }
    let left = end_descendants();
    // What is not reaped here stays a zombie in a container whose first process does not reap.
    let deadline = Instant::now() + GRACE;
    while let Ok(change) = changed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if let Change::AllReaped = change {
            break;
        }
    }
    drop(directory);
    if left.is_empty() { Ok(()) } else { Err(GuardError::Left(left)) }
}

/// Waits for every child, the adopted ones included, until none is left.
fn reap(program: Pid, changes: &mpsc::Sender<Change>) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                let _ = changes.send(Change::ProgramEnded(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            // No child is left, nor can another appear: only the program and its descendants make any.
            Err(_) => {
                let _ = changes.send(Change::AllReaped);
                return;
            }
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// The directories that programs write to without being asked, all of them below `dir`.
fn environment(dir: &Path) -> Result<BTreeMap<&'static str, PathBuf>, GuardError> {
    let names = [
        ("TMPDIR", "tmp"),
        ("HOME", "home"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_DATA_HOME", "data"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_RUNTIME_DIR", "run"),
    ];
    let mut variables = BTreeMap::new();
    for (variable, name) in names {
        let path = dir.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| GuardError::Directory { path: path.clone(), source })?;
        variables.insert(variable, path);
    }
    Ok(variables)
}

/// Ends every descendant, first with SIGTERM, then with SIGKILL; returns those that are left.
fn end_descendants() -> Vec<i32> {
    for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, KILL_DEADLINE)] {
        let deadline = Instant::now() + patience;
        let mut told = Vec::new();
        loop {
            let alive = descendants();
            if alive.is_empty() {
                return alive;
            }
            for pid in &alive {
                // A process that was started after the last look has not been told yet.
                if !told.contains(pid) {
                    told.push(*pid);
                    let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, signal));
                }
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    descendants()
}

/// The live processes that descend from this one.
fn descendants() -> Vec<i32> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for (pid, parent) in live_processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut pending = vec![std::process::id() as i32];
    while let Some(pid) = pending.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            pending.push(child);
        }
    }
    found
}

/// Every process that is not a zombie, with its parent.
#[cfg(target_os = "linux")]
fn live_processes() -> Vec<(i32, i32)> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    // A process that has gone meanwhile has no status any more.
    let stats = processes.filter_map(|process| process.stat().ok());
    stats.filter(|stat| stat.state != 'Z').map(|stat| (stat.pid, stat.ppid)).collect()
}

/// Every process that is not a zombie, with its parent, but for the `ps` that lists them.
#[cfg(not(target_os = "linux"))]
fn live_processes() -> Vec<(i32, i32)> {
    let Ok(ps) = Command::new("ps").args(["-Ao", "pid=,ppid=,stat="]).stdout(Stdio::piped()).spawn() else {
        return Vec::new();
    };
    let lister = ps.id() as i32;
    let Ok(output) = ps.wait_with_output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (pid, parent, state) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
        (pid != lister && !state.starts_with('Z')).then_some((pid, parent))
    });
    fields.collect()
}

/// Removes the directory when dropped; a dying program may still be writing, hence more than one try.
struct Directory<'a>(&'a Path);

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        for _ in 0..50 {
            if std::fs::remove_dir_all(self.0).is_ok() || !self.0.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Writes a line to standard output; with the parent gone there may be nobody to read it.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{PREFIX}{text}").and_then(|()| out.flush());
}
