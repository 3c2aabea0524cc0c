//! What came of a server that a client could make nothing of.

use std::collections::BTreeMap;

use crate::signaling::client::excerpt;

/// So many kinds of it are kept.
const KINDS: usize = 8;

/// How often each came, and the last of them.
#[derive(Debug, Default)]
pub(super) struct Unexpected {
    counts: BTreeMap<String, u32>,
    last: Option<String>,
}

impl Unexpected {
    pub(super) fn note(&mut self, kind: &str, content: &str) {
        let kind = excerpt(kind);
        self.last = Some(format!("`{kind}` {}", excerpt(content)));
        if self.counts.len() < KINDS || self.counts.contains_key(&kind) {
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    /// All of it, for people.
    pub(super) fn told(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        let counts: Vec<_> = self.counts.iter().map(|(kind, count)| format!("`{kind}` ({count}×)")).collect();
        Some(format!("{}; the last: {last}", counts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_the_last_is_quoted() {
        let mut unexpected = Unexpected::default();
        assert_eq!(unexpected.told(), None);
        for (kind, content) in [("chat", "hello"), ("kicked", "idle"), ("chat", "\x1b[2J")] {
            unexpected.note(kind, content);
        }
        assert_eq!(unexpected.told().unwrap(), r"`chat` (2×), `kicked` (1×); the last: `chat` \u{1b}[2J");
        for number in 0..100 {
            unexpected.note(&number.to_string(), "");
        }
        assert_eq!(unexpected.counts.len(), KINDS);
    }
}
