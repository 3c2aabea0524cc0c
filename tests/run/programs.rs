//! Programs of a scenario run behind its networks: a foreign client as one end of a call, servers, and checks; as root and
//! as an ordinary user.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Lab, NOISE_ALLOWED, Run, processes_with, repository, text};
use rustix::process::geteuid;
use serde_json::Value;

/// An ordinary user, who need not have a name.
const USER: u32 = 54321;

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

impl Who {
    fn command(self, program: &Path) -> Command {
        match self {
            Self::Self_ => Command::new(program),
            Self::User => {
                let mut command = Command::new("setpriv");
                let id = USER.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
                command
            }
        }
    }

    /// An interpreter with aiortc that is open to this user, and where it finds aiortc.
    fn python(self) -> (PathBuf, PathBuf) {
        let own = repository("target/tools/python/bin/python3");
        let packages = Command::new(&own).args(["-c", "import site; print(site.getsitepackages()[0])"]).output();
        let packages = packages.unwrap_or_else(|error| panic!("{}: {error}: run ci/install", own.display())).stdout;
        let packages = PathBuf::from(String::from_utf8(packages).unwrap().trim());
        // The one of the tools may be a link into a directory that is closed to others, though not to whoever becomes one.
        let works = |python: &PathBuf| {
            let mut command = self.command(Path::new("sh"));
            command.args(["-c", "exec \"$@\"", "sh", text(python), "-c", "import aiortc, websockets"]);
            command.env("PYTHONPATH", &packages).current_dir("/");
            command.output().is_ok_and(|output| output.status.success())
        };
        let python = [own, "/usr/bin/python3".into()].into_iter().find(works);
        (python.unwrap_or_else(|| panic!("{self:?} has no Python with aiortc: run ci/install")), packages)
    }
}

/// A directory in which somebody can run the binary under test.
struct Stage {
    lab: Lab,
    who: Who,
}

impl Stage {
    fn new(who: Who) -> Self {
        let lab = Lab::new();
        for (file, name) in
            [(env!("CARGO_BIN_EXE_harness").into(), "harness"), (repository("tests/foreign/client.py"), "client.py")]
        {
            fs::copy(file, lab.dir.path().join(name)).expect("a copy of a program");
        }
        if who == Who::User {
            fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(lab.dir.path(), Some(USER), Some(USER)).unwrap();
        }
        Self { lab, who }
    }

    fn run(&self, scenario: &str) -> Run {
        self.run_with(scenario, &[])
    }

