//! Who is in the run at the moment, how far each is, and what flows: the numbers of the live display.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::{Mark, Marks, PeerRecorder, Phase};

/// The peers of a run that have begun and not yet left. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Mutex<HashMap<String, Member>>>);

#[derive(Debug)]
struct Member {
    recorder: PeerRecorder,
    send_bps: f64,
    recv_bps: f64,
}

/// What flows, and how many peers are in which phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) peers: BTreeMap<Phase, u32>,
    pub(super) send_bps: f64,
    pub(super) recv_bps: f64,
}

impl Traffic {
    pub(super) fn enter(&self, recorder: PeerRecorder) {
        let key = recorder.peer().to_owned();
        self.members().insert(key, Member { recorder, send_bps: 0.0, recv_bps: 0.0 });
    }

    pub(super) fn leave(&self, recorder: &PeerRecorder) {
        self.members().remove(recorder.peer());
    }

    pub(super) fn set_rates(&self, recorder: &PeerRecorder, send_bps: f64, recv_bps: f64) {
        if let Some(member) = self.members().get_mut(recorder.peer()) {
            (member.send_bps, member.recv_bps) = (send_bps, recv_bps);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for member in self.members().values() {
            *totals.peers.entry(phase(&member.recorder.marks())).or_default() += 1;
            totals.send_bps += member.send_bps;
            totals.recv_bps += member.recv_bps;
        }
        totals
    }

    fn members(&self) -> std::sync::MutexGuard<'_, HashMap<String, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The phase that a peer with these marks is in.
fn phase(marks: &Marks) -> Phase {
    const LAST_FIRST: [(Mark, Phase); 9] = [
        (Mark::FirstMedia, Phase::Media),
        (Mark::DataChannelOpen, Phase::Media),
        (Mark::Connected, Phase::DataChannel),
        (Mark::IceConnected, Phase::Dtls),
        (Mark::AnswerReceived, Phase::Ice),
        (Mark::AnswerSent, Phase::Ice),
        (Mark::OfferSent, Phase::Answer),
        (Mark::Joined, Phase::Offer),
        (Mark::JoinStarted, Phase::Signaling),
    ];
    LAST_FIRST.iter().find(|(mark, _)| marks.get(*mark).is_some()).map_or(Phase::Start, |(_, phase)| *phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Recorder;

    #[test]
    fn peers_are_counted_in_the_phase_that_their_marks_have_reached() {
        let (recorder, _events) = Recorder::new();
        let traffic = Traffic::default();
        let (a, b) = (recorder.for_peer("a", "c"), recorder.for_peer("b", "c"));
        traffic.enter(a.clone());
        traffic.enter(b.clone());
        a.mark(Mark::JoinStarted);
        a.mark(Mark::Joined);
        a.mark(Mark::OfferSent);
        traffic.set_rates(&a, 10.0, 20.0);
        let totals = traffic.totals();
        assert_eq!(totals.peers, BTreeMap::from([(Phase::Start, 1), (Phase::Answer, 1)]));
        assert_eq!((totals.send_bps, totals.recv_bps), (10.0, 20.0));
        traffic.leave(&a);
        traffic.leave(&b);
        assert_eq!(traffic.totals(), Totals::default());
    }
}
