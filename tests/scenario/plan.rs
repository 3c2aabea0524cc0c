//! A scenario becomes the same plan every time, and a plan survives its file.

use harness::plan::{Engine, Plan};
use harness::scenario::{Overrides, load};

const TEXT: &str = r#"
name = "mixed"
[[peers]]
engine = "native"
[[peers]]
engine = "firefox"
tabs_per_browser = 2
[[ice.servers]]
urls = ["turns:127.0.0.1:5349?transport=tcp"]
username = "u"
credential = "${TURN_SECRET}"
[media]
fixtures = "own"
[media.data]
bulk = "unreliable"
[[topology.calls]]
offerer = "native"
answerer = "native"
count = 3
[[topology.calls]]
name = "late"
offerer = "firefox"
answerer = "native"
count = 2
start = "1500ms"
room = "lobby"
media = { video = "h264", frame_rate = 120 }
[load]
arrivals = "3/s"
[health]
machine_cpu = "33.3333%"
[[gate]]
metric = "setup_success_ratio"
expect = "mean >= 90%"
"#;

fn plan(text: &str, overrides: &Overrides) -> Plan {
    load("dir/a.toml", text, overrides).unwrap_or_else(|errors| panic!("{errors}")).plan
}

#[test]
fn the_smallest_scenario_is_a_name_and_two_peers() {
    let plan = plan("name = \"a\"\n[[peers]]\ncount = 2\n", &Overrides::default());
    assert_eq!(plan.calls.len(), 1);
    let call = &plan.calls[0];
    assert_eq!(
        (call.id.as_str(), call.set.as_str(), call.room.as_str()),
        ("native-native/0", "native-native", "a-native-native-0")
    );
    assert_eq!((call.offerer.id.as_str(), call.answerer.id.as_str()), ("native/0", "native/1"));
    assert_eq!((plan.seed, call.start_us, call.hold_us), (1, 0, 5_000_000));
    let gates: Vec<_> =
        plan.gates.iter().map(|gate| (gate.metric.name(), gate.expect.as_str(), gate.place.as_str())).collect();
    let implied = "mean >= 100%";
    assert_eq!(gates, [("setup_success_ratio", implied, "default"), ("media_verified_ratio", implied, "default")]);
}

#[test]
fn every_peer_call_and_arrival_is_spelled_out() {
    let plan = plan(TEXT, &Overrides::default());
    let calls: Vec<_> = plan
        .calls
        .iter()
        .map(|call| {
            (call.id.as_str(), call.offerer.id.as_str(), call.answerer.id.as_str(), call.room.as_str(), call.start_us)
        })
        .collect();
    assert_eq!(
        calls,
        [
            ("native-native/0", "native/0", "native/1", "mixed-native-native-0", 0),
            ("native-native/1", "native/2", "native/3", "mixed-native-native-1", 333_333),
            ("native-native/2", "native/4", "native/5", "mixed-native-native-2", 666_666),
            ("late/0", "firefox/0", "native/6", "lobby-0", 1_500_000),
            ("late/1", "firefox/1", "native/7", "lobby-1", 1_833_333),
        ]
    );
    assert_eq!(plan.group("firefox").map(|group| group.engine), Some(Engine::Firefox));
    assert_eq!(
        plan.group("firefox").and_then(|group| group.browser.as_ref()).map(|browser| browser.tabs_per_browser),
        Some(2)
    );
    assert_eq!(plan.media_of(&plan.calls[0]).video.as_ref().unwrap().fixtures.as_deref(), Some("dir/own"));
    assert_eq!(plan.media_of(&plan.calls[3]).video.as_ref().unwrap().frame_rate, 120);
    assert_eq!(plan.gates[0].place, "dir/a.toml:32:1");
    assert_eq!(
        plan.gates.iter().filter(|gate| gate.place == "default").count(),
        1,
        "a gate that is given is not implied"
    );
}

#[test]
fn two_groups_call_each_other() {
    let plan = plan("name = \"a\"\n[[peers]]\n[[peers]]\nengine = \"chromium\"\ncount = 3\n", &Overrides::default());
    let calls: Vec<_> = plan.calls.iter().map(|call| (call.offerer.id.as_str(), call.answerer.id.as_str())).collect();
    assert_eq!(calls, [("native/0", "chromium/0"), ("native/1", "chromium/1"), ("native/2", "chromium/2")]);
}

