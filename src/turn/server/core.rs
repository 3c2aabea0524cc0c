//! The server without sockets and clocks: state, dispatch, and timers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::allocate::Opening;
use super::allocation::Allocation;
use super::auth::Asked;
use super::config::Config;
use super::counters::Counters;
use super::io::{Client, Inbound, Output};
use super::misbehaviour::{History, Misbehaviour};
use super::nonce::Nonces;
use super::rate::RateLimit;
use crate::turn::framing::Framer;
use crate::turn::message::{Class, Message, Method};

/// A STUN and TURN server to which time, packets and the random seed are passed in.
///
/// After each call of a `handle_` function the outputs must be polled until there are none, and
/// [`handle_timeout`](Self::handle_timeout) must be called when the time of [`poll_timeout`](Self::poll_timeout) has come.
#[derive(Debug)]
pub struct Server {
    pub(super) config: Config,
    pub(super) rng: ChaCha8Rng,
    pub(super) nonces: Nonces,
    pub(super) limit: RateLimit,
    pub(super) history: History,
    pub(super) counters: Counters,
    pub(super) allocations: HashMap<Client, Allocation>,
    /// Whose a relay port is; nobody's yet, if it is reserved.
    pub(super) relays: HashMap<SocketAddr, Option<Client>>,
    /// Relay ports that are being opened.
    pub(super) openings: HashMap<SocketAddr, Opening>,
    /// Relay ports that wait for their token.
    pub(super) reservations: HashMap<[u8; 8], (SocketAddr, Instant)>,
    /// How many allocations each account has.
    pub(super) accounts: HashMap<String, usize>,
    streams: HashMap<Client, Stream>,
    timers: BTreeSet<(Instant, Timer)>,
    outputs: VecDeque<Output>,
    delayed: BTreeMap<(Instant, u64), Output>,
    delayed_count: u64,
    started: Instant,
    started_unix: Duration,
}

#[derive(Debug)]
struct Stream {
    framer: Framer,
    last_message: Instant,
    /// When its timer ends.
    due: Instant,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    Allocation(Client),
    Reservation([u8; 8]),
    Stream(Client),
}

