//! One call from its intended start to its end: the only order in which a peer's methods are called.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::time::{MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::network::Network;
use super::phases;
use super::rooms::Rooms;
use super::traffic::Traffic;
use crate::peer::network::PeerNetwork;
use crate::peer::{Engines, Peer, PeerContext, Sent, Snapshot, WaitingFor};
use crate::plan::{CallPlan, GroupPlan, Plan, Role};
use crate::record::{EventKind, Failure, Mark, Metric, PeerRecorder, Phase, Recorder};

/// How often counters are read while media flows.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the other end is listened to once one has failed: deadlines of both expire together, and what ails a call shows at
/// both within moments.
const OTHER_END: Duration = Duration::from_millis(250);

/// What every call of a run shares.
pub(super) struct Stage {
    pub(super) plan: Arc<Plan>,
    pub(super) engines: Engines,
    pub(super) surroundings: Surroundings,
    pub(super) recorder: Recorder,
    pub(super) traffic: Traffic,
    pub(super) rooms: Rooms,
    /// The instant from which the plan's start times count.
    pub(super) load_start: Instant,
    /// Ends every call gracefully.
    pub(super) cancel: CancellationToken,
}

/// Where peers can be.
pub(super) struct Surroundings {
    /// Outside of all modelled networks.
    pub(super) machine: PeerNetwork,
    /// The modelled networks, if the plan has any.
    pub(super) network: Option<Network>,
}

impl Surroundings {
    /// Where a peer is, by its id.
    pub(super) fn of_peer(&self, peer: &str) -> PeerNetwork {
        self.network.as_ref().and_then(|network| network.of_peer(peer)).unwrap_or(&self.machine).clone()
    }
}

/// Conducts the call with this index, whose time has come. Returns when everything that it held is free again.
pub(super) async fn conduct(stage: Arc<Stage>, index: usize) {
    let call = Arc::new(stage.plan.calls[index].clone());
    let _in_call = stage.rooms.begin(&call);
    let intended = stage.load_start + Duration::from_micros(call.start_us);
    let late = intended.elapsed();
    stage.recorder.record(EventKind::Sample {
        metric: Metric::StartLatenessMs,
        value: late.as_secs_f64() * 1e3,
        call: call.id.clone(),
        peer: None,
    });
    if stage.plan.start_within_us.is_some_and(|most| late > Duration::from_micros(most)) {
        let late_ms = late.as_secs_f64() * 1e3;
        return stage.recorder.record(EventKind::Dropped { call: call.id.clone(), late_ms });
    }
    let offerer = context(&stage, &call, Role::Offerer);
    let answerer = context(&stage, &call, Role::Answerer);
    let (offering, answering) = (offerer.recorder.clone(), answerer.recorder.clone());
    for recorder in [&offering, &answering] {
        recorder.mark_at(intended, Mark::Intended);
        stage.traffic.enter(recorder.clone());
    }

    let mut ends = Ends::default();
    let outcome = tokio::select! {
        outcome = hold_call(&stage, &call, offerer, answerer, &mut ends) => Some(outcome),
        () = stage.cancel.cancelled() => None,
    };
    if let Some(Err(failure)) = &outcome {
        let failure = ends.gone().await.unwrap_or_else(|| failure.clone());
        for end in [&call.offerer, &call.answerer] {
            stage.surroundings.of_peer(&end.id).signaling.meeting.give_up(&end.id, &failure.reason);
        }
        offering.failure(failure);
    }
    let set_up = [&offering, &answering].iter().all(|recorder| recorder.marks().get(Mark::FirstMedia).is_some());
    record_phases(&stage, &call, &offering, &answering, !matches!(outcome, Some(Ok(()))));
    let succeeded = set_up || matches!(outcome, Some(Ok(())));
    // A call that was cut short by the end of the run neither succeeded nor failed.
    if outcome.is_some() || succeeded {
        let (metric, value) = (Metric::SetupSuccessRatio, if succeeded { 1.0 } else { 0.0 });
        stage.recorder.record(EventKind::Sample { metric, value, call: call.id.clone(), peer: None });
    }
    ends.leave().await;
    for recorder in [offering, answering] {
        recorder.mark(Mark::Left);
        stage.traffic.leave(&recorder);
    }
}

