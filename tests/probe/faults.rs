//! Each thing that can be wrong with a server, at coturn and at the bundled server: the same table for both.

use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::bundled::Bundled;
use super::common::text;
use super::coturn::{Certificate, Coturn, PASSWORD, SECRET, USER, certificate, free_port};
use super::server::{Probe, probe_with};

/// So many cases at a time: most of them wait for something that does not come.
const WORKERS: usize = 4;

/// How the prober comes to the server.
#[derive(Clone, Copy)]
enum Leg {
    Udp,
    Tcp,
    Tls,
}

/// What the prober shows.
#[derive(Clone, Copy)]
enum Login {
    Right,
    WrongPassword,
    /// Time-limited, and valid; the server has the secret.
    Limited,
    /// Time-limited, and over.
    Expired,
}

/// What happens to the server before it is probed.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    /// Its process is killed.
    Killed,
    /// Its process stops, so that the kernel still takes connections and nothing answers.
    Frozen,
    /// The certificate's time ends.
    Waited,
}

/// What the server is told, or why it cannot be told that.
type Told = Result<&'static [&'static str], &'static str>;

struct Case {
    name: &'static str,
    coturn: Told,
    bundled: Told,
    certificate: Certificate,
    then: Then,
    leg: Leg,
    login: Login,
    /// Step, class and code of the first fault, and words of its message or remedy. `None`: it passes.
    fault: Option<(&'static str, &'static str, Option<u16>, &'static str)>,
}

/// A server without a fault, and the right login over UDP.
const WELL: Case = Case {
    name: "",
    coturn: Ok(PLAIN),
    bundled: Ok(&[]),
    certificate: Certificate::WELL,
    then: Then::Nothing,
    leg: Leg::Udp,
    login: Login::Right,
    fault: None,
};

const PLAIN: &[&str] = &["--lt-cred-mech", "--user", "alice:wonderland"];
const WITH_SECRET: &[&str] = &["--use-auth-secret", "--static-auth-secret", SECRET];

/// `PORT` stands for a port that is free.
const CASES: &[Case] = &[
    Case { name: "well over UDP", ..WELL },
    Case { name: "well over TCP", leg: Leg::Tcp, ..WELL },
    Case { name: "well over TLS", leg: Leg::Tls, ..WELL },
    Case {
        name: "well with a time-limited credential",
        coturn: Ok(WITH_SECRET),
        bundled: Ok(&["--turn-secret"]),
        login: Login::Limited,
        ..WELL
    },
    Case {
        name: "the first answers are lost",
        coturn: Err("answers every request"),
        bundled: Ok(&["--turn-misbehave", "drop-first-response"]),
        ..WELL
    },
    Case {
        name: "wrong password",
        login: Login::WrongPassword,
        fault: Some(("allocation", "unauthorized", Some(401), "check user name")),
        ..WELL
    },
    Case {
        name: "expired credential",
        coturn: Ok(WITH_SECRET),
        bundled: Ok(&["--turn-secret"]),
        login: Login::Expired,
        fault: Some(("allocation", "credentials-expired", Some(401), "the time-limited credential expired")),
        ..WELL
    },
    Case {
        name: "wrong realm",
        // MD5 of alice:other.example:wonderland, so that the key is of another realm than the one that is told.
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:0x28bf5bd8dc70a04d1924f316efb476c3"]),
        bundled: Ok(&["--turn-misbehave", "wrong-realm"]),
        fault: Some(("allocation", "unauthorized", Some(401), "and the realm")),
        ..WELL
    },
    Case {
        name: "quota",
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:wonderland", "--user-quota=1"]),
        bundled: Ok(&["--turn-quota", "1"]),
        fault: Some(("allocation", "quota-reached", Some(486), "raise the quota")),
        ..WELL
    },
    Case {
        name: "quota that allows nothing",
        coturn: Err("takes a quota of 0 for none"),
        bundled: Ok(&["--turn-misbehave", "quota"]),
        fault: Some(("allocation", "quota-reached", Some(486), "raise the quota")),
        ..WELL
    },
    Case {
        name: "relay range exhausted",
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:wonderland", "--min-port", "PORT", "--max-port", "PORT"]),
        bundled: Ok(&["--turn-relay-ports", "PORT-PORT"]),
        fault: Some(("allocation", "insufficient-capacity", Some(508), "widen the range")),
        ..WELL
    },
    Case {
        name: "no capacity at all",
        coturn: Err("has at least one relay port"),
        bundled: Ok(&["--turn-misbehave", "capacity"]),
        fault: Some(("allocation", "insufficient-capacity", Some(508), "widen the range")),
        ..WELL
    },
    Case {
        name: "alternate server",
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:wonderland", "--alternate-server", "192.0.2.1:3478"]),
        bundled: Ok(&["--turn-misbehave", "alternate-server"]),
        fault: Some(("allocation", "try-alternate", Some(300), "192.0.2.1:3478 is to be used instead")),
        ..WELL
    },
    Case {
        name: "allocation mismatch",
        coturn: Err("says 437 to a second allocation only, which the prober does not ask for"),
        bundled: Ok(&["--turn-misbehave", "mismatch"]),
        fault: Some(("allocation", "allocation-mismatch", Some(437), "shares or reuses")),
        ..WELL
    },
    Case {
        name: "nonce stale each time",
        coturn: Err("keeps a nonce for a second at least"),
        bundled: Ok(&["--turn-misbehave", "stale-nonce"]),
        fault: Some(("allocation", "stale-nonce", Some(438), "load balancer")),
        ..WELL
    },
    Case {
        name: "forbidden peer",
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:wonderland", "--denied-peer-ip", "127.0.0.0-127.255.255.255"]),
        bundled: Err("relays to everybody at a loopback address"),
        leg: Leg::Tcp,
        fault: Some(("permission", "forbidden", Some(403), "denied-peer-ip")),
        ..WELL
    },
    Case {
        name: "relay drops everything",
        // An external address that is not its own.
        coturn: Ok(&["--lt-cred-mech", "--user", "alice:wonderland", "--external-ip", "203.0.113.1"]),
        bundled: Ok(&["--turn-misbehave", "drop-relayed"]),
        fault: Some(("relay-round-trip", "relay-drops-packets", None, "external-ip")),
        ..WELL
    },
    Case {
        name: "certificate for another name",
        certificate: Certificate { name: "turn.example", ..Certificate::WELL },
        leg: Leg::Tls,
        fault: Some(("tls", "tls-name-mismatch", None, "turn.example")),
        ..WELL
    },
    Case {
        name: "expired certificate",
        certificate: Certificate { valid: Duration::from_secs(4), ..Certificate::WELL },
        then: Then::Waited,
        leg: Leg::Tls,
        fault: Some(("tls", "tls-expired", None, "renew the certificate")),
        ..WELL
    },
    Case {
        name: "killed, over UDP",
        then: Then::Killed,
        fault: Some(("stun-binding", "connection-refused", None, "start the server")),
        ..WELL
    },
    Case {
        name: "killed, over TCP",
        then: Then::Killed,
        leg: Leg::Tcp,
        fault: Some(("tcp-connect", "connection-refused", None, "start the server")),
        ..WELL
    },
    Case {
        name: "silent over UDP",
        then: Then::Frozen,
        fault: Some(("allocation", "stun-no-answer", None, "open UDP port")),
        ..WELL
    },
    Case {
        name: "silent over TCP",
        then: Then::Frozen,
        leg: Leg::Tcp,
        fault: Some(("allocation", "stun-no-answer", None, "is a TURN server")),
        ..WELL
    },
    Case {
        name: "silent over TLS",
        then: Then::Frozen,
        leg: Leg::Tls,
        fault: Some(("tls", "timed-out", None, "speaks TLS on port")),
        ..WELL
    },
    Case {
        name: "told to be silent",
        coturn: Err("always answers"),
        bundled: Ok(&["--turn-misbehave", "silent"]),
        leg: Leg::Tls,
        fault: Some(("allocation", "stun-no-answer", None, "is a TURN server")),
        ..WELL
    },
];

#[test]
fn each_fault_of_coturn_is_told() {
    each_is_told(
        "coturn",
        |case| case.coturn,
        |case, arguments| {
            let mut server = Coturn::start_with(arguments, &case.certificate);
            let url = match case.leg {
                Leg::Udp => server.udp(),
                Leg::Tcp => server.tcp(),
                Leg::Tls => server.tls(),
            };
            befall(case, &mut server.child);
            probe(case.login, &url, text(&server.ca()))
        },
    );
}

#[test]
fn each_fault_of_the_bundled_server_is_told() {
    each_is_told(
        "the bundled server",
        |case| case.bundled,
        |case, arguments| {
            let user = if arguments.contains(&"--turn-secret") { &[][..] } else { &["--turn-user", USER] };
            let mut server = Bundled::start_with(&[user, arguments].concat(), Some(&case.certificate));
            let url = server.urls()[case.leg as usize].clone();
            befall(case, &mut server.child);
            probe(case.login, &url, text(&server.ca()))
        },
    );
}

/// A host that takes no connections, as behind a firewall that drops: its queue of them is full.
#[test]
fn a_host_that_drops_what_asks_for_a_connection_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&listener, 0).expect("a queue of one");
    let address = listener.local_addr().expect("its address");
    let _queued = TcpStream::connect(address).expect("room for one");
    let dir = tempfile::tempdir().expect("a directory");
    certificate(dir.path(), &Certificate::WELL);
    let ca = dir.path().join("ca.pem");
    for (url, leg) in [(format!("turn:{address}?transport=tcp"), "tcp"), (format!("turns:{address}"), "tls")] {
        let probe = probe(Login::Right, &url, text(&ca));
        let fault = probe.fails("tcp-connect", "timed-out", None);
        assert!(fault["remedy"].as_str().unwrap().contains("in the firewalls on the way"), "{leg}: {fault}");
    }
}