impl Server {
    /// A server that starts now. `unix` is the time since 1970, for credentials that expire. The seed makes nonces and
    /// tokens that cannot be guessed, and decides on ports and on packets that are dropped as told.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: Duration) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut nonce_key = [0; 32];
        rng.fill_bytes(&mut nonce_key);
        Self {
            nonces: Nonces::new(&nonce_key, config.lifetimes.nonce),
            limit: RateLimit::new(config.limits.anonymous_per_second),
            config,
            rng,
            history: History::default(),
            counters: Counters::default(),
            allocations: HashMap::new(),
            relays: HashMap::new(),
            openings: HashMap::new(),
            reservations: HashMap::new(),
            accounts: HashMap::new(),
            streams: HashMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            delayed: BTreeMap::new(),
            delayed_count: 0,
            started: now,
            started_unix: unix,
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Inbound<'_>) {
        match input {
            Inbound::StreamOpened { client } => {
                self.stream(now, client);
            }
            Inbound::FromClient { client, data } if client.transport.is_stream() => {
                self.handle_stream(now, client, data);
            }
            Inbound::FromClient { client, data } => self.handle_message(now, client, data),
            Inbound::StreamClosed { client } => self.forget_stream(client),
            Inbound::FromPeer { relay, peer, data } => self.handle_peer(now, relay, peer, data),
            Inbound::PeerUnreachable { relay, peer, icmp_type, icmp_code, data } => {
                self.handle_unreachable(now, relay, peer, icmp_type, icmp_code, data);
            }
            Inbound::RelayOpened { relay, result } => self.handle_opened(now, relay, result.is_ok()),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        timer.into_iter().chain(delayed).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            self.outputs.push_back(entry.remove());
        }
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Allocation(client) => self.delete_allocation(client),
                Timer::Reservation(token) => self.delete_reservation(token),
                Timer::Stream(client) => self.check_stream(now, client),
            }
        }
    }

    /// What the server has done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            allocations: self.allocations.len() as u64,
            streams: self.streams.len() as u64,
            ..self.counters.clone()
        }
    }

    /// Does other things wrong from now on.
    pub fn misbehave(&mut self, misbehaviour: Misbehaviour) {
        self.config.misbehaviour = misbehaviour;
        self.history = History::default();
    }

    /// Counts an output that a driver could not send.
    pub fn count_unsent(&mut self) {
        self.counters.dropped.unsent += 1;
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Sends an answer, unless it must not be sent.
    pub(super) fn answer(&mut self, now: Instant, asked: Asked, class: Class, data: Bytes) {
        let told = &self.config.misbehaviour;
        if self.history.drops(told, asked, class) {
            self.counters.dropped.told += 1;
            return;
        }
        let output = Output::ToClient { client: asked.client, data };
        if told.delay.is_zero() {
            self.output(output);
        } else {
            self.delayed.insert((now + told.delay, self.delayed_count), output);
            self.delayed_count += 1;
        }
    }

    pub(super) fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.insert((at, timer));
    }

    pub(super) fn clear_timer(&mut self, at: Instant, timer: Timer) {
        self.timers.remove(&(at, timer));
    }

    /// The time since the server started.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The time since 1970.
    pub(super) fn unix(&self, now: Instant) -> Duration {
        self.started_unix + self.age(now)
    }

    /// Whether a relayed packet must not be sent.
    pub(super) fn loses_relayed(&mut self) -> bool {
        let share = self.config.misbehaviour.drop_relayed;
        let loses = share > 0.0 && self.rng.random::<f64>() < share;
        self.counters.dropped.told += u64::from(loses);
        loses
    }

    fn handle_message(&mut self, now: Instant, client: Client, data: &[u8]) {
        if self.config.misbehaviour.silent {
            self.counters.dropped.told += 1;
            return;
        }
        if data.first().is_some_and(|first| first >> 6 == 0b01) {
            return self.handle_channel_data(now, client, data);
        }
        let Ok(message) = Message::parse(data) else {
            self.counters.dropped.malformed += 1;
            return;
        };
        match (message.class(), message.method()) {
            (Class::Request, Method::BINDING) => self.handle_binding(now, client, &message),
            (Class::Request, Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND) => {
                self.handle_request(now, client, &message);
            }
            (Class::Indication, Method::SEND) => self.handle_send(now, client, &message),
            // Keepalives, and methods of others (RFC 8489, section 6.3).
            _ => {}
        }
    }

    fn handle_stream(&mut self, now: Instant, client: Client, data: &[u8]) {
        self.stream(now, client).framer.push(data);
        loop {
            // A message may have closed its own stream.
            let Some(stream) = self.streams.get_mut(&client) else { return };
            match stream.framer.pull() {
                Ok(Some(message)) => {
                    stream.last_message = now;
                    self.handle_message(now, client, &message);
                }
                Ok(None) => return,
                Err(_) => {
                    self.counters.dropped.malformed += 1;
                    return self.close_stream(client);
                }
            }
        }
    }

    fn stream(&mut self, now: Instant, client: Client) -> &mut Stream {
        let (timers, due) = (&mut self.timers, now + self.config.lifetimes.idle_stream);
        self.streams.entry(client).or_insert_with(|| {
            timers.insert((due, Timer::Stream(client)));
            Stream { framer: Framer::default(), last_message: now, due }
        })
    }

    fn check_stream(&mut self, now: Instant, client: Client) {
        let idle = self.config.lifetimes.idle_stream;
        let in_use = self.allocations.contains_key(&client);
        let Some(stream) = self.streams.get_mut(&client) else { return };
        stream.due = if in_use { now + idle } else { stream.last_message + idle };
        let due = stream.due;
        if due <= now {
            self.close_stream(client);
        } else {
            self.set_timer(due, Timer::Stream(client));
        }
    }

    fn close_stream(&mut self, client: Client) {
        self.forget_stream(client);
        self.output(Output::CloseStream { client });
    }

    /// The allocation ends with its stream (RFC 8656, section 3.1).
    fn forget_stream(&mut self, client: Client) {
        if let Some(stream) = self.streams.remove(&client) {
            self.clear_timer(stream.due, Timer::Stream(client));
        }
        self.delete_allocation(client);
        self.abandon_opening(client);
    }
}