/// The two peers of a call, as far as they exist.
#[derive(Default)]
struct Ends {
    offerer: Option<Box<dyn Peer>>,
    answerer: Option<Box<dyn Peer>>,
}

impl Ends {
    /// Why one of them has gone by itself.
    async fn gone(&mut self) -> Option<Failure> {
        for peer in [&mut self.offerer, &mut self.answerer].into_iter().flatten() {
            if let Some(failure) = peer.gone().await {
                return Some(failure);
            }
        }
        None
    }

    async fn leave(&mut self) {
        let leave = async |end: &mut Option<Box<dyn Peer>>| {
            if let Some(peer) = end {
                peer.leave().await;
            }
        };
        tokio::join!(leave(&mut self.offerer), leave(&mut self.answerer));
    }
}

/// One step of a peer, with a deadline in microseconds. A macro because the step borrows the peer, which the failure
/// asks what it was waiting for.
macro_rules! within {
    ($context:expr, $deadline_us:expr, $peer:ident.$step:ident($($argument:expr)?)) => {
        async {
            let deadline = Duration::from_micros($deadline_us);
            match timeout(deadline, $peer.$step($($argument)?)).await {
                Ok(outcome) => outcome.map_err(Fault::told),
                Err(_) => Err(late($context, &**$peer, deadline)),
            }
        }
    };
}

async fn hold_call(
    stage: &Stage,
    call: &CallPlan,
    offerer: PeerContext,
    answerer: PeerContext,
    ends: &mut Ends,
) -> Result<(), Failure> {
    let deadlines = &stage.plan.deadlines;
    let contexts = (offerer.clone(), answerer.clone());
    // On the heap while it lasts: it is large, and the call would keep its place to the end.
    let (made, taken) = both(
        Box::pin(create(stage, offerer, deadlines.start_us)),
        Box::pin(create(stage, answerer, deadlines.start_us)),
    )
    .await?;
    let a = ends.offerer.insert(made);
    let b = ends.answerer.insert(taken);
    let (offering, answering) = (&contexts.0, &contexts.1);

    // Both join at once: the offerer waits for the answerer to appear.
    both(within!(offering, deadlines.join_us, a.join()), within!(answering, deadlines.join_us, b.join())).await?;
    both(within!(offering, deadlines.connect_us, a.connect()), within!(answering, deadlines.connect_us, b.connect()))
        .await?;
    let up = Instant::now();
    both(
        within!(offering, deadlines.first_media_us, a.first_media()),
        within!(answering, deadlines.first_media_us, b.first_media()),
    )
    .await?;
    let end = up + Duration::from_micros(call.hold_us);
    both(watch(stage, offering, a, end), watch(stage, answering, b, end)).await?;

    let grace = deadlines.first_media_us;
    let (by_offerer, by_answerer) =
        both(within!(offering, grace, a.stop_media()), within!(answering, grace, b.stop_media())).await?;
    let can_tell = |sent: Sent| (sent != Sent::default()).then_some(sent);
    let (by_offerer, by_answerer) = (can_tell(by_offerer), can_tell(by_answerer));
    both(
        within!(offering, grace, a.report(by_answerer.as_ref())),
        within!(answering, grace, b.report(by_offerer.as_ref())),
    )
    .await?;
    Ok(())
}

/// Why a step of one end came to nothing.
struct Fault {
    failure: Failure,
    /// Whether the end knows of a cause; otherwise it has merely waited for too long.
    is_told: bool,
}

impl Fault {
    fn told(failure: Failure) -> Self {
        Self { failure, is_told: true }
    }
}

