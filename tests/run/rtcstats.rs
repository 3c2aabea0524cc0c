//! `--rtcstats` writes a dump for each peer that says what the record says, in the format of the viewers, and no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::{BOTH_STACKS, Lab, NOISE_ALLOWED, Run, text, wait_until};
use serde_json::{Map, Value, json};

/// Nobody listens there: what matters is what becomes of the credentials.
const SERVER: &str = "
[[ice.servers]]
urls = [\"turn:127.0.0.1:9?transport=udp\"]
username = \"a-name-that-is-secret\"
credential = \"${RTCSTATS_TEST_PASSWORD}\"
";
const PASSWORD: &str = "correct horse battery staple";

/// Peers of both stacks, in calls that last so long.
fn stacks(hold: &str) -> String {
    BOTH_STACKS.replace("hold = \"1s\"", &format!("hold = \"{hold}\""))
}

const BROWSER: &str = r#"
name = "dumps"
[[peers]]
name = "browser"
engine = "chromium"
[[peers]]
name = "native"
[[topology.calls]]
offerer = "browser"
answerer = "native"
[load]
hold = "2500ms"
"#;

/// What a viewer makes of a dump.
struct Dump {
    about: Value,
    /// Method, connection, value, and milliseconds since 1970.
    lines: Vec<(String, Option<String>, Value, f64)>,
    /// The statistics as they were at last, by id.
    stats: BTreeMap<String, Map<String, Value>>,
}

/// Reads a dump in the words of its format, and refuses what a viewer would stumble over.
fn read(path: &Path) -> Dump {
    let whole = fs::read_to_string(path).expect("a dump");
    assert!(whole.ends_with('\n'), "{}: the last line is cut off", path.display());
    let (magic, rest) = whole.split_once('\n').expect("a first line");
    assert_eq!(magic, "RTCStatsDump");
    let mut texts = rest.lines();
    let about: Value = serde_json::from_str(texts.next().expect("a second line")).expect("an object");
    assert_eq!(about["fileFormat"], 3);
    let (mut lines, mut stats, mut now, mut begun) = (Vec::new(), BTreeMap::new(), 0.0, BTreeSet::new());
    for line in texts {
        let line: Vec<Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let [method, connection, value, .., since] = &line[..] else { panic!("{line:?}") };
        let since = since.as_f64().expect("a time");
        assert!(since >= 0.0, "time runs backwards: {line:?}");
        now += since;
        let (method, connection) = (method.as_str().expect("a method"), connection.as_str().map(str::to_owned));
        let first = begun.insert(connection.clone());
        if method == "getStats" {
            assert!(!first, "viewers forget statistics that come first");
            learn(&mut stats, value);
        }
        lines.push((method.to_owned(), connection, value.clone(), now));
    }
    Dump { about, lines, stats }
}

/// Adds what a `getStats` line says to what is known.
fn learn(stats: &mut BTreeMap<String, Map<String, Value>>, delta: &Value) {
    let mut delta = delta.as_object().expect("an object").clone();
    let time = delta.remove("t").expect("a time");
    stats.retain(|id, _| delta.get(id) != Some(&Value::Null));
    delta.retain(|_, changes| !changes.is_null());
    for id in delta.keys() {
        stats.entry(id.clone()).or_default();
    }
    for (id, entry) in stats {
        entry.insert("timestamp".into(), time.clone());
        for (name, value) in delta.get(id).and_then(Value::as_object).into_iter().flatten() {
            match (entry.get_mut(name), value) {
                (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
                _ => drop(entry.insert(name.clone(), value.clone())),
            }
        }
    }
}

impl Dump {
    /// The values of all lines of a method.
    fn values(&self, method: &str) -> Vec<&Value> {
        self.lines.iter().filter(|(of, ..)| of == method).map(|(_, _, value, _)| value).collect()
    }

    /// When a mark was passed, in milliseconds since 1970.
    fn mark(&self, mark: &str) -> f64 {
        let method = format!("harness.{mark}");
        let line = self.lines.iter().find(|(of, ..)| *of == method);
        line.unwrap_or_else(|| panic!("no {method}")).3
    }
}

fn run(lab: &Lab, scenario: &str, more: &[&str]) -> Run {
    let (scenario, out) = (lab.scenario("dumps", &format!("{scenario}{SERVER}")), lab.out());
    let arguments = [&["run", text(&scenario), "--out", text(&out)], &NOISE_ALLOWED[..], more].concat();
    let output = lab.command(&arguments).env("RTCSTATS_TEST_PASSWORD", PASSWORD).output().expect("the binary runs");
    let run = Run::new(output, &out);
    run.assert_code(0);
    run
}

/// Everything that a dump must have, whatever made it.
fn check(record: &Path, peer: &str, call: &str) -> Dump {
    let dump = read(&record.join("rtcstats").join(format!("{}.jsonl", peer.replace('/', "."))));
    assert_eq!(dump.about["url"], peer);
    assert_eq!(dump.values("create")[0], &json!({"peer": peer, "call": call}));
    assert!(dump.lines[1..].iter().all(|(_, connection, ..)| connection.as_deref() == Some(call)));
    let begun = dump.lines[0].3;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    assert!((now - 300_000.0..now).contains(&begun), "the first time counts from 1970: {begun}");

    let [made] = dump.values("create")[1..] else { panic!("one connection was made") };
    assert_eq!(made["iceServers"], json!([{"urls": ["turn:127.0.0.1:9?transport=udp"]}]));
    for name in ["setLocalDescription", "setRemoteDescription"] {
        let [description] = dump.values(name)[..] else { panic!("one {name}") };
        assert!(description["sdp"].as_str().is_some_and(|sdp| sdp.starts_with("v=0\r\n")), "{description}");
        assert_eq!(dump.values(&format!("{name}OnSuccess")).len(), 1);
    }
    for name in ["onicecandidate", "addIceCandidate"] {
        let candidates = dump.values(name);
        let is_candidate = |value: &&Value| value["candidate"].as_str().is_some_and(|text| text.contains(" typ host"));
        assert!(candidates.iter().any(is_candidate), "{name}: {candidates:?}");
    }
    assert!(dump.values("oniceconnectionstatechange").contains(&&json!("connected")));
    assert!(dump.values("onconnectionstatechange").contains(&&json!("connected")));
    assert!(dump.values("onsignalingstatechange").contains(&&json!("stable")));
    assert!(dump.values("getStats").len() >= 3, "each second, and at the end");
    assert_eq!(dump.values("close").len(), 1);
    agrees(&dump, record, peer);
    dump
}

/// The dump has the statistics and the instants of the record.
fn agrees(dump: &Dump, record: &Path, peer: &str) {
    let events = fs::read_to_string(record.join("events.ndjson")).expect("the record");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_peer = |kind: &str| -> Vec<&Value> {
        events.iter().filter(|event| event["type"] == kind && event["peer"] == peer).collect()
    };

    let raw = of_peer("stats").last().expect("raw statistics")["stats"].as_array().expect("a list").clone();
    assert!(!raw.is_empty());
    assert_eq!(raw.len(), dump.stats.len());
    for entry in raw {
        let id = entry["id"].as_str().expect("an id");
        let mut told = dump.stats.get(id).unwrap_or_else(|| panic!("{id} is not in the dump")).clone();
        let mut wanted = entry.as_object().unwrap().clone();
        wanted.remove("id");
        // The stack of simulated peers has no times; the dump has that of the reading.
        if !wanted.contains_key("timestamp") {
            assert!(told.remove("timestamp").is_some_and(|time| time.is_number()));
        }
        told.retain(|_, value| !value.is_null());
        assert_eq!(told, wanted, "{id}");
    }

    let origin = of_peer("mark")[0];
    let name = |event: &Value| event["mark"].as_str().expect("a mark").to_owned();
    let at_ms = |event: &Value| event["at_us"].as_f64().expect("a time") / 1e3;
    let mut marks = 0;
    for event in of_peer("mark") {
        let wanted = at_ms(event) - at_ms(origin);
        let told = dump.mark(&name(event)) - dump.mark(&name(origin));
        assert!((told - wanted).abs() < 2.0, "{} after {told} ms, {wanted} ms in the record", name(event));
        marks += 1;
    }
    assert!(marks > 10, "{marks}");
}

/// What must be secret is nowhere in the run's directory.
fn no_secret_in(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            no_secret_in(&entry);
            continue;
        }
        let content = String::from_utf8_lossy(&fs::read(&entry).expect("a file")).into_owned();
        assert!(!content.contains(PASSWORD), "{}", entry.display());
        let is_dump = entry.extension().is_some_and(|extension| extension == "jsonl");
        assert!(!is_dump || !content.contains("a-name-that-is-secret"), "{}", entry.display());
    }
}

