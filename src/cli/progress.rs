//! Progress on standard error: drawn again and again on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::record::Record;
use crate::report::{Display, progress_line, resolve_display};

/// Time between two plain lines.
const PLAIN: Duration = Duration::from_secs(5);

/// Shows how a run goes.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    told: Instant,
}

/// How to show things on standard error of this process.
pub(super) fn display() -> Display {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
    resolve_display(
        std::io::stderr().is_terminal(),
        set("CI"),
        std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()),
    )
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new(display: Display) -> Self {
        let bar = display.live.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar, told: Instant::now() }
    }

    /// Shows where the run is, if it is time to.
    pub(super) fn show(&mut self, record: &Record) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(progress_line(record));
                bar.tick();
            }
            None if self.told.elapsed() >= PLAIN => {
                self.told = Instant::now();
                eprintln!("{}", progress_line(record));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