/// Runs both ends; the failure of one ends both.
async fn both<T>(
    offerer: impl Future<Output = Result<T, Fault>>,
    answerer: impl Future<Output = Result<T, Fault>>,
) -> Result<(T, T), Failure> {
    let (offerer, answerer) = (pin!(offerer), pin!(answerer));
    match select(offerer, answerer).await {
        Either::Left((Ok(of_offerer), answerer)) => match answerer.await {
            Ok(of_answerer) => Ok((of_offerer, of_answerer)),
            Err(fault) => Err(fault.failure),
        },
        Either::Right((Ok(of_answerer), offerer)) => match offerer.await {
            Ok(of_offerer) => Ok((of_offerer, of_answerer)),
            Err(fault) => Err(fault.failure),
        },
        Either::Left((Err(fault), answerer)) => match timeout(OTHER_END, answerer).await {
            Ok(Err(other)) => Err(blame(fault, other)),
            _ => Err(fault.failure),
        },
        Either::Right((Err(fault), offerer)) => match timeout(OTHER_END, offerer).await {
            Ok(Err(other)) => Err(blame(other, fault)),
            _ => Err(fault.failure),
        },
    }
}

/// The failure of a call whose ends have both failed, whichever was the first by a moment: a cause counts more than waiting
/// in vain, and the earlier phase more than those that follow from it.
fn blame(offerer: Fault, answerer: Fault) -> Failure {
    let rank = |fault: &Fault| (!fault.is_told, fault.failure.phase);
    let (first, other) = if rank(&offerer) <= rank(&answerer) { (offerer, answerer) } else { (answerer, offerer) };
    let (Failure { reason, phase, .. }, other) = (&first.failure, other.failure);
    let reason = match (*phase, reason) == (other.phase, &other.reason) {
        true => format!("{reason}; so it is at the other end"),
        false => format!("{reason}; the other end ({}): {}", other.phase.name(), other.reason),
    };
    Failure { reason, ..first.failure }
}

async fn create(stage: &Stage, context: PeerContext, deadline_us: u64) -> Result<Box<dyn Peer>, Fault> {
    let late = context.failure(Phase::Start, "the peer did not start within its deadline");
    match timeout(Duration::from_micros(deadline_us), stage.engines.create(context)).await {
        Ok(outcome) => outcome.map_err(Fault::told),
        Err(_) => Err(Fault { failure: late, is_told: false }),
    }
}

/// The failure of a step that a deadline cut short: it says what was waited for.
fn late(context: &PeerContext, peer: &dyn Peer, deadline: Duration) -> Fault {
    let WaitingFor { phase, what, heard } = peer.waiting_for();
    let is_told = heard.is_some();
    let heard = heard.map_or(String::new(), |heard| format!("; {heard}"));
    let failure = context.failure(phase, format!("timed out after {deadline:?} waiting for {what}{heard}"));
    Fault { failure, is_told }
}

/// Reads the counters every second until the end of the call.
async fn watch(stage: &Stage, context: &PeerContext, peer: &mut Box<dyn Peer>, end: Instant) -> Result<(), Fault> {
    let mut ticks = tokio::time::interval(SNAPSHOT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<(Instant, Snapshot)> = None;
    let tally = |metric| stage.recorder.tally(metric, &context.group.name, &context.call.set);
    let (sending, receiving) = (tally(Metric::SendBitrateBps), tally(Metric::RecvBitrateBps));
    loop {
        tokio::select! {
            () = sleep_until(end.into()) => return Ok(()),
            _ = ticks.tick() => {}
        }
        let snapshot = peer.snapshot().await.map_err(Fault::told)?;
        let now = Instant::now();
        if let Some((then, before)) = &last {
            let seconds = (now - *then).as_secs_f64();
            let rate =
                |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?) as f64 * 8.0 / seconds);
            let sent = rate(snapshot.bytes_sent, before.bytes_sent);
            let received = rate(snapshot.bytes_received, before.bytes_received);
            if let Some(sent) = sent {
                sending.record(sent);
            }
            if let Some(received) = received {
                receiving.record(received);
            }
            let data = rate(snapshot.data_bytes_received, before.data_bytes_received).unwrap_or(0.0);
            stage.traffic.set_rates(&context.recorder, sent.unwrap_or(0.0), received.unwrap_or(0.0) + data);
        }
        last = Some((now, snapshot));
    }
}

