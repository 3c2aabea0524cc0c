//! `docs/metrics.md` and the schemas of what is kept and compared say what the code says.

use harness::gate::compare::{Comparison, Side};
use harness::record::{Direction, Event, Metric, Scope};

#[test]
fn the_table_of_metrics_is_the_one_in_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let head = &text[..text.find("| metric |").unwrap_or(text.len())];
    let wanted = format!("{head}{}", table());
    if std::env::var_os("UPDATE_METRICS").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(text == wanted, "docs/metrics.md is out of date: run this test with UPDATE_METRICS=1");
}

#[test]
fn the_schemas_of_events_comparisons_and_baselines_are_those_in_docs() {
    let schemas =
        [("event", Event::json_schema()), ("comparison", Comparison::json_schema()), ("baseline", Side::json_schema())];
    for (name, schema) in schemas {
        let path = format!("{}/docs/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "docs/{name}.schema.json is out of date: run this test with UPDATE_SCHEMA=1");
    }
}

fn table() -> String {
    let mut out = String::from("| metric | unit | better | samples | what it measures |\n|---|---|---|---|---|\n");
    for metric in Metric::ALL {
        let better = match metric.direction() {
            Direction::SmallerIsBetter => "smaller",
            Direction::BiggerIsBetter => "bigger",
        };
        let samples = match metric.scope() {
            Scope::Call => "one per call",
            Scope::Peer => "one per peer",
            Scope::Stream => "many",
        };
        let (name, unit, text) = (metric.name(), metric.unit().symbol(), metric.description());
        out += &format!("| `{name}` | {unit} | {better} | {samples} | {text} |\n");
    }
    out
}
