//! The arrivals of the plan, each begun at its time, and the watch over what they have begun.
//!
//! What has not arrived costs nothing yet: tasks are made when they are due. Nothing waits for anything else that arrived
//! before, however slow it is, and nothing limits how many may arrive at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::call::{self, Stage};
use super::rooms;
use crate::plan::Plan;
use crate::record::{EventKind, Health, Interval, interval_length};

/// How long calls may take to hang up once the run is to end.
pub(super) const TEARDOWN: Duration = Duration::from_secs(20);

/// Who comes when, in the order of time.
pub(super) struct Schedule {
    arrivals: std::iter::Peekable<std::vec::IntoIter<Arrival>>,
}

/// Who comes, as an index into the plan; people come before their calls.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Who {
    Member(usize),
    Call(usize),
}

type Arrival = (u64, Who);

impl Schedule {
    /// Everybody in the rooms of the plan, and these of its calls.
    pub(super) fn new(plan: &Plan, calls: Vec<usize>) -> Self {
        let members = plan.members.iter().enumerate().map(|(index, member)| (member.join_us, Who::Member(index)));
        let calls = calls.into_iter().map(|index| (plan.calls[index].start_us, Who::Call(index)));
        let mut arrivals: Vec<Arrival> = members.chain(calls).collect();
        arrivals.sort_unstable();
        Self { arrivals: arrivals.into_iter().peekable() }
    }

    /// When the next arrives, in microseconds; absent after the last.
    fn next_us(&mut self) -> Option<u64> {
        self.arrivals.peek().map(|(at_us, _)| *at_us)
    }

    /// The next who has arrived by now.
    fn take_due(&mut self, now_us: u64) -> Option<Who> {
        self.arrivals.next_if(|(at_us, _)| *at_us <= now_us).map(|(_, who)| who)
    }
}

/// Conducts every arrival, recording the state of the run at the end of each interval. Returns what broke, if anything did.
pub(super) async fn conduct(stage: &Arc<Stage>, mut schedule: Schedule, health: &mut Health) -> Option<String> {
    let mut running = JoinSet::new();
    let interval_after = || Instant::now() + interval_length(stage.recorder.start().elapsed());
    let mut interval_ends = interval_after();
    let mut broke = None;
    let mut teardown_ends = None;
    loop {
        let next = schedule.next_us().filter(|_| teardown_ends.is_none());
        if next.is_none() && running.is_empty() {
            break;
        }
        tokio::select! {
            () = sleep_to(next.map(|us| stage.load_start + Duration::from_micros(us))) => {
                let now_us = stage.load_start.elapsed().as_micros() as u64;
                while let Some(who) = schedule.take_due(now_us) {
                    match who {
                        Who::Member(index) => running.spawn(rooms::attend(Arc::clone(stage), index)),
                        Who::Call(index) => running.spawn(call::conduct(Arc::clone(stage), index)),
                    };
                }
            }
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    broke = Some(format!("a call's task broke: {error}"));
                }
            }
            () = sleep_until(interval_ends.into()) => {
                interval(stage, health);
                interval_ends = interval_after();
            }
            () = stage.cancel.cancelled(), if teardown_ends.is_none() => {
                teardown_ends = Some(Instant::now() + TEARDOWN);
            }
            () = sleep_to(teardown_ends) => {
                running.shutdown().await;
                break;
            }
        }
    }
    interval(stage, health);
    broke
}

/// Sleeps until an instant, or for ever.
async fn sleep_to(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn interval(stage: &Stage, health: &mut Health) {
    let totals = stage.traffic.totals();
    let readings = health.read();
    stage.recorder.record(EventKind::Interval(Box::new(Interval {
        covers_us: readings.covers_us,
        peers: totals.peers,
        send_bps: totals.send_bps,
        recv_bps: totals.recv_bps,
        health: readings.health,
        health_histograms: readings.health_histograms,
        threads: readings.threads,
    })));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::plan_of_one_call;

    #[test]
    fn arrivals_come_in_the_order_of_time_whatever_the_order_of_the_plan() {
        let mut plan = plan_of_one_call();
        for start_us in [700, 300, 500] {
            plan.calls.push(crate::plan::CallPlan { start_us, ..plan.calls[0].clone() });
        }
        let mut schedule = Schedule::new(&plan, vec![0, 1, 2, 3]);
        assert_eq!((schedule.next_us(), schedule.take_due(0)), (Some(0), Some(Who::Call(0))));
        assert_eq!((schedule.next_us(), schedule.take_due(299)), (Some(300), None));
        let due: Vec<_> = std::iter::from_fn(|| schedule.take_due(600)).collect();
        assert_eq!(due, [Who::Call(2), Who::Call(3)]);
        assert_eq!((schedule.take_due(u64::MAX), schedule.next_us()), (Some(Who::Call(1)), None));
    }
}
