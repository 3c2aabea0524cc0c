//! Gates decide the verdict: one that cannot hold fails, and so does one that has nothing to look at.

use crate::common::Lab;

const CALL: &str = "schema = 1\nname = \"gates\"\n[load]\nhold = \"1s\"\n[[peers]]\ncount = 2\n";

#[test]
fn a_gate_that_cannot_hold_fails_the_run_and_names_gate_place_and_value() {
    let lab = Lab::new();
    let gate = "[[gate]]\nmetric = \"connection_time_ms\"\nexpect = \"p95 < 1ms\"\n";
    let scenario = lab.scenario("gates", &format!("{CALL}{gate}"));
    let run = lab.run_calmly(&scenario, &[]);
    run.assert_code(1).assert_says("connection_time_ms").assert_says("p95 < 1ms").assert_says("gates.toml:7");
    let gates = run.report()["gates"].clone();
    let gate = gates.as_array().unwrap().iter().find(|gate| gate["metric"] == "connection_time_ms").unwrap().clone();
    assert_eq!(gate["verdict"], "fail");
    assert!(gate["observed"].as_f64().unwrap() > 1.0, "{gate}");
}

#[test]
fn a_gate_over_a_metric_without_samples_fails() {
    let lab = Lab::new();
    let gate = "[[gate]]\nmetric = \"first_relay_ms\"\nexpect = \"p95 < 10s\"\n";
    let scenario = lab.scenario("gates", &format!("{CALL}{gate}"));
    let run = lab.run_calmly(&scenario, &[]);
    run.assert_code(1).assert_says("first_relay_ms").assert_says("0 samples");
}

#[test]
fn a_gate_that_cannot_hold_any_more_ends_the_run() {
    let lab = Lab::new();
    // Too short for anybody.
    let calls = "schema = 1\nname = \"abort\"\n[deadlines]\nconnect = \"1ms\"\n\
                 [media]\nvideo = \"none\"\naudio = \"none\"\n[load]\nhold = \"1s\"\narrivals = \"5/s\"\n\
                 [[peers]]\ncount = 400\n[[gate]]\nmetric = \"setup_success_ratio\"\nexpect = \"mean >= 99%\"\n\
                 abort = true\n";
    let run = lab.run_calmly(&lab.scenario("abort", calls), &[]);
    run.assert_code(1).assert_says("cannot hold any more").assert_says("abort.toml:13");
    let report = run.report();
    assert_eq!(report["outcome"]["how"], "aborted");
    let of = |name: &str| report["calls"][name].as_u64().expect("a number");
    assert!(of("failed") >= 3, "99 % of 200 calls leave two failures: {}", report["calls"]);
    assert!(of("attempted") < of("planned"), "{}", report["calls"]);
}

#[test]
fn cores_kept_busy_by_others_make_the_result_invalid_and_name_the_limit() {
    let lab = Lab::new();
    let scenario = lab.scenario("busy", &CALL.replace("\"1s\"", "\"4s\"").replace("gates", "busy"));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut hogs: Vec<_> = (0..cores * 2)
        .map(|_| std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh"))
        .collect();
    let run = lab.run(&scenario, &[]);
    for hog in &mut hogs {
        hog.kill().and_then(|()| hog.wait().map(drop)).expect("the hog ends");
    }
    run.assert_code(3).assert_says("invalid").assert_says("machine_cpu_ratio");
}
