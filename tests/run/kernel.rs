//! Runs whose networks are network namespaces: every program behind the model, as root and as an ordinary user, and
//! nothing of it is left behind.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Lab, NOISE_ALLOWED, Run, newest_record, text, wait_until};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

/// An ordinary user, who need not have a name.
const USER: u32 = 54321;

/// Networks between which each kind of path is found, except a relay over TCP.
const NETWORKS: &str = r#"
[[network.site]]
name = "full-cone"
nat = "full-cone"
[[network.site]]
name = "symmetric"
nat = "symmetric"
[[network.site]]
name = "tls-443-only"
firewall = "tls-443-only"
[media]
video = "none"
"#;

/// A directory in which the user of [`Who`] can run the binary under test.
struct Stage {
    lab: Lab,
    who: Who,
}

/// Who runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    /// Whoever runs the tests.
    Self_,
    /// An ordinary user; only root can become one.
    User,
}

fn everybody() -> Vec<Who> {
    if geteuid().is_root() { vec![Who::Self_, Who::User] } else { vec![Who::Self_] }
}

impl Stage {
    fn new(who: Who) -> Self {
        let lab = Lab::new();
        // Others may have no way to where the programs lie.
        for (program, name) in
            [(Path::new(env!("CARGO_BIN_EXE_harness")), "harness"), (&on_path("geckodriver"), "geckodriver")]
        {
            fs::copy(program, lab.dir.path().join(name)).expect("a copy of a program");
        }
        let home = lab.dir.path().join("home");
        fs::create_dir(&home).unwrap();
        if who == Who::User {
            fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            for directory in [lab.dir.path(), &home] {
                chown(directory, Some(USER), Some(USER)).unwrap();
            }
        }
        Self { lab, who }
    }

