//! Whether the harness's own memory, descriptors or tasks grow while its load is steady: the mark of a leak.
//!
//! Only the longest time with a steady number of peers is looked at, and of it not the warm-up, in which pools and buffers
//! fill. The trend is the slope of Theil and Sen, the median of the slopes between any two points, which one jump or a few
//! outliers do not change. It counts as growth if it is consistent (Kendall's tau) and not smaller than what allocators and
//! peers that come and go make of it.

use crate::record::{Interval, Record, reading};

/// Peers that come and go may make their number differ by this share of it, and by [`FEW_PEERS`], within a steady time.
const STEADY: f64 = 0.2;
const FEW_PEERS: u32 = 2;
/// The first part of a steady time that is left out, and the least of it, in microseconds.
const WARM_UP: f64 = 0.2;
const SHORTEST_WARM_UP_US: u64 = 60_000_000;
/// A trend over less time than this tells nothing, in microseconds.
const SHORTEST_US: u64 = 4 * 60_000_000;
/// The time is cut into this many stretches of equal length, each with the median of its intervals.
const STRETCHES: usize = 48;
/// Fewer stretches than this with a reading have no trend.
const FEWEST_STRETCHES: usize = 16;
/// From this share of rising over falling pairs on, a trend is consistent.
const LEAST_TAU: f64 = 0.6;

/// Something that the harness should have as much of at the end of a steady time as at its beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resource {
    /// Resident memory, in bytes.
    Memory,
    /// Open file descriptors.
    OpenFiles,
    /// Tasks of the asynchronous runtime.
    Tasks,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::OpenFiles, Self::Tasks];

    /// The reading that it is seen in.
    pub fn reading(self) -> &'static str {
        match self {
            Self::Memory => reading::RESIDENT_BYTES,
            Self::OpenFiles => reading::OPEN_FILES,
            Self::Tasks => reading::TASKS,
        }
    }

    /// The name of its limit.
    pub(super) fn limit_name(self) -> &'static str {
        match self {
            Self::Memory => "memory_growth_ratio",
            Self::OpenFiles => "open_files_growth_ratio",
            Self::Tasks => "tasks_growth_ratio",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Memory => "resident memory",
            Self::OpenFiles => "open descriptors",
            Self::Tasks => "tasks of the runtime",
        }
    }

    /// Growth below this is noise, however large a share it is.
    fn least(self) -> f64 {
        match self {
            Self::Memory => 8.0 * 1024.0 * 1024.0,
            Self::OpenFiles | Self::Tasks => 16.0,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Memory => format!("{:.1} MB", value / 1e6),
            Self::OpenFiles | Self::Tasks => format!("{value:.1}"),
        }
    }
}

/// How a resource developed while the load was steady.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The resource.
    pub resource: Resource,
    /// Its level at the beginning, on the line of the trend, in the reading's unit.
    pub from: f64,
    /// The slope of Theil and Sen, in the reading's unit per minute; negative if it shrank.
    pub per_minute: f64,
    /// Kendall's tau, between -1 (always falls) and 1 (always rises).
    pub tau: f64,
    /// How long the time is that was looked at, in microseconds.
    pub over_us: u64,
    /// When it began, in microseconds since the start of the run.
    pub from_us: u64,
    /// Fewest and most peers in it.
    pub peers: (u32, u32),
}

impl Growth {
    /// How much more there was at the end than at the beginning, on the line of the trend.
    pub fn grown(&self) -> f64 {
        self.per_minute * self.over_us as f64 / 60e6
    }

    /// Whether it is more than noise.
    pub fn is_growth(&self) -> bool {
        self.tau >= LEAST_TAU && self.grown() >= self.resource.least()
    }

    /// The share by which it grew; 0 if that is no more than noise.
    pub fn excess(&self) -> f64 {
        if self.is_growth() { self.grown() / self.from.max(1.0) } else { 0.0 }
    }

    /// All of it in words.
    pub fn sentence(&self) -> String {
        let resource = self.resource;
        let minutes = self.over_us as f64 / 60e6;
        let peers = match self.peers {
            (fewest, most) if fewest == most => format!("{fewest} peers"),
            (fewest, most) => format!("{fewest} to {most} peers"),
        };
        let (what, from) = (resource.words(), resource.show(self.from));
        if !self.is_growth() {
            return format!("{what} stayed at {from} over {minutes:.0} min, at {peers}");
        }
        let (rate, grown) = (resource.show(self.per_minute), resource.show(self.grown()));
        format!("{what} grew by {rate} a minute over {minutes:.0} min, from {from} by {grown}, at {peers}")
    }
}

