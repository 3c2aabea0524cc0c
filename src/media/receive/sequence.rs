//! Sequence numbers, loss and jitter of one RTP stream (RFC 3550, 6.4.1 and appendix A).

use std::time::{Duration, Instant};

/// A jump back by more than this may be a new sequence. RFC 3550, A.1 also takes a jump ahead for one; here that is always
/// loss, because an outage of a second loses more packets of a fast stream than that.
const MAX_MISORDER: u64 = 3000;
/// Timestamps that jump by more than this many seconds say nothing about jitter, as in libwebrtc.
const MAX_TRANSIT_JUMP: f64 = 5.0;

/// Remembers which of the latest numbers of a sequence were seen.
#[derive(Clone, Debug)]
pub(in crate::media) struct Window {
    seen: Box<[u64; Self::WORDS]>,
    highest: Option<u64>,
}

impl Window {
    const WORDS: usize = 64;
    /// How many numbers are remembered; more than [`MAX_MISORDER`].
    const SIZE: u64 = 64 * Self::WORDS as u64;

    /// A window over nothing.
    pub(in crate::media) fn new() -> Self {
        Self { seen: Box::new([0; Self::WORDS]), highest: None }
    }

    /// Notes that this number was seen; `false` if it had been seen before, or is too old to tell.
    pub(in crate::media) fn insert(&mut self, number: u64) -> bool {
        let highest = *self.highest.get_or_insert(number);
        if highest.saturating_sub(number) >= Self::SIZE {
            return false;
        }
        // What the window moves over is forgotten.
        let moved = number.saturating_sub(highest);
        if moved >= Self::SIZE {
            self.seen.fill(0);
        }
        for step in 1..=moved.min(Self::SIZE) {
            let (word, bit) = Self::place(highest + step);
            self.seen[word] &= !bit;
        }
        self.highest = Some(highest.max(number));
        let (word, bit) = Self::place(number);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }

    fn place(number: u64) -> (usize, u64) {
        ((number / 64) as usize % Self::WORDS, 1 << (number % 64))
    }
}

/// What a packet's sequence number says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// A packet that had not arrived before, with its extended sequence number.
    New(u64),
    /// As `New`, but the sender has begun a new sequence.
    Restarted(u64),
    /// A packet that had arrived before.
    Duplicate,
    /// A number so far back that the next packet must show what it means.
    Suspect,
}

/// Counts the packets of a stream.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    window: Window,
    base: u64,
    highest: Option<u64>,
    /// The sequence number that would confirm a new sequence.
    suspect: Option<u16>,
    /// Expected packets of sequences that ended with a restart.
    expected_before: u64,
    received: u64,
    duplicates: u64,
}

impl Sequence {
    pub(super) fn new() -> Self {
        let window = Window::new();
        Self { window, base: 0, highest: None, suspect: None, expected_before: 0, received: 0, duplicates: 0 }
    }

    /// Takes note of a packet.
    pub(super) fn note(&mut self, number: u16) -> Arrival {
        let Some(highest) = self.highest else {
            return Arrival::New(self.begin(u64::from(number) + 0x1_0000));
        };
        let ahead = number.wrapping_sub(highest as u16);
        let behind = ahead.wrapping_neg();
        let extended = if ahead < 0x8000 { highest + u64::from(ahead) } else { highest - u64::from(behind) };
        if extended + MAX_MISORDER < highest {
            if self.suspect.replace(number.wrapping_add(1)) != Some(number) {
                return Arrival::Suspect;
            }
            self.expected_before = self.expected();
            self.window = Window::new();
            // Extended numbers keep growing, so that nothing of the new sequence can be taken for a part of the old.
            return Arrival::Restarted(self.begin((highest & !0xffff) + 0x2_0000 + u64::from(number)));
        }
        self.suspect = None;
        if !self.window.insert(extended) {
            self.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.received += 1;
        self.base = self.base.min(extended);
        self.highest = Some(highest.max(extended));
        Arrival::New(extended)
    }

    /// Packets received, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Packets that arrived again.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets expected and never received, recovered ones not among them (RFC 3550, A.3).
    pub(super) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    fn begin(&mut self, extended: u64) -> u64 {
        self.window.insert(extended);
        self.received += 1;
        self.base = extended;
        self.highest = Some(extended);
        self.suspect = None;
        extended
    }

    fn expected(&self) -> u64 {
        self.expected_before + self.highest.map_or(0, |highest| highest - self.base + 1)
    }
}

/// How a stream arrives: what a reception report says of it (RFC 3550, section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reception {
    /// The extended highest sequence number; `None` before the first packet. It grows by 2^16 and more when the sender
    /// begins a new sequence.
    pub highest: Option<u64>,
    /// Packets expected.
    pub expected: u64,
    /// Packets received, each counted once.
    pub received: u64,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: f64,
}

impl Reception {
    pub(super) fn new(sequence: &Sequence, jitter: &Jitter) -> Self {
        Self {
            highest: sequence.highest,
            expected: sequence.expected(),
            received: sequence.received,
            jitter: jitter.seconds * jitter.clock,
        }
    }
}

/// Interarrival jitter (RFC 3550, 6.4.1).
#[derive(Clone, Debug)]
pub(super) struct Jitter {
    clock: f64,
    last: Option<(u64, Instant, u32)>,
    seconds: f64,
    samples: u64,
}

impl Jitter {
    /// Of a stream whose timestamps count `clock` per second.
    pub(super) fn new(clock: u32) -> Self {
        Self { clock: f64::from(clock), last: None, seconds: 0.0, samples: 0 }
    }

