//! Shards: threads with a loop of their own, each with many peers.
//!
//! A round of the loop serves commands, then sockets, then timers, each within bounds, so that none of them starves the
//! others: a peer's socket is read so many times, and so many timers are handled, before the next round. Media that is
//! late beyond measure is dropped and counted by its schedule.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::endpoint::{Endpoint, Scratch};

/// Sockets with something to read that one round hears of.
const EVENTS: usize = 1024;

/// Timers that are handled before sockets are served again.
const TIMERS: usize = 256;

/// The token of the loop's own waker; peers count from 0.
const WAKER: Token = Token(usize::MAX);

/// The threads of a run. They start with the first peer, and end when this is dropped.
#[derive(Default)]
pub struct Shards {
    threads: OnceLock<Result<Vec<Shard>, String>>,
    next: AtomicU64,
}

struct Shard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What others may touch of a shard.
struct Shared {
    /// `None` once the thread has ended: nobody would answer.
    inbox: Mutex<Option<Vec<Message>>>,
    waker: mio::Waker,
    registry: Registry,
}

enum Message {
    /// A peer takes its seat.
    Take(u64, Box<Endpoint>),
    /// Does something with a peer.
    With(u64, Box<dyn FnOnce(&mut Endpoint, Instant) + Send>),
    /// A socket of a peer that the loop does not watch itself has something to read.
    Ready(u64),
    /// A peer says good-bye and leaves; then the answer is given.
    Leave(u64, Option<oneshot::Sender<()>>),
    Stop,
}

/// The place of one peer on a shard.
#[derive(Clone)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

