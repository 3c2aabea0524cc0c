//! Who is in which room with whom: a full mesh, spelled out as one call per pair of people.
//!
//! A call begins when the later of its two people comes, who offers to everybody present, and lasts until the first of
//! them is to leave. Two people whose stays overlap by less than [`SHORTEST_US`] do not call each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::arrivals;
use super::{CallPlan, Engine, MemberPlan, PeerPlan};
use crate::scenario::{Load, Peers, Scenario};

/// The name of the set of all calls in rooms.
pub(crate) const SET: &str = "rooms";

/// The shortest time that two people spend together, as of any call.
pub(super) const SHORTEST_US: u64 = 100_000;

/// More people at once than the rooms have seats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Overfull {
    /// When there is no seat for the first time, in microseconds.
    pub(crate) at_us: u64,
    /// How many seats there are.
    pub(crate) seats: u64,
}

/// How many people each group sends into the rooms, and how many calls they make.
pub(crate) fn size_of_rooms(scenario: &Scenario) -> Result<(Vec<u32>, u64), Overfull> {
    let stays = stays(scenario)?;
    Ok((people_of_groups(scenario, &stays), pairs(&stays).len() as u64))
}

/// How many of these people are of each group.
pub(super) fn people_of_groups(scenario: &Scenario, stays: &[Stay]) -> Vec<u32> {
    let mut groups = vec![0; scenario.peers.len()];
    stays.iter().for_each(|stay| groups[stay.group] += 1);
    groups
}

/// The people and their calls.
pub(super) fn rooms(scenario: &Scenario) -> Result<(Vec<MemberPlan>, Vec<CallPlan>), Overfull> {
    let stays = stays(scenario)?;
    let pairs = pairs(&stays);
    let mut meets = BTreeSet::new();
    let calls = pairs.iter().map(|&(earlier, later)| {
        meets.extend([earlier, later]);
        let (first, second) = (&stays[earlier], &stays[later]);
        CallPlan {
            id: format!("room-{}/{}-{}", second.room, first.seat, second.seat),
            set: SET.into(),
            room: room(scenario, second.room),
            offerer: peer(scenario, second, first),
            answerer: peer(scenario, first, second),
            start_us: second.join_us,
            hold_us: together(first, second),
            policy: None,
            media: None,
            cell: None,
            feed: None,
            mix: None,
        }
    });
    let calls = calls.collect();
    let members = meets.into_iter().map(|index| {
        let stay = &stays[index];
        let room = room(scenario, stay.room);
        MemberPlan { id: stay.person(scenario), room, join_us: stay.join_us, leave_us: stay.leave_us }
    });
    Ok((members.collect(), calls))
}

/// One person in a room.
pub(super) struct Stay {
    /// The index of the person's group.
    pub(super) group: usize,
    /// Which of the group's people it is.
    number: u32,
    pub(super) room: u32,
    /// How many came into the room before.
    seat: u32,
    pub(super) join_us: u64,
    pub(super) leave_us: u64,
}

impl Stay {
    pub(super) fn person(&self, scenario: &Scenario) -> String {
        format!("{}/{}", scenario.peers[self.group].name(), self.number)
    }
}

/// Everybody who comes, in the order of coming; people of the groups take turns.
pub(super) fn stays(scenario: &Scenario) -> Result<Vec<Stay>, Overfull> {
    let (load, seed) = (&scenario.load, scenario.seed);
    let (size, rooms) = (scenario.topology.size.unwrap_or(2), scenario.topology.count.unwrap_or(1));
    // A server that passes media on is a group as well, and nobody who comes.
    let is_people = |group: &Peers| group.engine() != Engine::External;
    let groups: Vec<usize> = (0..scenario.peers.len()).filter(|index| is_people(&scenario.peers[*index])).collect();
    let arrivals = arrivals(load, seed, u64::from(size) * u64::from(rooms));
    let mut seats = load.is_timed().then(|| Seats::new(size, rooms));
    let mut came: BTreeMap<u32, u32> = BTreeMap::new();
    let mut stays = Vec::with_capacity(arrivals.len());
    for (index, join_us) in arrivals.into_iter().enumerate() {
        let Some(&group) = groups.get(index % groups.len().max(1)) else { break };
        let number = u32::try_from(index / groups.len()).unwrap_or(u32::MAX);
        let name = scenario.peers[group].name();
        let leave_us = join_us.saturating_add(arrivals::hold_us(load, seed, &format!("{name}/{number}")));
        let room = match &mut seats {
            Some(seats) => seats.take(join_us, leave_us)?,
            None => u32::try_from(index as u64 / u64::from(size)).unwrap_or(u32::MAX),
        };
        let came = came.entry(room).or_default();
        stays.push(Stay { group, number, room, seat: *came, join_us, leave_us });
        *came += 1;
    }
    Ok(stays)
}

/// When people come: as many as there are seats, unless the load says how many.
fn arrivals(load: &Load, seed: u64, seats: u64) -> Vec<u64> {
    if load.is_timed() {
        return arrivals::timed(load, seed);
    }
    arrivals::counted(load, seed, "").take(usize::try_from(seats).unwrap_or(usize::MAX)).collect()
}

