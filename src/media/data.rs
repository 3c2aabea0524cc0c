//! Data-channel messages: echoes that measure latency, and bulk that measures throughput. Both are verified.
//!
//! An echo message is sent back by the other end as it is. A bulk message is verified by its receiver alone: its content
//! follows from its index, and all of it is compared.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::receive::Window;
use super::schedule::Schedule;

/// An echo message: magic (4 bytes), sequence (8), planned time in µs since the start (8), then the pattern.
const ECHO_MAGIC: [u8; 4] = *b"HEch";
const ECHO_HEADER: usize = 20;
/// A bulk message: magic (4 bytes), length (4), index (8), then the pattern.
const BULK_MAGIC: [u8; 4] = *b"HBlk";
const BULK_HEADER: usize = 16;

/// Sends echo messages on an exact schedule, and matches the replies.
///
/// Driven like a [`VideoSender`](super::send::VideoSender): latency counts from the planned time, so that a late generator
/// cannot hide delay.
#[derive(Debug)]
pub struct EchoSender {
    start: Instant,
    schedule: Schedule,
    length: usize,
    /// Sequence and planned time of messages without a reply, in order.
    outstanding: VecDeque<(u64, Instant)>,
    report: EchoReport,
}

/// An echo message that is due.
#[derive(Clone, Debug)]
pub struct EchoMessage {
    /// To be sent as a binary message.
    pub message: Bytes,
    /// How late it is: a reading of the generator's health. Where ticks were dropped, of the first of them.
    pub lateness: Duration,
    /// How many ticks were dropped because they were more than 100 ms and two intervals late.
    pub skipped: u64,
}

/// What became of the echo messages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EchoReport {
    /// Messages sent.
    pub sent: u64,
    /// Messages that came back intact, each counted once.
    pub replied: u64,
    /// Messages that have not come back.
    pub outstanding: u64,
    /// Replies to nothing that was sent, or again to something that was replied to.
    pub unknown: u64,
    /// Replies that are not, byte by byte, what was sent.
    pub corrupt: u64,
    /// Ticks dropped because the generator was late.
    pub skipped: u64,
}

impl EchoSender {
    /// A sender of messages of `length` bytes (at least 20), the first due at `start`, then one every `interval` (at least
    /// 1 ms).
    pub fn new(start: Instant, interval: Duration, length: usize) -> Self {
        Self {
            start,
            schedule: Schedule::every(start, interval),
            length: length.max(ECHO_HEADER),
            outstanding: VecDeque::new(),
            report: EchoReport::default(),
        }
    }

    /// When the next message is due.
    pub fn next_due(&self) -> Instant {
        self.schedule.next_due()
    }

    /// The next message, if it is due.
    pub fn produce(&mut self, now: Instant) -> Option<EchoMessage> {
        let tick = self.schedule.take(now)?;
        self.outstanding.push_back((tick.index, tick.planned));
        self.report.sent += 1;
        self.report.skipped += tick.skipped;
        let message = self.message(tick.index, tick.planned);
        Some(EchoMessage { message, lateness: tick.lateness, skipped: tick.skipped })
    }

    /// Takes a reply that arrived at `now`: the time since its message was planned to be sent, or `None` if it is not the
    /// first intact reply to a message.
    pub fn handle_reply(&mut self, reply: &[u8], now: Instant) -> Option<Duration> {
        let sequence = reply.get(4..12).and_then(|sequence| sequence.try_into().ok()).map(u64::from_be_bytes);
        let Some(sequence) = sequence.filter(|&sequence| reply == self.message(sequence, self.schedule.due(sequence)))
        else {
            self.report.corrupt += 1;
            return None;
        };
        let Ok(at) = self.outstanding.binary_search_by_key(&sequence, |(sequence, _)| *sequence) else {
            self.report.unknown += 1;
            return None;
        };
        self.report.replied += 1;
        let (_, planned) = self.outstanding.remove(at)?;
        Some(now.saturating_duration_since(planned))
    }

    /// What became of the messages so far.
    pub fn report(&self) -> EchoReport {
        EchoReport { outstanding: self.outstanding.len() as u64, ..self.report }
    }