/// Runs the cases, some at a time, and says all that is wrong with them.
fn each_is_told(server: &str, told: impl Fn(&Case) -> Told, run: impl Fn(&Case, &[&str]) -> Probe + Sync) {
    let mut cases = Vec::new();
    for case in CASES {
        match told(case) {
            Ok(arguments) => cases.push((case, arguments)),
            Err(reason) => eprintln!("{server}, {}: not tried, since it {reason}", case.name),
        }
    }
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((case, arguments)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let port = free_port().clamp(20_000, 60_000).to_string();
                    let arguments: Vec<String> = arguments.iter().map(|text| text.replace("PORT", &port)).collect();
                    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    if let Err(why) = judge(case, &run(case, &arguments)) {
                        wrong.lock().expect("no panic").push(format!("{}: {why}", case.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{server}:\n{}", wrong.join("\n"));
}

fn judge(case: &Case, probe: &Probe) -> Result<(), String> {
    let found = &probe.report["servers"][0]["faults"][0];
    let Some((step, class, code, words)) = case.fault else {
        return if probe.code == Some(0) && found.is_null() { Ok(()) } else { Err(probe.stderr.clone()) };
    };
    let expected = (Some(1), Some(step), Some(class), code.map(u64::from));
    let told = (probe.code, found["step"].as_str(), found["class"].as_str(), found["code"].as_u64());
    let said = format!("{} {}", found["message"], found["remedy"]);
    let remedy = found["remedy"].as_str().unwrap_or_default();
    if expected == told && said.contains(words) && !remedy.is_empty() && probe.stderr.contains(remedy) {
        Ok(())
    } else {
        Err(format!("{told:?} instead of {expected:?} with {words:?}\n{}", probe.stderr))
    }
}

fn befall(case: &Case, server: &mut Child) {
    match case.then {
        Then::Nothing => {}
        Then::Killed => {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
        Then::Frozen => kill_process(Pid::from_child(server), Signal::STOP).expect("it runs"),
        Then::Waited => std::thread::sleep(case.certificate.valid + Duration::from_secs(1)),
    }
}

fn probe(login: Login, url: &str, ca: &str) -> Probe {
    // printf 1600000000:alice | openssl dgst -sha1 -hmac north -binary | base64
    let expired = ["--user", "1600000000:alice", "--password", "gq98pTOhhHaAu0we9aV79kOVVv0="];
    let arguments = match login {
        Login::Right => &["--user", USER, "--password", PASSWORD],
        Login::WrongPassword => &["--user", USER, "--password", "guess"],
        Login::Limited => &["--user", USER, "--secret", SECRET],
        Login::Expired => &expired,
    };
    probe_with(&[&arguments[..], &[url, "--ca", ca]].concat(), &[])
}
