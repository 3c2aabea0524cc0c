//! The text of a dump: version 3 of the RTCStats dump format, whose definition and reader are at
//! <https://github.com/rtcstats/rtcstats> (`packages/rtcstats-server/docs/file-format.md`).
//!
//! The first line is `RTCStatsDump`, the second an object that describes the dump. Every other line is an array: what was
//! called or happened, the connection, the argument or what came of it, and the milliseconds since the line before (of the
//! first: since 1970). Methods, types and members have their full names; the format would allow numbers for them.

use serde_json::{Value, json};

use super::delta::Known;

/// Bytes of a dump, after which only the line that says so is written.
///
/// A browser's call takes about 7 MB in a day, a simulated peer's 3 MB.
pub(super) const LIMIT: usize = 16 << 20;

/// What a line tells.
#[derive(Debug)]
pub(super) enum Told {
    /// A call to the connection, what came of it, or an event of it.
    Event {
        /// Its name, as of `setLocalDescription`, `setLocalDescriptionOnSuccess` or `onicecandidate`.
        method: String,
        /// The argument or the result; null if there is none.
        value: Value,
    },
    /// A reading of all statistics: RTCStats dictionaries.
    Stats(Vec<Value>),
}

/// A dump that is being written.
#[derive(Debug)]
pub(super) struct Lines {
    connection: String,
    /// The time of the last line, in milliseconds since 1970.
    last_ms: u64,
    known: Known,
    written: usize,
    full: bool,
}

impl Lines {
    /// The dump of a peer's connection in a call, and its beginning. Times are in milliseconds since 1970.
    pub(super) fn begin(peer: &str, call: &str, user_agent: &str, at_ms: u64) -> (Self, String) {
        let about = json!({"fileFormat": 3, "userAgent": user_agent, "url": peer, "startTime": at_ms});
        let mut text = format!("RTCStatsDump\n{about}\n");
        // Tools that read dumps expect the client itself to have begun, beside its connections.
        text.push_str(&line("create", None, &json!({"peer": peer, "call": call}), at_ms));
        let written = text.len();
        (Self { connection: call.into(), last_ms: at_ms, known: Known::default(), written, full: false }, text)
    }

    /// Appends a line, if there is room. One that is earlier than the line before it has that line's time.
    pub(super) fn append(&mut self, text: &mut String, at_ms: u64, told: Told) {
        if self.full {
            return;
        }
        let at_ms = at_ms.max(self.last_ms);
        let since = at_ms - self.last_ms;
        self.last_ms = at_ms;
        let (method, value) = match told {
            Told::Event { method, value } => (method, value),
            Told::Stats(stats) => ("getStats".into(), self.known.learn(stats, at_ms)),
        };
        let mut line_of_it = line(&method, Some(&self.connection), &value, since);
        self.full = self.written + line_of_it.len() > LIMIT;
        if self.full {
            let why = format!("this dump has reached {LIMIT} bytes: nothing more is written");
            line_of_it = line("harness.full", Some(&self.connection), &json!(why), since);
            self.known = Known::default();
        }
        self.written += line_of_it.len();
        text.push_str(&line_of_it);
    }
}

fn line(method: &str, connection: Option<&str>, value: &Value, since_ms: u64) -> String {
    format!("{}\n", json!([method, connection, value, since_ms]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(method: &str, value: Value) -> Told {
        Told::Event { method: method.into(), value }
    }

    #[test]
    fn a_dump_begins_as_readers_expect_and_its_times_never_run_backwards() {
        let (mut lines, mut text) = Lines::begin("a/0", "pair/0", "harness/1", 1_700_000_000_000);
        lines.append(&mut text, 1_700_000_000_020, event("createOffer", Value::Null));
        lines.append(&mut text, 1_700_000_000_010, event("harness.first_rtp", Value::Null));
        lines.append(&mut text, 1_700_000_000_025, Told::Stats(vec![json!({"id": "T", "type": "transport"})]));
        assert_eq!(
            text,
            "RTCStatsDump\n\
             {\"fileFormat\":3,\"startTime\":1700000000000,\"url\":\"a/0\",\"userAgent\":\"harness/1\"}\n\
             [\"create\",null,{\"call\":\"pair/0\",\"peer\":\"a/0\"},1700000000000]\n\
             [\"createOffer\",\"pair/0\",null,20]\n\
             [\"harness.first_rtp\",\"pair/0\",null,0]\n\
             [\"getStats\",\"pair/0\",{\"T\":{\"type\":\"transport\"},\"t\":1700000000025},5]\n"
        );
    }

    #[test]
    fn a_full_dump_says_so_and_nothing_more() {
        let (mut lines, mut text) = Lines::begin("a/0", "pair/0", "harness/1", 0);
        let long = "x".repeat(LIMIT / 4);
        for _ in 0..6 {
            lines.append(&mut text, 1, event("harness.long", json!(long)));
        }
        assert!(text.len() < LIMIT + 200, "{}", text.len());
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("[\"harness.full\",\"pair/0\",\"this dump has reached 16777216 bytes"), "{last}");
        assert_eq!(text.matches("harness.full").count(), 1);
    }
}
