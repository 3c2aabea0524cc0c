//! The scenarios, the schema and the documentation that are shipped agree with the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::scenario::{Overrides, Scenario, load, load_file};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn scenarios() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root("scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_is_valid_and_says_what_it_proves() {
    let files = scenarios();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let loaded = load_file(&file, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(Some(loaded.plan.name.as_str()), file.file_stem().and_then(|stem| stem.to_str()));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("#:schema ./scenario.schema.json\n# Proves "), "{}", file.display());
    }
}

#[test]
fn every_scenario_matches_the_schema_in_the_eyes_of_an_editor() {
    let validator = jsonschema::validator_for(&Scenario::json_schema()).unwrap();
    for file in scenarios() {
        let value: toml::Value = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
    let wrong = serde_json::json!({"name": "a", "peers": [{"cuont": 2}], "load": {"hold": "5 sec"}});
    assert_eq!(validator.iter_errors(&wrong).count(), 2);
}

#[test]
fn the_checked_in_schema_is_the_one_of_the_code() {
    let file = std::fs::read_to_string(root("scenarios/scenario.schema.json")).unwrap();
    let code = format!("{:#}\n", Scenario::json_schema());
    assert!(file == code, "update it with: harness schema > scenarios/scenario.schema.json");
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let schema = Scenario::json_schema();
    let tables = std::iter::once(&schema).chain(schema["$defs"].as_object().unwrap().values());
    let keys =
        tables.filter_map(|table| table["properties"].as_object()).flat_map(|keys| keys.keys().map(String::as_str));
    let keys: BTreeSet<&str> = keys.collect();
    let pages = ["scenario", "socketio", "peerjs", "janus", "whip", "mediasoup", "livekit"];
    let text: String =
        pages.iter().map(|page| std::fs::read_to_string(root(&format!("docs/{page}.md"))).unwrap()).collect();
    // Tables of keys, not those of events and the like.
    let tables = text.split("\n\n").filter(|paragraph| paragraph.starts_with("| key"));
    let rows = tables.flat_map(str::lines).filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let names = rows.flat_map(|names| names.split(", ")).filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
    assert_eq!(keys, names.collect::<BTreeSet<_>>());
}

#[test]
fn documented_defaults_are_those_of_the_code() {
    let loaded = load("a.toml", "name = \"a\"\n[[peers]]\n", &Overrides::default()).unwrap();
    let text = std::fs::read_to_string(root("docs/scenario.md")).unwrap();
    let tables = ["media", "media.data", "load", "deadlines", "health"];
    for table in tables {
        let (_, section) = text.split_once(&format!("`[{table}]`\n")).unwrap();
        let section = section.split("\n#").next().unwrap();
        for line in section.lines().filter_map(|line| line.strip_prefix("| `")) {
            let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
            let (key, default) = (cells.next().unwrap(), cells.next().unwrap());
            let path = format!("{table}.{key}");
            if let Some(setting) = loaded.settings.iter().find(|setting| setting.path == path) {
                assert_eq!(setting.value, default, "{path}");
            }
        }
    }
}
