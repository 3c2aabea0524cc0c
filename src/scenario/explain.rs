//! Where each value of a scenario comes from.

use std::fmt;

use serde::Serialize;
use toml::Value;

use super::source::Place;
use super::tree::{Tree, join};

/// A value of the scenario, given or defaulted.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The keys and array indices that lead to it, such as `peers.0.count`; the path that `--set` takes.
    pub path: String,
    /// The value, as TOML.
    pub value: String,
    /// Where it was written; absent for a default.
    pub place: Option<Place>,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.path, self.value)
    }
}

/// Every value, in the order of the format.
pub(super) fn settings<T: Serialize>(scenario: &T, tree: &Tree) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Ok(value) = Value::try_from(scenario) {
        collect(&value, "", tree, &mut settings);
    }
    settings
}

fn collect(value: &Value, path: &str, tree: &Tree, settings: &mut Vec<Setting>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                collect(value, &join(path, key), tree, settings);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_table) => {
            for (index, element) in elements.iter().enumerate() {
                collect(element, &join(path, &index.to_string()), tree, settings);
            }
        }
        value => {
            settings.push(Setting { path: path.into(), value: value.to_string(), place: tree.written_at(path) });
        }
    }
}
