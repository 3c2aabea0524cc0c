//! The kernel driver with real programs: as root and as an ordinary user, for each NAT as classified by coturn's client,
//! with browsers, and killed at any moment.
//!
//! A test starts `harness lab` with this test binary as the program inside, which runs one of the ignored tests below.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "lab_kernel/inside.rs"]
mod inside;

const HARNESS: &str = env!("CARGO_BIN_EXE_harness");

/// An ordinary user, who need not have a name.
const USER: &str = "54321";

/// Who starts the lab.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    /// Whoever runs the tests.
    Self_,
    /// An ordinary user; only root can become one.
    User,
}

fn everybody() -> Vec<Who> {
    if rustix::process::geteuid().is_root() { vec![Who::Self_, Who::User] } else { vec![Who::Self_] }
}

/// Programs and a directory that everybody can use.
struct Stage {
    directory: TempDir,
    harness: PathBuf,
    tests: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let copy = |from: &Path, name: &str| {
            let to = directory.path().join(name);
            fs::copy(from, &to).unwrap();
            to
        };
        let harness = copy(Path::new(HARNESS), "harness");
        let tests = copy(&std::env::current_exe().unwrap(), "tests");
        Self { directory, harness, tests }
    }

    fn lab(&self, who: Who, program: &[&str]) -> Command {
        let mut command = match who {
            Who::Self_ => Command::new(&self.harness),
            Who::User => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(&self.harness);
                command
            }
        };
        // Firefox wants a home of its own.
        let home = self.directory.path().join(format!("{who:?}"));
        if fs::create_dir(&home).is_ok() && who == Who::User {
            let id = USER.parse().ok();
            std::os::unix::fs::chown(&home, id, id).unwrap();
        }
        command.args(["lab", "--"]).args(program).env("HOME", home).current_dir(self.directory.path());
        command.stdin(Stdio::null());
        command
    }

    fn inside(&self, who: Who, test: &str) -> Command {
        let test = format!("inside::{test}");
        let tests = self.tests.to_str().unwrap();
        self.lab(who, &[tests, "--ignored", "--exact", &test, "--nocapture", "--test-threads=1"])
    }

    /// Runs one of the tests inside, as everybody.
    fn run(&self, test: &str) {
        for who in everybody() {
            let output = self.inside(who, test).output().unwrap();
            println!("{who:?}:\n{}", text(&output));
            assert!(output.status.success(), "{test} as {who:?} fails: {}", text(&output));
            assert!(text(&output).contains("1 passed"), "{test} as {who:?}: {}", text(&output));
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn sites_behind_nats_exchange_udp_and_tcp() {
    Stage::new().run("udp_and_tcp_pass_nats");
}

#[test]
fn a_dozen_hosts_are_up_in_a_second() {
    Stage::new().run("a_dozen_hosts");
}

#[test]
fn ipv6_passes() {
    Stage::new().run("ipv6");
}

#[test]
fn a_delay_is_met() {
    Stage::new().run("delay");
}

#[test]
fn what_the_forwarder_misses_is_counted() {
    Stage::new().run("overrun");
}

#[test]
fn icmp_errors_reach_programs() {
    Stage::new().run("icmp_errors");
}

#[test]
fn coturn_classifies_each_nat_as_asked() {
    Stage::new().run("natdiscovery");
}

#[test]
fn chromium_loads_a_page_by_name() {
    Stage::new().run("chromium");
}

#[test]
fn firefox_loads_a_page_by_name() {
    Stage::new().run("firefox");
}

#[test]
fn the_exit_code_is_that_of_the_program() {
    let stage = Stage::new();
    for who in everybody() {
        let status = stage.lab(who, &["sh", "-c", "test $$ = 1 && exit 42"]).status().unwrap();
        assert_eq!(status.code(), Some(42), "{who:?}");
    }
}

#[test]
fn a_program_that_is_missing_is_told() {
    let output = Stage::new().lab(Who::Self_, &["/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("cannot start the program"), "{}", text(&output));
}

#[test]
fn signals_reach_the_program_once() {
    let stage = Stage::new();
    let script = "trap 'echo got; kill $!; exit 7' TERM; sleep 100 & echo ready; wait";
    for who in everybody() {
        let mut child = stage.lab(who, &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_millis(300));
        rustix::process::kill_process(pid(child.id()), rustix::process::Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(7), "ready\ngot\n"), "{who:?}");
    }
}

#[test]
fn killed_at_any_moment_nothing_remains() {
    let stage = Stage::new();
    for who in everybody() {
        for wait_ms in [0, 2, 5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1000] {
            let mut waits = stage.inside(who, "waits");
            let before = (files(&stage), network_namespaces());
            let mut child = waits.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_millis(wait_ms));
            let started = descendants(child.id());
            // The program that becomes an ordinary user keeps its id.
            rustix::process::kill_process(pid(child.id()), rustix::process::Signal::KILL).unwrap();
            child.wait().unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                let left: Vec<_> = started.iter().filter(|id| alive(**id)).collect();
                let after = (files(&stage), network_namespaces());
                if left.is_empty() && after == before {
                    break;
                }
                assert!(
                    Instant::now() < deadline,
                    "{who:?} after {wait_ms} ms: of {started:?}, {left:?} are left; {before:?} became {after:?}"
                );
                sleep(Duration::from_millis(10));
            }
            if wait_ms == 1000 {
                assert!(started.len() >= 3, "the lab had not come up: {started:?}");
            }
        }
    }
}

#[test]
fn what_hinders_the_lab_is_told_with_a_remedy() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let check = [HARNESS, "lab", "--check"];
    // No user namespaces, for somebody who has no right to others either.
    let forbid = "echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin \"$@\"";
    let unshare = ["unshare", "-Ur", "sh", "-c", forbid, "sh"];
    told(&[&unshare[..], &check].concat(), "user namespaces are forbidden", "run as root");
    let without_raw = ["setpriv", "--bounding-set=-net_raw"];
    told(&[&without_raw[..], &check].concat(), "AF_PACKET sockets are refused", "NET_RAW");
    let hide = "mount --bind /dev/null \"$(readlink -f \"$(command -v ip)\")\" && exec \"$@\"";
    let without_ip = ["unshare", "-m", "sh", "-c", hide, "sh"];
    told(&[&without_ip[..], &check].concat(), "the program `ip` is not installed", "iproute2");
}

fn told(command: &[&str], error: &str, remedy: &str) {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(error) && said.contains(remedy), "{said}");
}

fn pid(id: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(id as i32).unwrap()
}

/// What lies in the directories where temporary files go, but for what others put there.
fn files(stage: &Stage) -> BTreeSet<PathBuf> {
    ["/mnt", "/media", "/srv", "/dev/shm", stage.directory.path().to_str().unwrap()]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect()
}

/// The network namespaces of all processes and of their threads.
fn network_namespaces() -> BTreeSet<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries("/proc".into())
        .flat_map(|process| entries(process.join("task")))
        .filter_map(|thread| fs::read_link(thread.join("ns/net")).ok())
        .collect()
}

fn alive(id: u32) -> bool {
    // A process that only waits for its parent to take notice is dead.
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processes that descend from this one, itself included.
fn descendants(root: u32) -> Vec<u32> {
    let parent = |id: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let ids: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    let mut all = vec![root];
    let mut next = 0;
    while let Some(ancestor) = all.get(next).copied() {
        next += 1;
        all.extend(ids.iter().copied().filter(|id| parent(*id) == Some(ancestor)));
    }
    all
}