#[test]
fn a_load_over_time_says_itself_how_many_calls_there_are_and_its_sets_take_turns() {
    let text = "name = \"a\"\n[[peers]]\n[[peers]]\nengine = \"chromium\"\n\
                [[topology.calls]]\nofferer = \"native\"\nanswerer = \"native\"\n\
                [[topology.calls]]\nofferer = \"native\"\nanswerer = \"chromium\"\n\
                [load]\narrivals = \"2/s\"\nduration = \"2500ms\"\n";
    let plan = plan(text, &Overrides::default());
    let calls: Vec<_> = plan.calls.iter().map(|call| (call.id.as_str(), call.start_us)).collect();
    assert_eq!(
        calls,
        [
            ("native-native/0", 0),
            ("native-chromium/0", 500_000),
            ("native-native/1", 1_000_000),
            ("native-chromium/1", 1_500_000),
            ("native-native/2", 2_000_000),
        ]
    );
}

#[test]
fn one_call_more_changes_no_other_and_the_same_seed_gives_the_same_plan() {
    let text = |count: u32| {
        format!(
            "name = \"a\"\n[[peers]]\ncount = {count}\n[load]\narrivals = \"5/s\"\nspacing = \"poisson\"\n\
             hold = {{ distribution = \"exponential\", mean = \"3s\" }}\n"
        )
    };
    let shape = |plan: &Plan| plan.calls.iter().map(|call| (call.start_us, call.hold_us)).collect::<Vec<_>>();
    let few = shape(&plan(&text(20), &Overrides::default()));
    assert_eq!(shape(&plan(&text(22), &Overrides::default()))[..10], few);
    assert_ne!(shape(&plan(&text(20), &Overrides { seed: Some(2), ..Overrides::default() })), few);
}

#[test]
fn a_plan_of_rooms_survives_its_file_and_is_checked() {
    let text = "name = \"a\"\n[[peers]]\n[topology]\nkind = \"rooms\"\nsize = 3\n";
    let plan = plan(text, &Overrides::default());
    let text = toml::to_string(&plan).unwrap();
    assert_eq!(load("plan.toml", &text, &Overrides::default()).unwrap().plan, plan);
    let wrong = text.replacen("person = \"native/1\"", "person = \"native/9\"", 1);
    let errors = load("plan.toml", &wrong, &Overrides::default()).unwrap_err().to_string();
    assert!(errors.contains("there is no person `native/9` in the room `a-room-0`"), "{errors}");
}

#[test]
fn a_plan_survives_its_file_exactly() {
    let plan = plan(TEXT, &Overrides::default());
    let text = toml::to_string(&plan).unwrap();
    assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
    assert_eq!(load("plan.toml", &text, &Overrides::default()).unwrap().plan, plan);
}

#[test]
fn a_plan_file_is_checked_as_well() {
    let text = toml::to_string(&plan(TEXT, &Overrides::default())).unwrap();
    for (from, to, said) in [
        ("plan = 1", "plan = 2", "plans of version 2 are not known"),
        ("id = \"native/3\"", "id = \"native/2\"", "the peer `native/2` is in another call already"),
        ("frame_rate = 120", "frame_rat = 120", "unknown key `frame_rat`"),
        ("mean >= 90%", "mean >> 90%", "unknown operator `>>`"),
        ("${TURN_SECRET}", "hunter2", "the credential is a literal"),
        ("group = \"firefox\"", "group = \"opera\"", "there is no group `opera`"),
    ] {
        assert!(text.contains(from), "{from}:\n{text}");
        let errors = load("plan.toml", &text.replace(from, to), &Overrides::default()).unwrap_err().to_string();
        assert!(errors.contains(said) && errors.starts_with("plan.toml:"), "{errors}");
    }
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let text = "name = \"a\"\nseed = 2\n[[peers]]\n";
    let environment_seed = Some("3".to_owned());
    let seed = |overrides: &Overrides| {
        let loaded = load("a.toml", text, overrides).unwrap();
        let setting = loaded.settings.iter().find(|setting| setting.path == "seed").unwrap();
        (loaded.plan.seed, setting.place.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    assert_eq!(seed(&Overrides::default()), (2, "a.toml:2:1".into()));
    let environment = Overrides { environment_seed, ..Overrides::default() };
    assert_eq!(seed(&environment), (3, "environment variable HARNESS_SEED".into()));
    let set = Overrides { set: vec!["seed=4".into()], ..environment.clone() };
    assert_eq!(seed(&set), (4, "--set seed=4".into()));
    assert_eq!(seed(&Overrides { seed: Some(5), ..set }), (5, "--seed 5".into()));
}
