//! `harness run` killed with SIGKILL while its browser is up leaves no process and no file behind.

use std::path::Path;
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

/// The processes whose environment names this directory: the browser's, its driver's, and those of both.
fn processes_in(dir: &Path) -> Vec<String> {
    let names_dir = |process: &procfs::process::Process| {
        let environment = process.environ().unwrap_or_default();
        environment.values().any(|value| Path::new(value).starts_with(dir))
    };
    let all = procfs::process::all_processes().unwrap().flatten();
    all.filter(names_dir).filter_map(|process| Some(format!("{} {}", process.pid, process.stat().ok()?.comm))).collect()
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
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The browser is up once it has processes beside its driver.
    let browsers = || processes_in(&temporary).iter().filter(|process| process.ends_with("chromium")).count();
    wait_until("the browser to start: install chromium and chromium-driver", || browsers() >= 3);
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("the processes to end", || processes_in(&temporary).is_empty());
    wait_until("the temporary files to go", || std::fs::read_dir(&temporary).unwrap().next().is_none());
}
