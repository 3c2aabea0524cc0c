//! Checks values against the JSON Schema of their format: keys, types, names, ranges and units.
//!
//! Serde stops at the first thing that it does not like. This finds them all, each with its place, and because it reads
//! the schema that `harness schema` prints, editors and the harness agree on what is right.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::error::{ScenarioError, suggest};
use super::tree::{Tree, join};
use super::units;

/// Everything in which the values differ from the schema.
pub(crate) fn check(schema: &Json, tree: &Tree) -> Vec<ScenarioError> {
    let mut checker = Checker { root: schema, tree, errors: Vec::new() };
    checker.table(schema, &tree.table, "");
    checker.errors
}

struct Checker<'a> {
    root: &'a Json,
    tree: &'a Tree,
    errors: Vec<ScenarioError>,
}

impl<'a> Checker<'a> {
    fn value(&mut self, schema: &'a Json, value: &Value, path: &str) {
        let alternatives = self.alternatives(schema);
        let Some(schema) =
            alternatives.iter().copied().find(|schema| fits(schema, value)).or_else(|| alternatives.first().copied())
        else {
            return;
        };
        if is_anything(schema) {
            return;
        }
        if let (Some(variants), Value::Table(table)) = (schema.get("oneOf").and_then(Json::as_array), value)
            && let Some(variant) = variants.iter().find(|variant| is_variant(variant, table))
        {
            return self.table(variant, table, path);
        }
        if let Some(names) = names(schema)
            && (alternatives.len() == 1 || matches!(value, Value::String(_)))
        {
            return self.name(&names, value, path);
        }
        match (type_of(schema), value) {
            ("object", Value::Table(table)) => self.table(schema, table, path),
            ("array", Value::Array(elements)) => self.array(schema, elements, path),
            ("string", Value::String(text)) => self.text(schema, text, path),
            ("boolean", Value::Boolean(_)) => {}
            ("integer", Value::Integer(number)) => self.integer(schema, *number, path),
            ("number", Value::Float(number)) if number.is_finite() => {}
            ("number", Value::Integer(_)) => {}
            _ => self.wrong_type(&alternatives, value, path),
        }
    }

    fn table(&mut self, schema: &'a Json, table: &Table, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
        for (key, value) in table {
            let inner = join(path, key);
            match properties.get(key) {
                Some(schema) => self.value(schema, value, &inner),
                None => {
                    let place = Some(self.tree.key_place(&inner));
                    let help = Some(suggest("keys here", key, properties.keys().map(String::as_str)));
                    let message = format!("unknown key `{key}`{}", within(path));
                    self.errors.push(ScenarioError { message, place, help });
                }
            }
        }
        for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(key) {
                let place = Some(self.tree.key_place(path));
                let message = format!("the key `{key}` is missing{}", within(path));
                let help = properties.get(key).and_then(|schema| schema["description"].as_str()).map(first_sentence);
                self.errors.push(ScenarioError { message, place, help });
            }
        }
    }

    fn array(&mut self, schema: &'a Json, elements: &[Value], path: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let count = elements.len() as u64;
        match bound("minItems") {
            Some(1) if count == 0 => self.fail(path, format!("`{path}` is empty"), "give at least one".into()),
            Some(least) if count < least => {
                self.fail(path, format!("`{path}` has {count} elements"), format!("{least} are needed"));
            }
            _ => {}
        }
        if let Some(most) = bound("maxItems").filter(|most| count > *most) {
            self.fail(path, format!("`{path}` has {count} elements"), format!("at most {most} are accepted"));
        }
        if let Some(items) = schema.get("items") {
            for (index, element) in elements.iter().enumerate() {
                self.value(items, element, &join(path, &index.to_string()));
            }
        }
    }

    fn text(&mut self, schema: &Json, text: &str, path: &str) {
        let Some(unit) = schema.get("x-unit").and_then(Json::as_str) else { return };
        if let Err(error) = units::check(unit, text) {
            self.fail(path, format!("`{}`: {error}", last(path)), error.help().into());
        }
    }

    fn integer(&mut self, schema: &Json, number: i64, path: &str) {
        let least = schema.get("minimum").and_then(Json::as_i64).unwrap_or(i64::MIN);
        let ceiling = if schema["format"] == "uint32" { u32::MAX.into() } else { i64::MAX };
        let most = schema.get("maximum").and_then(Json::as_i64).unwrap_or(ceiling);
        if number < least || number > most {
            let help = match (least, most) {
                (least, i64::MAX) => format!("at least {least} is accepted"),
                (least, most) if least == most => format!("only {most} is known to this version"),
                (least, most) => format!("{least} to {most} is accepted"),
            };
            self.fail(path, format!("`{}` cannot be {number}", last(path)), help);
        }
    }

    fn name(&mut self, names: &[&str], value: &Value, path: &str) {
        match value {
            Value::String(text) if names.contains(&text.as_str()) => {}
            Value::String(text) => {
                let help = suggest("accepted names", text, names.iter().copied());
                self.fail(path, format!("`{}` cannot be `{text}`", last(path)), help);
            }
            other => {
                let message = format!("`{}` must be a name, but is {}", last(path), describe(other));
                self.fail(path, message, format!("write one of: {}", quoted(names)));
            }
        }
    }

    fn wrong_type(&mut self, alternatives: &[&'a Json], value: &Value, path: &str) {
        let [schema, ..] = alternatives else { return };
        let wanted = type_of(schema);
        let articles: Vec<&str> = alternatives.iter().map(|schema| article(type_of(schema))).collect();
        let message = format!("`{}` must be {}, but is {}", last(path), articles.join(" or "), describe(value));
        let lists_tables = || {
            schema.get("items").is_some_and(|items| self.alternatives(items).iter().any(|of| type_of(of) == "object"))
        };
        let help = match (wanted, schema.get("x-unit").and_then(Json::as_str)) {
            (_, Some(unit)) => units::help(unit).into(),
            ("string", None) => "put it in quotes".into(),
            ("array", None) if lists_tables() => format!("write it as [[{path}]]"),
            ("array", None) => "put it in [ ]".into(),
            ("object", None) => format!("write it as [{path}], with its keys below"),
            ("boolean", None) => "write true or false, without quotes".into(),
            _ => "write it without quotes and without a unit".into(),
        };
        self.fail(path, message, help);
    }

    fn fail(&mut self, path: &str, message: String, help: String) {
        self.errors.push(ScenarioError { message, place: Some(self.tree.value_place(path)), help: Some(help) });
    }

    /// What a value may be: the schema itself, what it refers to, or several where it gives a choice; null, which stands
    /// for an absent value, is left out.
    fn alternatives(&self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let pointed = self.root.pointer(reference.trim_start_matches('#'));
            return pointed.map_or_else(|| vec![schema], |pointed| self.alternatives(pointed));
        }
        match schema.get("anyOf").and_then(Json::as_array) {
            Some(choice) => choice
                .iter()
                .filter(|alternative| alternative["type"] != "null")
                .flat_map(|alternative| self.alternatives(alternative))
                .collect(),
            None => vec![schema],
        }
    }
}