impl Shards {
    /// A place for a new peer. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The threads cannot be started.
    pub(super) fn seat(&self) -> io::Result<Seat> {
        let start = || {
            let count = thread::available_parallelism().map_or(1, usize::from);
            (0..count).map(Shard::start).collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())
        };
        let shards = self.threads.get_or_init(start).as_ref();
        let shards = shards.map_err(|error| io::Error::other(format!("the threads cannot be started: {error}")))?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { shared: Arc::clone(&shards[id as usize % shards.len()].shared), id })
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.shared.post(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // A shard that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shard {
    fn start(number: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let registry = poll.registry().try_clone()?;
        let shared = Arc::new(Shared { inbox: Mutex::new(Some(Vec::new())), waker, registry });
        // Streams to servers are tasks of the runtime that the peers' other side is on.
        let (runtime, inbox) = (Handle::current(), Arc::clone(&shared));
        let thread = thread::Builder::new().name(format!("shard {number}")).spawn(move || {
            let _entered = runtime.enter();
            // Dropped last, however the loop ends: nobody would answer.
            let _closed = Closed(Arc::clone(&inbox));
            Loop::new(poll, inbox).run();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

struct Closed(Arc<Shared>);

impl Drop for Closed {
    fn drop(&mut self) {
        drop(self.0.lock().take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Message>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, message: Message) {
        let mut inbox = self.lock();
        let Some(inbox) = inbox.as_mut() else { return };
        inbox.push(message);
        if inbox.len() == 1
            && let Err(error) = self.waker.wake()
        {
            tracing::warn!(%error, "a shard cannot be woken");
        }
    }
}

impl Seat {
    /// Puts the peer there.
    pub(super) fn take(&self, peer: Endpoint) {
        self.shared.post(Message::Take(self.id, Box::new(peer)));
    }

    /// Does something with the peer; `None` if it is gone.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Endpoint, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        // Nobody may be waiting any more.
        self.tell(move |peer, now| drop(done.send(work(peer, now))));
        result.await.ok()
    }

    /// As [`with`](Self::with), without waiting for it.
    pub(super) fn tell(&self, work: impl FnOnce(&mut Endpoint, Instant) + Send + 'static) {
        self.shared.post(Message::With(self.id, Box::new(work)));
    }

    /// The peer says good-bye; returns once it is gone.
    pub(super) async fn leave(&self) {
        let (done, left) = oneshot::channel();
        self.shared.post(Message::Leave(self.id, Some(done)));
        // The shard may have ended, and the peer with it.
        let _ = left.await;
    }

    /// As [`leave`](Self::leave), without waiting for it.
    pub(super) fn abandon(&self) {
        self.shared.post(Message::Leave(self.id, None));
    }

    /// Has the shard read a socket when there is something to read.
    pub(super) fn watch(&self, socket: &mut impl Source) -> io::Result<()> {
        let token = Token(usize::try_from(self.id).map_err(io::Error::other)?);
        self.shared.registry.register(socket, token, Interest::READABLE)
    }

    /// Has the shard read the peer's sockets when it is woken.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::new(Readiness(self.clone())))
    }
}

struct Readiness(Seat);

impl Wake for Readiness {
    fn wake(self: Arc<Self>) {
        self.0.shared.post(Message::Ready(self.0.id));
    }
}

/// A peer, and the earliest timer that the loop has for it.
struct Seated {
    peer: Box<Endpoint>,
    timer: Option<Instant>,
}

struct Loop {
    poll: Poll,
    shared: Arc<Shared>,
    peers: HashMap<u64, Seated>,
    /// When to look after which peer. A peer whose timer moved on stays here until the old one is due.
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Peers whose sockets have something to read.
    readable: Vec<u64>,
    scratch: Scratch,
}

impl Loop {
    fn new(poll: Poll, shared: Arc<Shared>) -> Self {
        let (peers, timers, readable) = (HashMap::new(), BinaryHeap::new(), Vec::new());
        Self { poll, shared, peers, timers, readable, scratch: Scratch::default() }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a shard ends");
                return self.peers.into_values().for_each(|seated| seated.peer.broken());
            }
            let sockets = events.iter().map(mio::event::Event::token).filter(|token| *token != WAKER);
            self.readable.extend(sockets.map(|token| token.0 as u64));
            let messages = self.shared.lock().as_mut().map(std::mem::take).unwrap_or_default();
            for message in messages {
                match message {
                    Message::Take(id, peer) => {
                        self.peers.insert(id, Seated { peer, timer: None });
                        self.readable.push(id);
                    }
                    Message::With(id, work) => self.attend(id, |peer, _, now| work(peer, now)),
                    Message::Ready(id) => self.readable.push(id),
                    Message::Leave(id, left) => {
                        self.attend(id, |peer, scratch, now| peer.close(scratch, now));
                        self.peers.remove(&id);
                        // Nobody may be waiting any more.
                        let _ = left.map(|left| left.send(()));
                    }
                    Message::Stop => return,
                }
            }
            for id in std::mem::take(&mut self.readable) {
                let mut more = false;
                self.attend(id, |peer, scratch, now| more = peer.receive(scratch, now));
                if more {
                    self.readable.push(id);
                }
            }
            self.handle_timers();
        }
    }

    /// How long there is nothing to do unless something comes in.
    fn patience(&self) -> Option<Duration> {
        if !self.readable.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()))
    }

    fn handle_timers(&mut self) {
        let now = Instant::now();
        for _ in 0..TIMERS {
            let Some(Reverse((_, id))) = self.timers.peek().filter(|Reverse((at, _))| *at <= now).copied() else {
                return;
            };
            let popped = self.timers.pop();
            if let Some(seated) = self.peers.get_mut(&id)
                && seated.timer == popped.map(|Reverse((at, _))| at)
            {
                seated.timer = None;
                self.attend(id, |peer, scratch, now| peer.handle_timeout(scratch, now));
            }
        }
    }

    /// Does something with a peer, then whatever it leads to, and arms its timer.
    fn attend(&mut self, id: u64, work: impl FnOnce(&mut Endpoint, &mut Scratch, Instant)) {
        let Self { peers, scratch, timers, .. } = self;
        let Some(Seated { peer, timer }) = peers.get_mut(&id) else { return };
        let now = Instant::now();
        let attended = catch_unwind(AssertUnwindSafe(|| {
            work(peer, scratch, now);
            peer.proceed(scratch, now);
            peer.poll_timeout(now)
        }));
        match attended {
            Ok(due) => {
                if let Some(due) = due
                    && timer.is_none_or(|timer| due < timer)
                {
                    *timer = Some(due);
                    timers.push(Reverse((due, id)));
                }
            }
            // The panic has been reported; the other peers of the shard go on, without what it left behind.
            Err(_) => {
                *scratch = Scratch::default();
                if let Some(seated) = peers.remove(&id) {
                    seated.peer.broken();
                }
            }
        }
    }
}