    fn command(&self, scenario: &Path) -> Command {
        let directory = self.lab.dir.path();
        let harness = directory.join("harness");
        let mut command = match self.who {
            Who::Self_ => Command::new(harness),
            Who::User => {
                let mut command = Command::new("setpriv");
                let id = USER.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(harness);
                command
            }
        };
        let path = format!("{}:{}", text(directory), std::env::var("PATH").unwrap());
        command.args(["run", text(scenario), "--out", text(&self.lab.out())]).args(NOISE_ALLOWED);
        command.env("CI", "true").env("NO_COLOR", "1").env("HOME", directory.join("home")).env("PATH", path);
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn scenario(&self, text: &str) -> PathBuf {
        let path = self.lab.scenario("kernel", &format!("schema = 1\nname = \"kernel\"\n{text}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn run(&self, text: &str) -> Run {
        let output = self.command(&self.scenario(text)).output().expect("the binary runs");
        Run::new(output, &self.lab.out())
    }

    fn start(&self, text: &str) -> Child {
        let mut command = self.command(&self.scenario(text));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs")
    }
}

#[track_caller]
fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{name} is not on the path (ci/install brings it)"))
}

fn scenario(turn: &str, matrix: &str) -> String {
    let load = "[load]\nhold = \"1s\"\narrivals = \"2/s\"\n";
    format!("[network]\ndriver = \"kernel\"\n[network.turn]\n{turn}\n{NETWORKS}[matrix]\n{matrix}\n{load}")
}

/// The paths that were found, as `first>second: path`, each of which must be the right one with its media.
#[track_caller]
fn right_paths(run: &Run) -> Vec<String> {
    run.assert_code(0);
    let report = run.report();
    let cells = report["matrix"]["cells"].as_array().expect("a matrix");
    assert!(cells.iter().all(|cell| cell["outcome"] == "ok"), "{cells:?}");
    let media = report["media"].as_array().expect("media");
    assert!(!media.is_empty() && media.iter().all(|media| media["verified"] == true), "{media:?}");
    let checks = report["lab"]["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["what"] == "packets lost before the model"), "{checks:?}");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    cells
        .iter()
        .map(|cell| format!("{}>{}: {}", word(&cell["first"]), word(&cell["second"]), word(&cell["observed"])))
        .collect()
}

#[test]
fn simulated_peers_find_the_path_of_every_pair() {
    for who in everybody() {
        for turn in ["", "server = \"coturn\""] {
            let stage = Stage::new(who);
            let run = stage.run(&scenario(turn, ""));
            let expected = [
                "full-cone>full-cone: direct",
                "full-cone>symmetric: direct",
                "full-cone>tls-443-only: relay tls",
                "symmetric>full-cone: direct",
                "symmetric>symmetric: relay udp",
                "symmetric>tls-443-only: relay tls",
                "tls-443-only>full-cone: relay tls",
                "tls-443-only>symmetric: relay tls",
                "tls-443-only>tls-443-only: relay tls",
            ];
            // Of two relays that take part, the report may name both.
            let found =
                right_paths(&run).iter().map(|path| path.replace("/udp", "").replace("udp/", "")).collect::<Vec<_>>();
            assert_eq!(found, expected, "{who:?} {turn}");
        }
    }
}

#[test]
fn browsers_find_the_path_through_strict_networks() {
    let matrix = |engines: &str| {
        format!(
            "engines = [{engines}]\nsites = [\"symmetric\"]\nagainst = [\"symmetric\", \"tls-443-only\"]\nrepeat = 1\n"
        )
    };
    for (who, turn) in everybody().into_iter().rev().zip(["", "server = \"coturn\""]) {
        let engines = "[\"chromium\", \"firefox\"], [\"firefox\", \"chromium\"]";
        let stage = Stage::new(who);
        let run = stage.run(&scenario(turn, &matrix(engines)).replace("2/s", "0.3/s"));
        let found = right_paths(&run);
        assert_eq!(found.iter().filter(|path| path.contains("relay")).count(), 4, "{found:?}");
    }
}

#[test]
fn a_nat_that_lies_makes_the_result_invalid() {
    let text = scenario("", "").replace("nat = \"full-cone\"", "nat = \"naive-masquerade\"");
    let stage = Stage::new(Who::Self_);
    let run = stage.run(&text);
    run.assert_code(3).assert_says("the network full-cone is not what was asked for").assert_says("EIM/APDF");
}

#[test]
fn what_the_machine_lacks_is_told_with_a_remedy() {
    let stage = Stage::new(Who::Self_);
    let mut command = stage.command(&stage.scenario(&scenario("server = \"coturn\"", "")));
    // `ip` is in one of these, and coturn in neither.
    let bin = stage.lab.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["ip", "sh"] {
        std::os::unix::fs::symlink(on_path(name), bin.join(name)).unwrap();
    }
    let run = Run::new(command.env("PATH", &bin).output().unwrap(), &stage.lab.out());
    run.assert_code(3).assert_says("coturn is not installed").assert_says("apt-get install coturn");
    if geteuid().is_root() {
        // No user namespaces, for somebody who has no right to others either.
        let forbid = "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", forbid, "sh", env!("CARGO_BIN_EXE_harness"), "run"]);
        command.arg(stage.lab.dir.path().join("kernel.toml")).args(["--out", text(&stage.lab.out())]);
        let run = Run::new(command.output().unwrap(), &stage.lab.out());
        run.assert_code(3).assert_says("user namespaces are forbidden").assert_says("run as root");
    }
}

/// Two browsers and coturn in their networks, for a call that is longer than any test.
fn long_call() -> String {
    let matrix = "engines = [[\"chromium\", \"native\"]]\nsites = [\"symmetric\"]\nagainst = [\"tls-443-only\"]\n";
    scenario("server = \"coturn\"", matrix).replace("hold = \"1s\"", "hold = \"10min\"")
}

#[test]
fn the_first_signal_ends_the_run_gracefully() {
    for who in everybody() {
        let stage = Stage::new(who);
        let before = files(&stage);
        let mut child = stage.start(&long_call());
        stage.lab.wait_for_event("first_media");
        let started = descendants(child.id());
        kill_process(pid(child.id()), Signal::INT).unwrap();
        wait_until("the run to end", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{who:?}");
        nothing_is_left(&stage, &started, &before);
        let report = fs::read_to_string(newest_record(&stage.lab.out()).unwrap().join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["verdict"], "interrupted");
    }
}

#[test]
fn nothing_is_left_of_a_run_that_is_killed() {
    for who in everybody() {
        for wait_ms in [0, 30, 100, 300, 700, 1500, 3000, 6000] {
            let stage = Stage::new(who);
            let before = files(&stage);
            let mut child = stage.start(&long_call());
            std::thread::sleep(Duration::from_millis(wait_ms));
            let started = descendants(child.id());
            kill_process(pid(child.id()), Signal::KILL).unwrap();
            child.wait().unwrap();
            nothing_is_left(&stage, &started, &before);
        }
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed()).unwrap()
}

#[track_caller]
fn nothing_is_left(stage: &Stage, started: &[u32], before: &BTreeSet<PathBuf>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left: Vec<_> = started.iter().filter(|id| alive(**id)).collect();
        let (files, processes) = (files(stage), crate::common::processes_with(text(stage.lab.dir.path())));
        if left.is_empty() && files == *before && processes.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left: {left:?}, {processes:?}, and {:?}", files.difference(before));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What lies in the directories where temporary files go.
fn files(stage: &Stage) -> BTreeSet<PathBuf> {
    let home = stage.lab.dir.path().join("home");
    ["/mnt", "/media", "/srv", "/dev/shm", text(&home)]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect()
}

fn alive(id: u32) -> bool {
    // A process that only waits for its parent to take notice is dead.
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processes that descend from this one, itself included.
fn descendants(root: u32) -> Vec<u32> {
    let all: Vec<_> = procfs::process::all_processes().unwrap().flatten().filter_map(|it| it.stat().ok()).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(ancestor) = found.get(next).copied() {
        next += 1;
        found.extend(all.iter().filter(|it| it.ppid == ancestor.cast_signed()).map(|it| it.pid.cast_unsigned()));
    }
    found
}
