//! Collects what a check finds, each with its place.

use std::ops::Range;
use std::path::Path;

use super::error::ScenarioError;
use super::source::Place;
use super::tree::Tree;

/// What a check may ask about the world outside the file. The check itself does no I/O.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Whether a variable of the environment is set and not empty.
    pub(crate) has_variable: &'a dyn Fn(&str) -> bool,
    /// Whether a file exists.
    pub(crate) has_file: &'a dyn Fn(&Path) -> bool,
}

/// What was found wrong so far.
pub(crate) struct Report<'a> {
    pub(crate) surroundings: Surroundings<'a>,
    tree: &'a Tree,
    errors: Vec<ScenarioError>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(tree: &'a Tree, surroundings: Surroundings<'a>) -> Self {
        Self { surroundings, tree, errors: Vec::new() }
    }

    /// The value at a path is wrong.
    pub(crate) fn wrong(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.push(self.tree.value_place(path), message.into(), help.into());
    }

    /// A part, in bytes, of the text at a path is wrong.
    pub(crate) fn wrong_within(&mut self, path: &str, part: Range<usize>, message: String, help: String) {
        let mut place = self.tree.value_place(path);
        let written = place.source.text().get(place.span.clone()).unwrap_or_default();
        let value = self.tree.get(path).and_then(toml::Value::as_str).unwrap_or_default();
        // Only where the text stands as it is, without escapes, are its bytes those of the file.
        let quote = usize::from(written.starts_with(['"', '\'']));
        if written.get(quote..written.len() - quote) == Some(value) {
            let start = place.span.start + quote + part.start;
            place.span = start..start + part.len().max(1);
        }
        self.push(place, message, help);
    }

    /// Whether a key was written anywhere, rather than defaulted.
    pub(crate) fn is_written(&self, path: &str) -> bool {
        self.tree.written_at(path).is_some()
    }

    pub(crate) fn errors(self) -> Vec<ScenarioError> {
        self.errors
    }

    fn push(&mut self, place: Place, message: String, help: String) {
        self.errors.push(ScenarioError { message, place: Some(place), help: Some(help) });
    }
}
