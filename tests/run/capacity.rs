//! `harness run --find-capacity` finds the load from which on a service falls short, and says what it cannot find.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{Lab, NOISE_ALLOWED, Run, repository, text};
use harness::capacity::Capacity;
use harness::signaling::{Identity, Limits, Server, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Calls of data channels alone, which cost next to nothing.
const SMALL: &str = r#"
schema = 1
name = "small"
[media]
video = "none"
audio = "none"
[load]
arrivals = "100/s"
hold = "1s"
[[peers]]
"#;

/// Clients that the slow service bears.
const CLIENTS: u64 = 48;
/// What each part of a message takes, in either direction, once there are more.
const DELAY: Duration = Duration::from_millis(400);

/// The bundled server behind a proxy that is overwhelmed by more than `CLIENTS` connections at a time: from then on it
/// delays all that it passes on, until the last of them has left.
struct SlowService {
    url: String,
    ca: String,
    /// Serves as long as it lives.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct State {
    connected: AtomicU64,
    overwhelmed: AtomicBool,
}

impl State {
    fn came(&self) {
        if self.connected.fetch_add(1, Ordering::SeqCst) + 1 > CLIENTS {
            self.overwhelmed.store(true, Ordering::SeqCst);
        }
    }

    fn left(&self) {
        if self.connected.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.overwhelmed.store(false, Ordering::SeqCst);
        }
    }

    fn delay(&self) -> Duration {
        if self.overwhelmed.load(Ordering::SeqCst) { DELAY } else { Duration::ZERO }
    }
}

impl SlowService {
    fn start(lab: &Lab) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ca = lab.dir.path().join("ca.pem");
        let url = runtime.block_on(async {
            let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let identity = Identity::generate(&[listen.ip()]).unwrap();
            std::fs::write(&ca, identity.ca_pem().unwrap()).unwrap();
            let pages = harness::peer::browser::pages();
            let config = ServerConfig { listen, identity, pages, limits: Limits::default() };
            let server = Server::start(config).await.unwrap();
            let url = server.endpoint().url.clone();
            let behind = server.address();
            let listener = TcpListener::bind(listen).await.unwrap();
            let front = listener.local_addr().unwrap();
            tokio::spawn(accept(listener, behind, server));
            url.replace(&format!(":{}/", behind.port()), &format!(":{}/", front.port()))
        });
        Self { url, ca: text(&ca).to_owned(), _runtime: runtime }
    }
}

/// The server lives as long as somebody listens in front of it.
async fn accept(listener: TcpListener, behind: SocketAddr, _server: Server) {
    let state = Arc::new(State::default());
    while let Ok((client, _)) = listener.accept().await {
        state.came();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            client.set_nodelay(true).unwrap();
            if let Ok(server) = TcpStream::connect(behind).await {
                server.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass_on(from_server, to_client, Arc::clone(&state), || {}));
                let leaving = Arc::clone(&state);
                pass_on(from_client, to_server, state, move || leaving.left()).await;
            } else {
                state.left();
            }
        });
    }
}

