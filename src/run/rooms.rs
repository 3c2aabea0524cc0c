//! People in rooms: each comes at its time, holds its signaling connection, and leaves when its time and its calls are over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::call::Stage;
use crate::plan::{CallPlan, PeerPlan, Plan};
use crate::signaling::client::{Directory, Member, Seat};

/// How long a good-bye may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Everybody who comes.
pub(super) struct Rooms {
    people: HashMap<String, Person>,
}

struct Person {
    member: Arc<Member>,
    calls: watch::Sender<Calls>,
}

/// The calls of a person.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    /// Those that have not begun.
    ahead: usize,
    /// Those that last.
    now: usize,
}

/// A call of a person, for as long as it lasts.
pub(super) struct InCall<'a>(&'a watch::Sender<Calls>);

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| calls.now -= 1);
    }
}

impl Rooms {
    /// Nobody has come yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut directories: HashMap<&str, Directory> = HashMap::new();
        let mut ahead: HashMap<&str, usize> = HashMap::new();
        for peer in plan.calls.iter().flat_map(|call| [&call.offerer, &call.answerer]) {
            if let Some(person) = &peer.person {
                *ahead.entry(person).or_default() += 1;
            }
        }
        let people = plan.members.iter().map(|member| {
            let directory = directories.entry(&member.room).or_default().clone();
            let calls = Calls { ahead: ahead.get(member.id.as_str()).copied().unwrap_or(0), now: 0 };
            let person =
                Person { member: Arc::new(Member::new(&member.id, directory)), calls: watch::Sender::new(calls) };
            (member.id.clone(), person)
        });
        Self { people: people.collect() }
    }

    /// The peer's place at the connection of its person, if it has one.
    pub(super) fn seat(&self, of: &PeerPlan, with: &PeerPlan) -> Option<Seat> {
        let member = Arc::clone(&self.people.get(of.person.as_ref()?)?.member);
        Some(Seat { member, other: with.person.as_deref()?.into() })
    }

    /// Says of both people of a call that it begins.
    pub(super) fn begin(&self, call: &CallPlan) -> Vec<InCall<'_>> {
        let people =
            [&call.offerer, &call.answerer].into_iter().filter_map(|peer| self.people.get(peer.person.as_ref()?));
        people
            .map(|person| {
                person.calls.send_modify(|calls| {
                    calls.ahead -= 1;
                    calls.now += 1;
                });
                InCall(&person.calls)
            })
            .collect()
    }
}

/// The stay of the person with this number, who comes now.
pub(super) async fn attend(stage: Arc<Stage>, number: usize) {
    let plan = &stage.plan.members[number];
    let Some(person) = stage.rooms.people.get(&plan.id) else { return };
    let deadline = Duration::from_micros(stage.plan.deadlines.join_us);
    let enter = timeout(deadline, person.member.enter(&stage.surroundings.machine.signaling, &plan.room));
    tokio::select! {
        entered = enter => if entered.is_err() {
            person.member.give_up(deadline);
        },
        () = stage.cancel.cancelled() => {}
    }

    let until = stage.load_start + Duration::from_micros(plan.leave_us);
    let mut calls = person.calls.subscribe();
    let planned = async {
        sleep_until(until.into()).await;
        let _ = calls.wait_for(|calls| calls.ahead == 0 && calls.now == 0).await;
    };
    tokio::select! {
        () = planned => {}
        () = stage.cancel.cancelled() => {
            let _ = person.calls.subscribe().wait_for(|calls| calls.now == 0).await;
        }
    }
    let _ = timeout(FAREWELL, person.member.leave()).await;
}