    fn message(&self, sequence: u64, planned: Instant) -> Bytes {
        let mut message = BytesMut::with_capacity(self.length);
        message.put_slice(&ECHO_MAGIC);
        message.put_u64(sequence);
        message.put_u64(planned.saturating_duration_since(self.start).as_micros() as u64);
        put_pattern(&mut message, sequence, self.length - ECHO_HEADER);
        message.freeze()
    }
}

/// Makes the messages of a bulk transfer.
#[derive(Clone, Copy, Debug)]
pub struct BulkSender {
    length: usize,
}

impl BulkSender {
    /// A sender of messages of `length` bytes, at least 16.
    pub fn new(length: usize) -> Self {
        Self { length: length.max(BULK_HEADER) }
    }

    /// The message with this index; the first has index 0.
    pub fn message(&self, index: u64) -> Bytes {
        let mut message = BytesMut::with_capacity(self.length);
        message.put_slice(&BULK_MAGIC);
        message.put_u32(self.length as u32);
        message.put_u64(index);
        put_pattern(&mut message, index, self.length - BULK_HEADER);
        message.freeze()
    }
}

/// What was received of a bulk transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BulkReport {
    /// Bytes of intact messages, each counted once.
    pub bytes: u64,
    /// Intact messages, each counted once.
    pub messages: u64,
    /// Messages that are not, byte by byte, what was sent.
    pub corrupt: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Messages that arrived after one with a higher index.
    pub reordered: u64,
    /// Messages with a lower index than the highest that have not arrived intact.
    pub missing: u64,
    /// User bits per second, from the first intact message to the last; the first one only starts the clock.
    pub throughput_bps: Option<f64>,
}

/// Receives and verifies the messages of a bulk transfer.
#[derive(Debug)]
pub struct BulkReceiver {
    window: Window,
    /// The lowest index that is higher than all that arrived.
    next: u64,
    first: Option<(Instant, u64)>,
    last: Option<Instant>,
    report: BulkReport,
}

impl Default for BulkReceiver {
    fn default() -> Self {
        Self { window: Window::new(), next: 0, first: None, last: None, report: BulkReport::default() }
    }
}

impl BulkReceiver {
    /// A receiver that has received nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message that arrived at `now`.
    pub fn handle(&mut self, message: &[u8], now: Instant) {
        let Some(index) = bulk_index(message) else {
            self.report.corrupt += 1;
            return;
        };
        if !self.window.insert(index) {
            self.report.duplicates += 1;
            return;
        }
        self.report.reordered += u64::from(index < self.next);
        self.next = self.next.max(index.saturating_add(1));
        self.report.messages += 1;
        self.report.bytes += message.len() as u64;
        self.first.get_or_insert((now, message.len() as u64));
        self.last = Some(now);
    }

    /// What was received so far.
    pub fn report(&self) -> BulkReport {
        let throughput = |(first, bytes): (Instant, u64)| {
            let seconds = self.last?.saturating_duration_since(first).as_secs_f64();
            (seconds > 0.0).then(|| (self.report.bytes - bytes) as f64 * 8.0 / seconds)
        };
        BulkReport {
            missing: self.next.saturating_sub(self.report.messages),
            throughput_bps: self.first.and_then(throughput),
            ..self.report
        }
    }
}

/// The index of an intact message.
fn bulk_index(message: &[u8]) -> Option<u64> {
    let (header, body) = message.split_first_chunk::<BULK_HEADER>()?;
    let length = u32::from_be_bytes(header[4..8].try_into().ok()?);
    let index = u64::from_be_bytes(header[8..16].try_into().ok()?);
    (header[..4] == BULK_MAGIC && length as usize == message.len() && is_pattern(body, index)).then_some(index)
}

/// Bytes of the pattern before it repeats.
const PERIOD: usize = 1 << 16;

/// Two periods of noise, so that a period from any offset is one slice: content is copied and compared, not computed.
fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut period = vec![0; PERIOD];
        ChaCha8Rng::seed_from_u64(0x6861_726e_6573_7321).fill_bytes(&mut period);
        [&period[..], &period].concat()
    })
}