/// Passes on what is read, each part when its delay is over; `ended` is called as soon as nothing more can be read.
async fn pass_on(mut from: OwnedReadHalf, to: OwnedWriteHalf, state: Arc<State>, ended: impl FnOnce()) {
    let (parts, due) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write(due, to));
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if parts.send((Instant::now() + state.delay(), buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    ended();
    drop(parts);
    let _ = writer.await;
}

async fn write(mut due: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
    while let Some((at, part)) = due.recv().await {
        tokio::time::sleep_until(at).await;
        if to.write_all(&part).await.is_err() {
            return;
        }
    }
}

fn search(lab: &Lab, scenario: &str, range: &str, more: &[&str]) -> Run {
    let scenario = lab.scenario("small", scenario);
    lab.run(&scenario, &[&["--find-capacity", range], &NOISE_ALLOWED[..], more].concat())
}

fn capacity(run: &Run) -> Value {
    let record = run.record.as_ref().unwrap_or_else(|| panic!("no record; the run said:\n{}", run.stderr));
    let text = std::fs::read_to_string(record.join("capacity.json")).expect("capacity.json");
    let capacity = serde_json::from_str(&text).expect("capacity.json is JSON");
    let validator = jsonschema::validator_for(&Capacity::json_schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&capacity).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    capacity
}

#[test]
fn the_load_from_which_a_service_is_slow_is_found_within_ten_percent() {
    let lab = Lab::new();
    let service = SlowService::start(&lab);
    let gate = "[[gate]]\nmetric = \"connection_time_ms\"\nexpect = \"max < 1200ms\"\n";
    let signaling = format!("[signaling]\nurl = \"{}\"\nca = \"{}\"\n", service.url, service.ca);
    let run = search(&lab, &format!("{SMALL}{signaling}{gate}"), "calls 4..64", &[]);
    run.assert_code(0).assert_says("connection_time_ms max < 1200ms").assert_says("capacity: ");
    let found = capacity(&run);
    let known = CLIENTS as f64 / 2.0;
    let (holds, fails) = (found["holds"].as_f64().unwrap(), found["fails"].as_f64().unwrap());
    assert!((holds - known).abs() <= known * 0.1, "{holds} instead of {known}:\n{}", run.stderr);
    assert!(fails > holds && fails <= known * 1.1 + 1.0, "{holds}..{fails}:\n{}", run.stderr);
    assert_eq!((found["answer"].as_str(), found["settled"].as_bool()), (Some("found"), Some(true)));
    assert_eq!(found["limits"][0]["what"], "connection_time_ms max < 1200ms");
    // Each run is a whole one, with a seed of its own.
    let record = run.record.as_ref().unwrap();
    let mut seeds = std::collections::BTreeSet::new();
    for probe in found["probes"].as_array().unwrap() {
        assert_eq!(probe["load"].as_f64(), probe["calls"].as_u64().map(|calls| calls as f64));
        assert!(seeds.insert(probe["seed"].as_u64().unwrap()));
        for file in ["report.html", "report.json", "events.ndjson", "plan.toml"] {
            assert!(record.join(probe["record"].as_str().unwrap()).join(file).exists(), "{file}");
        }
    }
    // All of it can be rendered again from what was written.
    let page = std::fs::read_to_string(record.join("report.html")).unwrap();
    for file in ["report.html", "junit.xml", "summary.md"] {
        std::fs::remove_file(record.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let output = lab.command(&["report", text(record)]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(record.join("report.html")).unwrap(), page);
}

#[test]
fn a_service_that_bears_everything_has_at_least_the_high_end() {
    let lab = Lab::new();
    let repeated = format!("{SMALL}[repeat]\nruns = 7\n");
    let run = search(&lab, &repeated, "calls 1..2", &["--set", "load.hold=100ms"]);
    run.assert_code(0).assert_says("capacity: at least 2 calls").assert_says("at most 10 runs");
    run.assert_says("[repeat] is left out");
    assert_eq!(capacity(&run)["probes"].as_array().unwrap().len(), 4, "{}", run.stderr);
}

#[test]
fn arrivals_are_searched_at_their_rate() {
    let lab = Lab::new();
    let more = ["--set", "peers.0.count=40", "--set", "load.hold=100ms", "--json", "-"];
    let run = search(&lab, SMALL, "arrivals 10/s..20/s", &more);
    run.assert_code(0);
    assert_eq!(run.stderr, "", "standard output is for the program that reads it");
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed, capacity(&run));
    assert_eq!((printed["answer"].as_str(), printed["holds"].as_f64()), (Some("high_end"), Some(20.0)));
    // 20 calls at 100/s start within 200 ms, and so do these.
    let calls: Vec<_> = printed["probes"].as_array().unwrap().iter().map(|probe| probe["calls"].as_u64()).collect();
    assert_eq!(calls, [Some(2), Some(4), Some(4), Some(4)]);
}

#[test]
fn a_gate_that_nothing_passes_is_a_failure_that_names_it() {
    let lab = Lab::new();
    let gate = "[[gate]]\nmetric = \"connection_time_ms\"\nexpect = \"max < 0.001ms\"\n";
    let run = search(&lab, &format!("{SMALL}{gate}"), "calls 2..8", &["--set", "load.hold=100ms"]);
    run.assert_code(1).assert_says("capacity: no passing point").assert_says("connection_time_ms max < 0.001ms");
    assert_eq!(capacity(&run)["holds"], Value::Null);
}

#[test]
fn a_generator_past_its_limits_says_nothing_of_the_service() {
    let lab = Lab::new();
    let limits =
        ["--set", "load.hold=100ms", "--set", "health.scheduling_lag_p99=0us", "--set", "health.machine_cpu=0%"];
    let run = search(&lab, SMALL, "calls 2..8", &limits);
    run.assert_code(3).assert_says("nothing is known of the service").assert_says("machine_cpu_ratio");
    assert_eq!(capacity(&run)["answer"], "untrusted");
}

#[test]
fn a_signal_leaves_the_partial_curve() {
    let lab = Lab::new();
    let scenario = lab.scenario("small", SMALL);
    let out = lab.out();
    let mut arguments = vec!["run", text(&scenario), "--out", text(&out), "--find-capacity", "calls 1..100"];
    // Long enough that the search cannot be over before the signal.
    arguments.extend(["--set", "load.hold=2s"]);
    arguments.extend(NOISE_ALLOWED);
    let child = lab.command(&arguments).spawn().unwrap();
    let record = || crate::common::newest_record(&out);
    crate::common::wait_until("the first run", || record().is_some_and(|record| record.join("capacity.json").exists()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let run = Run::new(child.wait_with_output().unwrap(), &out);
    run.assert_code(130).assert_says("SIGINT ended the search");
    let found = capacity(&run);
    assert_eq!((found["verdict"].as_str(), found["holds"].as_f64()), (Some("interrupted"), Some(1.0)));
    assert!(run.record.unwrap().join("report.html").exists());
}

#[test]
fn what_cannot_be_searched_is_a_usage_error() {
    let lab = Lab::new();
    let two = "\n[[topology.calls]]\nofferer = 'native'\nanswerer = 'native'\n\
               [[topology.calls]]\nname = 'more'\nofferer = 'native'\nanswerer = 'native'\n";
    for (scenario, range, reason) in [
        (SMALL.to_owned(), "peers 1..2", "\"peers\" is not a quantity that can be searched"),
        (SMALL.to_owned(), "calls 9..2", "\"9..2\" is empty"),
        (SMALL.to_owned(), "calls 1..200001", "at 200001 calls: --set peers.0.count=400002: `count` cannot be 400002"),
        (SMALL.to_owned(), "calls 1..200", "the first are over before the last begin"),
        (SMALL.replace("arrivals = \"100/s\"", ""), "arrivals 1/s..2/s", "all calls of this scenario start at once"),
        (format!("{SMALL}{two}"), "calls 1..2", "topology.calls.0 `native-native` (1), topology.calls.1 `more` (1)"),
    ] {
        let run = search(&lab, &scenario, range, &[]);
        run.assert_code(2).assert_says(reason);
        assert!(run.record.is_none(), "nothing ran");
    }
    for (scenario, reason) in [("nat", "[matrix] decides"), ("rooms", "the rooms decide"), ("churn", "[[load.stage]]")]
    {
        let scenario = repository(&format!("scenarios/{scenario}.toml"));
        lab.run(&scenario, &["--find-capacity", "calls 1..2"]).assert_code(2).assert_says(reason);
    }
}

#[test]
fn the_schema_is_the_one_in_docs() {
    let path = repository("docs/capacity.schema.json");
    let text = serde_json::to_string_pretty(&Capacity::json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    assert!(kept == text, "docs/capacity.schema.json is out of date: run this test with UPDATE_SCHEMA=1");
}
