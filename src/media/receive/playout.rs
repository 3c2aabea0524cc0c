//! What a viewer would see of the frames that arrive: when the picture moves, when it freezes, and when only a key frame
//! helps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::silence;

/// How many frame durations the average is over (W3C webrtc-stats, `freezeCount`).
const AVERAGE_OVER: usize = 30;
/// Fewer durations than this make no average, as in libwebrtc.
const AVERAGE_FROM: usize = 5;
/// After this long without a picture, or a repeated request, a key frame is asked for.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest time between two requests for a key frame.
const MAX_PATIENCE: Duration = Duration::from_secs(4);

/// Follows the chain of frames that can be decoded.
#[derive(Debug, Default)]
pub(super) struct Playout {
    first: Option<Instant>,
    last: Option<Instant>,
    durations: VecDeque<Duration>,
    freezes: u64,
    frozen: Duration,
    decodable: bool,
    request: Option<Request>,
    requests: u64,
}

#[derive(Debug)]
struct Request {
    due: Instant,
    patience: Duration,
}

impl Playout {
    /// The stream has begun: a picture is expected.
    pub(super) fn begin(&mut self, now: Instant) {
        self.request = Some(Request { due: now + PATIENCE, patience: PATIENCE });
    }

    /// A frame that arrived at `at`; `usable` if it is whole and all that it refers to was there.
    pub(super) fn frame(&mut self, key: bool, usable: bool, at: Instant) {
        if !(usable && (key || self.decodable)) {
            self.decodable = false;
            self.request.get_or_insert(Request { due: at, patience: PATIENCE });
            return;
        }
        self.decodable = true;
        self.request = None;
        self.show(at);
    }

    /// A picture was expected until `end`: if it stood still then for as long as between two frames makes a freeze, it froze.
    pub(super) fn finish(&mut self, end: Instant) {
        if let Some(still) = silence::at_end(self.last, end, self.average()) {
            self.freezes += 1;
            self.frozen += still;
        }
    }

    /// Whether to ask for a key frame now. Asking is noted: the next time comes after twice the patience.
    pub(super) fn needs_key_frame(&mut self, now: Instant) -> bool {
        let Some(request) = &mut self.request else {
            return false;
        };
        let is_due = now >= request.due;
        if is_due {
            request.due = now + request.patience;
            request.patience = (2 * request.patience).min(MAX_PATIENCE);
            self.requests += 1;
        }
        is_due
    }

    /// How often a key frame was asked for.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// When the first frame could be shown.
    pub(super) fn first(&self) -> Option<Instant> {
        self.first
    }

    /// How often the picture froze.
    pub(super) fn freezes(&self) -> u64 {
        self.freezes
    }

    /// For how long in all, each freeze from the last frame before it to the first one after it, or to the end.
    pub(super) fn frozen(&self) -> Duration {
        self.frozen
    }

    fn show(&mut self, at: Instant) {
        // A frame that waited for one before it is shown right after that one.
        let at = self.last.map_or(at, |last| last.max(at));
        if let Some(last) = self.last.replace(at) {
            let duration = at - last;
            if self.durations.len() >= AVERAGE_FROM && duration > silence::threshold(self.average()) {
                self.freezes += 1;
                self.frozen += duration;
            }
            if self.durations.len() == AVERAGE_OVER {
                self.durations.pop_front();
            }
            self.durations.push_back(duration);
        }
        self.first.get_or_insert(at);
    }

    /// Of the last frame durations.
    fn average(&self) -> Option<Duration> {
        let count = self.durations.len() as u32;
        (count > 0).then(|| self.durations.iter().sum::<Duration>() / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playing(start: Instant, frames: u64) -> Playout {
        let mut playout = Playout::default();
        playout.begin(start);
        for frame in 0..frames {
            playout.frame(frame == 0, true, start + Duration::from_millis(33 * frame));
        }
        playout
    }

    #[test]
    fn a_pause_beyond_150_ms_over_the_average_is_a_freeze() {
        let start = Instant::now();
        let mut playout = playing(start, 40);
        let last = start + Duration::from_millis(33 * 39);
        playout.frame(false, true, last + Duration::from_millis(183));
        assert_eq!((playout.freezes(), playout.frozen()), (0, Duration::ZERO));
        playout.frame(false, true, last + Duration::from_millis(183 + 200));
        assert_eq!((playout.freezes(), playout.frozen()), (1, Duration::from_millis(200)));
    }

    #[test]
    fn a_picture_that_stands_still_until_the_end_is_a_freeze_of_the_same_length() {
        let start = Instant::now();
        let last = start + Duration::from_millis(33 * 39);
        for (still, frozen) in [(0, 0), (183, 0), (184, 184), (6500, 6500)] {
            let mut playout = playing(start, 40);
            playout.finish(last + Duration::from_millis(still));
            let seen = (playout.freezes(), playout.frozen());
            assert_eq!(seen, (u64::from(frozen > 0), Duration::from_millis(frozen)), "after {still} ms");
        }
        let mut playout = playing(start, 40);
        playout.finish(start);
        assert_eq!(playout.freezes(), 0, "frames after the end are no silence before it");
    }

    #[test]
    fn a_single_frame_is_a_picture_that_stands_still() {
        let start = Instant::now();
        let mut playout = playing(start, 1);
        playout.finish(start + PATIENCE);
        assert_eq!(playout.freezes(), 0);
        playout.finish(start + Duration::from_secs(5));
        assert_eq!(playout.frozen(), Duration::from_secs(5));
        let mut none = playing(start, 0);
        none.finish(start + Duration::from_secs(5));
        assert_eq!(none.freezes(), 0, "there was no picture");
    }

    #[test]
    fn the_picture_stands_still_until_a_key_frame_after_damage() {
        let start = Instant::now();
        let mut playout = playing(start, 40);
        let after = |milliseconds: u64| start + Duration::from_millis(33 * 39 + milliseconds);
        assert!(!playout.needs_key_frame(after(0)));
        playout.frame(false, false, after(33));
        assert!(playout.needs_key_frame(after(33)));
        for frame in 2..12 {
            playout.frame(false, true, after(33 * frame));
        }
        assert!(!playout.needs_key_frame(after(400)));
        assert!(playout.needs_key_frame(after(533)));
        assert!(!playout.needs_key_frame(after(1500)), "patience doubles");
        playout.frame(true, true, after(1600));
        assert!(!playout.needs_key_frame(after(9000)));
        assert_eq!((playout.freezes(), playout.frozen()), (1, Duration::from_millis(1600)));
    }

    #[test]
    fn a_stream_without_a_picture_is_asked_for_one() {
        let start = Instant::now();
        let mut playout = playing(start, 0);
        assert!(!playout.needs_key_frame(start + Duration::from_millis(499)));
        assert!(playout.needs_key_frame(start + Duration::from_millis(500)));
        assert_eq!(playout.first(), None);
    }
}
