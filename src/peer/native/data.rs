//! The data channels of a native peer: `echo`, whose messages come back, and `bulk`, which carries as much as it can.
//!
//! The offerer opens both. On `echo` it measures; the answerer sends every message back unchanged. On `bulk` the offerer
//! sends with back-pressure until sending is to stop; the answerer counts and verifies.
//!
//! A server that is the other end may offer, and speak a protocol of its own on the channel: then it is the answerer that opens it,
//! and what the server sends back to who said it is the echo.
//!
//! Which channels there are, what goes over them and what is made of what arrives is decided here; a stack only opens
//! channels and moves messages.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::data_channel::{RTCDataChannelInit, RTCDataChannelMessage};
use tokio_util::sync::CancellationToken;

use super::state::Tracker;
use crate::media::data::{BulkReceiver, BulkSender, EchoSender};
use crate::peer::{PeerContext, Sent};
use crate::plan::{DataPlan, Role};
use crate::record::{MediaKind, MediaReport, Metric, Phase, Tally};
use crate::signaling::dialect::{Heard, Said, Wording};

/// The label of the channel whose messages come back.
const ECHO: &str = "echo";
/// The label of the channel that carries bulk data.
const BULK: &str = "bulk";

/// What a peer does on a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ChannelRole {
    EchoSender,
    EchoAnswerer,
    BulkSender,
    BulkReceiver,
}

/// What is under way to a peer on its data channels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum UnderWay {
    /// Every echo has come back, and every bulk message has arrived.
    Nothing,
    /// Messages that are not sent again if they get lost.
    MayBeLost,
    /// Messages that a lost packet delays but does not take away.
    Repeated,
}

/// The traffic on the data channels of one peer.
pub(super) struct DataTraffic {
    context: PeerContext,
    tracker: Tracker,
    /// Cancelled when sending is to stop.
    stop: CancellationToken,
    latency: Tally,
    echo: Mutex<Option<EchoSender>>,
    /// Set while `echo` is locked, so that no message follows what is reported.
    echo_stopped: AtomicBool,
    /// How echo messages are written on their channel.
    wording: Mutex<Wording>,
    /// The label of that channel, if it is the server's own.
    channel_of_server: Option<&'static str>,
    /// Messages that the answerer sent back.
    echoed: AtomicU64,
    bulk: Mutex<Option<BulkReceiver>>,
    bulk_sent: AtomicU64,
    bytes_received: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl DataTraffic {
    pub(super) fn new(context: PeerContext, tracker: Tracker, stop: CancellationToken) -> Self {
        let latency = context.recorder.tally(Metric::DataChannelLatencyMs, &context.group.name, &context.call.set);
        let wording = context.plan.signaling.protocol.wording(&context.call.room, context.recorder.peer());
        Self {
            channel_of_server: wording.channel_of_server(),
            wording: Mutex::new(wording),
            context,
            tracker,
            stop,
            latency,
            echo: Mutex::default(),
            echo_stopped: AtomicBool::new(false),
            echoed: AtomicU64::new(0),
            bulk: Mutex::default(),
            bulk_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// The channels that this peer opens, with their labels, and how: those of an offerer.
    pub(super) fn to_open(&self) -> Vec<(ChannelRole, &'static str, Option<RTCDataChannelInit>)> {
        let Some(plan) = self.plan().filter(|_| self.sends_echo()) else { return Vec::new() };
        let mut channels = vec![(ChannelRole::EchoSender, self.channel_of_server.unwrap_or(ECHO), None)];
        if let Some(bulk) = &plan.bulk {
            let init = (!bulk.reliable).then(|| RTCDataChannelInit {
                ordered: false,
                max_retransmits: Some(0),
                ..Default::default()
            });
            channels.push((ChannelRole::BulkSender, BULK, init));
        }
        channels
    }

    /// What this peer does on a channel that the other end opened; `None` if nothing. Applications name theirs as they like.
    pub(super) fn role_on(&self, label: &str) -> Option<ChannelRole> {
        self.plan().filter(|_| !self.sends_echo())?;
        Some(if label == BULK { ChannelRole::BulkReceiver } else { ChannelRole::EchoAnswerer })
    }

    /// A channel has opened.
    pub(super) fn opened(&self, role: ChannelRole) {
        match role {
            ChannelRole::EchoSender => {
                if lock(&self.wording).is_ready() {
                    self.begin_echo();
                }
                self.tracker.data_open();
            }
            ChannelRole::EchoAnswerer => self.tracker.data_open(),
            ChannelRole::BulkSender => {}
            ChannelRole::BulkReceiver => *lock(&self.bulk) = Some(BulkReceiver::new()),
        }
    }

    fn begin_echo(&self) {
        if let Some(plan) = self.plan() {
            let interval = Duration::from_micros(plan.echo_interval_us);
            let sender = EchoSender::new(Instant::now(), interval, plan.echo_bytes as usize);
            *lock(&self.echo) = Some(sender);
        }
    }

    /// When the next message on the channel of echoes is due; `None` once sending is to stop.
    pub(super) fn next_echo_due(&self) -> Option<Instant> {
        if lock(&self.wording).has_more() {
            return Some(Instant::now());
        }
        let echo = lock(&self.echo);
        echo.as_ref().filter(|_| !self.stop.is_cancelled()).map(EchoSender::next_due)
    }

    /// The next message on the channel of echoes, if it is due.
    pub(super) fn next_echo(&self) -> Option<RTCDataChannelMessage> {
        let message = |said: Said| RTCDataChannelMessage { is_string: said.is_text, data: said.content };
        let wanted = lock(&self.wording).poll();
        if let Some(wanted) = wanted {
            return Some(message(wanted));
        }
        let mut echo = lock(&self.echo);
        let stopped = self.echo_stopped.load(Ordering::Relaxed);
        let due = echo.as_mut().filter(|_| !stopped)?.produce(Instant::now())?;
        Some(message(lock(&self.wording).say(&due.message)))
    }

    /// The next bulk message; `None` once sending is to stop. It counts once it is [sent](Self::bulk_was_sent).
    pub(super) fn next_bulk(&self) -> Option<BytesMut> {
        let bulk = self.plan()?.bulk.as_ref().filter(|_| !self.stop.is_cancelled())?;
        let message = BulkSender::new(bulk.message_bytes as usize).message(self.bulk_sent.load(Ordering::Relaxed));
        // Nobody else holds the message, so that it becomes mutable without a copy.
        Some(message.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..])))
    }

