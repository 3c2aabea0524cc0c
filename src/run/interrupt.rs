//! Signals: the first ends the run gracefully, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OnceCell, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Says which signal ended the run. Stops watching when dropped.
pub(super) struct Interrupt {
    caught: watch::Receiver<Option<i32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Interrupt {
    /// The signal that was caught, if any.
    pub(super) fn caught(&self) -> Option<&'static str> {
        self.caught.borrow().map(|code| if code == 143 { "SIGTERM" } else { "SIGINT" })
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Cancels `cancel` on the first SIGINT or SIGTERM, and ends the process on the second.
///
/// A signal is for the process: one that comes between two of its runs ends the next before it begins.
pub(super) async fn watch(cancel: CancellationToken) -> Interrupt {
    let caught = signals().await;
    let mut first = caught.clone();
    let task = tokio::spawn(async move {
        if first.wait_for(Option::is_some).await.is_ok() {
            cancel.cancel();
        }
    });
    Interrupt { caught, task }
}

/// The exit code of the first signal that the process got since somebody first asked; the second one ends the process.
async fn signals() -> watch::Receiver<Option<i32>> {
    static CAUGHT: OnceCell<watch::Receiver<Option<i32>>> = OnceCell::const_new();
    CAUGHT.get_or_init(listen).await.clone()
}

async fn listen() -> watch::Receiver<Option<i32>> {
    let (caught, receiver) = watch::channel(None);
    let (ready, listens) = oneshot::channel();
    // On a thread of its own, because a runtime takes its tasks along when it ends.
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let (Ok(mut interrupts), Ok(mut terminations)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let _ = ready.send(());
            caught.send_replace(Some(either(&mut interrupts, &mut terminations).await));
            // What is written so far is on disk; browsers die with us through their guards.
            std::process::exit(either(&mut interrupts, &mut terminations).await);
        });
    });
    // Without it signals do what they do by default.
    let _ = listens.await;
    receiver
}

/// Waits for one of the signals, and gives the exit code that belongs to it.
async fn either(interrupts: &mut Signal, terminations: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupts.recv() => 130,
        _ = terminations.recv() => 143,
    }
}
