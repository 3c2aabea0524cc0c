//! What waits for one client to read it: bounded, so that a client that does not read costs a fixed amount.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Limits;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The client does not read.
    Overflow,
    /// The server shuts down.
    Shutdown,
    /// The client has another connection.
    Superseded,
}

/// The queue of one client: filled by anybody, emptied by the client's own task, if it has to wait at all.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Utf8Bytes>,
    bytes: usize,
    end: Option<End>,
    /// How to send without the client's task.
    way: Option<Way>,
    /// The client's task has what was queued, and what comes now must wait for it.
    is_taken: bool,
}

/// Sends a message to a client; `false` if it must read before.
struct Way(Box<dyn Fn(&str) -> bool + Send + Sync>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl Outbox {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            max_messages: limits.queue_messages,
            max_bytes: limits.queue_bytes,
        }
    }

    /// One whose client can be sent messages without its task, as long as it reads them.
    pub(super) fn with_way(limits: &Limits, way: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let outbox = Self::new(limits);
        outbox.lock().way = Some(Way(Box::new(way)));
        outbox
    }

    /// Sends a message if that is possible at once, and queues it if not. If it does not fit, the client is given up and its
    /// queue freed.
    pub(super) fn push(&self, text: Utf8Bytes) {
        {
            let mut state = self.lock();
            let has_turn = state.queue.is_empty() && !state.is_taken;
            if state.end.is_some() || has_turn && state.way.as_ref().is_some_and(|Way(way)| way(&text)) {
                return;
            }
            state.bytes += text.len();
            state.queue.push_back(text);
            if state.queue.len() > self.max_messages || state.bytes > self.max_bytes {
                *state = State { end: Some(End::Overflow), ..State::default() };
            }
        }
        self.waker.wake();
    }

    /// Asks the client's task to say good-bye once what is queued has been sent.
    pub(super) fn shut_down(&self) {
        self.end(End::Shutdown);
    }

    /// Asks it to end for the client's other connection.
    pub(super) fn supersede(&self) {
        self.end(End::Superseded);
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.way = None;
        drop(state);
        self.waker.wake();
    }

    /// Ready once the connection must end; the task is woken by this and by every message.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Poll<End> {
        self.waker.register(cx.waker());
        match self.lock().end {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }

    /// What is queued, as soon as there is something.
    ///
    /// # Errors
    ///
    /// The connection must end.
    pub(super) async fn next(&self) -> Result<VecDeque<Utf8Bytes>, End> {
        std::future::poll_fn(|cx| {
            let end = self.poll_end(cx);
            let queued = self.take();
            match (queued.is_empty(), end) {
                (false, _) => Poll::Ready(Ok(queued)),
                (true, Poll::Ready(end)) => Poll::Ready(Err(end)),
                (true, Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }

    /// Everything that is queued.
    pub(super) fn take(&self) -> VecDeque<Utf8Bytes> {
        let mut state = self.lock();
        state.bytes = 0;
        state.is_taken = !state.queue.is_empty();
        std::mem::take(&mut state.queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Waker;

    use super::*;

    fn outbox(queue_messages: usize, queue_bytes: usize) -> Outbox {
        Outbox::new(&Limits { queue_messages, queue_bytes, ..Limits::default() })
    }

    fn end(outbox: &Outbox) -> Poll<End> {
        outbox.poll_end(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn too_many_messages_give_the_client_up_and_free_its_queue() {
        let outbox = outbox(2, 1000);
        outbox.push("a".into());
        outbox.push("b".into());
        assert_eq!(end(&outbox), Poll::Pending);
        outbox.push("c".into());
        assert_eq!(end(&outbox), Poll::Ready(End::Overflow));
        assert!(outbox.take().is_empty());
        outbox.push("d".into());
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn too_many_bytes_do_so_too() {
        let outbox = outbox(100, 3);
        outbox.push("ab".into());
        outbox.push("cd".into());
        assert_eq!(end(&outbox), Poll::Ready(End::Overflow));
    }

    #[test]
    fn what_is_sent_at_once_overtakes_nothing() {
        let (sent, reads) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let (seen, is_reading) = (sent.clone(), reads.clone());
        let outbox = Outbox::with_way(&Limits::default(), move |text| {
            let is_reading = is_reading.load(Ordering::Relaxed);
            is_reading.then(|| seen.lock().unwrap().push(text.to_owned())).is_some()
        });
        outbox.push("a".into());
        outbox.push("b".into());
        reads.store(false, Ordering::Relaxed);
        outbox.push("c".into());
        reads.store(true, Ordering::Relaxed);
        outbox.push("d".into());
        assert_eq!(*sent.lock().unwrap(), ["a", "b"]);
        assert_eq!(outbox.take(), ["c", "d"].map(Utf8Bytes::from));
        // The task has "c" and "d", and has not come back yet.
        outbox.push("e".into());
        assert_eq!(outbox.take(), ["e"].map(Utf8Bytes::from));
        assert!(outbox.take().is_empty());
        outbox.push("f".into());
        assert_eq!(*sent.lock().unwrap(), ["a", "b", "f"]);
        outbox.shut_down();
        outbox.push("g".into());
        assert_eq!(*sent.lock().unwrap(), ["a", "b", "f"]);
    }

    #[test]
    fn a_shutdown_keeps_what_is_queued() {
        let outbox = outbox(100, 100);
        outbox.push("a".into());
        outbox.shut_down();
        assert_eq!(end(&outbox), Poll::Ready(End::Shutdown));
        assert_eq!(outbox.take(), ["a"].map(Utf8Bytes::from));
    }
}
