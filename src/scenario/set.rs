//! Values given on the command line or in the environment, in place of those in the file.

use std::sync::Arc;

use toml::{Table, Value};

use super::error::{ScenarioError, suggest};
use super::source::{Place, Source};
use super::tree::Tree;

/// Values that take the place of those in the file: the command line first, then the environment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// `--set key=value`, in order. A key is a dotted path whose array elements go by index or by name:
    /// `peers.0.count`, `peers.native.count`.
    pub set: Vec<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `HARNESS_SEED` of the environment.
    pub environment_seed: Option<String>,
}

impl Overrides {
    /// Those of the command line, and what this process finds in its environment.
    pub fn with_environment(set: Vec<String>, seed: Option<u64>) -> Self {
        Self { set, seed, environment_seed: std::env::var(SEED_VARIABLE).ok() }
    }

    pub(crate) fn apply(&self, tree: &mut Tree) -> Vec<ScenarioError> {
        let mut errors = Vec::new();
        if let Some(seed) = &self.environment_seed {
            let source = Arc::new(Source::Variable(SEED_VARIABLE, seed.clone()));
            errors.extend(set_seed(tree, seed, source).err());
        }
        for set in &self.set {
            errors.extend(apply_set(tree, set).err());
        }
        if let Some(seed) = self.seed {
            let seed = seed.to_string();
            let source = Arc::new(Source::Flag("--seed", seed.clone()));
            errors.extend(set_seed(tree, &seed, source).err());
        }
        errors
    }
}

const SEED_VARIABLE: &str = "HARNESS_SEED";

fn set_seed(tree: &mut Tree, text: &str, source: Arc<Source>) -> Result<(), ScenarioError> {
    let span = 0..text.len();
    match text.trim().parse::<i64>() {
        Ok(seed) if seed >= 0 => {
            tree.table.insert("seed".into(), Value::Integer(seed));
            tree.overwrite("seed", &source, span.clone(), span);
            Ok(())
        }
        _ => Err(ScenarioError {
            message: format!("{text:?} is not a seed"),
            help: Some(format!("write a whole number between 0 and {}", i64::MAX)),
            place: Some(Place { source, span }),
        }),
    }
}

fn apply_set(tree: &mut Tree, set: &str) -> Result<(), ScenarioError> {
    let source = Arc::new(Source::Set(set.into()));
    let fail = |span, message: String, help: String| {
        let place = Some(Place { source: Arc::clone(&source), span });
        ScenarioError { message, place, help: Some(help) }
    };
    let Some((key, text)) = set.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
        let help = "write --set key=value, such as --set load.hold=10s";
        return Err(fail(0..set.len(), "a key and a value are needed".into(), help.into()));
    };
    let (key_span, value_span) = (0..key.len(), key.len() + 1..set.len());
    let segments: Vec<&str> = key.trim().split('.').collect();
    let path = resolve(tree, &segments).map_err(|(message, help)| fail(key_span.clone(), message, help))?;
    insert(&mut tree.table, &path, parse_value(text));
    tree.overwrite(&path.join("."), &source, key_span, value_span);
    Ok(())
}

/// As TOML where it is TOML, else as the text itself, so that `10s` needs no quotes within those of the shell.
fn parse_value(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = document.parse::<Table>().ok().filter(|table| table.len() == 1);
    match parsed.and_then(|mut table| table.remove("value")) {
        Some(Value::Datetime(_)) | None => Value::String(text.into()),
        Some(value) => value,
    }
}

/// The path with names of array elements replaced by their indices.
fn resolve(tree: &Tree, segments: &[&str]) -> Result<Vec<String>, (String, String)> {
    let mut path = Vec::new();
    for segment in segments {
        if segment.is_empty() {
            return Err(("a key between two dots is empty".into(), "write a path such as load.hold".into()));
        }
        let here = path.join(".");
        match tree.get(&here) {
            Some(Value::Array(elements)) => path.push(element_index(&here, elements, segment)?.to_string()),
            Some(Value::Table(_)) | None => path.push((*segment).to_owned()),
            Some(_) => {
                let message = format!("`{here}` is a single value, so that nothing can be set inside it");
                return Err((message, format!("set `{here}` itself")));
            }
        }
    }
    Ok(path)
}

