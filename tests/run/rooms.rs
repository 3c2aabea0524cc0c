//! Rooms are full meshes: one signaling connection per person, one call per pair, each verified like any other.

use std::collections::BTreeSet;

use crate::common::{Lab, text};

const ROOMS: &str = "schema = 1\nname = \"rooms\"\n[[peers]]\n[topology]\nkind = \"rooms\"\nsize = 3\ncount = 3\n\
                     [media]\nvideo = \"none\"\n[load]\nhold = \"1s\"\n";

#[test]
fn everybody_in_three_rooms_of_three_hears_everybody_else() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("rooms", ROOMS), &[]);
    run.assert_code(0);
    let report = run.report();
    assert_eq!((&report["calls"]["connected"], &report["calls"]["failed"]), (&9.into(), &0.into()));
    assert_eq!(report["metrics"]["media_verified_ratio"]["count"], 18);
    // Of three people in a room the first makes no offer on coming: the others' connections are told once each.
    let connects = &report["metrics"]["signaling_connect_ms"];
    assert_eq!((&connects["count"], &connects["absent"]), (&6.into(), &12.into()));
    let calls: BTreeSet<&str> =
        report["peers"].as_array().unwrap().iter().filter_map(|peer| peer["call"].as_str()).collect();
    let expected = (0..3).flat_map(|room| ["0-1", "0-2", "1-2"].map(|pair| format!("room-{room}/{pair}")));
    assert_eq!(calls.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected.collect());
}

#[test]
fn people_come_and_go_and_the_calls_of_those_who_stay_go_on() {
    let lab = Lab::new();
    let more = "arrivals = \"5/s\"\nduration = \"3s\"\n";
    let churn = ROOMS.replace("count = 3", "count = 2") + more;
    let run = lab.run_calmly(&lab.scenario("rooms", &churn), &[]);
    run.assert_code(0);
    let report = run.report();
    assert_eq!(report["calls"]["failed"], 0);
    assert_eq!(report["calls"]["connected"], report["calls"]["planned"]);
    // They left while others stayed, not all at the end.
    let times = |mark: &str| -> Vec<f64> {
        report["peers"].as_array().unwrap().iter().filter_map(|peer| peer["marks"][mark].as_f64()).collect()
    };
    let first_left = times("left").into_iter().fold(f64::INFINITY, f64::min);
    let last_came = times("intended").into_iter().fold(0.0, f64::max);
    assert!(first_left < last_came, "nobody left before the last one came");
    // The plan that the run wrote names everybody, and can be run.
    let plan = run.record.as_ref().expect("a record").join("plan.toml");
    let plan_text = std::fs::read_to_string(&plan).unwrap();
    assert_eq!(plan_text.matches("[[members]]").count(), 15, "5 per second for 3 s");
    let output = lab.command(&["check", text(&plan)]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
