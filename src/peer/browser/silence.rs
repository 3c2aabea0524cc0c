//! How long nothing came of what a browser receives, up to the end of its call. Pure.

use std::time::Duration;

use super::stats::Stats;
use crate::record::MediaKind;

/// What may lie between two packets of a stream that goes on, retransmissions and pauses for breath included.
const NATURAL: Duration = Duration::from_millis(500);

/// The silence of each kind, as far as readings of the statistics prove it: from the first of those that count the same
/// packets to the last. What is true is longer by up to the time between two readings.
#[derive(Debug, Default)]
pub(super) struct Silence {
    audio: Option<Stretch>,
    video: Option<Stretch>,
}

/// Readings that count the same packets; their times are in milliseconds of the browser's clock.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    packets: u64,
    first_ms: f64,
    last_ms: f64,
}

impl Silence {
    pub(super) fn read(&mut self, stats: &Stats) {
        for (kind, stretch) in [("audio", &mut self.audio), ("video", &mut self.video)] {
            let Some((packets, at)) = stats.received(kind) else { continue };
            match stretch {
                Some(stretch) if stretch.packets == packets => stretch.last_ms = at,
                _ => *stretch = Some(Stretch { packets, first_ms: at, last_ms: at }),
            }
        }
    }

    /// The silence at the last reading; `None` if it is no longer than is natural, or if nothing came at all.
    pub(super) fn at_end(&self, kind: MediaKind) -> Option<Duration> {
        let stretch = match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
            MediaKind::DataEcho | MediaKind::DataBulk => None,
        };
        let stretch = stretch.filter(|stretch| stretch.packets > 0)?;
        let silence = Duration::try_from_secs_f64((stretch.last_ms - stretch.first_ms) / 1e3).ok()?;
        (silence > NATURAL).then_some(silence)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(at: f64, audio: u64, video: u64) -> Stats {
        let stream = |kind: &str, packets: u64| json!({"type": "inbound-rtp", "kind": kind, "timestamp": at, "packetsReceived": packets});
        Stats(vec![stream("audio", audio), stream("video", video)])
    }

    #[test]
    fn what_stops_is_silent_from_the_first_reading_that_shows_no_more() {
        let mut silence = Silence::default();
        for (at, audio) in [(0.0, 0), (1000.0, 50), (2000.0, 60), (3000.0, 60), (4000.0, 60)] {
            silence.read(&reading(at, audio, at as u64));
        }
        assert_eq!(silence.at_end(MediaKind::Audio), Some(Duration::from_secs(2)));
        assert_eq!(silence.at_end(MediaKind::Video), None);
    }

    #[test]
    fn what_goes_on_after_a_pause_is_not_silent() {
        let mut silence = Silence::default();
        for (at, audio) in [(0.0, 50), (2000.0, 50), (2300.0, 51), (2700.0, 51)] {
            silence.read(&reading(at, audio, 0));
        }
        assert_eq!(silence.at_end(MediaKind::Audio), None);
    }

    #[test]
    fn what_never_came_is_missing_and_not_silent() {
        let mut silence = Silence::default();
        silence.read(&reading(0.0, 0, 0));
        silence.read(&reading(4000.0, 0, 0));
        assert_eq!(silence.at_end(MediaKind::Audio), None);
    }
}