/// How each resource developed; nothing for a run that was too short, or whose number of peers was never steady.
pub fn growths(record: &Record) -> Vec<Growth> {
    let Some(window) = Window::of(record) else { return Vec::new() };
    Resource::ALL.into_iter().filter_map(|resource| growth(record, resource, &window)).collect()
}

/// The time that trends are looked for in, in microseconds since the start of the run.
#[derive(Debug, PartialEq)]
struct Window {
    from_us: u64,
    to_us: u64,
    peers: (u32, u32),
}

impl Window {
    fn of(record: &Record) -> Option<Self> {
        let counts = record.intervals().iter().map(|at| (at.at_us, at.what.peers.values().sum()));
        let steady = steadiest(&counts.collect::<Vec<(u64, u32)>>())?;
        let length = steady.to_us.saturating_sub(steady.from_us);
        let warm_up = SHORTEST_WARM_UP_US.max((length as f64 * WARM_UP) as u64);
        let from_us = steady.from_us.saturating_add(warm_up);
        let window = (from_us.saturating_add(SHORTEST_US) <= steady.to_us).then_some(Self { from_us, ..steady })?;
        // Ever more peers, however slowly they come, need ever more.
        let peers = points(record, &window, |interval| Some(f64::from(interval.peers.values().sum::<u32>())));
        trend(&peers).is_some_and(|(_, tau)| tau < LEAST_TAU).then_some(window)
    }
}

/// The longest time in which the number of peers stays about the same.
fn steadiest(counts: &[(u64, u32)]) -> Option<Window> {
    let mut longest: Option<Window> = None;
    let mut first = 0;
    for last in 0..counts.len() {
        let peers = loop {
            let within = &counts[first..=last];
            let fewest = within.iter().map(|(_, count)| *count).min()?;
            let most = within.iter().map(|(_, count)| *count).max()?;
            if first == last
                || (fewest > 0 && f64::from(most - fewest) <= f64::from(fewest) * STEADY + f64::from(FEW_PEERS))
            {
                break (fewest, most);
            }
            first += 1;
        };
        let window = Window { from_us: counts[first].0, to_us: counts[last].0, peers };
        let length = |window: &Window| window.to_us.saturating_sub(window.from_us);
        if peers.0 > 0 && longest.as_ref().is_none_or(|longest| length(longest) < length(&window)) {
            longest = Some(window);
        }
    }
    longest
}

fn growth(record: &Record, resource: Resource, window: &Window) -> Option<Growth> {
    let points = points(record, window, |interval| interval.health.get(resource.reading()).copied());
    let (per_minute, tau) = (points.len() >= FEWEST_STRETCHES).then(|| trend(&points))??;
    let from = median(points.iter().map(|(minute, level)| level - per_minute * minute).collect())?;
    let over_us = window.to_us - window.from_us;
    Some(Growth { resource, from, per_minute, tau, over_us, from_us: window.from_us, peers: window.peers })
}

/// The median of a reading over each stretch that has it, with the minute in the middle of the stretch.
fn points(record: &Record, window: &Window, read: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, f64)> {
    let over_us = window.to_us - window.from_us;
    let mut stretches = vec![Vec::new(); STRETCHES];
    for at in record.intervals().iter().filter(|at| (window.from_us..=window.to_us).contains(&at.at_us)) {
        if let Some(level) = read(&at.what) {
            let stretch = u128::from(at.at_us - window.from_us) * STRETCHES as u128 / u128::from(over_us);
            stretches[(stretch as usize).min(STRETCHES - 1)].push(level);
        }
    }
    let minutes = over_us as f64 / 60e6 / STRETCHES as f64;
    let point = |(index, levels): (usize, Vec<f64>)| Some(((index as f64 + 0.5) * minutes, median(levels)?));
    stretches.into_iter().enumerate().filter_map(point).collect()
}

