//! Every fault in a scenario is named, with its place and the remedy.

use harness::scenario::{Overrides, load};

/// Loads a scenario and gives its errors as text.
fn errors(text: &str) -> String {
    errors_with(text, &Overrides::default())
}

fn errors_with(text: &str, overrides: &Overrides) -> String {
    load("a.toml", text, overrides).expect_err("the scenario is wrong").to_string()
}

/// A right scenario, with more text after it.
fn after_peers(text: &str) -> String {
    errors(&format!("name = \"a\"\n[[peers]]\ncount = 2\n{text}"))
}

#[track_caller]
fn assert_says(errors: &str, parts: &[&str]) {
    for part in parts {
        assert!(errors.contains(part), "{part:?} is not in:\n{errors}");
    }
}

#[test]
fn unknown_keys() {
    let said = after_peers("cuont = 3\n[lod]\nhold = \"1s\"\n[media.data]\necho = true\n");
    assert_says(
        &said,
        &[
            "a.toml:4:1: unknown key `cuont` in `peers.0`; did you mean `count`? keys here: ",
            "a.toml:5:2: unknown key `lod`; did you mean `load`?",
            "a.toml:8:1: unknown key `echo` in `media.data`",
        ],
    );
}

#[test]
fn wrong_units() {
    let said = after_peers(
        "[load]\narrivals = \"50\"\nhold = \"5 sec\"\n[health]\nsteal = \"0.1\"\n[media.data]\necho_size = \"64 bit\"",
    );
    assert_says(
        &said,
        &[
            "a.toml:5:12: `arrivals`: \"50\" is not a rate: the unit is missing; write a number and one of /s, /min, /h",
            "a.toml:6:8: `hold`: \"5 sec\" is not a duration: unknown unit \"sec\"; write a number and one of us, ms, s",
            "a.toml:8:9: `steal`: \"0.1\" is not a share",
            "a.toml:10:13: `echo_size`: \"64 bit\" is not a size: unknown unit \"bit\"",
        ],
    );
}

#[test]
fn wrong_types() {
    let said = after_peers(
        "optional = 1\nengine = 2\n[load]\nhold = 5\n[media]\nframe_rate = \"30\"\ndata = 3\n[ice]\nservers = 1\n[signaling]\nurl = false",
    );
    assert_says(
        &said,
        &[
            "a.toml:4:12: `optional` must be true or false, but is the number 1",
            "a.toml:5:10: `engine` must be a name, but is the number 2",
            "a.toml:7:8: `hold` must be a text or a table, but is the number 5; write a number and one of us, ms, s, min, h",
            "a.toml:9:14: `frame_rate` must be a whole number, but is the text \"30\"; write it without quotes",
            "a.toml:10:8: `data` must be a table, but is the number 3",
            "a.toml:12:11: `servers` must be an array, but is the number 1; write it as [[ice.servers]]",
            "a.toml:14:7: `url` must be a text, but is false; put it in quotes",
        ],
    );
}

#[test]
fn impossible_numbers() {
    assert_says(&errors("name = \"a\"\n[[peers]]\ncount = 0"), &["a.toml:3:9: `count` cannot be 0; 1 to 400000"]);
    assert_says(&errors("name = \"a\"\n[[peers]]\ncount = -2"), &["`count` cannot be -2"]);
    assert_says(&errors("name = \"a\"\n[[peers]]\ncount = 4000000000"), &["`count` cannot be 4000000000"]);
    assert_says(
        &errors("name = \"a\"\n[[peers]]\ncount = 3"),
        &["a.toml:3:9: 3 peers cannot be paired: one is left over"],
    );
    assert_says(&errors("name = \"a\"\nschema = 2\n[[peers]]"), &["`schema` cannot be 2; only 1 is known"]);
    assert_says(&errors("name = \"a\"\nseed = -1\n[[peers]]"), &["`seed` cannot be -1"]);
    let said = after_peers(
        "[media]\nframe_rate = 1000\n[[gate]]\nmetric = \"rtt_ms\"\nexpect = \"max < 1s\"\nmin_samples = 0",
    );
    assert_says(&said, &["`frame_rate` cannot be 1000; 1 to 240", "`min_samples` cannot be 0; at least 1"]);
    let said = after_peers(
        "[load]\nhold = \"0s\"\n[deadlines]\njoin = \"0s\"\n[media.data]\necho_interval = \"1us\"\nmessage_size = \"1 MiB\"",
    );
    assert_says(
        &said,
        &[
            "`hold` cannot be 0us; 100ms to 86400s",
            "`join` cannot be 0us",
            "`echo_interval` cannot be 1us",
            "`message_size` cannot be 1 MiB; 16 B to 256 KiB",
        ],
    );
}

