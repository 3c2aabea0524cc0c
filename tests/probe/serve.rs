//! `harness serve --turn` as a newcomer meets it.

use std::io::Read;
use std::process::Command;

use super::bundled::Bundled;
use super::common::{Lab, text};
use super::coturn::{PASSWORD, USER};
use super::server::probe_with;

#[test]
fn what_it_prints_works_when_it_is_tried_and_it_ends_with_success() {
    let server = Bundled::start(&[]);
    let tried = server.introduction.lines().find(|line| line.starts_with("try:")).expect("a line to try").to_owned();
    let (_, arguments) = tried.split_once("harness probe ").expect("a command");
    let arguments: Vec<&str> = arguments.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let probe = probe_with(&arguments, &[("HARNESS_TURN_PASSWORD", PASSWORD)]);
    assert_eq!(probe.code, Some(0), "{}\n{}", server.introduction, probe.stderr);
    assert!(probe.stderr.contains("3 of 3 servers passed"), "{}", probe.stderr);
    let stun = server.introduction.lines().find_map(|line| line.strip_prefix("stun:")).expect("a STUN URL").trim();
    probe_with(&[stun], &[]).passes();
    assert!(!server.introduction.contains(PASSWORD), "a password of the user's is not printed");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_password_that_nobody_gave_is_made_and_printed_once() {
    let lab = Lab::new();
    let mut command = lab.command(&["serve", "--listen", "127.0.0.1:0", "--turn", "127.0.0.1:0"]);
    command.env_remove("HARNESS_TURN_PASSWORD").env("HARNESS_TURN_SECRET", "");
    let mut child = command.spawn().expect("the binary runs");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    while !said.contains("Ctrl-C") {
        let mut bytes = [0; 4096];
        let count = stderr.read(&mut bytes).expect("it speaks");
        assert_ne!(count, 0, "{said}");
        said += &String::from_utf8_lossy(&bytes[..count]);
    }
    let password = said.split("HARNESS_TURN_PASSWORD=").nth(1).and_then(|rest| rest.split(' ').next());
    let password = password.expect("a password").to_owned();
    assert_eq!(password.len(), 32, "{said}");
    let url = said.split('\'').nth(1).expect("a URL");
    let probe = probe_with(&["--user", "harness", url], &[("HARNESS_TURN_PASSWORD", &password)]);
    child.kill().and_then(|()| child.wait()).expect("it ends");
    probe.passes();
}

#[test]
fn what_is_wrong_on_purpose_is_printed() {
    let server = Bundled::start(&["--turn-misbehave", "stale-nonce", "--turn-misbehave", "silent"]);
    assert!(server.introduction.contains("wrong:     stale-nonce, silent, on purpose"), "{}", server.introduction);
}

#[test]
fn what_cannot_be_served_is_a_usage_error() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (arguments, words) in [
        (&["--turn", "0.0.0.0:3478"][..], "give one of this machine's addresses"),
        (&["--turn", &taken], "cannot listen at"),
        (&["--turn", "203.0.113.7:3478"], "cannot listen at 203.0.113.7:3478"),
        (&["--turn-quota", "3"], "--turn"),
        (&["--turn", "127.0.0.1:0", "--turn-quota", "0"], "--turn-quota"),
        (&["--turn", "127.0.0.1:0", "--turn-secret"], "needs HARNESS_TURN_SECRET"),
        (&["--turn", "127.0.0.1:0", "--turn-user", "a:b"], "must not have a colon"),
        (&["--turn", "127.0.0.1:0", "--turn-relay-ports", "9-8"], "write 50000-50100"),
        (&["--turn", "127.0.0.1:0", "--turn-misbehave", "drop-relay"], "drop-relayed"),
    ] {
        let lab = Lab::new();
        let mut command: Command = lab.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
        command.env_remove("HARNESS_TURN_PASSWORD").env_remove("HARNESS_TURN_SECRET");
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_secret_is_no_password() {
    let server = Bundled::start_with(&["--turn-secret"], None);
    let url = &server.urls()[0];
    assert!(server.introduction.contains("made from the secret in HARNESS_TURN_SECRET"), "{}", server.introduction);
    let probe = probe_with(&[url, "--user", USER, "--password", PASSWORD, "--ca", text(&server.ca())], &[]);
    probe.fails("allocation", "unauthorized", Some(401));
}
