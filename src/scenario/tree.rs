//! The values of a scenario or plan file, each with the place that it was written at.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::ScenarioError;
use super::source::{Place, Source};

/// Values, and where each was written. A path is the keys and array indices that lead to a value, joined by dots:
/// `peers.0.count`.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) table: Table,
    root: Arc<Source>,
    origins: BTreeMap<String, Origin>,
}

/// Where a key and its value were written.
#[derive(Clone, Debug)]
struct Origin {
    source: Arc<Source>,
    key: Range<usize>,
    value: Range<usize>,
}

impl Tree {
    /// Parses TOML.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, ScenarioError> {
        let root = Arc::new(Source::File { path: path.into(), text: text.into() });
        let parsed = DeTable::parse(text).map_err(|error| ScenarioError {
            message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
            place: Some(Place { source: Arc::clone(&root), span: error.span().unwrap_or(0..0) }),
            help: None,
        })?;
        let mut tree = Self { table: Table::new(), root, origins: BTreeMap::new() };
        let mut errors = None;
        tree.table = tree.convert_table("", parsed.get_ref(), &mut errors);
        match errors {
            None => Ok(tree),
            Some(error) => Err(error),
        }
    }

    /// The value at a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        let mut segments = path.split('.');
        let first = self.table.get(segments.next()?)?;
        segments.try_fold(first, |value, segment| match value {
            Value::Table(table) => table.get(segment),
            Value::Array(array) => array.get(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Where the key at a path was written, or the table that it is missing from.
    pub(crate) fn key_place(&self, path: &str) -> Place {
        self.place(path, |origin| origin.key.clone())
    }

    /// Where the value at a path was written, or the table that it is missing from.
    pub(crate) fn value_place(&self, path: &str) -> Place {
        self.place(path, |origin| origin.value.clone())
    }

    /// Where the value at exactly this path was written.
    pub(crate) fn written_at(&self, path: &str) -> Option<Place> {
        self.origins.contains_key(path).then(|| self.key_place(path))
    }

    /// Says that the value at a path, and all in it, comes from a source other than the file.
    pub(crate) fn overwrite(&mut self, path: &str, source: &Arc<Source>, key: Range<usize>, value: Range<usize>) {
        let inside = format!("{path}.");
        self.origins.retain(|known, _| !known.starts_with(&inside));
        let origin = Origin { source: Arc::clone(source), key, value };
        // Tables that had to be made for it come from there as well.
        for (dot, _) in path.match_indices('.') {
            self.origins.entry(path[..dot].into()).or_insert_with(|| origin.clone());
        }
        self.origins.insert(path.into(), origin);
    }

    /// Makes the value at a path unreadable in the texts that errors quote.
    pub(crate) fn hide(&mut self, path: &str) {
        let Place { source, span } = self.value_place(path);
        let mut hidden = (*source).clone();
        let (Source::File { text, .. } | Source::Set(text) | Source::Flag(_, text) | Source::Variable(_, text)) =
            &mut hidden;
        if text.get(span.clone()).is_some() {
            text.replace_range(span.clone(), &"*".repeat(span.len()));
        }
        let hidden = Arc::new(hidden);
        let origins = self.origins.values_mut().map(|origin| &mut origin.source);
        for known in origins.chain([&mut self.root]).filter(|known| Arc::ptr_eq(known, &source)) {
            *known = Arc::clone(&hidden);
        }
    }

    fn place(&self, path: &str, span: impl Fn(&Origin) -> Range<usize>) -> Place {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Place { source: Arc::clone(&origin.source), span: span(origin) };
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return Place { source: Arc::clone(&self.root), span: 0..0 },
            }
        }
    }

    fn convert_table(&mut self, path: &str, table: &DeTable<'_>, error: &mut Option<ScenarioError>) -> Table {
        let mut converted = Table::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            let origin = Origin { source: Arc::clone(&self.root), key: key.span(), value: value.span() };
            self.origins.insert(path.clone(), origin);
            if let Some(value) = self.convert(&path, value, error) {
                converted.insert(key.get_ref().to_string(), value);
            }
        }
        converted
    }

    fn convert(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        error: &mut Option<ScenarioError>,
    ) -> Option<Value> {
        Some(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(time) => Value::Datetime(*time),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    let place = Some(self.value_place(path));
                    let message = format!("{number} does not fit into 64 bits");
                    error.get_or_insert(ScenarioError { message, place, help: None });
                    return None;
                }
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Table(table) => Value::Table(self.convert_table(path, table, error)),
            DeValue::Array(array) => {
                let mut converted = Vec::with_capacity(array.len());
                for (index, element) in array.iter().enumerate() {
                    let path = join(path, &index.to_string());
                    let span = element.span();
                    let origin = Origin { source: Arc::clone(&self.root), key: span.clone(), value: span };
                    self.origins.insert(path.clone(), origin);
                    converted.extend(self.convert(&path, element, error));
                }
                Value::Array(converted)
            }
        })
    }
}

/// The path of something inside a value.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'x'\n[[peers]]\ncount = 2\n\n[load]\n  hold = \"5s\"\n";

    #[test]
    fn values_know_their_place() {
        let tree = Tree::parse("a.toml", TEXT).unwrap();
        assert_eq!(tree.get("peers.0.count"), Some(&Value::Integer(2)));
        assert_eq!(tree.key_place("peers.0.count").to_string(), "a.toml:3:1");
        assert_eq!(tree.value_place("load.hold").to_string(), "a.toml:6:10");
        assert_eq!(tree.key_place("peers.0.engine").to_string(), "a.toml:2:1", "the table that lacks it");
        assert_eq!(tree.key_place("media.video").to_string(), "a.toml:1:1", "the file that lacks it");
        assert_eq!(tree.written_at("media.video"), None);
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = Tree::parse("a.toml", "name = \n").unwrap_err();
        assert!(error.to_string().starts_with("a.toml:1:8: not valid TOML: "), "{error}");
        let error = Tree::parse("a.toml", "seed = 99999999999999999999").unwrap_err();
        assert!(error.to_string().starts_with("a.toml:1:8: "), "{error}");
    }
}
