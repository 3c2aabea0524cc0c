//! Simulated peers on one stack call those on the other.

use crate::common::{BOTH_STACKS, Lab};

#[test]
fn a_call_between_the_stacks_carries_verified_media_whichever_offers() {
    let lab = Lab::new();
    let scenario = lab.scenario("stacks", BOTH_STACKS);
    let run = lab.run_calmly(&scenario, &[]);
    run.assert_code(0);
    let report = run.report();
    assert_eq!(report["calls"]["connected"], 2, "{}", run.stderr);
    assert_eq!(report["metrics"]["media_verified_ratio"]["count"], 4);
    assert_eq!(report["metrics"]["media_verified_ratio"]["min"], 1.0);
    let plan = std::fs::read_to_string(run.record.as_ref().expect("a record").join("plan.toml")).unwrap();
    assert!(plan.contains("stack = \"async\"") && plan.contains("stack = \"dense\""), "{plan}");
}

#[test]
fn a_stack_is_for_simulated_peers() {
    let lab = Lab::new();
    let scenario = lab.scenario("browser", "name = \"browser\"\n[[peers]]\nengine = \"firefox\"\nstack = \"dense\"\n");
    let run = lab.run(&scenario, &[]);
    run.assert_code(2);
    assert!(run.stderr.contains("`stack` is for simulated peers"), "{}", run.stderr);
}
