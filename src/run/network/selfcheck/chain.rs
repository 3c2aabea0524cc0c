//! What the links of one direction must do together, one behind the other, as they begin.

use std::time::Duration;

use crate::lab::discover::{Direction, Sent, Way};
use crate::net::oracle::End;
use crate::net::spec::{Conditions, Reorder};

/// Bytes of the packets that delay and loss are measured with, counted with the IP header.
pub(super) const SMALL_BYTES: usize = 60;

/// How many of them there are at most, how often they are sent, and which share of the rate they may take.
const PACKETS: usize = 400;
const INTERVAL: Duration = Duration::from_millis(2);
const LOAD: f64 = 0.2;

/// How long a train of packets keeps a link busy, how often the jitter fits into that, and the least that tells a rate.
const TRAIN: Duration = Duration::from_millis(200);
const JITTERS: u32 = 10;
const SHORT_TRAIN: Duration = Duration::from_millis(30);
const TRAIN_PACKETS: std::ops::RangeInclusive<usize> = 8..=4000;

/// Bytes of its packets at most, and how many there are at least if these are not too short for it.
const TRAIN_BYTES: usize = 1400;
const TRAIN_PARTS: usize = 25;

/// How much faster than asked for a train is sent: a link whose rate is higher shows up to this factor.
const HURRY: f64 = 2.0;

