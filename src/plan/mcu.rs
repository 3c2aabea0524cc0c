//! Rooms of a server that mixes (MCU): everybody has one call with the server, says something of their own, and hears what all
//! others say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arrivals;
use super::expand::next_peer;
use super::sfu::{Member, Room, SERVER, room_name, rooms};
use super::{CallPlan, MediaPlan, PeerPlan};
use crate::media::tone;
use crate::scenario::Scenario;

/// The name of the set of all calls.
pub(crate) const SET: &str = "mix";

/// How long a call takes to be up, after which all are taken to be there.
const SETTLING_US: u64 = 2_000_000;

/// Who speaks in a room whose server mixes, each in a tone of their own.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MixPlan {
    /// The tone of the call's own peer in Hz; absent if it only listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_hz: Option<u32>,
    /// Everybody else who speaks, and is to be heard.
    pub others: Vec<SpeakerPlan>,
    /// How long all are there, in microseconds.
    pub together_us: u64,
}

/// Somebody who speaks.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpeakerPlan {
    /// The peer.
    pub peer: String,
    /// Its tone in Hz.
    pub hz: u32,
}

impl MixPlan {
    /// How many speak.
    pub fn speakers(&self) -> u32 {
        u32::try_from(self.others.len()).unwrap_or(u32::MAX).saturating_add(self.own_hz.is_some().into())
    }
}

/// How many calls there are with the server, and how many speak in the room with the most speakers.
pub(crate) fn size(scenario: &Scenario) -> (u64, u32) {
    let rooms = rooms(scenario);
    let calls = rooms.iter().map(|room| room.members.len() as u64).sum();
    let speakers = rooms.iter().map(|room| room.publishers().count()).max().unwrap_or(0);
    (calls, u32::try_from(speakers).unwrap_or(u32::MAX))
}

/// The calls with the server. Everybody stays until the last who came has been there for the load's `hold`.
pub(super) fn calls(scenario: &Scenario) -> Vec<CallPlan> {
    let (load, seed) = (&scenario.load, scenario.seed);
    let mut used = BTreeMap::new();
    let rooms = rooms(scenario);
    let mut starts = arrivals::counted(load, seed, "");
    let mut calls = Vec::new();
    for room in &rooms {
        let came: Vec<(&Member, u64)> =
            room.members.iter().map(|member| (member, starts.next().unwrap_or(u64::MAX))).collect();
        let last = came.iter().map(|(_, start)| *start).max().unwrap_or(0);
        let together_us = arrivals::hold_us(load, seed, &room_name(scenario, room.number));
        let over = last.saturating_add(SETTLING_US).saturating_add(together_us);
        calls.extend(came.into_iter().map(|(member, start_us)| CallPlan {
            id: format!("room-{}/{}", room.number, member.id),
            set: SET.into(),
            room: room_name(scenario, room.number),
            offerer: PeerPlan {
                id: member.id.clone(),
                group: member.group.clone(),
                person: None,
                site: None,
                direction: Some(member.direction),
            },
            answerer: next_peer(&mut used, SERVER),
            start_us,
            hold_us: over - start_us,
            policy: None,
            media: Some(MediaPlan { video: None, audio: true, data: None }),
            cell: None,
            feed: None,
            mix: Some(mix(room, member, together_us)),
        }));
    }
    calls.sort_by_key(|call| call.start_us);
    calls
}

fn mix(room: &Room, member: &Member, together_us: u64) -> MixPlan {
    let speakers = room.publishers().zip(0..).map(|(speaker, number)| (speaker, tone::frequency(number)));
    let (own, others): (Vec<_>, Vec<_>) = speakers.partition(|(speaker, _)| speaker.id == member.id);
    MixPlan {
        own_hz: own.first().map(|(_, hz)| *hz),
        others: others.into_iter().map(|(speaker, hz)| SpeakerPlan { peer: speaker.id.clone(), hz }).collect(),
        together_us,
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Overrides, load};

    fn plan(text: &str) -> Result<crate::plan::Plan, String> {
        let text = format!(
            "name = \"m\"\n[signaling]\nprotocol = \"janus\"\nurl = \"wss://127.0.0.1:8989\"\njanus = {{ plugin = \"audiobridge\" }}\n\
             [topology]\nkind = \"mcu\"\n{text}"
        );
        load("m.toml", &text, &Overrides::default()).map(|loaded| loaded.plan).map_err(|errors| errors.to_string())
    }

    #[test]
    fn everybody_has_a_tone_and_hears_all_others() {
        let plan = plan(
            "[[peers]]\nname = \"speaker\"\ncount = 3\n[[peers]]\nname = \"listener\"\ndirection = \"recvonly\"\n\
             [load]\narrivals = \"1/s\"\nhold = \"4s\"\n",
        )
        .unwrap();
        assert_eq!(plan.calls.len(), 4);
        let over: Vec<u64> = plan.calls.iter().map(|call| call.start_us + call.hold_us).collect();
        assert!(over.iter().all(|end| *end == 3_000_000 + 2_000_000 + 4_000_000), "all stay: {over:?}");
        for call in &plan.calls {
            let mix = call.mix.as_ref().unwrap();
            let speaks = call.offerer.group == "speaker";
            assert_eq!((mix.own_hz.is_some(), mix.others.len()), (speaks, if speaks { 2 } else { 3 }));
            assert!(mix.others.iter().all(|other| other.peer != call.offerer.id && Some(other.hz) != mix.own_hz));
            assert_eq!(mix.speakers(), 3);
        }
        let written = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<crate::plan::Plan>(&written).unwrap().calls, plan.calls);
    }

    #[test]
    fn a_room_has_as_many_speakers_as_there_are_tones() {
        assert!(plan("[[peers]]\ncount = 20\n").is_ok());
        let error = plan("[[peers]]\ncount = 21\n").unwrap_err();
        assert!(error.contains("only 20 speakers") && error.contains("count"), "{error}");
        assert!(plan("[[peers]]\ncount = 2\ndirection = \"recvonly\"\n").unwrap_err().contains("nobody sends"));
        assert!(plan("size = 3\n[[peers]]\ncount = 2\n").unwrap_err().contains("`size` is for rooms"));
    }
}
