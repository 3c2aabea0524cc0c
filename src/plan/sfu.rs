//! Rooms of a server that passes media on (SFU): who sends publishes once, and who receives subscribes to everybody else.
//!
//! Each of both is a call with the server as its other end, and so has a peer connection and a signaling connection of its own.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arrivals;
use super::expand::{media, next_peer};
use super::rooms::{Overfull, SHORTEST_US, Stay, pairs, people_of_groups, stays};
use super::{CallPlan, MediaDirection, MediaPlan, PeerPlan};
use crate::scenario::{Peers, Scenario, SignalingProtocol};

/// The name of the group that stands for the server.
pub(crate) const SERVER: &str = "server";
/// The sets of calls.
pub(crate) const SETS: [&str; 2] = ["publish", "subscribe"];

/// How long the last publisher is up before somebody subscribes, and how long the last one stays on after they left: pages of
/// browsers take their time to load.
fn around_us(scenario: &Scenario) -> u64 {
    let has_browsers = scenario.peers.iter().any(|group| group.engine().is_browser());
    if has_browsers { 10_000_000 } else { 2_000_000 }
}

/// Somebody whose media a server passes on.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FeedPlan {
    /// The peer that publishes.
    pub peer: String,
    /// The name of its group.
    pub group: String,
}

/// How many people each group sends into the rooms over time, if the load says so, and how many calls there are with the server.
pub(crate) fn size(scenario: &Scenario) -> Result<(Option<Vec<u32>>, u64), Overfull> {
    if !scenario.load.is_timed() {
        return Ok((None, all_together(scenario).len() as u64));
    }
    let stays = stays(scenario)?;
    Ok((Some(people_of_groups(scenario, &stays)), over_time(scenario, &stays).len() as u64))
}

/// The calls with the server.
pub(super) fn calls(scenario: &Scenario, base: &Path) -> Result<Vec<CallPlan>, Overfull> {
    let mut used = BTreeMap::new();
    // WHEP is the only protocol in which who plays offers.
    let clients_offer = scenario.signaling.protocol == SignalingProtocol::Whip;
    let media = MediaPlan { data: None, ..media(&scenario.media, base) };
    let call = |session: Session| {
        let Session { room, member, feed, start_us, hold_us } = session;
        let server = next_peer(&mut used, SERVER);
        let id = session_id(&member, feed.as_ref());
        let direction = if feed.is_some() { MediaDirection::RecvOnly } else { MediaDirection::SendOnly };
        let peer =
            PeerPlan { id: id.clone(), group: member.group, person: None, site: None, direction: Some(direction) };
        let (set, offerer, answerer) = match feed {
            None => (SETS[0], peer, server),
            Some(_) if clients_offer => (SETS[1], peer, server),
            Some(_) => (SETS[1], server, peer),
        };
        CallPlan {
            id: format!("room-{room}/{id}"),
            set: set.into(),
            room: room_name(scenario, room),
            offerer,
            answerer,
            start_us,
            hold_us,
            policy: None,
            media: Some(media.clone()),
            cell: None,
            feed: feed.map(|feed| FeedPlan { peer: feed.id, group: feed.group }),
            mix: None,
        }
    };
    let mut calls: Vec<CallPlan> = sessions(scenario)?.into_iter().map(call).collect();
    calls.sort_by_key(|call| call.start_us);
    Ok(calls)
}

/// Somebody who publishes, or subscribes to a feed.
struct Session {
    room: u32,
    member: Member,
    feed: Option<Member>,
    start_us: u64,
    hold_us: u64,
}

/// The name of a session, and of its peer.
fn session_id(member: &Member, feed: Option<&Member>) -> String {
    match feed {
        None => member.id.clone(),
        Some(feed) => format!("{}-{}", member.id, feed.id),
    }
}

fn sessions(scenario: &Scenario) -> Result<Vec<Session>, Overfull> {
    if scenario.load.is_timed() { Ok(over_time(scenario, &stays(scenario)?)) } else { Ok(all_together(scenario)) }
}