/// Whether the value is of the schema's type.
fn fits(schema: &Json, value: &Value) -> bool {
    matches!(
        (type_of(schema), value),
        ("object", Value::Table(_))
            | ("array", Value::Array(_))
            | ("string", Value::String(_))
            | ("boolean", Value::Boolean(_))
            | ("integer" | "number", Value::Integer(_))
            | ("number", Value::Float(_))
    )
}

/// Whether the table is this variant of an enumeration: its only key is the variant's name.
/// Whether the format leaves it to somebody else what stands there.
fn is_anything(schema: &Json) -> bool {
    let restricts = ["type", "oneOf", "anyOf", "enum", "const", "properties"];
    schema
        .as_object()
        .map_or_else(|| schema == &Json::Bool(true), |schema| !restricts.iter().any(|key| schema.contains_key(*key)))
}

fn is_variant(variant: &Json, table: &Table) -> bool {
    let properties = variant.get("properties").and_then(Json::as_object);
    properties.is_some_and(|properties| table.len() == 1 && table.keys().all(|key| properties.contains_key(key)))
}

/// The names that an enumeration accepts.
fn names(schema: &Json) -> Option<Vec<&str>> {
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return Some(names.iter().filter_map(Json::as_str).collect());
    }
    let variants = schema.get("oneOf")?.as_array()?;
    let names = variants.iter().flat_map(|variant| match variant.get("enum") {
        Some(names) => names.as_array().into_iter().flatten().filter_map(Json::as_str).collect(),
        None => variant.get("const").and_then(Json::as_str).into_iter().collect::<Vec<_>>(),
    });
    Some(names.collect())
}

/// The type, without the null that stands for an absent value.
fn type_of(schema: &Json) -> &str {
    match &schema["type"] {
        Json::String(name) => name,
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or_default(),
        _ => "",
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {text:?}"),
        Value::Integer(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(_) => "a date or time".into(),
        Value::Array(_) => "an array".into(),
        Value::Table(_) => "a table".into(),
    }
}

fn article(wanted: &str) -> &str {
    match wanted {
        "object" => "a table",
        "array" => "an array",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{path}`") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').find(|segment| segment.parse::<usize>().is_err()).unwrap_or(path)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn first_sentence(text: &str) -> String {
    text.split(". ").next().unwrap_or(text).trim_end_matches('.').replace('\n', " ")
}
