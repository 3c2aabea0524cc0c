//! What a peer hears in a room whose server mixes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::media::receive::MixListener;
use crate::plan::MixPlan;

/// Listens for those who are to be heard, and for the peer itself.
pub(super) struct Mix {
    plan: MixPlan,
    listener: Mutex<MixListener>,
}

impl Mix {
    /// # Errors
    ///
    /// There is no decoder.
    pub(super) fn new(plan: &MixPlan) -> Result<Self, String> {
        let tones = plan.others.iter().map(|other| other.hz).chain(plan.own_hz);
        Ok(Self { plan: plan.clone(), listener: Mutex::new(MixListener::new(tones)?) })
    }

    /// Takes the payload of a packet, in the order of arrival.
    pub(super) fn take(&self, payload: &[u8]) {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take(payload);
    }

    /// Whether everybody else was heard and the peer itself was not, and for how long each was heard.
    pub(super) fn verdict(&self) -> (bool, String) {
        let report = self.listener.lock().unwrap_or_else(PoisonError::into_inner).report();
        let (others, own) = report.heard.split_at(self.plan.others.len());
        // The rest is for calls that take long to be up, and for what is lost.
        let enough = Duration::from_micros(self.plan.together_us) / 2;
        let fits = others.iter().all(|heard| *heard >= enough)
            && own.iter().all(Duration::is_zero)
            && !report.decoded.is_zero()
            && report.undecoded == 0;
        let seconds = |heard: &Duration| format!("{:.1} s", heard.as_secs_f64());
        let mut told: Vec<String> = self
            .plan
            .others
            .iter()
            .zip(others)
            .map(|(other, heard)| format!("{} {}", other.peer, seconds(heard)))
            .collect();
        told.extend(own.iter().map(|heard| match heard.is_zero() {
            false => format!("itself {}", seconds(heard)),
            true => "itself never".to_owned(),
        }));
        let undecoded = match report.undecoded {
            0 => String::new(),
            packets => format!("; {packets} packets are no Opus"),
        };
        (fits, format!("heard in {} of the mix: {}{undecoded}", seconds(&report.decoded), told.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone;
    use crate::plan::SpeakerPlan;

    /// The mix in which only this tone is.
    fn verdict(heard: u32, own: Option<u32>, other: u32) -> (bool, String) {
        let others = vec![SpeakerPlan { peer: "bob".into(), hz: tone::frequency(other) }];
        let plan = MixPlan { own_hz: own.map(tone::frequency), others, together_us: 2_000_000 };
        let mix = Mix::new(&plan).unwrap();
        tone::audio(tone::frequency(heard), 2).unwrap().packets().iter().for_each(|packet| mix.take(packet));
        mix.verdict()
    }

    #[test]
    fn others_must_be_heard_and_nobody_hears_themselves() {
        let (fits, told) = verdict(1, Some(0), 1);
        assert!(fits && told == "heard in 2.0 s of the mix: bob 2.0 s, itself never", "{told}");
        assert!(verdict(1, None, 1).0);
        let (fits, told) = verdict(0, Some(0), 1);
        assert!(!fits && told.contains("bob 0.0 s, itself 2.0 s"), "{told}");
        assert!(!verdict(2, Some(0), 1).0, "somebody else");
    }

    #[test]
    fn nothing_is_not_enough() {
        let mix = Mix::new(&MixPlan { own_hz: None, others: Vec::new(), together_us: 1 }).unwrap();
        assert!(!mix.verdict().0);
        mix.take(&[3]);
        assert!(mix.verdict().1.contains("1 packets are no Opus"));
    }
}
