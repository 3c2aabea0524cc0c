//! Browsers and a client of another stack that ends its part of the call early.

use crate::common::{Lab, Run, foreign_client};

/// A call without a data channel.
fn call_that_ends_early(lab: &Lab, engine: &str, ending: &str) -> Run {
    let settings = "[media.data]\nenabled = false\n";
    lab.run_with_client(settings, engine, "answer", |port, ca| foreign_client(port, ca, "answer", &[ending])).0
}

fn what_stops_is_not_verified(engine: &str) {
    let lab = Lab::new();
    let run = call_that_ends_early(&lab, engine, "mute");
    run.assert_code(1);
    let report = run.report();
    assert_eq!(report["calls"]["failed"], 0, "the call stays up: {}", report["failures"]);
    // Its sound is silence from the beginning.
    let media = report["media"].as_array().expect("media").iter().find(|media| media["kind"] == "video");
    let media = media.expect("it was received");
    assert_eq!(media["verified"], false, "{media}");
    assert!(media["detail"].as_str().unwrap().contains("nothing came in the last"), "{media}");
}

fn who_hangs_up_fails_the_call(engine: &str) {
    let lab = Lab::new();
    let run = call_that_ends_early(&lab, engine, "hang-up");
    run.assert_code(1);
    let failures = run.report()["failures"].clone();
    assert_eq!(failures[0]["phase"], "media", "{failures}");
    let reason = failures[0]["reason"].as_str().unwrap();
    assert!(reason.contains("the other end hung up before the end of the call"), "{failures}");
}

#[test]
fn chromium_does_not_verify_media_that_stop() {
    what_stops_is_not_verified("chromium");
}

#[test]
fn firefox_does_not_verify_media_that_stop() {
    what_stops_is_not_verified("firefox");
}

#[test]
fn an_end_that_hangs_up_on_chromium_fails_the_call() {
    who_hangs_up_fails_the_call("chromium");
}

#[test]
fn an_end_that_hangs_up_on_firefox_fails_the_call() {
    who_hangs_up_fails_the_call("firefox");
}
