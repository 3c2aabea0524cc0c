//! What a link does to packets in one direction.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_too_long;

/// One direction of a link: how it begins, and how it changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    /// From the start.
    pub conditions: Conditions,
    /// Later, in the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Change>,
}

/// New conditions of a link.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// From when on, in microseconds since the start of the world.
    pub at_us: u64,
    /// All conditions from then on, in place of those before.
    pub conditions: Conditions,
}

/// What a link does to the packets that enter it. A packet waits for its turn, is lost or not, and is delayed.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// Whether nothing passes at all.
    pub cut: bool,
    /// Bits per second, counted with IP headers; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// The longest that a packet waits for its turn, in microseconds at `rate_bps`; past it packets are dropped.
    pub queue_us: u64,
    /// One-way delay, in microseconds.
    pub delay_us: u64,
    /// How much longer or shorter than `delay_us` a packet takes at most, in microseconds; bell-shaped, with a standard
    /// deviation of 0.29 of it.
    pub jitter_us: u64,
    /// Whether jitter may let a packet overtake another. RFC 8868 advises against it.
    pub jitter_reorders: bool,
    /// Which packets are lost.
    pub loss: Loss,
    /// Packets that are held back, so that later ones overtake them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Reorder>,
    /// Share of packets that arrive twice, from 0 to 1.
    pub duplicate_ratio: f64,
    /// Share of UDP packets with one bit of their payload flipped, from 0 to 1. The checksum is made to fit, so that the
    /// application sees it.
    pub corrupt_ratio: f64,
    /// The longest packet that passes; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
}

/// Which packets a link loses.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each on its own (Bernoulli).
    Random {
        /// Share that is lost, from 0 to 1.
        ratio: f64,
    },
    /// In bursts (Gilbert–Elliott, everything being lost in the bad state), by what they come to.
    Burst {
        /// Share that is lost, from 0 to less than 1.
        ratio: f64,
        /// Mean length of a burst, in packets, at least 1.
        mean_burst: f64,
    },
    /// In bursts, by the mean lengths of both states.
    Lengths {
        /// Mean length of the good state, in packets, at least 1.
        mean_good: f64,
        /// Mean length of the bad state, in packets, at least 1.
        mean_bad: f64,
    },
}

/// Packets that are held back.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// Share of packets, from 0 to 1.
    pub ratio: f64,
    /// How much later than without it they arrive, in microseconds.
    pub by_us: u64,
}

/// The longest packet that passes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mtu {
    /// Bytes with the IP header. Every packet counts as one that must not be fragmented.
    pub bytes: u16,
    /// Whether a longer packet vanishes silently, in place of an ICMP error to its sender.
    pub black_hole: bool,
}

impl Default for Conditions {
    /// A link that does nothing to packets; with a rate it has the queue of RFC 8867, 300 ms.
    fn default() -> Self {
        Self {
            cut: false,
            rate_bps: None,
            queue_us: 300_000,
            delay_us: 0,
            jitter_us: 0,
            jitter_reorders: false,
            loss: Loss::None,
            reorder: None,
            duplicate_ratio: 0.0,
            corrupt_ratio: 0.0,
            mtu: None,
        }
    }
}

impl From<Conditions> for LinkSpec {
    fn from(conditions: Conditions) -> Self {
        Self { conditions, schedule: Vec::new() }
    }
}

impl Loss {
    /// The share of packets that is lost in the long run.
    pub fn ratio(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Random { ratio } | Self::Burst { ratio, .. } => ratio,
            Self::Lengths { mean_good, mean_bad } => mean_bad / (mean_good + mean_bad),
        }
    }

    /// The mean lengths of the good and of the bad state in packets, if losses come in bursts.
    pub fn mean_lengths(self) -> Option<(f64, f64)> {
        match self {
            Self::None | Self::Random { .. } => None,
            Self::Burst { ratio, mean_burst } => Some((mean_burst * (1.0 - ratio) / ratio, mean_burst)),
            Self::Lengths { mean_good, mean_bad } => Some((mean_good, mean_bad)),
        }
    }

    fn problem(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Random { ratio } => (!is_ratio(ratio)).then_some("loss.ratio is not between 0 and 1"),
            Self::Burst { ratio, mean_burst } => {
                if !(0.0..1.0).contains(&ratio) {
                    Some("loss.ratio is not between 0 and less than 1")
                } else if !(mean_burst >= 1.0 && mean_burst.is_finite()) {
                    Some("loss.mean_burst is not at least 1")
                } else if ratio > mean_burst / (1.0 + mean_burst) {
                    // The good state lasts one packet at least.
                    Some("loss.ratio is more than bursts of this length can come to; make mean_burst longer")
                } else {
                    None
                }
            }
            Self::Lengths { mean_good, mean_bad } => {
                let valid = [mean_good, mean_bad].iter().all(|mean| *mean >= 1.0 && mean.is_finite());
                (!valid).then_some("loss.mean_good or loss.mean_bad is not at least 1")
            }
        }
    }
}

impl LinkSpec {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if !self.schedule.is_sorted_by_key(|change| change.at_us) {
            return Some("schedule is not in the order of time");
        }
        let later = self.schedule.iter().map(|change| &change.conditions);
        std::iter::once(&self.conditions).chain(later).find_map(Conditions::problem)
    }
}

impl Conditions {
    fn problem(&self) -> Option<&'static str> {
        let held_back_us = self.reorder.map_or(0, |reorder| reorder.by_us);
        // An IPv4 host must take 576 bytes (RFC 1122, 3.3.2); below 68 no router can forward (RFC 791, 3.2).
        if self.mtu.is_some_and(|mtu| mtu.bytes < 68) {
            Some("mtu.bytes is less than 68")
        } else if self.rate_bps == Some(0) {
            Some("rate_bps is 0; a link that passes nothing is cut")
        } else if is_too_long([self.queue_us, self.delay_us, self.jitter_us, held_back_us]) {
            Some("queue_us, delay_us, jitter_us or reorder.by_us is longer than a year")
        } else if !is_ratio(self.duplicate_ratio) {
            Some("duplicate_ratio is not between 0 and 1")
        } else if !is_ratio(self.corrupt_ratio) {
            Some("corrupt_ratio is not between 0 and 1")
        } else if self.reorder.is_some_and(|reorder| !is_ratio(reorder.ratio)) {
            Some("reorder.ratio is not between 0 and 1")
        } else {
            self.loss.problem()
        }
    }
}

fn is_ratio(ratio: f64) -> bool {
    (0.0..=1.0).contains(&ratio)
}
