//! What happened: the one event type, the stream it travels on, and the record that the events fold into.
//!
//! Everything that happens in a run is an [`Event`] on one stream. Display, files and gates are sinks of that stream,
//! and a finished run can be rendered again from its events alone.

mod call;
mod directory;
mod event;
mod fold;
mod health;
mod histogram;
mod mark;
mod metric;
mod pace;
mod read;
mod recorder;
mod rtcstats;
mod search;
mod tally;
mod writer;

pub use call::{CallCounts, CallRecord, Marks};
pub use directory::{RunDirectory, WriteError, write_whole};
pub use event::{
    Absence, Candidate, Event, EventKind, Failure, Interval, LabCheck, MediaKind, MediaReport, Outcome, Path, Phase,
    ProgramEnd, RunStarted, Skip, TallyReport, ThreadLoad, Warning,
};
pub use fold::{AbsenceCount, At, FailureCount, Record, Selection};
pub use health::{Health, Lateness, Readings, reading};
pub use histogram::{Distribution, DistributionError};
pub use mark::Mark;
pub use metric::{Direction, Metric, Scope, Unit};
pub use pace::interval_length;
pub use read::ReadError;
pub use recorder::{PeerRecorder, Recorder};
pub use rtcstats::{DumpWriter, Dumps, PeerDump};
pub use search::{Checks, PathSearch, RelayTried, Wait, WaitFor};
pub use tally::{Tallies, Tally};
pub use writer::{Writer, Written};
