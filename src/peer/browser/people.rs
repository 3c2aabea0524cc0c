//! The people of a run: those who have joined wait here until their calls begin.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::driver::Unavailable;
use super::link::Link;
use super::peer::{BrowserPeer, brief};
use super::pool::{BrowserInfo, codecs};
use crate::peer::{Peer, PeerContext};
use crate::plan::{CallPlan, Engine, GroupPlan, Plan};
use crate::record::{Failure, Phase};
use crate::signaling::server::{Guest, Reception};

/// Who has joined, by the peer that they are.
#[derive(Debug, Default)]
pub struct People {
    guests: Mutex<BTreeMap<String, Guest>>,
}

impl People {
    /// Waits until all people of the plan have joined, for as long as the most patient of their groups; `told` hears how many
    /// have. For each group: what its people came with, or why it cannot take part.
    pub async fn gather(
        &self,
        plan: &Plan,
        reception: Reception,
        told: impl FnMut(usize),
    ) -> BTreeMap<String, Result<BrowserInfo, Unavailable>> {
        let wait = Duration::from_micros(longest_wait(plan));
        tokio::select! {
            () = reception.all_joined(told) => {}
            () = sleep(wait) => {}
        }
        let guests = reception.close();
        let mut groups = BTreeMap::new();
        for group in plan.groups.iter().filter(|group| group.engine == Engine::Human) {
            if let Some(info) = look(plan, group, &guests).await {
                groups.insert(group.name.clone(), info);
            }
        }
        *self.guests.lock().unwrap_or_else(PoisonError::into_inner) = guests;
        groups
    }

    /// Makes a peer of the person who has joined as this one.
    ///
    /// # Errors
    ///
    /// When the person is gone, or the page has no media source.
    pub async fn create(&self, context: PeerContext) -> Result<Box<dyn Peer>, Failure> {
        let failure = |reason: String| context.failure(Phase::Start, reason);
        let guest = self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(context.recorder.peer());
        let guest = guest.ok_or_else(|| failure("nobody has joined as this peer".into()))?;
        let deadline = Duration::from_micros(context.plan.deadlines.start_us);
        match timeout(deadline, BrowserPeer::prepare(context.clone(), Link::Person(guest))).await {
            Ok(made) => Ok(Box::new(made?)),
            Err(_) => Err(failure(format!("the person's browser is not ready after {} s", deadline.as_secs_f64()))),
        }
    }

    /// Says good-bye to those whose calls did not begin.
    pub fn dismiss(&self) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How long the run waits, in microseconds.
pub(crate) fn longest_wait(plan: &Plan) -> u64 {
    plan.groups.iter().filter_map(|group| group.wait_us).max().unwrap_or(0)
}

/// Whether everybody of a group is there and can do what the plan asks for; absent for a group without calls.
async fn look(
    plan: &Plan,
    group: &GroupPlan,
    guests: &BTreeMap<String, Guest>,
) -> Option<Result<BrowserInfo, Unavailable>> {
    let peers: Vec<&str> = plan.people().filter(|peer| peer.group == group.name).map(|peer| peer.id.as_str()).collect();
    if peers.is_empty() {
        return None;
    }
    let came: Vec<&Guest> = peers.iter().filter_map(|peer| guests.get(*peer)).collect();
    if came.len() < peers.len() {
        let waited = Duration::from_micros(longest_wait(plan));
        return Some(Err(Unavailable::Nobody { joined: came.len(), of: peers.len(), waited }));
    }
    let calls: Vec<&CallPlan> = plan
        .calls
        .iter()
        .filter(|call| [&call.offerer, &call.answerer].iter().any(|peer| peer.group == group.name))
        .collect();
    let codecs = codecs(plan, &calls);
    for guest in &came {
        let incapable = |reason| Some(Err(Unavailable::Incapable { engine: Engine::Human.name(), reason }));
        match guest.call("capable", vec![json!(codecs)]).await {
            Ok(Value::Null) => {}
            Ok(Value::String(reason)) => return incapable(format!("{} ({})", brief(&reason), guest.agent)),
            Ok(answer) => return incapable(brief(&format!("the page says {answer}"))),
            Err(error) => return incapable(error.to_string()),
        }
    }
    let media = |guest: &&Guest| if guest.camera { "camera and microphone" } else { "test picture and tone" };
    let agents: Vec<String> = came.iter().map(|guest| format!("{}, {}", guest.agent, media(guest))).collect();
    Some(Ok(BrowserInfo { engine: Engine::Human, browser_version: agents.join("; "), driver_version: None }))
}
