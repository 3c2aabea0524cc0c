//! Puts the packets of a stream in order, waiting a while for what is missing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long a gap is kept open for a retransmission: several rounds of NACK, as a jitter buffer under loss.
const WAIT: Duration = Duration::from_millis(500);
/// How many packets may wait behind a gap.
const CAPACITY: usize = 2048;

/// A packet in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordered<'a> {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: &'a [u8],
    /// When it arrived.
    pub(super) at: Instant,
    /// Whether packets before it are missing for good.
    pub(super) after_gap: bool,
}

/// A packet that waits for one before it.
#[derive(Debug)]
struct Waiting {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    at: Instant,
}

/// The packets that wait for one before them.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// The extended sequence number that is due.
    next: Option<u64>,
    waiting: BTreeMap<u64, Waiting>,
    /// Whether what was due before the next packet will not come.
    gap: bool,
}

impl Reorder {
    /// Sets where the sequence starts, if it has not started.
    pub(super) fn start_at(&mut self, number: u64) {
        self.next.get_or_insert(number);
    }

    /// Gives up what is missing, and goes on with a new sequence.
    pub(super) fn restart(&mut self, number: u64, mut release: impl FnMut(Ordered<'_>)) {
        self.finish(&mut release);
        self.gap = true;
        self.next = Some(number);
    }

    /// Gives up everything that is missing.
    pub(super) fn finish(&mut self, mut release: impl FnMut(Ordered<'_>)) {
        while self.skip_gap(&mut release) {}
    }

    /// Takes a packet that had not arrived before, and releases what is in order now. One that was given up already is
    /// dropped.
    pub(super) fn insert(&mut self, number: u64, packet: Ordered<'_>, mut release: impl FnMut(Ordered<'_>)) {
        let next = *self.next.get_or_insert(number);
        if number < next {
            return;
        }
        if number > next {
            let Ordered { timestamp, marker, payload, at, .. } = packet;
            self.waiting.insert(number, Waiting { timestamp, marker, payload: Bytes::copy_from_slice(payload), at });
            return;
        }
        self.release(number, packet, &mut release);
        self.release_waiting(&mut release);
    }

    /// Gives up gaps that have been open for too long.
    pub(super) fn expire(&mut self, now: Instant, mut release: impl FnMut(Ordered<'_>)) {
        while let Some((_, first)) = self.waiting.first_key_value() {
            if now.saturating_duration_since(first.at) < WAIT && self.waiting.len() <= CAPACITY {
                return;
            }
            self.skip_gap(&mut release);
        }
    }

    /// Gives up the first gap; `false` if there is none.
    fn skip_gap(&mut self, release: &mut impl FnMut(Ordered<'_>)) -> bool {
        let Some((&number, _)) = self.waiting.first_key_value() else {
            return false;
        };
        self.gap = true;
        self.next = Some(number);
        self.release_waiting(release);
        true
    }

    fn release_waiting(&mut self, release: &mut impl FnMut(Ordered<'_>)) {
        while let Some(entry) = self.waiting.first_entry() {
            if self.next != Some(*entry.key()) {
                return;
            }
            let (number, Waiting { timestamp, marker, payload, at }) = entry.remove_entry();
            self.release(number, Ordered { timestamp, marker, payload: &payload, at, after_gap: false }, release);
        }
    }

    fn release(&mut self, number: u64, mut packet: Ordered<'_>, release: &mut impl FnMut(Ordered<'_>)) {
        packet.after_gap = std::mem::take(&mut self.gap);
        self.next = Some(number + 1);
        release(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at: Instant) -> Ordered<'static> {
        Ordered { timestamp: 0, marker: false, payload: &[], at, after_gap: false }
    }

    #[test]
    fn a_gap_is_kept_open_and_then_given_up() {
        let start = Instant::now();
        let mut reorder = Reorder::default();
        let released = std::cell::RefCell::new(Vec::new());
        let release = |packet: Ordered<'_>| released.borrow_mut().push(packet.after_gap);
        for (number, after) in [(1, 0), (3, 10), (4, 20), (6, 30)] {
            reorder.insert(number, packet(start + Duration::from_millis(after)), release);
        }
        assert_eq!(*released.borrow(), [false]);
        reorder.expire(start + Duration::from_millis(509), release);
        assert_eq!(released.borrow().len(), 1);
        reorder.insert(2, packet(start), release);
        assert_eq!(*released.borrow(), [false; 4]);
        reorder.expire(start + Duration::from_millis(530), release);
        assert_eq!(*released.borrow(), [false, false, false, false, true]);
        reorder.insert(5, packet(start), release);
        assert_eq!(released.borrow().len(), 5, "too late");
    }
}
