//! Calls that arrive at random and end at random: every one is made, and what comes too late is dropped, counted and told.

use crate::common::{Lab, NOISE_ALLOWED};

const CHURN: &str = "schema = 1\nname = \"churn\"\nseed = 3\n[[peers]]\n[media]\nvideo = \"none\"\naudio = \"none\"\n\
                     [load]\nspacing = \"poisson\"\n\
                     hold = { distribution = \"uniform\", min = \"200ms\", max = \"1s\" }\n\
                     [[load.stage]]\nduration = \"2s\"\ntarget = \"10/s\"\n[[load.stage]]\nduration = \"2s\"\ntarget = \"0/s\"\n";

#[test]
fn calls_come_and_go_as_planned() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("churn", CHURN), &[]);
    run.assert_code(0);
    let report = run.report();
    let planned = report["calls"]["planned"].as_u64().expect("a number");
    assert!((8..=35).contains(&planned), "20 on average: {planned}");
    for count in ["attempted", "connected"] {
        assert_eq!(report["calls"][count], planned, "{count}");
    }
    assert_eq!((&report["calls"]["failed"], &report["calls"]["dropped"]), (&0.into(), &0.into()));
    assert_eq!(report["metrics"]["start_lateness_ms"]["count"], planned);
    // Each leaves when its own time is over, not all at the end.
    let left = |peer: &serde_json::Value| peer["marks"]["left"].as_f64().expect("it left");
    let joined = |peer: &serde_json::Value| peer["marks"]["intended"].as_f64().expect("it came");
    let peers = report["peers"].as_array().expect("peers");
    let first_left = peers.iter().map(left).fold(f64::INFINITY, f64::min);
    let last_came = peers.iter().map(joined).fold(0.0, f64::max);
    assert!(first_left < last_came, "nobody left before the last one came");
}

#[test]
fn a_rate_that_the_generator_cannot_keep_up_with_makes_the_result_invalid_and_is_named() {
    let lab = Lab::new();
    let text = "schema = 1\nname = \"burst\"\n[[peers]]\n[media]\nvideo = \"none\"\naudio = \"none\"\n[load]\n\
                arrivals = \"1000000/s\"\nduration = \"1ms\"\nstart_within = \"1ms\"\nhold = \"100ms\"\n";
    let mut arguments = NOISE_ALLOWED.to_vec();
    arguments.extend(["--set", "health.start_lateness_p99=1us"]);
    let run = lab.run(&lab.scenario("burst", text), &arguments);
    run.assert_code(3).assert_says("start_lateness_p99_ms").assert_says("lower rate");
    run.assert_says("arrivals_dropped");
    let calls = run.report()["calls"].clone();
    let of = |name: &str| calls[name].as_u64().expect("a number");
    assert_eq!(of("attempted") + of("dropped"), 1_000, "{calls}");
    assert!(of("dropped") > 0, "{calls}");
}