fn element_index(path: &str, elements: &[Value], segment: &str) -> Result<usize, (String, String)> {
    let names: Vec<String> = elements.iter().map(|element| element_name(path, element)).collect();
    if let Some(index) = names.iter().position(|name| name == segment) {
        return Ok(index);
    }
    match segment.parse::<usize>() {
        Ok(index) if index < elements.len() => Ok(index),
        Ok(index) => {
            let message = format!("`{path}` has no element {index}");
            Err((message, format!("it has {}, counted from 0", elements.len())))
        }
        Err(_) => {
            let message = format!("`{path}` has no element named `{segment}`");
            let known = names.iter().map(String::as_str).filter(|name| !name.is_empty());
            Err((message, suggest("elements", segment, known)))
        }
    }
}

/// What an array element goes by; empty if it has no name.
fn element_name(path: &str, element: &Value) -> String {
    let text = |key: &str| element.get(key).and_then(Value::as_str);
    if let Some(name) = text("name") {
        return name.into();
    }
    match path {
        "peers" => text("engine").unwrap_or("native").into(),
        "topology.calls" => [text("offerer"), text("answerer")].map(Option::unwrap_or_default).join("-"),
        "gate" => text("metric").unwrap_or_default().into(),
        _ => String::new(),
    }
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    match table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => insert(inner, rest, value),
        Value::Array(elements) => insert_in_array(elements, rest, value),
        _ => {}
    }
}

fn insert_in_array(elements: &mut [Value], path: &[String], value: Value) {
    let [first, rest @ ..] = path else { return };
    let Some(element) = first.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) else { return };
    match element {
        _ if rest.is_empty() => *element = value,
        Value::Table(inner) => insert(inner, rest, value),
        Value::Array(inner) => insert_in_array(inner, rest, value),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\n[[peers]]\ncount = 2\n[[peers]]\nname = 'far'\n";

    fn set(text: &str) -> Result<Tree, String> {
        let mut tree = Tree::parse("a.toml", TEXT).unwrap();
        apply_set(&mut tree, text).map(|()| tree).map_err(|error| error.to_string())
    }

    #[test]
    fn elements_go_by_index_and_by_name() {
        for key in ["peers.0.count", "peers.native.count"] {
            let tree = set(&format!("{key}=4")).unwrap();
            assert_eq!(tree.get("peers.0.count"), Some(&Value::Integer(4)));
            assert_eq!(tree.value_place("peers.0.count").to_string(), format!("--set {key}=4"));
        }
        assert_eq!(set("peers.far.count=7").unwrap().get("peers.1.count"), Some(&Value::Integer(7)));
    }

    #[test]
    fn a_value_is_toml_or_text() {
        assert_eq!(set("load.hold=10s").unwrap().get("load.hold"), Some(&Value::String("10s".into())));
        assert_eq!(set("load.hold='10s'").unwrap().get("load.hold"), Some(&Value::String("10s".into())));
        assert_eq!(set("a=true").unwrap().get("a"), Some(&Value::Boolean(true)));
        assert_eq!(set("a=1\nb=2").unwrap().get("a"), Some(&Value::String("1\nb=2".into())));
        assert_eq!(set("a=p95 < 4ms").unwrap().get("a"), Some(&Value::String("p95 < 4ms".into())));
    }

    #[test]
    fn what_cannot_be_set_is_said() {
        for (text, reason) in [
            ("load", "a key and a value are needed"),
            ("=1", "a key and a value are needed"),
            ("load..hold=1", "a key between two dots is empty"),
            ("peers.2.count=1", "`peers` has no element 2; it has 2, counted from 0"),
            ("peers.fra.count=1", "`peers` has no element named `fra`; did you mean `far`?"),
            ("name.x=1", "`name` is a single value"),
        ] {
            let error = set(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