/// The links of one direction.
pub(super) struct Chain<'a> {
    pub(super) direction: Direction,
    links: Vec<&'a Conditions>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(end: End<'a>, direction: Direction) -> Self {
        let site = [(&end.site.up, &end.site.down)];
        let carrier = end.carrier.map(|carrier| (&carrier.up, &carrier.down));
        let of = |(up, down)| if direction == Direction::Up { up } else { down };
        let links = site.into_iter().chain(carrier).map(of);
        Self { direction, links: links.map(|link: &crate::net::spec::LinkSpec| &link.conditions).collect() }
    }

    /// Its name in the report.
    pub(super) fn name(&self) -> &'static str {
        if self.direction == Direction::Up { "up" } else { "down" }
    }

    pub(super) fn is_impaired(&self) -> bool {
        self.links.iter().any(|link| **link != Conditions::default())
    }

    pub(super) fn is_cut(&self) -> bool {
        self.links.iter().any(|link| link.cut)
    }

    /// How long a packet of this length takes that does not wait for its turn.
    pub(super) fn delay(&self, bytes: usize) -> Duration {
        let rates = self.links.iter().filter_map(|link| link.rate_bps);
        let sending: f64 = rates.map(|rate| bytes as f64 * 8.0 / rate as f64).sum();
        let delay = self.links.iter().map(|link| Duration::from_micros(link.delay_us)).sum::<Duration>();
        delay + Duration::from_secs_f64(sending)
    }

    /// How far jitter goes in all links, and in the one where it goes furthest.
    pub(super) fn jitter(&self) -> (Duration, Duration) {
        let jitters = || self.links.iter().map(|link| Duration::from_micros(link.jitter_us));
        (jitters().sum(), jitters().max().unwrap_or_default())
    }

    pub(super) fn jitter_reorders(&self) -> bool {
        self.links.iter().any(|link| link.jitter_us > 0 && link.jitter_reorders)
    }

    pub(super) fn loss(&self) -> f64 {
        self.any(|link| link.loss.ratio())
    }

    /// The mean length of the longest bursts of losses, in packets.
    pub(super) fn burst(&self) -> f64 {
        self.links.iter().filter_map(|link| link.loss.mean_lengths()).map(|(_, bad)| bad).fold(1.0, f64::max)
    }

    pub(super) fn duplicate(&self) -> f64 {
        self.any(|link| link.duplicate_ratio)
    }

    pub(super) fn corrupt(&self) -> f64 {
        self.any(|link| link.corrupt_ratio)
    }

    /// The share of packets that are held back, and for how long at least.
    pub(super) fn reorder(&self) -> Option<(f64, Duration)> {
        let by = self.reorders().map(|reorder| Duration::from_micros(reorder.by_us)).min()?;
        Some((self.any(|link| link.reorder.map_or(0.0, |reorder| reorder.ratio)), by))
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.links.iter().filter_map(|link| link.rate_bps).min()
    }

    pub(super) fn mtu(&self) -> Option<u16> {
        self.links.iter().filter_map(|link| link.mtu).map(|mtu| mtu.bytes).min()
    }

    /// The longest that a packet of this length may take.
    pub(super) fn longest(&self, bytes: usize) -> Duration {
        let held_back: Duration = self.reorders().map(|reorder| Duration::from_micros(reorder.by_us)).sum();
        self.delay(bytes) + self.jitter().0 + held_back
    }

    /// Packets to measure delay and loss with.
    pub(super) fn small_packets(&self) -> Vec<Sent> {
        let apart = self.rate().map_or(0.0, |rate| SMALL_BYTES as f64 * 8.0 / rate as f64 / LOAD);
        let interval = INTERVAL.max(Duration::from_secs_f64(apart));
        let whole = INTERVAL * PACKETS as u32;
        let count = (whole.as_secs_f64() / interval.as_secs_f64()).ceil().max(10.0) as u32;
        (0..count).map(|number| Sent { due: interval * number, bytes: SMALL_BYTES }).collect()
    }

    /// Packets that fill the link without making its queue overflow, and how long they keep it busy; or why there are none.
    pub(super) fn train(&self, rate: u64) -> Result<(Vec<Sent>, Duration), String> {
        let queues = self.links.iter().filter(|link| link.rate_bps.is_some()).map(|link| link.queue_us);
        let queue = queues.min().map_or(Duration::MAX, Duration::from_micros);
        let length = TRAIN.max(self.jitter().1 * JITTERS).min(queue);
        let total = rate as f64 * length.as_secs_f64() / 8.0;
        let longest = self.mtu().map_or(TRAIN_BYTES, |mtu| TRAIN_BYTES.min(mtu.into()));
        let bytes = ((total / TRAIN_PARTS as f64) as usize).clamp(Way::MIN_BYTES, longest.max(Way::MIN_BYTES));
        let count = (total as usize / bytes).min(*TRAIN_PACKETS.end());
        let apart = bytes as f64 * 8.0 / rate as f64;
        let length = Duration::from_secs_f64(apart * count as f64);
        if length < SHORT_TRAIN || count < *TRAIN_PACKETS.start() {
            let word = if length < SHORT_TRAIN { "soon" } else { "few" };
            return Err(format!("too {word} the packets are through that its queue holds"));
        }
        let due = |number: usize| Duration::from_secs_f64(apart * number as f64 / HURRY);
        Ok(((0..count).map(|number| Sent { due: due(number), bytes }).collect(), length))
    }

    fn reorders(&self) -> impl Iterator<Item = Reorder> {
        self.links.iter().filter_map(|link| link.reorder)
    }

    /// The share of packets that something happens to in one of the links at least.
    fn any(&self, share: impl Fn(&Conditions) -> f64) -> f64 {
        1.0 - self.links.iter().map(|link| 1.0 - share(link)).product::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::spec::SiteSpec;

    #[test]
    fn a_train_never_fills_the_queue() {
        let mut site = SiteSpec::new("home", "10.0.0.0/24".parse().unwrap(), Vec::new());
        for rate in [32_000, 384_000, 2_000_000, 54_000_000, 400_000_000] {
            site.up = Conditions { rate_bps: Some(rate), jitter_us: 30_000, ..Conditions::default() }.into();
            let chain = Chain::new(End { site: &site, carrier: None }, Direction::Up);
            let (train, length) = chain.train(rate).unwrap();
            assert!(length <= Duration::from_millis(300) && train.len() >= 8, "{rate}: {length:?}, {}", train.len());
            assert!(train.last().unwrap().due < length);
        }
        site.up.conditions.queue_us = 10_000;
        assert!(Chain::new(End { site: &site, carrier: None }, Direction::Up).train(1_000_000).is_err());
    }
}
