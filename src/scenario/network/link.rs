//! One direction of a link spelled out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::spec::{Change, Conditions, LinkSpec, Loss, Mtu, Reorder};
use crate::scenario::units::{BitRate, Share, Time};

/// One direction of a link. Keys that are left out stay as the profile in `link` has them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkTable {
    /// Whether nothing passes at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    /// Bits per second, counted with IP headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<BitRate>,
    /// The longest that a packet waits for its turn; past it packets are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Time>,
    /// One-way delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// How much longer or shorter than `delay` a packet takes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Time>,
    /// Whether jitter may let a packet overtake another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_reorders: Option<bool>,
    /// Share of packets that is lost, each on its own unless `burst` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// Mean number of packets that are lost in a row, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// Share of packets that are held back for `reorder_by`, so that later ones overtake them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
    /// How much later those packets arrive. Default: 20ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_by: Option<Time>,
    /// Share of packets that arrive twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    /// Share of UDP packets with one bit of their payload flipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Share>,
    /// The longest packet that passes, in bytes with its IP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68))]
    pub mtu: Option<u16>,
    /// Whether a longer packet vanishes silently, in place of an ICMP error to its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu_black_hole: Option<bool>,
    /// What changes later, in the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1_000))]
    pub schedule: Vec<LinkChange>,
}

/// What changes on a link, and when. Keys that are left out stay as they were.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys are those of LinkTable")]
pub struct LinkChange {
    /// When, since the networks came up.
    pub at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<BitRate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_reorders: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_by: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68))]
    pub mtu: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_black_hole: Option<bool>,
}

/// How much later packets arrive that are held back: more than the 20 ms between two packets of audio.
const REORDER_BY_US: u64 = 20_000;

impl LinkTable {
    /// The profile with this on top, or the reason why that is not possible.
    pub(super) fn on(&self, profile: &LinkSpec) -> Result<LinkSpec, String> {
        let conditions = self.conditions(&profile.conditions)?;
        let mut schedule: Vec<Change> = Vec::new();
        for change in &self.schedule {
            let before = schedule.last().map_or(&conditions, |last| &last.conditions);
            schedule.push(Change { at_us: change.at.us, conditions: change.as_table().conditions(before)? });
        }
        Ok(LinkSpec { conditions, schedule })
    }

    fn conditions(&self, before: &Conditions) -> Result<Conditions, String> {
        let reorder = before.reorder;
        let ratio = self.reorder.map(Share::ratio).or_else(|| Some(reorder?.ratio));
        let by_us = self.reorder_by.map_or_else(|| reorder.map_or(REORDER_BY_US, |reorder| reorder.by_us), |by| by.us);
        if self.reorder_by.is_some() && ratio.is_none() {
            return Err("`reorder_by` says how long packets are held back, but no `reorder` says how many".into());
        }
        let bytes = self.mtu.or_else(|| Some(before.mtu?.bytes));
        if self.mtu_black_hole.is_some() && bytes.is_none() {
            return Err("`mtu_black_hole` says what becomes of long packets, but no `mtu` says which are".into());
        }
        let black_hole = self.mtu_black_hole.or_else(|| Some(before.mtu?.black_hole)).unwrap_or(false);
        Ok(Conditions {
            cut: self.cut.unwrap_or(before.cut),
            rate_bps: self.rate.map(|rate| rate.bps).or(before.rate_bps),
            queue_us: self.queue.map_or(before.queue_us, |time| time.us),
            delay_us: self.delay.map_or(before.delay_us, |time| time.us),
            jitter_us: self.jitter.map_or(before.jitter_us, |time| time.us),
            jitter_reorders: self.jitter_reorders.unwrap_or(before.jitter_reorders),
            loss: self.losses(before.loss)?,
            reorder: ratio.map(|ratio| Reorder { ratio, by_us }),
            duplicate_ratio: self.duplicate.map_or(before.duplicate_ratio, Share::ratio),
            corrupt_ratio: self.corrupt.map_or(before.corrupt_ratio, Share::ratio),
            mtu: bytes.map(|bytes| Mtu { bytes, black_hole }),
        })
    }

    fn losses(&self, before: Loss) -> Result<Loss, String> {
        match (self.loss.map(Share::ratio), self.burst) {
            (None, None) => Ok(before),
            (Some(0.0), None) => Ok(Loss::None),
            (Some(ratio), None) => Ok(Loss::Random { ratio }),
            (ratio, Some(mean_burst)) => match ratio.unwrap_or_else(|| before.ratio()) {
                0.0 => Err("`burst` says how losses come, but no `loss` says how many there are".into()),
                ratio => Ok(Loss::Burst { ratio, mean_burst }),
            },
        }
    }
}

impl LinkChange {
    fn as_table(&self) -> LinkTable {
        LinkTable {
            cut: self.cut,
            rate: self.rate,
            queue: self.queue,
            delay: self.delay,
            jitter: self.jitter,
            jitter_reorders: self.jitter_reorders,
            loss: self.loss,
            burst: self.burst,
            reorder: self.reorder,
            reorder_by: self.reorder_by,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            mtu: self.mtu,
            mtu_black_hole: self.mtu_black_hole,
            schedule: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> LinkTable {
        toml::from_str(text).expect("a link")
    }

    #[test]
    fn what_is_left_out_stays() {
        let profile = LinkSpec::from(Conditions { rate_bps: Some(1_000), delay_us: 7, ..Conditions::default() });
        let link =
            table("loss = '2%'\nburst = 3.0\nschedule = [{ at = '1s', cut = true }, { at = '2s', cut = false }]");
        let spec = link.on(&profile).unwrap();
        let loss = Loss::Burst { ratio: 0.02, mean_burst: 3.0 };
        assert_eq!((spec.conditions.rate_bps, spec.conditions.delay_us, spec.conditions.loss), (Some(1_000), 7, loss));
        let changes: Vec<_> =
            spec.schedule.iter().map(|change| (change.at_us, change.conditions.cut, change.conditions.loss)).collect();
        assert_eq!(changes, [(1_000_000, true, loss), (2_000_000, false, loss)]);
    }

    #[test]
    fn what_says_how_needs_what_says_how_many() {
        for text in ["burst = 2", "reorder_by = '1ms'", "mtu_black_hole = true", "schedule = [{at = '1s', burst = 2}]"]
        {
            assert!(table(text).on(&LinkSpec::default()).unwrap_err().contains("says"), "{text}");
        }
    }
}
