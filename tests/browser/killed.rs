//! `harness run` killed with SIGKILL while its browser is up leaves no process and no file behind.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SCENARIO: &str = r#"
schema = 1
name = "killed"
[[peers]]
name = "native"
engine = "native"
[[peers]]
name = "chromium"
engine = "chromium"
[[topology.calls]]
offerer = "native"
answerer = "chromium"
[load]
hold = "60s"
"#;

/// A process and when it started, which tells it from a later one that was given the same id.
type Identity = (i32, u64);

fn running() -> Vec<procfs::process::Stat> {
    procfs::process::all_processes().unwrap().flatten().filter_map(|process| process.stat().ok()).collect()
}

/// The children of a process, and theirs, with their names.
fn descendants(root: u32) -> Vec<(Identity, String)> {
    let all = running();
    let mut found: Vec<(Identity, String)> = Vec::new();
    let mut parents = vec![i32::try_from(root).unwrap()];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.ppid == parent) {
            parents.push(child.pid);
            found.push(((child.pid, child.starttime), child.comm.clone()));
        }
    }
    found
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nothing_is_left_of_a_run_that_is_killed() {
    let work = tempfile::tempdir().unwrap();
    let (scenario, temporary) = (work.path().join("killed.toml"), work.path().join("tmp"));
    std::fs::write(&scenario, SCENARIO).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("run")
        .arg(&scenario)
        .arg("--out")
        .arg(work.path().join("reports"))
        .env("TMPDIR", &temporary)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The browser is up once it has processes beside its driver: a browser process, zygotes, a renderer.
    let browsers = || descendants(run.id()).iter().filter(|(_, name)| name.starts_with("chromium")).count();
    wait_until("the browser to start: install chromium and chromium-driver", || browsers() >= 3);
    let started: Vec<Identity> = descendants(run.id()).into_iter().map(|(identity, _)| identity).collect();
    run.kill().unwrap();
    run.wait().unwrap();
    let left = || running().iter().filter(|process| started.contains(&(process.pid, process.starttime))).count();
    wait_until("the processes to end", || left() == 0);
    wait_until("the temporary files to go", || std::fs::read_dir(&temporary).unwrap().next().is_none());
}
