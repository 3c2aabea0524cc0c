//! What a client may do: every client counts as hostile.

use std::time::{Duration, Instant};

/// What the server allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Messages per second of one client in the long run.
    pub messages_per_second: u32,
    /// Messages of one client at once, after a pause.
    pub burst: u32,
    /// Messages over the rate that are dropped, each within a second of the one before, until the client is cut off.
    pub dropped_messages: u32,
    /// Messages that may wait for one client to read them.
    pub queue_messages: usize,
    /// Bytes of messages that may wait for one client to read them.
    pub queue_bytes: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Clients in one room, for who is to be told of all others.
    pub room_clients: usize,
    /// How long the TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long the head of an HTTP request may take, from the connection's start or the end of the last response.
    pub header_timeout: Duration,
    /// How long a connection may speak HTTP before it must be a WebSocket or end.
    pub http_timeout: Duration,
    /// After this long without a sign of life the server sends a WebSocket ping; after as long again it cuts off.
    pub ping_interval: Duration,
    /// How long a good-bye may take.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 10,
            messages_per_second: 2_000,
            burst: 4_000,
            dropped_messages: 100,
            queue_messages: 4_096,
            queue_bytes: 1 << 20,
            connections: 20_000,
            room_clients: 1_000,
            tls_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Whether a message is within its client's rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Allowance {
    /// Act upon it.
    Granted,
    /// Drop it and say so.
    Dropped,
    /// Cut the client off.
    Exhausted,
}

/// A token bucket that also counts what it refuses.
#[derive(Debug)]
pub(super) struct RateLimit {
    tokens: f64,
    refilled: Instant,
    dropped: u32,
    last_drop: Instant,
}

impl RateLimit {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self { tokens: f64::from(limits.burst), refilled: now, dropped: 0, last_drop: now }
    }

    /// Judges a message that arrives at `now`.
    pub(super) fn judge(&mut self, limits: &Limits, now: Instant) -> Allowance {
        let gained = now.saturating_duration_since(self.refilled).as_secs_f64() * f64::from(limits.messages_per_second);
        self.tokens = (self.tokens + gained).min(f64::from(limits.burst));
        self.refilled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Allowance::Granted;
        }
        if now.saturating_duration_since(self.last_drop) > Duration::from_secs(1) {
            self.dropped = 0;
        }
        self.dropped += 1;
        self.last_drop = now;
        if self.dropped > limits.dropped_messages { Allowance::Exhausted } else { Allowance::Dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { messages_per_second: 10, burst: 5, dropped_messages: 3, ..Limits::default() }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (limits, start) = (limits(), Instant::now());
        let mut rate = RateLimit::new(&limits, start);
        for _ in 0..5 {
            assert_eq!(rate.judge(&limits, start), Allowance::Granted);
        }
        assert_eq!(rate.judge(&limits, start), Allowance::Dropped);
        let later = start + Duration::from_millis(101);
        assert_eq!(rate.judge(&limits, later), Allowance::Granted);
        assert_eq!(rate.judge(&limits, later), Allowance::Dropped);
    }

    #[test]
    fn a_flood_that_goes_on_ends_the_connection() {
        let (limits, start) = (limits(), Instant::now());
        let mut rate = RateLimit::new(&limits, start);
        let verdicts: Vec<_> = (0..9).map(|_| rate.judge(&limits, start)).collect();
        assert_eq!(verdicts[5..8], [Allowance::Dropped; 3]);
        assert_eq!(verdicts[8], Allowance::Exhausted);
    }

    #[test]
    fn a_second_of_good_behaviour_clears_the_count() {
        let (limits, start) = (limits(), Instant::now());
        let mut rate = RateLimit::new(&limits, start);
        for second in 0..10 {
            let now = start + Duration::from_secs(2) * second;
            let refused = (0..8).filter(|_| rate.judge(&limits, now) != Allowance::Granted).count();
            assert_eq!(refused, 3, "in second {second}");
        }
    }
}