    /// Takes note of a packet.
    ///
    /// Only the first packet of each timestamp counts, and only in order, as in libwebrtc: the others of a frame are sent
    /// when the pacer lets them, and a retransmitted one comes a round trip later, neither of which is jitter.
    pub(super) fn note(&mut self, extended: u64, timestamp: u32, now: Instant) {
        let Some((last, at, last_timestamp)) = self.last else {
            self.last = Some((extended, now, timestamp));
            return;
        };
        if extended <= last || timestamp == last_timestamp {
            return;
        }
        self.last = Some((extended, now, timestamp));
        let sent = f64::from(timestamp.wrapping_sub(last_timestamp) as i32) / self.clock;
        let difference = (now.saturating_duration_since(at).as_secs_f64() - sent).abs();
        if difference < MAX_TRANSIT_JUMP {
            self.seconds += (difference - self.seconds) / 16.0;
            self.samples += 1;
        }
    }

    /// The present estimate in milliseconds; `None` before two timestamps have arrived.
    pub(super) fn milliseconds(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.seconds * 1e3)
    }
}

/// Events per second from the first to the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    span: Option<(Instant, Instant)>,
    events: u64,
}

impl Rate {
    /// Takes note of an event.
    pub(super) fn note(&mut self, at: Instant) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        self.events += 1;
    }

    /// When the last event was.
    pub(super) fn last(&self) -> Option<Instant> {
        self.span.map(|(_, last)| last)
    }

    /// From one event to the next, on average; `None` before the second event.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.per_second().map(|rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// Events per second; `None` before the second event.
    pub(super) fn per_second(&self) -> Option<f64> {
        let (first, last) = self.span?;
        let elapsed = last - first;
        (elapsed > Duration::ZERO).then(|| (self.events - 1) as f64 / elapsed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn loss_is_counted_across_the_wrap_and_recovery_undoes_it() {
        let mut sequence = Sequence::new();
        for number in 65_530..65_540u32 {
            if !matches!(number, 65_534 | 65_536) {
                sequence.note(number as u16);
            }
        }
        assert_eq!((sequence.received(), sequence.lost(), sequence.duplicates()), (8, 2, 0));
        assert!(matches!(sequence.note(65_534), Arrival::New(_)));
        assert_eq!(sequence.note(65_534), Arrival::Duplicate);
        assert_eq!((sequence.received(), sequence.lost(), sequence.duplicates()), (9, 1, 1));
    }

    #[test]
    fn a_packet_from_before_the_first_is_expected_after_all() {
        let mut sequence = Sequence::new();
        sequence.note(10);
        sequence.note(7);
        assert_eq!((sequence.received(), sequence.lost()), (2, 2));
    }

    #[test]
    fn a_far_jump_ahead_is_loss() {
        let mut sequence = Sequence::new();
        sequence.note(65_000);
        sequence.note(65_000u16.wrapping_add(20_000));
        assert_eq!((sequence.received(), sequence.lost()), (2, 19_999));
    }

    #[test]
    fn a_far_jump_back_is_a_restart_only_if_it_goes_on() {
        let mut sequence = Sequence::new();
        sequence.note(30_000);
        assert_eq!(sequence.note(100), Arrival::Suspect);
        assert!(matches!(sequence.note(30_001), Arrival::New(_)));
        assert_eq!(sequence.lost(), 0);
        assert_eq!(sequence.note(100), Arrival::Suspect);
        assert!(matches!(sequence.note(101), Arrival::Restarted(_)));
        assert!(matches!(sequence.note(103), Arrival::New(_)));
        assert_eq!((sequence.received(), sequence.lost()), (4, 1));
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let (mut jitter, start) = (Jitter::new(1000), Instant::now());
        jitter.note(1, 0, start);
        assert_eq!(jitter.milliseconds(), None);
        // Sent 20 ms apart, received 36 ms apart: D = 16 ms, J = 16/16.
        jitter.note(2, 20, start + Duration::from_millis(36));
        assert!((jitter.milliseconds().unwrap() - 1.0).abs() < 1e-9);
        // A retransmission does not count.
        jitter.note(1, 10, start + Duration::from_millis(500));
        assert!((jitter.milliseconds().unwrap() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_window_agrees_with_a_set(steps in proptest::collection::vec(-300i64..600, 1..400)) {
            let (mut window, mut set, mut at) = (Window::new(), HashSet::new(), 100_000i64);
            let mut highest = 0;
            for step in steps {
                at += step;
                highest = highest.max(at);
                if at + Window::SIZE as i64 > highest {
                    prop_assert_eq!(window.insert(at as u64), set.insert(at));
                }
            }
        }

        #[test]
        fn any_order_of_any_packets_is_counted_exactly(
            first in any::<u16>(),
            kept in proptest::collection::vec(any::<bool>(), 2..1000),
            seed in any::<u64>(),
        ) {
            use rand::{SeedableRng, seq::SliceRandom};
            let mut numbers: Vec<u16> =
                kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(index, _)| first.wrapping_add(index as u16)).collect();
            let span = kept.iter().rposition(|kept| *kept).zip(kept.iter().position(|kept| *kept)).map_or(0, |(last, first)| last - first + 1);
            numbers.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
            let mut sequence = Sequence::new();
            for &number in &numbers {
                prop_assert!(matches!(sequence.note(number), Arrival::New(_)));
            }
            prop_assert_eq!(sequence.lost() as usize, span - numbers.len());
        }
    }
}
