//! The state of the run and of the machine over time, as the page shows it.

use super::number;
use super::svg::Drawing;
use crate::record::{Interval, Phase, Record, Unit, reading};

/// Points of a line; a longer run shows the greatest value of each stretch.
const POINTS: usize = 300;

/// A time series of one or two lines.
pub(super) struct Series {
    pub(super) title: &'static str,
    /// The names of the lines, if there are two.
    pub(super) lines: Vec<&'static str>,
    pub(super) top: String,
    pub(super) chart: String,
    pub(super) end: String,
}

type Reading = fn(&Interval) -> Option<f64>;

struct Plot {
    title: &'static str,
    lines: &'static [(&'static str, Reading)],
    /// The top of the axis; absent: the greatest value.
    top: Option<f64>,
    show: fn(f64) -> String,
}

const PLOTS: [Plot; 10] = [
    Plot {
        title: "Peers",
        lines: &[
            ("in a call", |second| Some(peers(second, |phase| phase == Phase::Media))),
            ("on the way to one", |second| Some(peers(second, |phase| phase < Phase::Media))),
        ],
        top: None,
        show: number::digits,
    },
    Plot {
        title: "Rate",
        lines: &[
            ("media sent", |second| Some(second.send_bps)),
            ("media and data received", |second| Some(second.recv_bps)),
        ],
        top: None,
        show: number::rate,
    },
    Plot {
        title: "CPU of the machine",
        lines: &[
            ("all", |second| health(second, reading::MACHINE_CPU_RATIO)),
            ("other programs", |second| health(second, reading::OTHERS_CPU_RATIO)),
        ],
        top: Some(1.0),
        show: |value| number::value(value, Unit::Ratio),
    },
    Plot {
        title: "CPU of this process, in cores",
        lines: &[("cores", |second| health(second, reading::PROCESS_CPU_CORES))],
        top: None,
        show: number::digits,
    },
    Plot {
        title: "Scheduling lag, p99",
        lines: &[("lag", |second| health(second, reading::SCHEDULING_LAG_P99_MS))],
        top: None,
        show: |value| number::value(value, Unit::Milliseconds),
    },
    Plot {
        title: "Send lateness, p99",
        lines: &[("lateness", |second| health(second, reading::SEND_LATENESS_P99_MS))],
        top: None,
        show: |value| number::value(value, Unit::Milliseconds),
    },
    Plot {
        title: "Datagrams that met a full buffer",
        lines: &[
            ("receive", |second| health(second, reading::UDP_RECEIVE_BUFFER_ERRORS)),
            ("send", |second| health(second, reading::UDP_SEND_BUFFER_ERRORS)),
        ],
        top: None,
        show: number::digits,
    },
    Plot {
        title: "Resident memory",
        lines: &[("memory", |second| health(second, reading::RESIDENT_BYTES))],
        top: None,
        show: number::bytes,
    },
    Plot {
        title: "Open descriptors",
        lines: &[("descriptors", |second| health(second, reading::OPEN_FILES))],
        top: None,
        show: number::digits,
    },
    Plot {
        title: "Tasks of the runtime",
        lines: &[("tasks", |second| health(second, reading::TASKS))],
        top: None,
        show: number::digits,
    },
];

/// Every series that has a value.
pub(super) fn time_series(record: &Record) -> Vec<Series> {
    PLOTS.iter().filter_map(|plot| series(record, plot)).collect()
}

fn series(record: &Record, plot: &Plot) -> Option<Series> {
    let seconds = record.intervals();
    let end = seconds.last()?.at_us.max(1);
    let stretch = seconds.len().div_ceil(POINTS).max(1);
    let points = |reading: Reading| -> Vec<(f64, Option<f64>)> {
        let greatest = |chunk: &[crate::record::At<Interval>]| {
            chunk.iter().filter_map(|second| reading(&second.what)).reduce(f64::max)
        };
        let ends = seconds.chunks(stretch).map(|chunk| (chunk[0].at_us as f64 / end as f64, greatest(chunk)));
        // A reading stands for the time before it: without its beginning, a third of a run of three seconds is blank.
        let first = seconds
            .first()
            .map(|first| (first.at_us.saturating_sub(first.what.covers_us) as f64 / end as f64, reading(&first.what)));
        first.into_iter().chain(ends).collect()
    };
    let lines: Vec<_> = plot.lines.iter().map(|(_, reading)| points(*reading)).collect();
    let greatest = lines.iter().flatten().filter_map(|(_, value)| *value).reduce(f64::max)?;
    let top = plot.top.unwrap_or(if greatest > 0.0 { greatest } else { 1.0 });
    let mut drawing = Drawing::new(600.0, 60.0);
    for (line, class) in lines.iter().zip(["first", "second"]) {
        let scaled: Vec<_> = line.iter().map(|(x, value)| (*x, value.map(|value| value / top))).collect();
        drawing.line(class, &scaled);
    }
    let greatest = (plot.show)(greatest);
    let label = format!("{} over time, at most {greatest}", plot.title);
    Some(Series {
        title: plot.title,
        lines: if plot.lines.len() > 1 { plot.lines.iter().map(|(name, _)| *name).collect() } else { Vec::new() },
        top: match plot.top {
            Some(top) => format!("up to {}, greatest {greatest}", (plot.show)(top)),
            None => format!("greatest {greatest}"),
        },
        chart: drawing.finish("series", &label),
        end: number::duration(end),
    })
}

fn health(second: &Interval, reading: &str) -> Option<f64> {
    second.health.get(reading).copied()
}

fn peers(second: &Interval, in_phase: fn(Phase) -> bool) -> f64 {
    second.peers.iter().filter(|(phase, _)| in_phase(**phase)).map(|(_, count)| f64::from(*count)).sum()
}
