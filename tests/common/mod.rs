//! Runs the real binary in a directory of its own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Settings with which noise on the machine does not make a result invalid.
pub const NOISE_ALLOWED: [&str; 8] = [
    "--set",
    "health.machine_cpu=100%",
    "--set",
    "health.scheduling_lag_p99=1h",
    "--set",
    "health.send_lateness_p99=1h",
    "--set",
    "health.steal=100%",
];

/// What simulated peers run on in every run of the tests, `async` or `dense`, unless a test says it itself.
const STACK: &str = "HARNESS_TEST_STACK";

/// Simulated peers on one stack call those on the other, for a second.
pub const BOTH_STACKS: &str = r#"
name = "stacks"

[[peers]]
name = "async"
stack = "async"

[[peers]]
name = "dense"
stack = "dense"

[[topology.calls]]
offerer = "async"
answerer = "dense"

[[topology.calls]]
offerer = "dense"
answerer = "async"

[load]
hold = "1s"
"#;

/// A directory for scenarios and records, removed at the end.
pub struct Lab {
    pub dir: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Writes a scenario and returns its path.
    pub fn scenario(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("the scenario is written");
        path
    }

    /// The folder of the records.
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("reports")
    }

    /// A command of the binary under test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(arguments).env("CI", "true").env("NO_COLOR", "1");
        if let Ok(stack) = std::env::var(STACK)
            && let ["run", scenario, more @ ..] = arguments
            // A plan says itself what its peers run on.
            && !scenario.ends_with("plan.toml")
            && !more.iter().any(|argument| argument.contains("stack="))
        {
            command.args(["--set", &format!("native.stack={stack}")]);
        }
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a scenario to its end.
    pub fn run(&self, scenario: &Path, more: &[&str]) -> Run {
        self.try_run(scenario, more)
    }

    /// Runs a scenario to its end; if noise on the machine made the result invalid, once more without limits on the
    /// generator's health: the test is about facts, which noise does not change.
    pub fn run_calmly(&self, scenario: &Path, more: &[&str]) -> Run {
        let run = self.try_run(scenario, more);
        if run.code != 3 {
            return run;
        }
        let is_plan = scenario.ends_with("plan.toml");
        self.try_run(scenario, &[more, if is_plan { &[] } else { &NOISE_ALLOWED[..] }].concat())
    }

    fn try_run(&self, scenario: &Path, more: &[&str]) -> Run {
        let out = self.out();
        let mut arguments = vec!["run", text(scenario), "--out", text(&out)];
        arguments.extend(more);
        let output = self.command(&arguments).output().expect("the binary runs");
        Run::new(output, &out)
    }

    /// A call of a simulated peer with a client that is not of the run, which plays `role` (`offer` or `answer`): the report, and
    /// what the client says at its end, which is JSON. `settings` are tables of the scenario; `start` starts the client with the
    /// port of the bundled server and the file of its CA.
    pub fn call_with_client(
        &self,
        settings: &str,
        role: &str,
        start: impl FnOnce(u16, &Path) -> Child,
    ) -> (Value, Value) {
        let (run, said) = self.run_with_client(settings, "native", role, start);
        run.assert_code(0);
        let report = run.report();
        assert_eq!(report["calls"]["connected"], 1);
        (report, said)
    }

    /// As [`call_with_client`](Self::call_with_client) with an engine of our end, whatever comes of the call.
    pub fn run_with_client(
        &self,
        settings: &str,
        engine: &str,
        role: &str,
        start: impl FnOnce(u16, &Path) -> Child,
    ) -> (Run, Value) {
        let (offerer, answerer) = if role == "offer" { ("them", "us") } else { ("us", "them") };
        let scenario = format!(
            r#"
schema = 1
name = "foreign"
{settings}
[load]
hold = "4s"
[[peers]]
name = "us"
engine = "{engine}"
[[peers]]
name = "them"
engine = "external"
[[topology.calls]]
offerer = "{offerer}"
answerer = "{answerer}"
room = "lobby"
"#
        );
        let child = self.start(&self.scenario("foreign", &scenario));
        let (port, ca) = self.bundled_server(&child);
        let client = start(port, &ca);
        let run = Run::new(child.wait_with_output().expect("the run ends"), &self.out());
        let client = client.wait_with_output().expect("the client ends");
        let said = String::from_utf8_lossy(&client.stdout).into_owned();
        let complaints = String::from_utf8_lossy(&client.stderr).into_owned();
        assert!(client.status.success(), "{said}{complaints}");
        eprintln!("{complaints}");
        (run, serde_json::from_str(said.trim()).expect("a line of JSON"))
    }

    /// Starts a run that noise on the machine cannot make invalid.
    pub fn start(&self, scenario: &Path) -> Child {
        let out = self.out();
        let mut arguments = vec!["run", text(scenario), "--out", text(&out)];
        arguments.extend(NOISE_ALLOWED);
        self.command(&arguments).spawn().expect("the binary runs")
    }

    /// The bundled server of a run that was started: its port, and the file with its CA.
    pub fn bundled_server(&self, run: &Child) -> (u16, PathBuf) {
        let ca = || newest_record(&self.out()).map(|record| record.join("ca.pem")).filter(|ca| ca.exists());
        wait_until("the server's CA", || ca().is_some());
        (listening_port(run.id()), ca().expect("it was there"))
    }

    /// Waits until an event of this type is on disk.
    pub fn wait_for_event(&self, wanted: &str) {
        wait_until(&format!("the event {wanted}"), || {
            newest_record(&self.out())
                .and_then(|record| std::fs::read_to_string(record.join("events.ndjson")).ok())
                .is_some_and(|events| events.contains(wanted))
        });
    }
}

