//! The guard ends what it guards when its parent is killed, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that detaches a process from its session and group, as browsers do, and tells both pids.
const PROGRAM: &str = "setsid sh -c 'trap \"\" TERM; echo $$ $HOME; while :; do sleep 1; done' & wait";

fn guard(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.arg("guard").arg("--dir").arg(dir).args(["--", "sh", "-c", PROGRAM]).process_group(0);
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: i32) -> bool {
    procfs::process::Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state != 'Z')
}

fn told(line: &str) -> (i32, PathBuf) {
    let (pid, home) = line.trim().split_once(' ').unwrap();
    (pid.parse().unwrap(), home.into())
}

#[test]
fn closing_its_input_ends_everything_that_was_started() {
    let parent_dir = tempfile::tempdir().unwrap();
    let dir = parent_dir.path().join("guarded");
    let mut child = guard(&dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (pid, home) = told(&first_line(&mut child));
    assert!(is_alive(pid) && home.starts_with(&dir) && home.is_dir());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!is_alive(pid), "the detached process outlived its guard");
    assert!(!dir.exists());
}

#[test]
fn killing_the_parent_ends_everything_that_was_started() {
    let parent_dir = tempfile::tempdir().unwrap();
    let dir = parent_dir.path().join("guarded");
    let fifo = parent_dir.path().join("input");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // A parent that holds the guard's input, as the harness does, and is then killed.
    let mut parent = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "exec 3<>{}; \"$@\" <{} 3>&- & exec 4>{} 3>&-; wait",
            fifo.display(),
            fifo.display(),
            fifo.display()
        ))
        .arg("sh")
        .arg(env!("CARGO_BIN_EXE_harness"))
        .arg("guard")
        .arg("--dir")
        .arg(&dir)
        .args(["--", "sh", "-c", PROGRAM])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, _) = told(&first_line(&mut parent));
    assert!(is_alive(pid) && dir.exists());
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the detached process to end", || !is_alive(pid));
    wait_until("the directory to go", || !dir.exists());
}

#[test]
fn signals_of_a_terminal_do_not_end_it_before_its_parent() {
    let parent_dir = tempfile::tempdir().unwrap();
    let dir = parent_dir.path().join("guarded");
    let mut child = guard(&dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (pid, _) = told(&first_line(&mut child));
    for signal in ["-INT", "-TERM", "-HUP"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    // Were it to die of one of these, its input would have no reader, and nobody would end the program.
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none() && is_alive(pid));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!is_alive(pid));
}

#[test]
fn a_program_that_does_not_start_is_told() {
    let parent_dir = tempfile::tempdir().unwrap();
    let dir = parent_dir.path().join("guarded");
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .arg("guard")
        .arg("--dir")
        .arg(&dir)
        .args(["--", "/nonexistent/driver"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("guard: cannot start /nonexistent/driver"), "{said}");
    assert!(!dir.exists());
}

#[test]
fn a_directory_that_exists_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let output = guard(dir.path()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(dir.path().exists());
}
