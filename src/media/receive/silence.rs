//! Silence: when nothing has come of a stream for so long that it is no jitter any more.

use std::time::{Duration, Instant};

/// What a duration may exceed the average by before it is a freeze (W3C webrtc-stats, `freezeCount`).
const NATURAL: Duration = Duration::from_millis(150);
/// The same for what has come only once, so that there is no average.
const NATURAL_ONCE: Duration = Duration::from_millis(500);

/// How long nothing may come of a stream in which something comes every `average`: more is a freeze (W3C webrtc-stats,
/// `freezeCount`).
pub(super) fn threshold(average: Option<Duration>) -> Duration {
    average.map_or(NATURAL_ONCE, |average| (3 * average).max(average + NATURAL))
}

/// The silence from the last that came of a stream, of which something comes every `average`, to the end; `None` if it is no
/// longer than is natural.
pub(super) fn at_end(last: Option<Instant>, end: Instant, average: Option<Duration>) -> Option<Duration> {
    let silence = end.saturating_duration_since(last?);
    (silence > threshold(average)).then_some(silence)
}

/// How many would have come in a silence.
pub(super) fn missing(silence: Duration, average: Option<Duration>) -> u64 {
    let average = average.unwrap_or(NATURAL_ONCE).max(Duration::from_millis(1));
    (silence.as_nanos() / average.as_nanos()) as u64
}
