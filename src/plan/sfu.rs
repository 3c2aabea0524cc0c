//! Rooms of a server that passes media on (SFU): who sends publishes once, and who receives subscribes to everybody else.
//!
//! Each of both is a call with the server as its other end, and so has a peer connection and a signaling connection of its own.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arrivals;
use super::expand::{media, next_peer};
use super::{CallPlan, MediaDirection, MediaPlan, PeerPlan};
use crate::scenario::{Peers, Scenario, SignalingProtocol};

/// The name of the group that stands for the server.
pub(crate) const SERVER: &str = "server";
/// The sets of calls.
pub(crate) const SETS: [&str; 2] = ["publish", "subscribe"];

/// How long the last publisher is up before somebody subscribes, and how long the last one stays on after they left.
const AROUND_US: u64 = 2_000_000;

/// Somebody whose media a server passes on.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FeedPlan {
    /// The peer that publishes.
    pub peer: String,
    /// The name of its group.
    pub group: String,
}

/// Who is in which room, and how many calls there are with the server.
pub(crate) fn size(scenario: &Scenario) -> u64 {
    rooms(scenario).iter().map(|room| room.publishers().count() as u64 + room.subscriptions().count() as u64).sum()
}

/// The calls with the server.
pub(super) fn calls(scenario: &Scenario, base: &Path) -> Vec<CallPlan> {
    let (load, seed) = (&scenario.load, scenario.seed);
    let rooms = rooms(scenario);
    let mut used = BTreeMap::new();
    let mut starts = arrivals::counted(load, seed, "");
    let mut start = || starts.next().unwrap_or(u64::MAX);
    let publishing: Vec<(&Room, &Member, u64)> = rooms
        .iter()
        .flat_map(|room| room.publishers().map(move |it| (room, it)))
        .map(|(a, b)| (a, b, start()))
        .collect();
    let subscribers_come = publishing.iter().map(|(_, _, start)| *start).max().unwrap_or(0) + AROUND_US;
    let mut starts = arrivals::counted(load, seed, "");
    // WHEP is the only protocol in which who plays offers.
    let clients_offer = scenario.signaling.protocol == SignalingProtocol::Whip;
    let media = MediaPlan { data: None, ..media(&scenario.media, base) };

    let mut calls = Vec::new();
    let mut add = |room: &Room, member: &Member, feed: Option<&Member>, start_us: u64, hold_us: u64| {
        let server = next_peer(&mut used, SERVER);
        let name = room.name(scenario);
        let peer = |id: String, direction| PeerPlan {
            id,
            group: member.group.clone(),
            person: None,
            site: None,
            direction: Some(direction),
        };
        let (id, set, offerer, answerer) = match feed {
            None => {
                let offerer = peer(member.id.clone(), MediaDirection::SendOnly);
                (format!("room-{}/{}", room.number, member.id), SETS[0], offerer, server)
            }
            Some(feed) => {
                let id = format!("{}-{}", member.id, feed.id);
                let viewer = peer(id.clone(), MediaDirection::RecvOnly);
                let (offerer, answerer) = if clients_offer { (viewer, server) } else { (server, viewer) };
                (format!("room-{}/{id}", room.number), SETS[1], offerer, answerer)
            }
        };
        calls.push(CallPlan {
            id,
            set: set.into(),
            room: name,
            offerer,
            answerer,
            start_us,
            hold_us,
            policy: None,
            media: Some(media.clone()),
            cell: None,
            feed: feed.map(|feed| FeedPlan { peer: feed.id.clone(), group: feed.group.clone() }),
            mix: None,
        });
    };
    let mut over = subscribers_come;
    for room in &rooms {
        for (member, feed) in room.subscriptions() {
            let start_us = subscribers_come.saturating_add(starts.next().unwrap_or(u64::MAX));
            let hold_us = arrivals::hold_us(load, seed, &format!("{}-{}", member.id, feed.id));
            over = over.max(start_us.saturating_add(hold_us));
            add(room, member, Some(feed), start_us, hold_us);
        }
    }
    for (room, member, start_us) in publishing {
        add(room, member, None, start_us, (over + AROUND_US).saturating_sub(start_us));
    }
    calls.sort_by_key(|call| call.start_us);
    calls
}