#[test]
fn addresses() {
    assert_says(&after_peers("[signaling]\nlisten = \"127.0.0.1:70000\""), &["a.toml:5:10: port 70000 does not exist"]);
    assert_says(&after_peers("[signaling]\nlisten = \"8443\""), &["\"8443\" is not an address with a port"]);
    assert_says(&after_peers("[signaling]\nurl = \"ws://a/ws\""), &["is not the URL of a secure WebSocket"]);
    assert_says(
        &after_peers("[signaling]\nurl = \"wss://a/ws\"\nlisten = \"127.0.0.1:1\""),
        &["a.toml:6:10: `listen` is for the bundled server"],
    );
    assert_says(
        &after_peers("[[ice.servers]]\nurls = [\"stun:a:99999\"]"),
        &["a.toml:5:9: \"stun:a:99999\" is no usable STUN or TURN server"],
    );
    assert_says(&after_peers("[[ice.servers]]\nurls = []"), &["`ice.servers.0.urls` is empty"]);
    assert_says(
        &after_peers("[[ice.servers]]\nurls = [\"turn:a\"]"),
        &["a TURN server needs a user name and a credential"],
    );
    assert_says(&after_peers("[ice]\npolicy = \"relay\""), &["a.toml:5:10: no call can connect"]);
}

#[test]
fn names() {
    assert_says(&errors("[[peers]]"), &["a.toml:1:1: the key `name` is missing; Name of the scenario"]);
    assert_says(&errors("name = \"a\""), &["the key `peers` is missing"]);
    assert_says(&errors("name = \"a\"\npeers = []"), &["`peers` is empty; give at least one"]);
    assert_says(&errors("name = \"../a\"\n[[peers]]"), &["a.toml:1:8: \"../a\" cannot be a name"]);
    let twice = "name = \"a\"\n[[peers]]\nname = \"x\"\n[[peers]]\nname = \"x\"\nengine = \"crome\"";
    assert_says(
        &errors(twice),
        &[
            "a.toml:6:10: `engine` cannot be `crome`",
            "accepted names: native, signaling, chromium, firefox, human, external",
        ],
    );
    let twice = "name = \"a\"\n[[peers]]\nname = \"x\"\n[[peers]]\nname = \"x\"";
    assert_says(&errors(twice), &["a.toml:5:8: there is a group named `x` already"]);
    assert_says(
        &errors("name = \"a\"\n[[peers]]\n[[peers]]"),
        &["there is a group named `native` already; give it a name"],
    );
}

#[test]
fn calls_and_groups() {
    let groups = "name = \"a\"\n[[peers]]\nname = \"near\"\n[[peers]]\nname = \"far\"\n";
    let said = errors(&format!("{groups}[[topology.calls]]\nofferer = \"near\"\nanswerer = \"fra\""));
    assert_says(&said, &["a.toml:8:12: there is no group `fra`; did you mean `far`? groups: near, far"]);
    let said = errors(&format!("{groups}[[topology.calls]]\nofferer = \"near\"\nanswerer = \"near\""));
    assert_says(&said, &["a.toml:4:1: nobody calls the group `far`, and it calls nobody; remove it"]);
    let said = after_peers("[[topology.calls]]\nofferer = \"native\"\nanswerer = \"native\"\ncount = 2");
    assert_says(&said, &["a.toml:3:9: 2 peers of `native` are not enough: its calls take 4; use count = 4"]);
    let said =
        errors("name = \"a\"\n[[peers]]\ncount = 5\n[[topology.calls]]\nofferer = \"native\"\nanswerer = \"native\"");
    assert_says(&said, &["3 of 5 peers of `native` are never used: its calls take 2"]);
    let said = errors("name = \"a\"\n[[peers]]\ncount = 2\n[[peers]]\nengine = \"firefox\"\ncount = 3");
    assert_says(&said, &["a.toml:6:9: 2 `native` peers cannot be paired with 3 `firefox` peers"]);
    let said = errors("name = \"a\"\n[[peers]]\n[[peers]]\nname = \"b\"\n[[peers]]\nname = \"c\"");
    assert_says(&said, &["it is not said which of the 3 groups call each other; add [[topology.calls]]"]);
    let calls = "[[topology.calls]]\nofferer = \"near\"\nanswerer = \"far\"\nroom = \"r\"\n";
    let said = errors(&format!("{groups}{calls}{calls}"));
    assert_says(&said, &["there is a set of calls named `near-far` already", "the room `r` is used by another set"]);
    let said = errors("name = \"a\"\n[[peers]]\nengine = \"external\"\ncount = 2");
    assert_says(&said, &["nothing can be measured of a call between two external clients"]);
    let said = after_peers("driver = \"geckodriver\"");
    assert_says(&said, &["a.toml:4:10: `driver` is for browsers, and the engine here is `native`"]);
    let said = errors(
        "name = \"a\"\n[[peers]]\n[[topology.calls]]\nofferer = \"native\"\nanswerer = \"native\"\ncount = 100000\n[[topology.calls]]\nname = \"b\"\nofferer = \"native\"\nanswerer = \"native\"\ncount = 100000\n[[topology.calls]]\nname = \"c\"\nofferer = \"native\"\nanswerer = \"native\"",
    );
    assert_says(&said, &["200001 calls are more than one run can keep a record of"]);
}