#[test]
fn simulated_peers_have_dumps_on_both_stacks() {
    let lab = Lab::new();
    let run = run(&lab, &stacks("2500ms"), &["--rtcstats"]);
    let record = run.record.as_ref().expect("a record");
    let calls: Value = toml::from_str(&fs::read_to_string(record.join("plan.toml")).unwrap()).expect("a plan");
    let mut checked = 0;
    for call in calls["calls"].as_array().expect("calls") {
        for end in ["offerer", "answerer"] {
            let dump = check(record, call[end]["id"].as_str().unwrap(), call["id"].as_str().unwrap());
            let stack = format!("{} stack", call[end]["group"].as_str().unwrap());
            assert!(dump.about["userAgent"].as_str().unwrap().contains(&stack), "{}", dump.about);
            assert!(dump.stats.values().any(|entry| entry["type"] == "inbound-rtp" && entry["packetsReceived"] != 0));
            checked += 1;
        }
    }
    assert_eq!((checked, fs::read_dir(record.join("rtcstats")).unwrap().count()), (4, 4));
    no_secret_in(record);
}

#[test]
fn a_browser_has_a_dump_beside_that_of_a_simulated_peer() {
    let lab = Lab::new();
    let run = run(&lab, BROWSER, &["--rtcstats"]);
    let record = run.record.as_ref().expect("a record");
    let plan: Value = toml::from_str(&fs::read_to_string(record.join("plan.toml")).unwrap()).expect("a plan");
    let call = plan["calls"][0]["id"].as_str().expect("a call");
    let dump = check(record, "browser/0", call);
    check(record, "native/0", call);
    assert!(dump.about["userAgent"].as_str().unwrap().contains("Chrome/"), "{}", dump.about);
    assert_eq!(dump.values("createOffer").len(), 1);
    assert_eq!(dump.values("addTransceiver").len(), 2);
    assert!(dump.values("ontrack").iter().all(|track| track[0].is_string() && track[1].is_string()));
    no_secret_in(record);
}

#[test]
fn without_being_asked_for_there_are_no_dumps() {
    let lab = Lab::new();
    let scenario = stacks("500ms");
    let run = run(&lab, &scenario, &[]);
    assert!(!run.record.expect("a record").join("rtcstats").exists());
}

#[test]
fn a_killed_run_leaves_whole_lines() {
    let lab = Lab::new();
    let scenario = lab.scenario("dumps", &stacks("10min"));
    let out = lab.out();
    let arguments = [&["run", text(&scenario), "--out", text(&out), "--rtcstats"], &NOISE_ALLOWED[..]].concat();
    let mut child = lab.command(&arguments).spawn().expect("the binary runs");
    let dumps = || {
        let folder = crate::common::newest_record(&out).map(|record| record.join("rtcstats"));
        let entries = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    let has_stats = |path: &&std::path::PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("getStats"));
    wait_until("statistics in all dumps", || dumps().iter().filter(has_stats).count() == 4);
    child.kill().expect("the run is killed");
    child.wait().expect("the run ends");
    for dump in dumps() {
        assert!(!read(&dump).stats.is_empty(), "{}", dump.display());
    }
}
