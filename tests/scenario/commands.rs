//! `check`, `schema`, `completions` and `init` as a shell sees them.

use assert_cmd::Command;

fn harness(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("harness").unwrap();
    let command = command.args(arguments).env_remove("HARNESS_SEED").env_remove("UNSET_SECRET");
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_what_a_valid_scenario_means() {
    let (code, stdout, stderr) = harness(&["check", "scenarios/smoke.toml"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    for part in ["native (2 peers, native)", "native-native (1)", "frame_integrity_ratio: min >= 99%", "(default)"] {
        assert!(stderr.contains(part), "{part} in:\n{stderr}");
    }
}

#[test]
fn explain_says_where_each_value_comes_from() {
    let (code, stdout, _) =
        harness(&["check", "scenarios/smoke.toml", "--explain", "--set", "media.audio=none", "--seed", "9"]);
    assert_eq!(code, 0);
    let origin = |start: &str| {
        let line =
            stdout.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in:\n{stdout}"));
        line.split("# ").nth(1).unwrap().to_owned()
    };
    assert_eq!(origin("media.audio = \"none\""), "--set media.audio=none");
    assert_eq!(origin("seed = 9"), "--seed 9");
    assert_eq!(origin("load.hold = \"2s\""), "scenarios/smoke.toml:13:1");
    assert_eq!(origin("media.video = \"vp8\""), "default");
    assert!(
        stdout.contains("call native-native/0: native/0 offers to native/1 in room smoke-native-native-0"),
        "{stdout}"
    );
}

#[test]
fn a_wrong_scenario_is_a_usage_error_with_an_excerpt() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.toml");
    std::fs::write(&file, "name = \"a\"\n[[peers]]\ncuont = 2\n[lod]\n").unwrap();
    let (code, stdout, stderr) = harness(&["check", file.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    for part in ["a.toml:3:1", "cuont = 2", "did you mean `count`?", "did you mean `load`?", "2 errors"] {
        assert!(stderr.contains(part), "{part} in:\n{stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn what_the_machine_lacks_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.toml");
    let text = "name = \"a\"\n[[peers]]\ncount = 2\n[media]\nfixtures = \"none-here\"\n[[ice.servers]]\n\
                urls = [\"turn:127.0.0.1\"]\nusername = \"u\"\ncredential = \"${UNSET_SECRET}\"\n";
    std::fs::write(&file, text).unwrap();
    let (code, _, stderr) = harness(&["check", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    for part in ["vp8.ivf is missing", "the environment variable UNSET_SECRET is not set"] {
        assert!(stderr.split_whitespace().collect::<Vec<_>>().join(" ").contains(part), "{part} in:\n{stderr}");
    }
    let (code, _, stderr) = harness(&["check", "no/such/file.toml"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("cannot read no/such/file.toml") && stderr.contains("harness init"), "{stderr}");
}

#[test]
fn the_first_scenario_is_valid_and_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("first.toml");
    let path = file.to_str().unwrap();
    assert_eq!(harness(&["init", path]).0, 0);
    let (code, _, stderr) = harness(&["check", path]);
    assert_eq!(code, 0, "{stderr}");
    std::fs::write(&file, "mine").unwrap();
    let (code, _, stderr) = harness(&["init", path]);
    assert_eq!(code, 2);
    assert!(stderr.contains("exists already"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn schema_and_completions_go_to_stdout() {
    let (code, stdout, _) = harness(&["schema"]);
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(schema["properties"]["peers"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = harness(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(stdout.contains("harness"), "{shell}");
    }
}