/// A run that ended.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The run directory, if there is one.
    pub record: Option<PathBuf>,
}

impl Run {
    pub fn new(output: Output, out: &Path) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            record: newest_record(out),
        }
    }

    pub fn report(&self) -> Value {
        let record = self.record.as_ref().unwrap_or_else(|| panic!("no record; the run said:\n{}", self.stderr));
        let text = std::fs::read_to_string(record.join("report.json")).expect("report.json");
        serde_json::from_str(&text).expect("report.json is JSON")
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "the run said:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn assert_says(&self, words: &str) -> &Self {
        // Long lines are wrapped for people.
        let said = self.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words:?} is not in:\n{}", self.stderr);
        self
    }
}

/// The directory of the newest record.
pub fn newest_record(out: &Path) -> Option<PathBuf> {
    let name = std::fs::read_dir(out).ok()?.filter_map(Result::ok).find(|entry| entry.path().is_dir())?;
    let mut runs: Vec<_> = std::fs::read_dir(name.path())
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != "latest")
        .map(|entry| entry.path())
        .collect();
    runs.sort();
    runs.pop()
}

/// Waits, with a generous deadline, until something holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes whose command line contains `needle`, this one apart.
pub fn processes_with(needle: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(needle) {
            found.push(format!("{name}: {line}"));
        }
    }
    found
}

/// Starts the client of another stack of `tests/foreign/client.py` in the room `lobby`.
pub fn foreign_client(port: u16, ca: &Path, role: &str, more: &[&str]) -> Child {
    let python = repository("target/tools/python/bin/python3");
    assert!(python.exists(), "{} is missing: run ci/install", python.display());
    Command::new(python)
        .arg(repository("tests/foreign/client.py"))
        .args([&format!("wss://localhost:{port}/ws"), text(ca), "lobby", role])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the foreign client starts")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The repository's own file.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The TCP port on which a process listens.
pub fn listening_port(pid: u32) -> u16 {
    let mut port = None;
    wait_until("the server to listen", || {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .map(|fds| {
                fds.filter_map(Result::ok)
                    .filter_map(|fd| std::fs::read_link(fd.path()).ok())
                    .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        port = table.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let listening =
                fields.get(3) == Some(&"0A") && own.iter().any(|inode| fields.get(9) == Some(&inode.as_str()));
            let (_, port) = fields.get(1)?.split_once(':')?;
            listening.then(|| u16::from_str_radix(port, 16).ok())?
        });
        port.is_some()
    });
    port.expect("the port was found")
}