/// Free seats over time.
struct Seats {
    size: u32,
    /// Rooms by how many people are in each.
    by_people: Vec<BTreeSet<u32>>,
    people: Vec<u32>,
    /// Who leaves next, from which room.
    leaving: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Seats {
    fn new(size: u32, rooms: u32) -> Self {
        let mut by_people = vec![BTreeSet::new(); size as usize + 1];
        by_people[0] = (0..rooms).collect();
        Self { size, by_people, people: vec![0; rooms as usize], leaving: BinaryHeap::new() }
    }

    /// A seat in the room that has the most people but not all: who comes is to meet somebody.
    fn take(&mut self, now_us: u64, leave_us: u64) -> Result<u32, Overfull> {
        while let Some(Reverse((at_us, room))) = self.leaving.peek().copied()
            && at_us <= now_us
        {
            self.leaving.pop();
            self.change(room, -1);
        }
        let full = Overfull { at_us: now_us, seats: u64::from(self.size) * self.people.len() as u64 };
        let free = self.by_people[..self.size as usize].iter().rev().find_map(|rooms| rooms.first().copied());
        let room = free.ok_or(full)?;
        self.change(room, 1);
        self.leaving.push(Reverse((leave_us, room)));
        Ok(room)
    }

    fn change(&mut self, room: u32, by: i32) {
        let people = &mut self.people[room as usize];
        self.by_people[*people as usize].remove(&room);
        *people = people.saturating_add_signed(by);
        self.by_people[*people as usize].insert(room);
    }
}

/// Who meets whom, as indices, the earlier first; by the time at which the later comes.
pub(super) fn pairs(stays: &[Stay]) -> Vec<(usize, usize)> {
    let mut present: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (later, stay) in stays.iter().enumerate() {
        let room = present.entry(stay.room).or_default();
        room.retain(|earlier| stays[*earlier].leave_us > stay.join_us);
        pairs.extend(
            room.iter()
                .filter(|earlier| together(&stays[**earlier], stay) >= SHORTEST_US)
                .map(|&earlier| (earlier, later)),
        );
        room.push(later);
    }
    pairs
}

/// How long two people are in the room at the same time, in microseconds.
fn together(earlier: &Stay, later: &Stay) -> u64 {
    earlier.leave_us.min(later.leave_us).saturating_sub(later.join_us)
}

/// The end of a call with another person.
fn peer(scenario: &Scenario, of: &Stay, with: &Stay) -> PeerPlan {
    let person = of.person(scenario);
    let group = scenario.peers[of.group].name().to_owned();
    PeerPlan { id: format!("{person}-{}", with.seat), group, person: Some(person), site: None, direction: None }
}

fn room(scenario: &Scenario, number: u32) -> String {
    format!("{}-room-{number}", scenario.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, load};

    fn plan(text: &str) -> crate::plan::Plan {
        let text = format!("name = \"r\"\n[[peers]]\n[topology]\nkind = \"rooms\"\n{text}");
        load("r.toml", &text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn everybody_in_a_room_calls_everybody_else_in_it() {
        let plan = plan("size = 4\ncount = 100\n");
        assert_eq!((plan.members.len(), plan.calls.len()), (400, 600));
        let first: Vec<_> = plan.calls.iter().take(6).map(|call| call.id.as_str()).collect();
        assert_eq!(first, ["room-0/0-1", "room-0/0-2", "room-0/1-2", "room-0/0-3", "room-0/1-3", "room-0/2-3"]);
        let call = &plan.calls[1];
        assert_eq!((call.offerer.id.as_str(), call.answerer.id.as_str()), ("native/2-0", "native/0-2"));
        assert_eq!(call.offerer.person.as_deref(), Some("native/2"));
        assert_eq!((call.room.as_str(), call.set.as_str(), call.hold_us), ("r-room-0", "rooms", 5_000_000));
    }

    #[test]
    fn a_call_lasts_from_the_coming_of_the_second_to_the_leaving_of_the_first() {
        let plan = plan("size = 3\n[load]\narrivals = \"1/s\"\nhold = \"1500ms\"\n");
        let calls: Vec<_> = plan.calls.iter().map(|call| (call.id.as_str(), call.start_us, call.hold_us)).collect();
        // The first leaves at 1.5 s, before the third comes.
        assert_eq!(calls, [("room-0/0-1", 1_000_000, 500_000), ("room-0/1-2", 2_000_000, 500_000)]);
        assert_eq!(plan.members[1].join_us..plan.members[1].leave_us, 1_000_000..2_500_000);
    }

    #[test]
    fn over_time_people_take_the_seats_of_those_who_left() {
        let plan = plan("size = 3\ncount = 4\n[load]\narrivals = \"2/s\"\nduration = \"60s\"\nhold = \"4s\"\n");
        // 2 per second for 4 s: 8 people at a time, in rooms of 3 that fill up one after the other.
        for second in 4..60_u64 {
            let at = second * 1_000_000 + 1;
            let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
            for member in plan.members.iter().filter(|member| member.join_us <= at && at < member.leave_us) {
                *rooms.entry(&member.room).or_default() += 1;
            }
            assert!(rooms.values().all(|people| *people <= 3), "{rooms:?}");
            assert!((7..=8).contains(&rooms.values().sum::<usize>()), "{rooms:?}");
        }
    }

    #[test]
    fn people_of_several_groups_take_turns() {
        let text = "name = \"r\"\n[[peers]]\nname = \"a\"\n[[peers]]\nname = \"b\"\ndirection = \"recvonly\"\n\
                    [topology]\nkind = \"rooms\"\nsize = 2\ncount = 2\n";
        let plan = load("r.toml", text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let people: Vec<_> = plan.members.iter().map(|member| member.id.as_str()).collect();
        assert_eq!(people, ["a/0", "b/0", "a/1", "b/1"]);
    }
}
