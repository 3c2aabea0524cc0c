//! `histograms.hlog`: an HdrHistogram interval log, for the plotters and tools that read it.
//!
//! One line per metric over all samples, and one per metric and peer group; the tag is `metric` or `metric/group`. Values
//! are microseconds, bits per second, things per 1,000 s or parts per million.

use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::RenderError;
use crate::record::{Record, Selection};

pub(super) fn render(record: &Record) -> Result<String, RenderError> {
    let mut text = Vec::new();
    let fail = |error: &dyn std::fmt::Debug| RenderError::Hlog(format!("{error:?}"));
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    if let Some(run) = record.run() {
        builder.add_comment(&format!("harness {}, started {}", run.plan.name, run.started_at));
    }
    builder.add_comment("ms metrics in microseconds, bit/s in bit/s, ratios in parts per million");
    let mut log = builder.begin_log_with(&mut text, &mut serializer).map_err(|error| fail(&error))?;
    let duration = Duration::from_micros(record.duration_us());
    for metric in record.metrics() {
        let groups =
            record.groups().into_iter().map(|group| (format!("{}/{group}", metric.name()), Selection::group(group)));
        for (name, selection) in std::iter::once((metric.name().to_owned(), Selection::ALL)).chain(groups) {
            let values = record.distribution(metric, selection);
            if !values.is_empty() {
                // Group names hold neither spaces nor commas, which a tag may not have; a name that does loses its tag.
                log.write_histogram(values.histogram(), Duration::ZERO, duration, Tag::new(&name))
                    .map_err(|error| fail(&error))?;
            }
        }
    }
    drop(log);
    String::from_utf8(text).map_err(|error| fail(&error))
}
