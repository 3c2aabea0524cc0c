//! Signals: the first ends the run gracefully, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Says which signal ended the run. Stops watching when dropped.
pub(super) struct Interrupt {
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Interrupt {
    /// The signal that was caught, if any.
    pub(super) fn caught(&self) -> Option<&'static str> {
        if self.terminated.load(Ordering::Relaxed) {
            Some("SIGTERM")
        } else if self.interrupted.load(Ordering::Relaxed) {
            Some("SIGINT")
        } else {
            None
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Cancels `cancel` on the first SIGINT or SIGTERM, and ends the process on the second.
pub(super) fn watch(cancel: CancellationToken) -> Interrupt {
    let (interrupted, terminated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&interrupted), Arc::clone(&terminated));
    let task = tokio::spawn(async move {
        let (Ok(mut interrupts), Ok(mut terminations)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let first = either(&mut interrupts, &mut terminations).await;
        let flag = if first == 130 { &flags.0 } else { &flags.1 };
        flag.store(true, Ordering::Relaxed);
        cancel.cancel();
        // What is written so far is on disk; browsers die with us through their guards.
        std::process::exit(either(&mut interrupts, &mut terminations).await);
    });
    Interrupt { interrupted, terminated, task }
}

/// Waits for one of the signals, and gives the exit code that belongs to it.
async fn either(interrupts: &mut Signal, terminations: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupts.recv() => 130,
        _ = terminations.recv() => 143,
    }
}