/// One room.
pub(super) struct Room {
    pub(super) number: u32,
    pub(super) members: Vec<Member>,
}

/// One person in it.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) direction: MediaDirection,
}

impl Room {
    /// Its name on the server.
    pub(super) fn name(&self, scenario: &Scenario) -> String {
        format!("{}-{}", scenario.name, self.number)
    }

    /// Who sends.
    pub(super) fn publishers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.direction.sends())
    }

    /// Who receives, with whose media.
    fn subscriptions(&self) -> impl Iterator<Item = (&Member, &Member)> {
        let receivers = self.members.iter().filter(|member| member.direction.receives());
        receivers.flat_map(|member| {
            self.publishers().filter(move |feed| feed.id != member.id).map(move |feed| (member, feed))
        })
    }
}

/// People of each group take turns with the rooms.
pub(super) fn rooms(scenario: &Scenario) -> Vec<Room> {
    let count = scenario.topology.count.unwrap_or(1).max(1);
    let mut rooms: Vec<Room> = (0..count).map(|number| Room { number, members: Vec::new() }).collect();
    for group in scenario.peers.iter().filter(|group| group.name() != SERVER) {
        for number in 0..group.count.unwrap_or(1) {
            rooms[(number % count) as usize].members.push(member(group, number));
        }
    }
    rooms
}

fn member(group: &Peers, number: u32) -> Member {
    let name = group.name();
    Member { id: format!("{name}/{number}"), group: name.into(), direction: group.direction }
}

#[cfg(test)]
mod tests {
    use crate::plan::MediaDirection;
    use crate::scenario::{Overrides, load};

    fn plan(text: &str) -> crate::plan::Plan {
        let text = format!(
            "name = \"s\"\n[signaling]\nprotocol = \"janus\"\nurl = \"wss://127.0.0.1:8989\"\njanus = {{ plugin = \"videoroom\" }}\n\
             [topology]\nkind = \"sfu\"\n{text}"
        );
        load("s.toml", &text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn who_sends_publishes_and_who_receives_subscribes_to_all_others() {
        let plan = plan(
            "[[peers]]\nname = \"speaker\"\ncount = 2\n[[peers]]\nname = \"viewer\"\ncount = 3\ndirection = \"recvonly\"\n",
        );
        let of = |set: &str| plan.calls.iter().filter(|call| call.set == set).collect::<Vec<_>>();
        let (publish, subscribe) = (of("publish"), of("subscribe"));
        assert_eq!((publish.len(), subscribe.len()), (2, 8), "each speaker one, each viewer two");
        assert!(publish.iter().all(|call| call.offerer.direction == Some(MediaDirection::SendOnly)));
        let first = subscribe.iter().find(|call| call.answerer.id == "viewer/0-speaker/1").unwrap();
        assert_eq!(first.feed.as_ref().map(|feed| feed.peer.as_str()), Some("speaker/1"));
        let up = publish.iter().map(|call| call.start_us).max().unwrap();
        let over = publish.iter().map(|call| call.start_us + call.hold_us).min().unwrap();
        assert!(subscribe.iter().all(|call| call.start_us > up && call.start_us + call.hold_us < over));
        assert!(plan.calls.iter().all(|call| call.media.as_ref().is_some_and(|media| media.data.is_none())));
    }

    #[test]
    fn people_are_spread_over_the_rooms() {
        let plan = plan("count = 2\n[[peers]]\ncount = 4\n");
        let in_room = |room: &str| plan.calls.iter().filter(|call| call.room == room).count();
        assert_eq!((in_room("s-0"), in_room("s-1")), (4, 4));
    }
}