/// Where in the pattern the content of a message starts. Neighbours differ, and so do indices that differ in one bit.
fn offset(index: u64) -> usize {
    (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

fn put_pattern(message: &mut BytesMut, index: u64, length: usize) {
    let period = &pattern()[offset(index)..][..PERIOD];
    let mut left = length;
    while left > 0 {
        let part = left.min(PERIOD);
        message.put_slice(&period[..part]);
        left -= part;
    }
}

fn is_pattern(body: &[u8], index: u64) -> bool {
    let period = &pattern()[offset(index)..][..PERIOD];
    body.chunks(PERIOD).all(|part| part == &period[..part.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn latency_counts_from_the_planned_time() {
        let start = Instant::now();
        let mut echo = EchoSender::new(start, INTERVAL, 64);
        let first = echo.produce(after(start, 30)).unwrap();
        assert_eq!((first.message.len(), first.lateness), (64, Duration::from_millis(30)));
        assert_eq!(echo.handle_reply(&first.message, after(start, 50)), Some(Duration::from_millis(50)));
        assert_eq!(echo.next_due(), after(start, 100));
        assert!(echo.produce(after(start, 99)).is_none());
    }

    #[test]
    fn every_reply_is_accounted_for() {
        let start = Instant::now();
        let mut echo = EchoSender::new(start, INTERVAL, 0);
        let messages: Vec<_> = (0..4).map(|_| echo.produce(echo.next_due()).unwrap().message).collect();
        assert!(echo.handle_reply(&messages[2], after(start, 400)).is_some());
        assert!(echo.handle_reply(&messages[0], after(start, 400)).is_some());
        assert_eq!(echo.handle_reply(&messages[0], after(start, 400)), None);
        assert_eq!(echo.handle_reply(b"hello", after(start, 400)), None);
        let never_sent = EchoSender::new(start, INTERVAL, 0).message(9, after(start, 900));
        assert_eq!(echo.handle_reply(&never_sent, after(start, 400)), None);
        let report = EchoReport { sent: 4, replied: 2, outstanding: 2, unknown: 2, corrupt: 1, skipped: 0 };
        assert_eq!(echo.report(), report);
    }

    #[test]
    fn any_flipped_bit_of_a_message_is_found() {
        let start = Instant::now();
        let mut echo = EchoSender::new(start, INTERVAL, 50);
        let message = echo.produce(start).unwrap().message;
        let bulk = BulkSender::new(50).message(5);
        for bit in 0..50 * 8 {
            let flipped = |message: &Bytes| {
                let mut message = message.to_vec();
                message[bit / 8] ^= 1 << (bit % 8);
                message
            };
            assert_eq!(echo.handle_reply(&flipped(&message), start), None, "bit {bit}");
            let mut receiver = BulkReceiver::new();
            receiver.handle(&flipped(&bulk), start);
            assert_eq!((receiver.report().corrupt, receiver.report().messages), (1, 0), "bit {bit}");
        }
        assert_eq!(echo.report().corrupt, 400);
        assert!(echo.handle_reply(&message, start).is_some());
    }

    #[test]
    fn bulk_is_counted_and_timed() {
        let (start, sender) = (Instant::now(), BulkSender::new(200_000));
        let mut receiver = BulkReceiver::new();
        assert_eq!(receiver.report(), BulkReport::default());
        for (index, milliseconds) in [(0, 0), (1, 10), (4, 20), (3, 30), (4, 40)] {
            receiver.handle(&sender.message(index), after(start, milliseconds));
        }
        receiver.handle(&sender.message(5)[..100_000], after(start, 50));
        let report = receiver.report();
        assert_eq!((report.messages, report.bytes, report.corrupt), (4, 800_000, 1));
        assert_eq!((report.missing, report.reordered, report.duplicates), (1, 1, 1));
        assert!((report.throughput_bps.unwrap() - 160e6).abs() < 1.0, "600 kB in 30 ms");
    }

    #[test]
    fn an_absurd_index_is_counted_and_does_no_harm() {
        let (start, sender) = (Instant::now(), BulkSender::new(0));
        let mut receiver = BulkReceiver::new();
        for index in [0, u64::MAX, u64::MAX - 1, 1] {
            receiver.handle(&sender.message(index), start);
        }
        assert!(receiver.report().missing > 0);
        let mut echo = EchoSender::new(start, INTERVAL, 0);
        assert_eq!(echo.handle_reply(&[0xff; 20], start), None);
    }
}