/// The slope of Theil and Sen, and Kendall's tau; absent for fewer than two points.
fn trend(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        slopes.extend(points[index + 1..].iter().map(|(later, level)| (level - y) / (later - x)));
    }
    let rising = slopes.iter().filter(|slope| **slope > 0.0).count() as f64;
    let falling = slopes.iter().filter(|slope| **slope < 0.0).count() as f64;
    let tau = (rising - falling) / slopes.len().max(1) as f64;
    Some((median(slopes)?, tau))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::record::{Event, EventKind, Phase, interval_length};

    /// A run of this many minutes, with a number of peers and resident megabytes by minute.
    fn run(minutes: u64, peers: impl Fn(f64) -> u32, megabytes: impl Fn(f64) -> f64) -> Record {
        let mut record = Record::default();
        let mut age = Duration::ZERO;
        while age < Duration::from_secs(minutes * 60) {
            let length = interval_length(age);
            age += length;
            let minute = age.as_secs_f64() / 60.0;
            let health = BTreeMap::from([(reading::RESIDENT_BYTES.to_owned(), megabytes(minute) * 1e6)]);
            let interval = Interval {
                covers_us: length.as_micros() as u64,
                peers: BTreeMap::from([(Phase::Media, peers(minute))]),
                health,
                ..Interval::default()
            };
            record.apply(&Event { at_us: age.as_micros() as u64, kind: EventKind::Interval(Box::new(interval)) });
        }
        record
    }

    /// Noise between -1 and 1 that is the same in every run.
    fn noise(minute: f64) -> f64 {
        (minute * 7919.0).sin()
    }

    #[test]
    fn a_leak_is_found_in_noise_with_its_rate() {
        let record = run(60, |_| 100, |minute| 90.0 + 0.8 * minute + 3.0 * noise(minute));
        let growth = &growths(&record)[0];
        assert!((growth.per_minute / 0.8e6 - 1.0).abs() < 0.1, "{growth:?}");
        assert!(growth.is_growth() && growth.excess() > 0.3, "{growth:?}");
        let said = growth.sentence();
        assert!(said.starts_with("resident memory grew by 0.8 MB a minute over 48 min"), "{said}");
    }

    #[test]
    fn a_level_with_noise_and_one_jump_is_no_leak() {
        for jump in [0.0, 30.0] {
            let level = |minute: f64| 90.0 + 3.0 * noise(minute) + if minute > 35.0 { jump } else { 0.0 };
            let growth = &growths(&run(60, |_| 100, level))[0];
            assert!(!growth.is_growth() && growth.excess() == 0.0, "{growth:?}");
            assert!(growth.sentence().contains("stayed at"), "{}", growth.sentence());
        }
    }

    #[test]
    fn what_grows_while_it_warms_up_and_then_stays_is_no_leak() {
        let growth =
            &growths(&run(60, |_| 100, |minute| 90.0 * (1.0 - (-minute / 2.0).exp()) + 0.2 * noise(minute)))[0];
        assert!(!growth.is_growth(), "{growth:?}");
    }

    #[test]
    fn memory_that_follows_peers_who_come_and_go_is_no_leak_and_a_leak_under_churn_is() {
        let peers = |minute: f64| (100.0 + 8.0 * noise(minute)) as u32;
        let level = move |minute: f64| f64::from(peers(minute));
        assert!(!growths(&run(60, peers, level))[0].is_growth());
        let leak = growths(&run(60, peers, move |minute| level(minute) + minute));
        assert!(leak[0].is_growth() && leak[0].peers.0 >= 90, "{leak:?}");
    }

    #[test]
    fn more_peers_are_no_leak_and_a_short_run_has_no_trend() {
        let stages = |minute: f64| if minute < 20.0 { 50 } else { 200 };
        let growth = &growths(&run(60, stages, move |minute| f64::from(stages(minute))))[0];
        assert!(growth.from_us > 20 * 60_000_000 && !growth.is_growth(), "{growth:?}");
        assert!(
            growths(&run(60, |minute| (minute * 20.0) as u32 + 1, |minute| minute)).is_empty(),
            "always more peers"
        );
        assert!(growths(&run(4, |_| 100, |minute| 90.0 + minute)).is_empty(), "too short");
        assert!(growths(&Record::default()).is_empty());
    }

    #[test]
    fn a_few_kilobytes_are_noise_however_steadily_they_come() {
        assert!(!growths(&run(60, |_| 2, |minute| 15.0 + 0.05 * minute))[0].is_growth());
    }
}
