//! How many allocations per second: each over a connection of its own, given back at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::DEADLINE;
use super::fault::{Fault, FaultClass};
use super::millis;
use super::report::{AllocationRate, Step};
use super::server::Probe;
use crate::scenario::Rate;
use crate::turn::client::{Client, ClientError};

/// More allocations than this are not made, whatever was asked: this is a probe, not an attack.
const MOST: u64 = 2000;

pub(super) async fn measure(probe: &mut Probe<'_>, rate: Rate) {
    let Some(server) = probe.report.server else { return };
    let duration = probe.options.duration;
    let (url, options) = (probe.url.clone(), probe.options.clone());
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    let mut attempted = 0;
    while attempted < MOST {
        let offset = Duration::from_micros(rate.offset_us(attempted));
        if offset >= duration {
            break;
        }
        sleep_until((started + offset).into()).await;
        attempted += 1;
        let (url, login, trust) = (url.clone(), options.login.clone(), options.trust.clone());
        tasks.spawn(async move {
            let (_, client) = Client::connect(&url, server, login, trust.as_ref(), DEADLINE).await;
            let mut client = client?;
            let allocation = client.allocate(false).await?;
            client.release().await;
            Ok::<_, ClientError>(allocation.elapsed)
        });
    }
    let (mut times, mut failed, mut example) = (Vec::new(), BTreeMap::<FaultClass, u64>::new(), None);
    for outcome in tasks.join_all().await {
        match outcome {
            Ok(elapsed) => times.push(elapsed),
            Err(error) => {
                let fault = probe.fault(Step::AllocationRate, &error);
                *failed.entry(fault.class).or_default() += 1;
                example.get_or_insert(fault);
            }
        }
    }
    times.sort_unstable();
    let quantile =
        |q: f64| times.get(((times.len() as f64 * q) as usize).min(times.len().max(1) - 1)).copied().map(millis);
    let succeeded = times.len() as u64;
    if let Some(example) = example {
        let message =
            format!("{} of {attempted} allocations failed, as this one: {}", attempted - succeeded, example.message);
        probe.report.faults.push(Fault { message, ..example });
    }
    let last = Duration::from_micros(rate.offset_us(attempted)).max(Duration::from_micros(1));
    probe.report.allocation_rate = Some(AllocationRate {
        offered_per_s: attempted as f64 / last.as_secs_f64(),
        attempted,
        succeeded,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        max_ms: quantile(1.0),
        failed,
    });
}
