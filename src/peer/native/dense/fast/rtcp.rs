//! RTCP of connections on the fast path: what the core's interceptors would say if they saw the packets.
//!
//! Sender and receiver reports every second (RFC 3550, section 6.4), NACKs every 100 ms while something is missing and
//! PLIs (RFC 4585, sections 6.2.1 and 6.3.1): the intervals of the core. The core seals them, numbers them, and opens
//! those of the other end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rtc::rtcp::Packet;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};

use super::receive::{FastReceiver, Stream, Verifier};
use super::send::FastSender;

/// Between two reports.
const REPORTS: Duration = Duration::from_secs(1);
/// Between two looks at what is missing.
const REQUESTS: Duration = Duration::from_millis(100);
/// Seconds from 1900, where NTP begins, to 1970 (RFC 5905).
const NTP_TO_UNIX: u64 = 2_208_988_800;
/// The cumulative loss has 24 bits and a sign.
const MAX_LOST: u64 = 0x7f_ffff;

/// Packets that go in one datagram (RFC 3550, section 6.1).
pub type Compound = Vec<Box<dyn Packet>>;

/// What the other end asks for and tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// Packets to be sent again: SSRC and sequence number.
    pub missing: Vec<(u32, u16)>,
    /// NACK messages.
    pub nacks: u64,
    /// PLI messages.
    pub plis: u64,
    /// FIR messages.
    pub firs: u64,
    /// Sender reports: SSRC, and the middle 32 bits of the NTP time.
    pub sent: Vec<(u32, u32)>,
    /// How our streams arrive.
    pub receptions: Vec<ReceptionReport>,
}

impl Feedback {
    /// Adds what a compound packet says.
    pub fn read(&mut self, packets: &[Box<dyn Packet>]) {
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                self.nacks += 1;
                let numbers = nack.nacks.iter().flat_map(|pair| pair.packet_list());
                self.missing.extend(numbers.map(|number| (nack.media_ssrc, number)));
            } else if packet.is::<PictureLossIndication>() {
                self.plis += 1;
            } else if packet.is::<FullIntraRequest>() {
                self.firs += 1;
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                self.sent.push((report.ssrc, (report.ntp_time >> 16) as u32));
                self.receptions.extend(report.reports.iter().cloned());
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.receptions.extend(report.reports.iter().cloned());
            }
        }
    }

    /// Adds the counts of another, and nothing else of it.
    pub(super) fn count(&mut self, other: &Self) {
        self.nacks += other.nacks;
        self.plis += other.plis;
        self.firs += other.firs;
    }
}

/// What a connection has sent of RTCP, as W3C webrtc-stats counts it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RtcpCounters {
    /// NACK messages.
    pub nacks: u64,
    /// PLI messages.
    pub plis: u64,
}

/// Makes the RTCP of a connection.
#[derive(Debug)]
pub struct Reporter {
    /// An instant, and what the clock on the wall said then.
    clock: (Instant, SystemTime),
    /// Who asks and reports if nothing is sent.
    ssrc: u32,
    reports_due: Instant,
    requests_due: Instant,
    heard: Vec<Heard>,
    counters: RtcpCounters,
}

/// What is remembered of a stream that arrives.
#[derive(Clone, Copy, Debug)]
struct Heard {
    ssrc: u32,
    /// The middle of the NTP time of the latest sender report, and when that arrived.
    report: Option<(u32, Instant)>,
    /// Packets expected and received at the time of the last report.
    before: (u64, u64),
}

impl Reporter {
    /// The reports of a connection from `now` on. `wall` is the time on the wall then, `ssrc` a random number.
    pub fn new(now: Instant, wall: SystemTime, ssrc: u32) -> Self {
        Self {
            clock: (now, wall),
            ssrc,
            reports_due: now + REPORTS,
            requests_due: now + REQUESTS,
            heard: Vec::new(),
            counters: RtcpCounters::default(),
        }
    }

    /// When [`poll`](Self::poll) is to be called next, if it is looked at what is missing or not.
    pub fn next_due(&self, asks_again: bool) -> Instant {
        if asks_again { self.reports_due.min(self.requests_due) } else { self.reports_due }
    }

    /// Takes note of the other end's sender reports, which arrived at `now`.
    pub fn heard(&mut self, feedback: &Feedback, now: Instant) {
        for &(ssrc, ntp) in &feedback.sent {
            self.of(ssrc).report = Some((ntp, now));
        }
    }