/// Everybody comes once: who publishes first, and stays until the last subscriber has left.
fn all_together(scenario: &Scenario) -> Vec<Session> {
    let (load, seed) = (&scenario.load, scenario.seed);
    let rooms = rooms(scenario);
    let mut starts = arrivals::counted(load, seed, "");
    let publishers = rooms.iter().flat_map(|room| room.publishers().map(|member| (room.number, member)));
    let publishing: Vec<(u32, &Member, u64)> =
        publishers.zip(&mut starts).map(|((room, member), start_us)| (room, member, start_us)).collect();
    let subscribers_come = publishing.iter().map(|(.., start_us)| *start_us).max().unwrap_or(0) + around_us(scenario);

    let starts = arrivals::counted(load, seed, "");
    let subscriptions =
        rooms.iter().flat_map(|room| room.subscriptions().map(|(member, feed)| (room.number, member, feed)));
    let subscribing = subscriptions.zip(starts).map(|((room, member, feed), offset_us)| Session {
        room,
        member: member.clone(),
        feed: Some(feed.clone()),
        start_us: subscribers_come.saturating_add(offset_us),
        hold_us: arrivals::hold_us(load, seed, &session_id(member, Some(feed))),
    });
    let mut sessions: Vec<Session> = subscribing.collect();
    let ends = sessions.iter().map(|session| session.start_us.saturating_add(session.hold_us));
    let over = ends.max().unwrap_or(0).max(subscribers_come) + around_us(scenario);
    sessions.extend(publishing.into_iter().map(|(room, member, start_us)| Session {
        room,
        member: member.clone(),
        feed: None,
        start_us,
        hold_us: over.saturating_sub(start_us),
    }));
    sessions
}

/// People come and leave: each publishes all the time, and subscribes to whom it meets, while that one is up.
fn over_time(scenario: &Scenario, stays: &[Stay]) -> Vec<Session> {
    let groups: Vec<_> = scenario.peers.iter().map(|group| (group.name(), group.direction)).collect();
    let member = |stay: &Stay| {
        let (name, direction) = groups[stay.group];
        Member { id: stay.person(scenario), group: name.into(), direction }
    };
    let publishes = |stay: &Stay| groups[stay.group].1.sends();
    let publishing = stays.iter().filter(|stay| publishes(stay)).map(|stay| Session {
        room: stay.room,
        member: member(stay),
        feed: None,
        start_us: stay.join_us,
        hold_us: stay.leave_us - stay.join_us,
    });
    let (meetings, around_us) = (pairs(stays), around_us(scenario));
    let ways = meetings.iter().flat_map(|&(earlier, later)| [(earlier, later), (later, earlier)]);
    let subscribing = ways.filter_map(|(viewer, feed)| {
        let (viewer, feed) = (&stays[viewer], &stays[feed]);
        let start_us = viewer.join_us.max(feed.join_us + around_us);
        let hold_us = viewer.leave_us.min(feed.leave_us.saturating_sub(around_us)).saturating_sub(start_us);
        let wanted = groups[viewer.group].1.receives() && publishes(feed) && hold_us >= SHORTEST_US;
        let (room, feed) = (viewer.room, Some(member(feed)));
        wanted.then(|| Session { room, member: member(viewer), feed, start_us, hold_us })
    });
    publishing.chain(subscribing).collect()
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

/// The room's name on the server.
pub(super) fn room_name(scenario: &Scenario, number: u32) -> String {
    format!("{}-{number}", scenario.name)
}

impl Room {
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

    #[test]
    fn over_time_who_meets_subscribes_while_the_other_publishes() {
        let plan = plan(
            "count = 2\nsize = 4\n[load]\narrivals = \"30/min\"\nduration = \"1min\"\nhold = \"12s\"\n\
             [[peers]]\nname = \"speaker\"\n[[peers]]\nname = \"viewer\"\ndirection = \"recvonly\"\n",
        );
        let (publishing, subscribing): (Vec<_>, Vec<_>) = plan.calls.iter().partition(|call| call.feed.is_none());
        assert_eq!(publishing.len(), 15, "every second of thirty publishes");
        assert!(subscribing.len() > 15, "{}", subscribing.len());
        for call in &subscribing {
            let feed = call.feed.as_ref().unwrap();
            let source = publishing.iter().find(|publish| publish.offerer.id == feed.peer).unwrap();
            assert_eq!(source.room, call.room);
            assert!(call.start_us >= source.start_us + 2_000_000, "{}", call.id);
            assert!(call.start_us + call.hold_us + 2_000_000 <= source.start_us + source.hold_us, "{}", call.id);
        }
        // 12 s each: nobody who publishes for longer than that, and 6 at a time in two rooms of 4.
        assert!(publishing.iter().all(|call| call.hold_us == 12_000_000));
        let mut groups: Vec<_> = plan.groups.iter().map(|group| group.name.as_str()).collect();
        groups.sort_unstable();
        assert_eq!(groups, ["server", "speaker", "viewer"]);
    }
}