fn record_phases(stage: &Stage, call: &CallPlan, offerer: &PeerRecorder, answerer: &PeerRecorder, failed: bool) {
    let derived = phases::derive(&stage.plan, call, &offerer.marks(), &answerer.marks(), failed);
    for (metric, peer, value) in derived.samples {
        stage.recorder.record(EventKind::Sample { metric, value, call: call.id.clone(), peer });
    }
    for absence in derived.absences {
        stage.recorder.record(EventKind::Absent(absence));
    }
}

fn context(stage: &Stage, call: &Arc<CallPlan>, role: Role) -> PeerContext {
    let (peer, other) = match role {
        Role::Offerer => (&call.offerer, &call.answerer),
        Role::Answerer => (&call.answerer, &call.offerer),
    };
    let group = stage.plan.group(&peer.group).expect("`plan::check` refuses a call of a group that is not there");
    let direction = peer.direction.unwrap_or(group.direction);
    PeerContext {
        plan: Arc::clone(&stage.plan),
        group: Arc::new(GroupPlan { direction, ..group.clone() }),
        call: Arc::clone(call),
        role,
        network: stage.surroundings.of_peer(&peer.id),
        seat: stage.rooms.seat(peer, other),
        recorder: stage.recorder.for_peer(&peer.id, &call.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(peer: &str, phase: Phase, reason: &str, is_told: bool) -> Fault {
        let (peer, call, reason) = (peer.into(), "c".into(), reason.into());
        Fault { failure: Failure { peer, call, phase, reason }, is_told }
    }

    async fn failed_after(delay: Duration, fault: Fault) -> Result<(), Fault> {
        tokio::time::sleep(delay).await;
        Err(fault)
    }

    #[tokio::test]
    async fn whichever_end_fails_first_the_same_one_is_blamed() {
        let moment = Duration::from_millis(2);
        for (of_offerer, of_answerer) in [(moment, Duration::ZERO), (Duration::ZERO, moment), (moment, moment)] {
            let run = async |offerer: Fault, answerer: Fault| {
                both(failed_after(of_offerer, offerer), failed_after(of_answerer, answerer)).await.unwrap_err()
            };
            let told = fault("a", Phase::Answer, "heard error 12", true);
            let failure = run(told, fault("b", Phase::Offer, "timed out", false)).await;
            assert_eq!((failure.peer.as_str(), failure.phase), ("a", Phase::Answer), "a cause counts more");
            assert_eq!(failure.reason, "heard error 12; the other end (offer): timed out");

            let late = fault("a", Phase::Answer, "no answer", false);
            let failure = run(late, fault("b", Phase::Ice, "no pair", false)).await;
            assert_eq!(failure.reason, "no answer; the other end (ICE): no pair", "the earlier phase counts more");

            let refused = |peer| fault(peer, Phase::Signaling, "refused", true);
            let failure = run(refused("a"), refused("b")).await;
            assert_eq!((failure.peer.as_str(), failure.reason.as_str()), ("a", "refused; so it is at the other end"));
        }
    }

    #[tokio::test]
    async fn an_end_that_goes_on_is_not_waited_for() {
        let fault = fault("b", Phase::Ice, "broken", true);
        let failure = both(std::future::pending(), failed_after(Duration::ZERO, fault)).await.unwrap_err();
        assert_eq!(failure.reason, "broken");
    }
}
