//! The end of a run whose gates have decided it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::gate::{Gate, beyond_hope};
use crate::plan::Plan;
use crate::record::Record;

/// Watches over the gates that end a run.
#[derive(Clone)]
pub(super) struct Watch {
    gates: Arc<[Gate]>,
    reason: Arc<OnceLock<String>>,
    cancel: CancellationToken,
}

impl Watch {
    /// Over the gates of a plan that say `abort`; the token is cancelled once one of them cannot hold any more.
    pub(super) fn new(plan: &Plan, cancel: CancellationToken) -> Self {
        let gates = plan.gates.iter().filter(|gate| gate.abort).cloned().collect();
        Self { gates, reason: Arc::default(), cancel }
    }

    /// Looks at what has been recorded so far.
    pub(super) fn look(&self, record: &Record) {
        if self.reason.get().is_some() {
            return;
        }
        if let Some(reason) = self.gates.iter().find_map(|gate| beyond_hope(record, gate)) {
            let _ = self.reason.set(reason);
            self.cancel.cancel();
        }
    }

    /// Why the run was ended, if it was.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}
