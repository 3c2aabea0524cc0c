//! `harness serve` from its first line to its exit code.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::within;
use harness::signaling::{Client, Endpoint};
use rustix::process::{Pid, Signal, kill_process};

struct Serve(Child);

impl Serve {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        Self(command.arg("serve").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Sends a signal; returns the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command line that cannot work says, and its exit code.
fn refused(arguments: &[&str]) -> (String, Option<i32>) {
    let mut serve = Serve::start(arguments);
    let mut text = String::new();
    serve.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (text, serve.0.wait().unwrap().code())
}

#[tokio::test]
async fn it_prints_where_it_is_and_whom_to_trust_and_ends_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    for signal in [Signal::INT, Signal::TERM] {
        let mut serve = Serve::start(&["--listen", "127.0.0.1:0", "--ca-out", ca.to_str().unwrap()]);
        let stderr = BufReader::new(serve.0.stderr.take().unwrap());
        let lines: Vec<String> =
            stderr.lines().map(Result::unwrap).take_while(|line| !line.starts_with("Ctrl-C")).collect();
        let url = lines.iter().find_map(|line| line.strip_prefix("signaling:")).unwrap().trim();
        assert!(lines.iter().any(|line| line.contains("https://localhost:")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("trust:") && line.contains("ca.pem")), "{lines:?}");
        let endpoint = Endpoint::remote(url, Some(Path::new(&ca)), harness::signaling::Protocol::Harness).unwrap();
        let mut client = within("connecting", Client::connect(&endpoint)).await.unwrap();
        assert!(within("joining", client.join("r")).await.unwrap().is_empty());
        drop(client);
        assert_eq!(serve.end(signal), Some(0));
    }
}

/// The lines of a server's introduction.
fn introduction(arguments: &[&str]) -> Vec<String> {
    let mut serve = Serve::start(arguments);
    let stderr = BufReader::new(serve.0.stderr.take().unwrap());
    stderr.lines().map(Result::unwrap).take_while(|line| !line.starts_with("Ctrl-C")).collect()
}

#[test]
fn people_are_told_where_the_page_is_and_phones_whom_to_trust() {
    let local = introduction(&["--listen", "127.0.0.1:0"]).join("\n");
    assert!(local.contains("people:    https://127.0.0.1:"), "{local}");
    assert!(local.contains("on this machine only") && local.contains("--listen 0.0.0.0:"), "{local}");

    let lines = introduction(&["--listen", "0.0.0.0:0"]);
    let url = lines.iter().find_map(|line| line.strip_prefix("people:    ")).unwrap();
    assert!(!url.contains("127.0.0.1") && !url.contains("localhost"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(&format!("{url}ca.pem"))), "{lines:?}");
    // No terminal, no code.
    assert!(!lines.iter().any(|line| line.contains('█') || line.contains('\x1b')), "{lines:?}");
}

#[test]
fn a_port_in_use_is_a_usage_error_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (text, code) = refused(&["--listen", &address]);
    assert!(text.contains(&address) && text.contains("in use") && text.contains("another port"), "{text}");
    assert_eq!(code, Some(2));
}

#[test]
fn files_that_are_missing_or_belong_elsewhere_are_usage_errors() {
    let (text, code) = refused(&["--cert", "no-such-cert.pem", "--key", "no-such-key.pem"]);
    assert!(text.contains("no-such-cert.pem"), "{text}");
    assert_eq!(code, Some(2));
    let (text, code) = refused(&["--cert", "cert.pem"]);
    assert!(text.contains("--key"), "{text}");
    assert_eq!(code, Some(2));
    let (text, code) = refused(&["--listen", "127.0.0.1:0", "--ca-out", "/no-such-directory/ca.pem"]);
    assert!(text.contains("/no-such-directory/ca.pem"), "{text}");
    assert_eq!(code, Some(2));
}
