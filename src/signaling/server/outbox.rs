//! What waits for one client to read it: bounded, so that a client that does not read costs a fixed amount.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
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
}

/// The queue of one client: filled by anybody, emptied by the client's own task.
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

    /// Queues a message. If it does not fit, the client is given up and its queue freed.
    pub(super) fn push(&self, text: Utf8Bytes) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.end.is_some() {
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end.get_or_insert(End::Shutdown);
        self.waker.wake();
    }

    /// Ready once the connection must end; the task is woken by this and by every message.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Poll<End> {
        self.waker.register(cx.waker());
        match self.state.lock().unwrap_or_else(PoisonError::into_inner).end {
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        std::mem::take(&mut state.queue)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_shutdown_keeps_what_is_queued() {
        let outbox = outbox(100, 100);
        outbox.push("a".into());
        outbox.shut_down();
        assert_eq!(end(&outbox), Poll::Ready(End::Shutdown));
        assert_eq!(outbox.take(), ["a"].map(Utf8Bytes::from));
    }
}
