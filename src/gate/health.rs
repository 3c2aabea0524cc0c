//! The limits of `[health]` against what was measured.

use super::growth::{Growth, Resource, growths};
use crate::plan::HealthLimits;
use crate::record::{Metric, Record, Selection, reading};

/// A limit of `[health]`, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// The limit's name.
    pub name: &'static str,
    /// How intervals were brought together: "median", "p99", "mean", "most", "total" or "trend".
    pub statistic: &'static str,
    /// What was measured; absent where the machine does not tell, and for a trend where the run was too short or its load
    /// not steady.
    pub observed: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// More about what was measured.
    detail: Option<String>,
    advice: &'static str,
}

impl HealthCheck {
    /// Whether the measured value is past the limit.
    pub fn passed_limit(&self) -> bool {
        self.observed.is_some_and(|observed| observed > self.limit)
    }

    /// Why a verdict is invalid for it.
    pub(super) fn reason(&self) -> String {
        let observed = self.observed.unwrap_or(f64::NAN);
        let (name, statistic, limit, advice) = (self.name, self.statistic, self.limit, self.advice);
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!(
            "the generator was not fit to judge: {name} {statistic} {observed:.3} is past its limit {limit}{detail}; {advice}"
        )
    }
}

const CPU: &str = "end the other programs on this machine, ask for less load, or use more cores";
const ARRIVALS: &str = "let calls arrive at a lower rate, end the other programs on this machine, or use more cores";
const LEAK: &str = "this is a defect of the harness, please report it with the record; shorter runs, or fewer peers, do with what is there";

/// Every limit of `[health]` against what was measured.
pub fn health_checks(record: &Record, limits: &HealthLimits) -> Vec<HealthCheck> {
    let p99 = |name: &str| record.health_distribution(name).and_then(|values| values.quantile(0.99));
    let check = |name, statistic, observed, limit, advice| HealthCheck {
        name,
        statistic,
        observed,
        limit,
        detail: None,
        advice,
    };
    let mut checks = vec![
        check(
            reading::MACHINE_CPU_RATIO,
            "median",
            Levels::of(record, reading::MACHINE_CPU_RATIO).median(),
            limits.machine_cpu_ratio,
            CPU,
        ),
        check(
            reading::SCHEDULING_LAG_P99_MS,
            "p99",
            p99(reading::SCHEDULING_LAG_P99_MS),
            limits.scheduling_lag_p99_ms,
            CPU,
        ),
        check(
            reading::SEND_LATENESS_P99_MS,
            "p99",
            p99(reading::SEND_LATENESS_P99_MS),
            limits.send_lateness_p99_ms,
            "end the other programs on this machine, ask for fewer or smaller streams, or use more cores or machines",
        ),
        check(
            reading::STEAL_RATIO,
            "mean",
            Levels::of(record, reading::STEAL_RATIO).mean(),
            limits.steal_ratio,
            "use a machine whose hypervisor has CPU time to give",
        ),
        check(
            reading::THROTTLED_RATIO,
            "mean",
            Levels::of(record, reading::THROTTLED_RATIO).mean(),
            limits.throttled_ratio,
            "raise the CPU quota of the control group (cpu.max), or ask for less load",
        ),
        check(
            reading::UDP_RECEIVE_BUFFER_ERRORS,
            "total",
            Levels::of(record, reading::UDP_RECEIVE_BUFFER_ERRORS).total(),
            limits.udp_receive_buffer_errors as f64,
            "raise net.core.rmem_max, end the other programs on this machine, or ask for less load",
        ),
        check(
            reading::UDP_SEND_BUFFER_ERRORS,
            "total",
            Levels::of(record, reading::UDP_SEND_BUFFER_ERRORS).total(),
            limits.udp_send_buffer_errors as f64,
            "raise net.core.wmem_max, use a faster network, or ask for less load",
        ),
        check(
            reading::OPEN_FILES_RATIO,
            "most",
            Levels::of(record, reading::OPEN_FILES_RATIO).most(),
            limits.open_files_ratio,
            "raise the limit of open files (ulimit -Hn, LimitNOFILE), or ask for fewer peers",
        ),
        check(
            reading::MEMORY_RATIO,
            "most",
            Levels::of(record, reading::MEMORY_RATIO).most(),
            limits.memory_ratio,
            "end the other programs on this machine, raise the control group's memory limit, or ask for fewer peers",
        ),
        check(
            reading::START_LATENESS_P99_MS,
            "p99",
            record.distribution(Metric::StartLatenessMs, Selection::ALL).quantile(0.99),
            limits.start_lateness_p99_ms,
            ARRIVALS,
        ),
        check(
            reading::ARRIVALS_DROPPED,
            "total",
            Some(record.call_counts().dropped as f64),
            limits.arrivals_dropped as f64,
            ARRIVALS,
        ),
    ];
    let growths = growths(record);
    for resource in Resource::ALL {
        let growth = growths.iter().find(|growth| growth.resource == resource);
        checks.push(HealthCheck {
            detail: growth.map(Growth::sentence),
            ..check(resource.limit_name(), "trend", growth.map(Growth::excess), limits.growth(resource), LEAK)
        });
    }
    checks
}

/// A reading of every interval that has it, with the interval's length.
struct Levels(Vec<(f64, u64)>);

impl Levels {
    fn of(record: &Record, name: &str) -> Self {
        let values = record
            .intervals()
            .iter()
            .filter_map(|interval| Some((interval.what.health.get(name).copied()?, interval.what.covers_us)));
        Self(values.collect())
    }

    /// The level that half of the time was not above.
    fn median(mut self) -> Option<f64> {
        self.0.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = self.0.iter().map(|(_, covers)| *covers as f64).sum::<f64>() / 2.0;
        let mut passed = 0.0;
        let middle = self.0.iter().find(|(_, covers)| {
            passed += *covers as f64;
            passed > half
        });
        middle.or_else(|| self.0.last()).map(|(value, _)| *value)
    }

    fn mean(&self) -> Option<f64> {
        let time: f64 = self.0.iter().map(|(_, covers)| *covers as f64).sum();
        (time > 0.0).then(|| self.0.iter().map(|(value, covers)| value * *covers as f64).sum::<f64>() / time)
    }

    fn total(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|(value, _)| value).sum())
    }

    fn most(&self) -> Option<f64> {
        self.0.iter().map(|(value, _)| *value).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_counts_for_as_long_as_it_is() {
        let levels = || Levels(vec![(1.0, 1), (1.0, 1), (1.0, 1), (0.2, 10)]);
        assert_eq!(levels().median(), Some(0.2));
        assert!((levels().mean().unwrap() - 5.0 / 13.0).abs() < 1e-9);
        assert_eq!((levels().total(), levels().most()), (Some(3.2), Some(1.0)));
        let nothing = || Levels(Vec::new());
        assert_eq!((nothing().median(), nothing().mean(), nothing().total()), (None, None, None));
    }
}
