//! The data channels of a native peer: `echo`, whose messages come back, and `bulk`, which carries as much as it can.
//!
//! The offerer opens both. On `echo` it measures; the answerer sends every message back unchanged. On `bulk` the offerer
//! sends with back-pressure until sending is to stop; the answerer counts and verifies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::shared::error::Result;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::PeerConnection;

use super::state::Tracker;
use crate::media::data::{BulkReceiver, BulkSender, EchoMessage, EchoSender};
use crate::peer::{PeerContext, Sent};
use crate::plan::{DataPlan, Role};
use crate::record::{MediaKind, MediaReport, Metric};

/// The label of the channel whose messages come back.
const ECHO: &str = "echo";
/// The label of the channel that carries bulk data.
const BULK: &str = "bulk";

/// The data channels of one peer, and their tasks.
pub(super) struct DataTasks {
    context: PeerContext,
    tracker: Tracker,
    shared: Arc<Shared>,
    stop: CancellationToken,
    end: CancellationToken,
}

#[derive(Default)]
struct Shared {
    echo: Mutex<Option<EchoSender>>,
    /// Set while `echo` is locked, so that no message follows what is reported.
    echo_stopped: AtomicBool,
    /// Messages that the answerer sent back.
    echoed: AtomicU64,
    bulk: Mutex<Option<BulkReceiver>>,
    bulk_sent: AtomicU64,
    bytes_received: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl DataTasks {
    pub(super) fn new(context: PeerContext, tracker: Tracker, stop: CancellationToken, end: CancellationToken) -> Self {
        Self { context, tracker, shared: Arc::default(), stop, end }
    }

    /// Opens the channels of an offerer.
    pub(super) async fn open(&self, connection: &Arc<dyn PeerConnection>) -> Result<()> {
        let Some(plan) = self.plan() else { return Ok(()) };
        let echo = connection.create_data_channel(ECHO, None).await?;
        self.spawn(Channel { kind: Kind::EchoSender, channel: echo, plan: plan.clone() });
        if let Some(bulk) = &plan.bulk {
            let init = (!bulk.reliable).then(|| RTCDataChannelInit {
                ordered: false,
                max_retransmits: Some(0),
                ..Default::default()
            });
            let channel = connection.create_data_channel(BULK, init).await?;
            self.spawn(Channel { kind: Kind::BulkSender, channel, plan: plan.clone() });
        }
        Ok(())
    }

    /// Takes a channel of the other end.
    pub(super) async fn accept(&self, channel: Arc<dyn DataChannel>) {
        let Some(plan) = self.plan() else { return };
        let kind = match channel.label().await.as_deref() {
            Ok(ECHO) => Kind::EchoAnswerer,
            Ok(BULK) => Kind::BulkReceiver,
            _ => return,
        };
        if self.context.role == Role::Answerer {
            self.spawn(Channel { kind, channel, plan: plan.clone() });
        }
    }

    /// No echo message is sent from now on.
    pub(super) fn stop(&self) {
        let _echo = lock(&self.shared.echo);
        self.shared.echo_stopped.store(true, Ordering::Relaxed);
    }

    /// User bytes received on all channels.
    pub(super) fn bytes_received(&self) -> u64 {
        self.shared.bytes_received.load(Ordering::Relaxed)
    }

    /// Messages sent on `bulk`, by the end that sends there.
    pub(super) fn bulk_messages_sent(&self) -> Option<u64> {
        let sends = self.context.role == Role::Offerer && self.plan().is_some_and(|plan| plan.bulk.is_some());
        sends.then(|| self.shared.bulk_sent.load(Ordering::Relaxed))
    }

    /// Whether every echo has come back, and every bulk message that the other end sent has arrived.
    pub(super) fn is_drained(&self, sent: Option<&Sent>) -> bool {
        let echoes = lock(&self.shared.echo).as_ref().is_none_or(|echo| echo.report().outstanding == 0);
        let bulk = lock(&self.shared.bulk).as_ref().map(|bulk| bulk.report().messages);
        echoes && (bulk.is_none() || sent.is_none_or(|sent| bulk >= sent.data_messages))
    }

    /// When the last message arrived.
    pub(super) fn last_arrival(&self) -> Option<Instant> {
        *lock(&self.shared.last)
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
        if self.context.role == Role::Answerer {
            let echoed = self.shared.echoed.load(Ordering::Relaxed);
            (report.packets, report.frames, report.frames_intact) = (echoed, echoed, echoed);
            report.verified = echoed > 0;
            report.detail = format!("sent {echoed} messages back");
            return report;
        }
        let echo = lock(&self.shared.echo);
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
        let bulk = lock(&self.shared.bulk);
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

    fn plan(&self) -> Option<&DataPlan> {
        self.context.plan.media_of(&self.context.call).data.as_ref()
    }

    fn spawn(&self, channel: Channel) {
        let task = ChannelTask {
            context: self.context.clone(),
            tracker: self.tracker.clone(),
            shared: Arc::clone(&self.shared),
            stop: self.stop.clone(),
        };
        let end = self.end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task.run(channel) => {}
                () = end.cancelled() => {}
            }
        });
    }
}

