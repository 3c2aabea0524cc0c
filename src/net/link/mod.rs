//! One direction of a link: which packets are lost, and when the others arrive.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::counters::DropReason;
use super::packet::{Packet, Transport};
use super::spec::{Conditions, LinkSpec, Mtu};

/// One direction of a link with its state. It keeps no packets: it tells when each one arrives.
pub(super) struct Link {
    conditions: Compiled,
    schedule: VecDeque<(Duration, Compiled)>,
    rng: ChaCha8Rng,
    /// When the packets that wait will have left.
    idle_at: Option<Instant>,
    /// When the last packet that kept its place arrives.
    last_arrival: Option<Instant>,
    /// Whether losses are in their bad state.
    bad: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It arrives then, and once more if it was duplicated.
    Arrives { at: Instant, again: Option<Instant> },
    /// It is longer than the link takes, and its sender is to be told.
    TooBig { mtu: u16 },
    /// It does not arrive.
    Dropped(DropReason),
}

/// Conditions with their shares as thresholds for 64 random bits.
struct Compiled {
    cut: bool,
    rate_bps: Option<u64>,
    queue: Duration,
    delay: Duration,
    jitter: Duration,
    jitter_reorders: bool,
    loss: Loss,
    reorder: Option<(u64, Duration)>,
    duplicate: u64,
    corrupt: u64,
    mtu: Option<Mtu>,
}

enum Loss {
    Random(u64),
    /// To enter the bad state, and to leave it.
    Burst(u64, u64),
}

impl Link {
    pub(super) fn new(spec: &LinkSpec, seed: u64) -> Self {
        let change =
            |change: &super::spec::Change| (Duration::from_micros(change.at_us), Compiled::new(&change.conditions));
        Self {
            conditions: Compiled::new(&spec.conditions),
            schedule: spec.schedule.iter().map(change).collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            idle_at: None,
            last_arrival: None,
            bad: false,
        }
    }

    /// A packet enters the link, this long after the start of the world; a bit of it may flip.
    pub(super) fn transmit(&mut self, now: Instant, since_start: Duration, packet: &mut Packet) -> Fate {
        while self.schedule.front().is_some_and(|(at, _)| *at <= since_start)
            && let Some((_, conditions)) = self.schedule.pop_front()
        {
            self.conditions = conditions;
        }
        if self.conditions.cut {
            return Fate::Dropped(DropReason::LinkCut);
        }
        let length = packet.ip_length();
        if let Some(mtu) = self.conditions.mtu.filter(|mtu| length > usize::from(mtu.bytes)) {
            return if mtu.black_hole { Fate::Dropped(DropReason::TooBig) } else { Fate::TooBig { mtu: mtu.bytes } };
        }
        let Some(sent) = self.send(now, length) else { return Fate::Dropped(DropReason::QueueFull) };
        // A lost packet has used its share of the rate, as one that is lost on the air has.
        if self.loses() {
            return Fate::Dropped(DropReason::Lost);
        }
        if chance(&mut self.rng, self.conditions.corrupt) {
            self.corrupt(packet);
        }
        let at = self.arrival(sent);
        let again = chance(&mut self.rng, self.conditions.duplicate).then(|| self.arrival(sent));
        Fate::Arrives { at, again }
    }

    /// When the packet's last bit has left; absent if it would wait too long for its turn.
    fn send(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.conditions.rate_bps else { return Some(now) };
        let start = self.idle_at.map_or(now, |idle_at| idle_at.max(now));
        if start - now > self.conditions.queue {
            return None;
        }
        let nanoseconds = length as u128 * 8 * 1_000_000_000 / u128::from(rate);
        let sent = start + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.idle_at = Some(sent);
        Some(sent)
    }

    fn loses(&mut self) -> bool {
        match self.conditions.loss {
            Loss::Random(lost) => chance(&mut self.rng, lost),
            Loss::Burst(enters, leaves) => {
                if chance(&mut self.rng, if self.bad { leaves } else { enters }) {
                    self.bad = !self.bad;
                }
                self.bad
            }
        }
    }

    fn arrival(&mut self, sent: Instant) -> Instant {
        let mut at = sent + self.conditions.delay;
        if !self.conditions.jitter.is_zero() {
            let jitter = self.conditions.jitter.mul_f64(bell(self.rng.next_u64()));
            at = (at + jitter).checked_sub(self.conditions.jitter).map_or(sent, |at| at.max(sent));
        }
        if let Some((held_back, by)) = self.conditions.reorder
            && chance(&mut self.rng, held_back)
        {
            return at + by;
        }
        if !self.conditions.jitter_reorders {
            at = self.last_arrival.map_or(at, |last| last.max(at));
            self.last_arrival = Some(at);
        }
        at
    }

    fn corrupt(&mut self, packet: &mut Packet) {
        let Transport::Udp(payload) = &mut packet.transport else { return };
        if payload.is_empty() {
            return;
        }
        let bit = self.rng.next_u64() % (payload.len() as u64 * 8);
        let mut bytes = BytesMut::from(&payload[..]);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        *payload = bytes.freeze();
    }
}

impl Compiled {
    fn new(conditions: &Conditions) -> Self {
        Self {
            cut: conditions.cut,
            rate_bps: conditions.rate_bps,
            queue: Duration::from_micros(conditions.queue_us),
            delay: Duration::from_micros(conditions.delay_us),
            jitter: Duration::from_micros(conditions.jitter_us),
            jitter_reorders: conditions.jitter_reorders,
            loss: match conditions.loss.mean_lengths() {
                None => Loss::Random(threshold(conditions.loss.ratio())),
                Some((good, bad)) => Loss::Burst(threshold(1.0 / good), threshold(1.0 / bad)),
            },
            reorder: conditions.reorder.map(|reorder| (threshold(reorder.ratio), Duration::from_micros(reorder.by_us))),
            duplicate: threshold(conditions.duplicate_ratio),
            corrupt: threshold(conditions.corrupt_ratio),
            mtu: conditions.mtu,
        }
    }
}

fn threshold(ratio: f64) -> u64 {
    // A cast from a float saturates.
    (ratio * 2f64.powi(64)) as u64
}

/// Draws nothing where nothing can happen.
fn chance(rng: &mut ChaCha8Rng, threshold: u64) -> bool {
    match threshold {
        0 => false,
        u64::MAX => true,
        threshold => rng.next_u64() < threshold,
    }
}

/// A bell-shaped number between 0 and 2 around 1, with a standard deviation of 0.29: the sum of four uniform ones.
fn bell(bits: u64) -> f64 {
    let sum: u64 = (0..4).map(|quarter| bits >> (16 * quarter) & 0xffff).sum();
    sum as f64 / (2.0 * 65_535.0)
}
