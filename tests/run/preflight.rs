//! A machine that has not what a plan needs is told before the load, with numbers and a remedy, and the result is invalid;
//! what a process may raise by itself is raised.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::common::{Lab, NOISE_ALLOWED, Run, text};

fn scenario(peers: u32) -> String {
    format!("schema = 1\nname = \"preflight\"\n[load]\nhold = \"1s\"\n[[peers]]\ncount = {peers}\n")
}

/// Runs a scenario after `before`, in a shell that `program` starts.
fn run_in(lab: &Lab, program: &[&str], before: &str, scenario: &Path) -> Run {
    let out = lab.out();
    let mut run = vec![env!("CARGO_BIN_EXE_harness"), "run", text(scenario), "--out", text(&out)];
    run.extend(NOISE_ALLOWED);
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["-c", &format!("{before} && exec \"$@\""), "sh"]).args(run);
    let output = command.env("CI", "true").env("NO_COLOR", "1").current_dir(lab.dir.path()).output();
    Run::new(output.unwrap_or_else(|error| panic!("{program:?} must be installed: {error}")), &out)
}

/// Nothing was started: no peer has an instant, and every call is skipped for that reason.
#[track_caller]
fn assert_nothing_started(run: &Run, calls: u64) {
    let report = run.report();
    assert_eq!((report["exit_code"].as_u64(), report["calls"]["attempted"].as_u64()), (Some(3), Some(0)));
    assert_eq!(report["skipped"][0]["calls"].as_u64(), Some(calls), "{}", report["skipped"]);
    let first = report["reasons"][0].as_str().unwrap_or_default().to_owned();
    assert!(first.starts_with("every call was skipped"), "{}", report["reasons"]);
}

#[test]
fn a_hard_limit_of_descriptors_that_is_too_low_is_told_before_the_load() {
    let lab = Lab::new();
    let run = run_in(&lab, &["sh"], "ulimit -n 100", &lab.scenario("preflight", &scenario(60)));
    run.assert_code(3).assert_says("60 native peers at once need").assert_says("and this process may have 100 at most");
    run.assert_says("LimitNOFILE");
    assert_nothing_started(&run, 30);
}

#[test]
fn a_soft_limit_of_descriptors_is_raised() {
    let lab = Lab::new();
    let run = run_in(&lab, &["sh"], "ulimit -Sn 40", &lab.scenario("preflight", &scenario(20)));
    let report = run.report();
    assert_eq!(report["calls"]["connected"].as_u64(), Some(10), "{}", run.stderr);
    let limits = report["generator"]["limits"].as_array().unwrap();
    let files = limits.iter().find(|limit| limit["name"] == "open_files_ratio").unwrap();
    assert!(files["ok"] == true && files["observed"].as_f64().is_some_and(|ratio| ratio > 0.1), "{files}");
}

#[test]
fn too_few_ephemeral_ports_are_told_before_the_load() {
    let lab = Lab::new();
    let few = "ip link set lo up && echo '40000 40009' > /proc/sys/net/ipv4/ip_local_port_range";
    let program = ["unshare", "--user", "--map-root-user", "--net", "sh"];
    let run = run_in(&lab, &program, few, &lab.scenario("preflight", &scenario(20)));
    run.assert_code(3).assert_says("20 native peers at once need 20 ports, and the system gives 10 per address");
    run.assert_says("net.ipv4.ip_local_port_range");
    assert_nothing_started(&run, 10);
}

#[test]
fn more_browsers_than_the_memory_holds_are_told_before_the_load() {
    let lab = Lab::new();
    // 4.5 TB.
    let browsers = scenario(10_000).replace("count", "engine = \"chromium\"\ntabs_per_browser = 1\ncount");
    let run = lab.run(&lab.scenario("preflight", &browsers), &[]);
    run.assert_code(3).assert_says("10000 browsers at once need").assert_says("MB are available");
    assert_nothing_started(&run, 5000);
}