    /// The stack has taken the bulk message.
    pub(super) fn bulk_was_sent(&self) {
        self.bulk_sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A message has arrived on a channel. True if it is to be sent back as it is.
    pub(super) fn received(&self, role: ChannelRole, message: &[u8]) -> bool {
        let now = Instant::now();
        self.bytes_received.fetch_add(message.len() as u64, Ordering::Relaxed);
        *lock(&self.last) = Some(now);
        match role {
            ChannelRole::EchoSender => {
                let (was_ready, heard) = {
                    let mut wording = lock(&self.wording);
                    (wording.is_ready(), wording.hear(message))
                };
                match heard {
                    Heard::Joined => self.begin_echo(),
                    Heard::Own(message) => self.replied(&message, now),
                    Heard::Refused(why) => {
                        let phase = if was_ready { Phase::Media } else { Phase::DataChannel };
                        self.tracker.fail_in(phase, why);
                    }
                    Heard::Nothing => {}
                }
                false
            }
            ChannelRole::EchoAnswerer => true,
            ChannelRole::BulkSender => false,
            ChannelRole::BulkReceiver => {
                if let Some(receiver) = lock(&self.bulk).as_mut() {
                    receiver.handle(message, now);
                }
                self.tracker.arrived(|arrived| arrived.bulk = true);
                false
            }
        }
    }

    /// An echo message has come back.
    fn replied(&self, message: &[u8], now: Instant) {
        let latency = lock(&self.echo).as_mut().and_then(|echo| echo.handle_reply(message, now));
        if let Some(latency) = latency {
            self.latency.record(latency.as_secs_f64() * 1e3);
            self.tracker.arrived(|arrived| arrived.echo = true);
        }
    }

    /// The stack has taken the answer to an echo message.
    pub(super) fn was_sent_back(&self) {
        self.echoed.fetch_add(1, Ordering::Relaxed);
        self.tracker.arrived(|arrived| arrived.echo = true);
    }

    /// No echo message is sent from now on.
    pub(super) fn stop(&self) {
        let _echo = lock(&self.echo);
        self.echo_stopped.store(true, Ordering::Relaxed);
    }

    /// User bytes received on all channels.
    pub(super) fn bytes_received(&self) -> u64 {
        self.bytes_received.load(Ordering::Relaxed)
    }

    /// Messages sent on `bulk`, by the end that sends there.
    pub(super) fn bulk_messages_sent(&self) -> Option<u64> {
        let sends = self.sends_echo() && self.plan().is_some_and(|plan| plan.bulk.is_some());
        sends.then(|| self.bulk_sent.load(Ordering::Relaxed))
    }

    /// What is under way, given what the other end says it sent.
    pub(super) fn under_way(&self, sent: Option<&Sent>) -> UnderWay {
        let echoes = lock(&self.echo).as_ref().is_some_and(|echo| echo.report().outstanding > 0);
        let messages = lock(&self.bulk).as_ref().map(|bulk| bulk.report().messages);
        let bulk = messages.is_some() && sent.is_some_and(|sent| messages < sent.data_messages);
        let reliable = self.plan().and_then(|plan| plan.bulk.as_ref()).is_some_and(|bulk| bulk.reliable);
        match (echoes || (bulk && reliable), bulk) {
            (true, _) => UnderWay::Repeated,
            (false, true) => UnderWay::MayBeLost,
            (false, false) => UnderWay::Nothing,
        }
    }

    /// When the last message arrived.
    pub(super) fn last_arrival(&self) -> Option<Instant> {
        *lock(&self.last)
    }

    /// Records the metrics, and says what arrived on each channel.
    pub(super) fn reports(&self, sent: Option<&Sent>) -> Vec<MediaReport> {
        let Some(plan) = self.plan() else { return Vec::new() };
        let mut reports = vec![self.echo_report()];
        if let Some(bulk) = plan.bulk.as_ref().filter(|_| self.context.role == Role::Answerer) {
            reports.push(self.bulk_report(bulk.reliable, sent));
        }
        reports
    }

    fn echo_report(&self) -> MediaReport {
        let mut report = self.context.media_report(MediaKind::DataEcho, ECHO);
        if !self.sends_echo() {
            let echoed = self.echoed.load(Ordering::Relaxed);
            (report.packets, report.frames, report.frames_intact) = (echoed, echoed, echoed);
            report.verified = echoed > 0;
            report.detail = format!("sent {echoed} messages back");
            return report;
        }
        let echo = lock(&self.echo);
        let Some(seen) = echo.as_ref().map(EchoSender::report) else {
            report.detail = "the channel did not open".into();
            return report;
        };
        (report.packets, report.frames, report.frames_intact) = (seen.replied, seen.sent, seen.replied);
        report.verified = seen.replied > 0 && seen.corrupt + seen.unknown + seen.outstanding == 0;
        report.detail = format!(
            "{} of {} messages came back unchanged, {} changed, {} unknown, {} did not come back",
            seen.replied, seen.sent, seen.corrupt, seen.unknown, seen.outstanding
        );
        report
    }

    fn bulk_report(&self, reliable: bool, sent: Option<&Sent>) -> MediaReport {
        let mut report = self.context.media_report(MediaKind::DataBulk, BULK);
        let bulk = lock(&self.bulk);
        let Some(seen) = bulk.as_ref().map(BulkReceiver::report) else {
            report.detail = "the channel did not open".into();
            return report;
        };
        if let Some(throughput) = seen.throughput_bps {
            self.context.recorder.sample(Metric::DataChannelThroughputBps, throughput);
        }
        let arrived = seen.messages + seen.corrupt + seen.duplicates;
        (report.packets, report.frames, report.frames_intact) = (arrived, arrived, seen.messages);
        report.frames_sent = sent.and_then(|sent| sent.data_messages);
        // Unreliable messages may get lost; what arrives must be intact all the same.
        report.verified =
            seen.messages > 0 && seen.corrupt == 0 && (!reliable || (seen.missing, seen.reordered) == (0, 0));
        report.detail = format!(
            "{} messages, {} bytes, {} corrupt, {} missing, {} out of order",
            seen.messages, seen.bytes, seen.corrupt, seen.missing, seen.reordered
        );
        report
    }

    /// Whether this end opens the channels.
    fn sends_echo(&self) -> bool {
        self.context.role == Role::Offerer || self.channel_of_server.is_some()
    }

    fn plan(&self) -> Option<&DataPlan> {
        self.context.plan.media_of(&self.context.call).data.as_ref()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