    /// The compound packets that are due, each to be sent in one datagram.
    pub fn poll<V: Verifier>(
        &mut self,
        now: Instant,
        senders: &[FastSender],
        receiver: &mut FastReceiver<V>,
    ) -> Vec<Compound> {
        let mut compounds = Vec::new();
        if now >= self.requests_due {
            // After a stall there is one request, not one for each interval.
            self.requests_due = now + REQUESTS;
            let by = senders.first().map_or(self.ssrc, |sender| sender.stream().ssrc);
            for stream in receiver.streams_mut() {
                compounds.extend(self.requests(now, by, stream));
            }
        }
        if now >= self.reports_due {
            self.reports_due = now + REPORTS;
            compounds.extend(self.reports(now, senders, receiver));
        }
        compounds
    }

    /// What was sent so far.
    pub fn counters(&self) -> RtcpCounters {
        self.counters
    }

    fn requests<V: Verifier>(&mut self, now: Instant, by: u32, stream: &mut Stream<V>) -> Vec<Compound> {
        let (sender_ssrc, media_ssrc) = (by, stream.ssrc());
        let mut compounds: Vec<Compound> = Vec::new();
        let missing = stream.missing(now);
        if !missing.is_empty() {
            self.counters.nacks += 1;
            let nacks = nack_pairs_from_sequence_numbers(&missing);
            compounds.push(vec![Box::new(TransportLayerNack { sender_ssrc, media_ssrc, nacks })]);
        }
        if stream.verifier_mut().needs_key_frame(now) {
            self.counters.plis += 1;
            compounds.push(vec![Box::new(PictureLossIndication { sender_ssrc, media_ssrc })]);
        }
        compounds
    }

    /// A sender report for each stream that is sent, a receiver report for all that arrive, and who says so.
    fn reports<V: Verifier>(
        &mut self,
        now: Instant,
        senders: &[FastSender],
        receiver: &FastReceiver<V>,
    ) -> Option<Compound> {
        let mut packets: Compound = Vec::new();
        for sender in senders {
            let Some((timestamp, at)) = sender.latest() else { continue };
            let since = now.saturating_duration_since(at).as_secs_f64() * f64::from(sender.clock_rate());
            let counters = sender.counters();
            packets.push(Box::new(SenderReport {
                ssrc: sender.stream().ssrc,
                ntp_time: self.ntp(now),
                rtp_time: timestamp.wrapping_add(since as u32),
                packet_count: counters.packets as u32,
                octet_count: counters.payload_bytes as u32,
                ..SenderReport::default()
            }));
        }
        let ssrc = senders.first().map_or(self.ssrc, |sender| sender.stream().ssrc);
        let receptions: Vec<_> = receiver.streams().iter().filter_map(|stream| self.reception(now, stream)).collect();
        if packets.is_empty() && receptions.is_empty() {
            return None;
        }
        if !receptions.is_empty() {
            // Not in a sender report, where there would be room, because the core looks for them here only.
            packets.push(Box::new(ReceiverReport { ssrc, reports: receptions, ..ReceiverReport::default() }));
        }
        let text = Bytes::from(format!("{ssrc:08x}"));
        let items = vec![SourceDescriptionItem { sdes_type: SdesType::SdesCname, text }];
        packets.push(Box::new(SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items }] }));
        Some(packets)
    }

    /// RFC 3550, section 6.4.1 and appendix A.3.
    fn reception<V: Verifier>(&mut self, now: Instant, stream: &Stream<V>) -> Option<ReceptionReport> {
        let reception = stream.verifier().reception()?;
        let highest = reception.highest?;
        let heard = self.of(stream.ssrc());
        let expected = reception.expected - heard.before.0.min(reception.expected);
        let received = reception.received - heard.before.1.min(reception.received);
        heard.before = (reception.expected, reception.received);
        let lost = expected.saturating_sub(received);
        let (last_sender_report, delay) = match heard.report {
            Some((ntp, at)) => (ntp, (now.saturating_duration_since(at).as_secs_f64() * 65_536.0) as u32),
            None => (0, 0),
        };
        Some(ReceptionReport {
            ssrc: stream.ssrc(),
            fraction_lost: (lost * 256).checked_div(expected).unwrap_or_default().min(255) as u8,
            total_lost: reception.expected.saturating_sub(reception.received).min(MAX_LOST) as u32,
            // The receiver counts cycles from 1.
            last_sequence_number: highest.wrapping_sub(0x1_0000) as u32,
            jitter: reception.jitter as u32,
            last_sender_report,
            delay,
        })
    }

    fn of(&mut self, ssrc: u32) -> &mut Heard {
        let at = self.heard.iter().position(|heard| heard.ssrc == ssrc).unwrap_or_else(|| {
            self.heard.push(Heard { ssrc, report: None, before: (0, 0) });
            self.heard.len() - 1
        });
        &mut self.heard[at]
    }

    /// NTP time, in units of 2^-32 seconds.
    fn ntp(&self, now: Instant) -> u64 {
        let wall = self.clock.1 + now.saturating_duration_since(self.clock.0);
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        ((since.as_secs() + NTP_TO_UNIX) << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
    }
}

#[cfg(test)]
mod tests;