#[test]
fn gates() {
    let gate = |text: &str| after_peers(&format!("[[gate]]\n{text}"));
    let said = gate("metric = \"conection_time\"\nexpect = \"p95 < 1s\"");
    assert_says(&said, &["a.toml:5:10: `metric` cannot be `conection_time`; did you mean `connection_time_ms`?"]);
    let said = gate("metric = \"rtt_ms\"\nexpect = \"p95 < 1\"");
    assert_says(
        &said,
        &["a.toml:6:18: a unit is missing at column 8 of the expectation; `p95` of `rtt_ms` is compared with"],
    );
    let said = gate("metric = \"rtt_ms\"\nexpect = \"p95 << 1s\"");
    assert_says(&said, &["a.toml:6:15: unknown operator `<<`"]);
    let said = gate("metric = \"rtt_ms\"\nexpect = \"max < 1s\"\nwhere = { group = \"nativ\", calls = \"x\" }");
    assert_says(
        &said,
        &["a.toml:7:19: there is no group `nativ`; did you mean `native`?", "there is no set of calls `x`"],
    );
    assert_says(&gate("metric = \"rtt_ms\""), &["a.toml:4:1: the key `expect` is missing in `gate.0`"]);
}

#[test]
fn values_of_the_command_line() {
    let text = "name = \"a\"\n[[peers]]\ncount = 2\n";
    let set = |set: &str| errors_with(text, &Overrides { set: vec![set.into()], ..Overrides::default() });
    assert_says(&set("load.hold=5"), &["--set load.hold=5: `hold` must be a text or a table, but is the number 5"]);
    assert_says(&set("lod.hold=5s"), &["--set lod.hold=5s: unknown key `lod`; did you mean `load`?"]);
    assert_says(&set("peers.native.count=3"), &["--set peers.native.count=3: 3 peers cannot be paired"]);
    let overrides = Overrides { environment_seed: Some("x".into()), ..Overrides::default() };
    assert_says(&errors_with(text, &overrides), &["environment variable HARNESS_SEED: \"x\" is not a seed"]);
}

#[test]
fn several_at_once_in_the_order_of_the_file() {
    let said = after_peers(
        "[load]\nhold = \"0s\"\n[[gate]]\nmetric = \"rtt_ms\"\nexpect = \"avg < 1s\"\n[[ice.servers]]\nurls = [\"x\"]",
    );
    let places: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["a.toml:5:8", "a.toml:8:11", "a.toml:10:9"], "{said}");
}

#[test]
fn loads_that_contradict_themselves() {
    let load = |text: &str| errors(&format!("name = \"a\"\n[[peers]]\n[load]\n{text}"));
    assert_says(&load("arrivals = \"0/s\""), &["a.toml:4:12: no call would ever start; give a rate above zero"]);
    assert_says(&load("spacing = \"poisson\""), &["a.toml:4:11: calls that all start at once have no spacing"]);
    assert_says(&load("duration = \"10s\""), &["a.toml:4:12: it is not said how many calls start within the 10s"]);
    let stage = "\n[[load.stage]]\nduration = \"5s\"\ntarget = \"10/s\"";
    assert_says(&load(&format!("duration = \"10s\"{stage}")), &["a.toml:4:12: the stages say how long"]);
    assert_says(&load(&stage.replace("10/s", "0/s")), &["a.toml:5:1: no call ever starts at these rates"]);
    assert_says(&load(&stage.replace("10/s", "10")), &["a.toml:7:10: `target`: \"10\" is not a rate"]);
    assert_says(
        &load(&stage.replace("10/s", "1000000/s")),
        &["2500000 calls would arrive, more than one run can keep a record of; lower the rates or the durations"],
    );
    assert_says(&load("start_within = \"0s\""), &["`start_within` cannot be 0us; 1ms to 86400s"]);
    assert_says(
        &errors("name = \"a\"\n[[peers]]\ncount = 4\n[load]\narrivals = \"2/s\"\nduration = \"10s\""),
        &["a.toml:3:9: how many there are follows from [load]", "remove `count`, or `duration` and the stages"],
    );
}

