//! Where a value was written: in a file, on the command line, or in the environment.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text that holds values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file.
    File {
        /// Its path, as given on the command line.
        path: String,
        /// What it holds.
        text: String,
    },
    /// A `--set key=value`, whole.
    Set(String),
    /// `--seed`, with its value.
    Flag(&'static str, String),
    /// A variable of the environment, with its value.
    Variable(&'static str, String),
}

impl Source {
    /// The text that spans count in.
    pub fn text(&self) -> &str {
        match self {
            Self::File { text, .. } | Self::Set(text) | Self::Flag(_, text) | Self::Variable(_, text) => text,
        }
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        match self {
            Self::File { path, .. } => path,
            Self::Set(_) => "--set",
            Self::Flag(name, _) | Self::Variable(name, _) => name,
        }
    }
}

/// A range of bytes in a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The source.
    pub source: Arc<Source>,
    /// Bytes of its text.
    pub span: Range<usize>,
}

impl Place {
    /// Line and column of its start, both from 1; a column is a character.
    pub fn line_and_column(&self) -> (usize, usize) {
        let text = self.source.text();
        let start = (0..=self.span.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.source {
            Source::File { path, .. } => {
                let (line, column) = self.line_and_column();
                write!(f, "{path}:{line}:{column}")
            }
            Source::Set(text) => write!(f, "--set {text}"),
            Source::Flag(name, value) => write!(f, "{name} {value}"),
            Source::Variable(name, _) => write!(f, "environment variable {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Arc::new(Source::File { path: "a.toml".into(), text: "a = 1\nµµ = 2\n".into() });
        let place = |at| Place { source: Arc::clone(&source), span: at..at }.to_string();
        assert_eq!(place(0), "a.toml:1:1");
        assert_eq!(place(6), "a.toml:2:1");
        assert_eq!(place(11), "a.toml:2:4");
        assert_eq!(place(9_999), "a.toml:3:1");
    }
}