enum Kind {
    EchoSender,
    EchoAnswerer,
    BulkSender,
    BulkReceiver,
}

struct Channel {
    kind: Kind,
    channel: Arc<dyn DataChannel>,
    plan: DataPlan,
}

struct ChannelTask {
    context: PeerContext,
    tracker: Tracker,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl ChannelTask {
    async fn run(self, channel: Channel) {
        let Channel { kind, channel, plan } = channel;
        if !is_open(&channel).await {
            return;
        }
        match kind {
            Kind::EchoSender => {
                self.tracker.data_open();
                self.echo(&channel, &plan).await;
            }
            Kind::EchoAnswerer => {
                self.tracker.data_open();
                self.answer_echo(&channel).await;
            }
            Kind::BulkSender => self.send_bulk(&channel, &plan).await,
            Kind::BulkReceiver => self.receive_bulk(&channel).await,
        }
    }

    async fn echo(&self, channel: &Arc<dyn DataChannel>, plan: &DataPlan) {
        let interval = Duration::from_micros(plan.echo_interval_us);
        *lock(&self.shared.echo) = Some(EchoSender::new(Instant::now(), interval, plan.echo_bytes as usize));
        let tally =
            self.context.recorder.tally(Metric::DataChannelLatencyMs, &self.context.group.name, &self.context.call.set);
        loop {
            let due = lock(&self.shared.echo).as_ref().map_or_else(Instant::now, EchoSender::next_due);
            let sending = !self.stop.is_cancelled();
            tokio::select! {
                () = sleep_until(due.into()), if sending => {
                    let due = self.next_echo();
                    if let Some(due) = due && channel.send(BytesMut::from(&due.message[..])).await.is_err() {
                        return;
                    }
                }
                () = self.stop.cancelled(), if sending => {}
                event = channel.poll() => match event {
                    Some(DataChannelEvent::OnMessage(message)) => {
                        let now = self.arrived(message.data.len());
                        let latency =
                            lock(&self.shared.echo).as_mut().and_then(|echo| echo.handle_reply(&message.data, now));
                        if let Some(latency) = latency {
                            tally.record(latency.as_secs_f64() * 1e3);
                            self.tracker.arrived(|arrived| arrived.echo = true);
                        }
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    fn next_echo(&self) -> Option<EchoMessage> {
        let mut echo = lock(&self.shared.echo);
        let stopped = self.shared.echo_stopped.load(Ordering::Relaxed);
        echo.as_mut().filter(|_| !stopped)?.produce(Instant::now())
    }

    async fn answer_echo(&self, channel: &Arc<dyn DataChannel>) {
        while let Some(event) = channel.poll().await {
            let DataChannelEvent::OnMessage(message) = event else { continue };
            self.arrived(message.data.len());
            let sent = if message.is_string {
                channel.send_text(&String::from_utf8_lossy(&message.data)).await
            } else {
                channel.send(message.data).await
            };
            if sent.is_err() {
                return;
            }
            self.shared.echoed.fetch_add(1, Ordering::Relaxed);
            self.tracker.arrived(|arrived| arrived.echo = true);
        }
    }

    async fn send_bulk(&self, channel: &Arc<dyn DataChannel>, plan: &DataPlan) {
        let Some(bulk) = &plan.bulk else { return };
        let sender = BulkSender::new(bulk.message_bytes as usize);
        while !self.stop.is_cancelled() {
            let message = sender.message(self.shared.bulk_sent.load(Ordering::Relaxed));
            // Nobody else holds the message, so that it becomes mutable without a copy.
            let message = message.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            // Waits while the stack's send buffer is full.
            if channel.send(message).await.is_err() {
                return;
            }
            self.shared.bulk_sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn receive_bulk(&self, channel: &Arc<dyn DataChannel>) {
        *lock(&self.shared.bulk) = Some(BulkReceiver::new());
        while let Some(event) = channel.poll().await {
            let DataChannelEvent::OnMessage(message) = event else { continue };
            let now = self.arrived(message.data.len());
            if let Some(receiver) = lock(&self.shared.bulk).as_mut() {
                receiver.handle(&message.data, now);
            }
            self.tracker.arrived(|arrived| arrived.bulk = true);
        }
    }

    fn arrived(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        self.shared.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
        *lock(&self.shared.last) = Some(now);
        now
    }
}

/// Waits until the channel is open; false if it never will be.
async fn is_open(channel: &Arc<dyn DataChannel>) -> bool {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen => return true,
            DataChannelEvent::OnClose | DataChannelEvent::OnError => return false,
            _ => {}
        }
    }
    false
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