    fn run_with(&self, scenario: &str, variables: &[(&str, &Path)]) -> Run {
        let path = self.lab.scenario("programs", &format!("schema = 1\nname = \"programs\"\n{scenario}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let directory = self.lab.dir.path();
        let mut command = self.who.command(&directory.join("harness"));
        command.args(["run", text(&path), "--out", text(&self.lab.out())]).args(NOISE_ALLOWED);
        command.env("CI", "true").env("NO_COLOR", "1").env("HOME", directory).envs(variables.iter().copied());
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command.current_dir(directory).stdin(Stdio::null());
        Run::new(command.output().expect("the binary runs"), &self.lab.out())
    }
}

/// Two networks; peers of ours in the first.
fn networks(turn: &str, other: &str) -> String {
    format!(
        "[network]\ndriver = \"kernel\"\n[network.turn]\n{turn}\n[[network.site]]\nname = \"home\"\n\
         nat = \"port-restricted\"\n[[network.site]]\nname = \"office\"\n{other}\n[load]\nhold = \"2s\"\n[[peers]]\nname = \"us\"\nsite = \"home\"\n"
    )
}

fn program(name: &str, site: Option<&str>, script: &str) -> String {
    let site = site.map(|site| format!("site = \"{site}\"\n")).unwrap_or_default();
    format!("[[network.program]]\nname = \"{name}\"\n{site}command = [\"sh\", \"-c\", '''{script}''']\n")
}

fn log(run: &Run, name: &str) -> String {
    let path = run.record.as_ref().expect("a record").join(format!("{name}.log"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; {}", path.display(), run.stderr))
}

/// The report, and the types of the candidates that aiortc chose, its own first.
fn foreign_call(who: Who, turn: &str, other: &str) -> (Value, [String; 2]) {
    let stage = Stage::new(who);
    let (python, packages) = who.python();
    let program = format!(
        "[[peers]]\nname = \"them\"\nengine = \"external\"\nsite = \"office\"\n[[network.program]]\nname = \"aiortc\"\n\
         site = \"office\"\ncommand = [\"{}\", \"client.py\"]\n",
        python.display()
    );
    let run = stage.run_with(&format!("{}{program}", networks(turn, other)), &[("PYTHONPATH", &packages)]);
    run.assert_code(0);
    let report = run.report();
    let media = report["media"].as_array().expect("media");
    assert_eq!(media.iter().filter(|media| media["verified"] == true).count(), 3, "video, audio, the echo: {media:?}");
    let client: Value = serde_json::from_str(log(&run, "aiortc").trim()).expect("a line of JSON");
    assert!(client["frames"]["video"].as_u64().unwrap() > 0, "{client}");
    assert_eq!(client["path"].as_array().map(Vec::len), Some(1), "{client}");
    let kind = |end: usize| client["path"][0][end].as_str().expect("a type").to_owned();
    (report, [kind(0), kind(1)])
}

#[test]
fn a_foreign_client_whose_udp_is_blocked_is_relayed_over_tcp() {
    for who in everybody() {
        let (report, [own, _]) = foreign_call(who, "transports = [\"tcp\"]", "firewall = \"udp-blocked\"");
        assert_eq!(own, "relay", "{who:?}: {}", report["paths"]);
    }
}

#[test]
fn a_foreign_client_is_relayed_from_behind_one_nat_and_not_from_behind_another() {
    for (nat, relayed) in [("symmetric", true), ("full-cone", false)] {
        let (report, ends) = foreign_call(Who::Self_, "", &format!("nat = \"{nat}\""));
        let ours = &report["paths"][0];
        let relay = ends.contains(&"relay".to_owned()) || ours["local"]["candidate_type"] == "relay";
        assert_eq!(relay, relayed, "{nat}: {ends:?}, {ours}");
    }
}

#[test]
fn a_program_is_told_what_it_needs_and_ends_with_the_run() {
    for who in everybody() {
        let stage = Stage::new(who);
        let tell = "env | grep ^HARNESS_; cat \"$HARNESS_CA_FILE\" \"$HARNESS_TURN_CA_FILE\"";
        let text = [
            networks("", "nat = \"symmetric\"").replace("name = \"us\"\n", "name = \"us\"\ncount = 2\n"),
            // One that is asked to end, one that has to be made to, and one that ends by itself.
            program("public", None, &format!("{tell}; trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done")),
            program("inside", Some("office"), &format!("{tell}; trap '' TERM; sleep 987.5 & sleep 987.5")),
            program("brief", None, "test $HARNESS_ADDRESS = 11.0.0.21"),
        ];
        let run = stage.run(&text.concat());
        run.assert_code(0);
        let public = log(&run, "public");
        for said in [
            "HARNESS_NAME=public\n",
            "HARNESS_ADDRESS=11.0.0.20\n",
            "HARNESS_SIGNALING_URL=wss://11.0.0.10:443/ws\n",
            "HARNESS_ICE_POLICY=all\n",
        ] {
            assert!(public.contains(said), "{said:?} in {public}");
        }
        assert!(public.ends_with("bye\n") && !public.contains("HARNESS_ROOM"), "{public}");
        assert_eq!(public.matches("BEGIN CERTIFICATE").count(), 2, "{public}");
        assert!(log(&run, "inside").contains("HARNESS_ADDRESS=192.168.2."), "{}", log(&run, "inside"));
        assert_eq!(processes_with("987.5"), Vec::<String>::new(), "{who:?}");
        secrets_are_nowhere_else(&run, &public);
    }
}

/// What the program was told of the TURN server is in no file but the program's own.
fn secrets_are_nowhere_else(run: &Run, said: &str) {
    let servers = said.lines().find_map(|line| line.strip_prefix("HARNESS_ICE_SERVERS=")).expect("ICE servers");
    let servers: Value = serde_json::from_str(servers).expect("JSON");
    assert_eq!(servers[0]["urls"][0], "stun:11.0.0.2:3478");
    assert_eq!(servers[1]["urls"].as_array().map(Vec::len), Some(3), "{servers}");
    let password = servers[1]["credential"].as_str().expect("a password");
    for entry in fs::read_dir(run.record.as_ref().unwrap()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension != "log") {
            let content = fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&content).contains(password), "{}", entry.path().display());
        }
    }
}

#[test]
fn a_program_that_fails_fails_the_run_with_its_last_words() {
    let peers = networks("", "nat = \"symmetric\"").replace("name = \"us\"\n", "name = \"us\"\ncount = 2\n");
    let script = "echo a beginning; echo cannot go on >&2; exit 3";
    let stage = Stage::new(Who::Self_);
    let run = stage.run(&format!("{peers}{}", program("checker", Some("office"), script)));
    let said = "the program checker ended with exit code 3; it said last: a beginning / \
                cannot go on; see checker.log";
    run.assert_code(1).assert_says(said);
    assert_eq!(run.report()["reasons"][0], said);
    assert_eq!(run.report()["calls"]["connected"], 1);
}

#[test]
fn a_program_that_does_not_start_makes_the_result_invalid() {
    let peers = networks("", "nat = \"symmetric\"").replace("name = \"us\"\n", "name = \"us\"\ncount = 2\n");
    let missing = "[[network.program]]\nname = \"gone\"\nsite = \"office\"\ncommand = [\"./no-such-program\"]\n";
    let stage = Stage::new(Who::Self_);
    let run = stage.run(&format!("{peers}{missing}"));
    run.assert_code(3).assert_says("the program gone (./no-such-program) does not start");
    run.assert_says("install ./no-such-program, put it on the path, or correct `command`");
}
