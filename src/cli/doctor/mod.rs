//! `harness doctor`: Say what this machine can do, and what to install for the rest.

mod machine;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::UdpSocket;
use std::time::Duration;

use serde::Serialize;

use super::Exit;
use crate::peer::browser::{Installation, Unavailable, find, has_route};
use crate::plan::{BrowserPlan, Engine};

/// Say what this machine can do, and what to install for the rest.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Write the findings as JSON to standard output.
    #[arg(long, value_name = "FILE", value_parser = ["-"])]
    json: Option<String>,
}

/// A lab with one host is up in some 50 ms.
const LAB_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Runs are possible, with limits.
    Warn,
    /// Something that only some scenarios need is missing.
    Missing,
    /// No run is possible.
    Fail,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Serialize)]
struct Findings<'a> {
    native: bool,
    browsers: BTreeMap<&'static str, bool>,
    checks: &'a [Finding],
}

/// The checks that need no other program, by name.
const CHECKS: &[(&str, fn() -> Found)] = &[("sockets", sockets), ("route", route)];

pub(super) async fn run(args: &Args) -> Exit {
    let mut findings: Vec<Finding> = CHECKS.iter().map(|(name, check)| check().named(name)).collect();
    findings.extend(machine::checks());
    let mut browsers = BTreeMap::new();
    for engine in [Engine::Chromium, Engine::Firefox] {
        let found = find(engine, &BrowserPlan::default()).await;
        browsers.insert(engine.name(), found.is_ok());
        findings.push(browser(found).named(engine.name()));
    }
    findings.push(lab().await.named("kernel lab"));
    let native = findings.iter().all(|finding| finding.state != State::Fail);
    show(&findings);
    if args.json.is_some() {
        let findings = Findings { native, browsers, checks: &findings };
        let mut out = std::io::stdout().lock();
        let written = serde_json::to_writer_pretty(&mut out, &findings).map_err(Into::into);
        if let Err(error) = written.and_then(|()| writeln!(out)) {
            eprintln!("error: the findings cannot be written to standard output: {error}");
            return Exit::Error;
        }
    }
    if native { Exit::Pass } else { Exit::Invalid }
}

fn show(findings: &[Finding]) {
    for Finding { check, state, found, remedy } in findings {
        let state = match state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Missing => "missing",
            State::Fail => "FAIL",
        };
        eprintln!("{state:<8}{check:<20}{found}");
        if let Some(remedy) = remedy {
            eprintln!("{:28}→ {remedy}", "");
        }
    }
}

/// A finding without its name.
struct Found {
    state: State,
    found: String,
    remedy: Option<String>,
}

impl Found {
    fn ok(found: String) -> Self {
        Self { state: State::Ok, found, remedy: None }
    }

    fn bad(state: State, found: String, remedy: impl Into<String>) -> Self {
        Self { state, found, remedy: Some(remedy.into()) }
    }

    /// For what this system does not tell.
    fn unknown(why: &str) -> Self {
        Self { state: State::Warn, found: format!("unknown: {why}"), remedy: None }
    }

    fn named(self, check: &'static str) -> Finding {
        let Self { state, found, remedy } = self;
        Finding { check, state, found, remedy }
    }
}

fn browser(found: Result<Installation, Unavailable>) -> Found {
    match found {
        Ok(Installation { driver, driver_version, browser, browser_version }) => {
            Found::ok(format!("{} {browser_version}, {} {driver_version}", browser.display(), driver.display()))
        }
        Err(error) => Found::bad(State::Missing, error.to_string(), error.remedy()),
    }
}

/// Tries it, in a process of its own: this one has threads, and cannot enter namespaces.
#[cfg(target_os = "linux")]
async fn lab() -> Found {
    let Ok(program) = std::env::current_exe() else { return Found::unknown("this program cannot be found") };
    let check = tokio::process::Command::new(program).args(["lab", "--check"]).kill_on_drop(true).output();
    let output = match tokio::time::timeout(LAB_DEADLINE, check).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Found::unknown(&error.to_string()),
        Err(_) => return Found::unknown("a lab does not start in time"),
    };
    if output.status.success() {
        return Found::ok("networks of namespaces, for browsers and other programs".into());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let (error, remedy) = said.trim().split_once('→').unwrap_or_else(|| (said.trim(), ""));
    Found::bad(State::Missing, error.trim().trim_start_matches("error: ").to_owned(), remedy.trim())
}

#[cfg(not(target_os = "linux"))]
async fn lab() -> Found {
    Found::bad(State::Missing, "namespaces are a feature of Linux".into(), "use driver = \"in-process\", or Linux")
}

fn sockets() -> Found {
    match UdpSocket::bind("127.0.0.1:0") {
        Ok(_) => Found::ok("UDP on the loopback interface".into()),
        Err(error) => Found::bad(
            State::Fail,
            format!("no UDP socket on 127.0.0.1: {error}"),
            "bring the loopback interface up: ip link set lo up",
        ),
    }
}

fn route() -> Found {
    if has_route() {
        return Found::ok("a default route".into());
    }
    Found::bad(
        State::Warn,
        "no default route: native peers and Chromium use the loopback interface, Firefox nothing".into(),
        "for Firefox: ip route add default dev lo",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        let missing = Unavailable::Missing { what: "chromium", looked: "on PATH".into(), remedy: "install it" };
        let found = browser(Err(missing));
        assert_eq!((found.state, found.remedy.as_deref()), (State::Missing, Some("install it")));
    }

    #[test]
    fn this_machine_can_open_sockets() {
        assert_eq!(sockets().state, State::Ok);
    }
}
