//! What happened: the one event type, the stream it travels on, and the record that the events fold into.
//!
//! Everything that happens in a run is an [`Event`] on one stream. Display, files and gates are sinks of that stream,
//! and a finished run can be rendered again from its events alone.

mod event;
mod mark;
mod metric;
mod recorder;

pub use event::{
    Absence, Candidate, Event, EventKind, Failure, Interval, MediaKind, MediaReport, Outcome, Path, Phase, RunStarted,
    Skip, Warning,
};
pub use mark::Mark;
pub use metric::{Direction, Metric, Scope, Unit};
pub use recorder::{PeerRecorder, Recorder};
