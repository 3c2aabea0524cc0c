//! A mapping for socket.io that does not fit the application: the run fails, and says which event came instead.

use crate::common::{Lab, Run};

/// Peers with the bundled server's own events, but for one line.
fn run(instead_of: &str, line: &str) -> (Lab, Run) {
    let mapping = r#"peers = { event = "newUser", at = "/1" }
peer_joined = { event = "newUser", at = "/0" }
refused = { event = "refused", at = "/0" }
offer = { event = "offer", args = [{ offer = "{description}", to = "{to}" }], from = "/0/from", at = "/0/offer" }
answer = { event = "answer", args = [{ answer = "{description}", to = "{to}" }], from = "/0/from", at = "/0/answer" }
candidate = { event = "candidate", args = [{ candidate = "{candidate}", to = "{to}" }], from = "/0/from", at = "/0/candidate" }
"#;
    assert!(mapping.contains(instead_of));
    let lab = Lab::new();
    let scenario = format!(
        "name = \"mapping\"\n[signaling]\nprotocol = \"socketio\"\n[signaling.socketio]\nquery = {{ room = \"{{room}}\" }}\n{}\
         [[peers]]\ncount = 2\n[load]\nhold = \"300ms\"\n[deadlines]\njoin = \"2s\"\nconnect = \"5s\"\n",
        mapping.replace(instead_of, line)
    );
    let run = lab.run_calmly(&lab.scenario("mapping", &scenario), &[]);
    (lab, run)
}

fn failure(run: &Run, phase: &str) -> String {
    let report = run.report();
    let failures = report["failures"].as_array().expect("failures");
    let of_phase = failures.iter().find(|failure| failure["phase"] == phase);
    of_phase.unwrap_or_else(|| panic!("{failures:?}"))["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn the_events_of_the_application_make_calls() {
    run("", "").1.assert_code(0);
}

#[test]
fn an_answer_that_comes_under_another_name_is_shown() {
    let (_lab, run) = run(r#"{ event = "answer", args"#, r#"{ event = "answer", heard_as = "accepted", args"#);
    run.assert_code(1);
    let reason = failure(&run, "answer");
    assert!(reason.contains("the event `answer` brings a description"), "{reason}");
    assert!(reason.contains("waits for `offer`, `accepted`, `candidate`"), "{reason}");
    assert!(reason.contains(r#"it sent: [{"#), "{reason}");
}

#[test]
fn events_that_are_not_in_the_mapping_are_named_when_nobody_is_there() {
    let (_lab, run) = run(r#"event = "newUser""#, r#"event = "users""#);
    run.assert_code(1);
    let reason = failure(&run, "signaling");
    assert!(reason.contains("let the peer into its room"), "{reason}");
    assert!(reason.contains("events that came and are not in the mapping: `newUser`"), "{reason}");
}

#[test]
fn what_the_server_refuses_is_quoted() {
    let (_lab, run) =
        run(r#"offer = { event = "offer", args"#, r#"offer = { event = "call", heard_as = "offer", args"#);
    run.assert_code(1);
    let reason = failure(&run, "answer");
    assert!(reason.contains("the events are join, offer, answer and candidate"), "{reason}");
}