#[test]
fn hold_times_that_no_distribution_has() {
    let hold = |table: &str| errors(&format!("name = \"a\"\n[[peers]]\n[load]\nhold = {{ {table} }}"));
    assert_says(&hold("distribution = \"exponential\""), &["a.toml:4:8: an exponential distribution needs its mean"]);
    assert_says(&hold("distribution = \"uniform\", min = \"1s\""), &["a uniform distribution needs `min` and `max`"]);
    assert_says(
        &hold("distribution = \"uniform\", min = \"2s\", max = \"1s\""),
        &["a.toml:4:54: no duration is both longer than 2s and shorter than 1s"],
    );
    assert_says(&hold("distribution = \"normal\""), &["`distribution` cannot be `normal`; accepted names: "]);
    assert_says(
        &hold("distribution = \"exponential\", mean = \"1s\", min = \"1ms\""),
        &["`min` cannot be 1ms; 100ms to 86400s"],
    );
}

#[test]
fn rooms_that_cannot_be() {
    let rooms = |peers: &str, more: &str| {
        errors(&format!("name = \"a\"\n[[peers]]\n{peers}\n[topology]\nkind = \"rooms\"\n{more}"))
    };
    assert_says(&rooms("", ""), &["a.toml:5:8: it is not said how many people a room has room for; add size = 4"]);
    assert_says(&rooms("", "size = 1"), &["`size` cannot be 1; 2 to 50 is accepted"]);
    assert_says(
        &rooms("engine = \"firefox\"", "size = 4"),
        &["a.toml:3:10: peers of the engine `firefox` cannot be in rooms; use engine = \"native\""],
    );
    assert_says(
        &rooms("count = 5", "size = 4"),
        &["a.toml:3:9: 5 `native` people are given, and 4 needed: the rooms have seats for that many"],
    );
    assert_says(
        &rooms("", "size = 2\n[load]\narrivals = \"1/s\"\nduration = \"20s\"\nhold = \"10s\""),
        &["2.000 s after the start somebody finds all 2 seats of the rooms taken; raise `count` or `size`"],
    );
    assert_says(
        &rooms("", "size = 2\n[load]\narrivals = \"1/s\"\nhold = \"500ms\""),
        &["nobody ever meets anybody in these rooms"],
    );
    assert_says(&after_peers("[topology]\nsize = 4"), &["a.toml:5:8: `size` is for rooms; add kind = \"rooms\""]);
}

#[test]
fn signaling_peers_have_no_media_and_no_network() {
    let said = errors(
        "name = \"a\"\n[[peers]]\nengine = \"signaling\"\nname = \"s\"\ndirection = \"sendonly\"\nmessage_interval = \"1us\"\n\
         [[peers]]\nmessage_interval = \"1s\"\n",
    );
    assert_says(
        &said,
        &[
            "`message_interval` cannot be 1us",
            "a signaling peer carries no media that could have a direction",
            "`message_interval` is for signaling peers, and the engine here is `native`",
            "a signaling peer makes no connection that a peer of another engine could take part in",
        ],
    );
    let said = errors(
        "name = \"a\"\n[network]\n[[network.site]]\nname = \"x\"\n[[peers]]\nengine = \"signaling\"\nsite = \"x\"\n",
    );
    assert_says(&said, &["a signaling peer sends no packet that could cross a network"]);
}

#[test]
fn people_come_to_the_bundled_server_once_and_are_few() {
    let human = |more: &str| errors(&format!("name = \"a\"\n[[peers]]\n[[peers]]\nengine = \"human\"\n{more}"));
    assert_says(&human("wait = \"10ms\"\n"), &["a.toml:5:8: `wait` cannot be 10ms; 1s to 3600s is accepted"]);
    assert_says(&human("source = \"fake\"\n"), &["`source` is for browsers, and the engine here is `human`"]);
    assert_says(&human("count = 11\n"), &["11 people are more than one run can invite"]);
    assert_says(
        &human("site = \"x\"\n[network]\ndriver = \"kernel\"\n[[network.site]]\nname = \"x\"\n"),
        &["nobody can put the people of `human` behind a modelled network"],
    );
    assert_says(&human("[repeat]\nruns = 2\n"), &["people are invited to one run, and would have to come again"]);
    assert_says(
        &human("[topology]\nkind = \"rooms\"\nsize = 2\n"),
        &["peers of the engine `human` cannot be in rooms"],
    );
    assert_says(
        &errors("name = \"a\"\n[[peers]]\ncount = 2\nwait = \"1s\"\n"),
        &["a.toml:4:8: `wait` is for people, and the engine here is `native`"],
    );
    let matrix =
        "name = \"a\"\n[network]\n[[network.site]]\nname = \"x\"\n[matrix]\nengines = [[\"native\", \"human\"]]\n";
    assert_says(&errors(matrix), &["cannot be put behind the networks of a matrix"]);
}
