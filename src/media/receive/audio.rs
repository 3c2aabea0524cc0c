//! The receiver of an Opus stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Incoming;
use super::sequence::{Arrival, Jitter, Rate, Reception, Sequence};
use super::silence;
use crate::media::Packet;
use crate::media::bitstream;
use crate::media::fixture::{AudioFixture, Position};
use crate::media::send::AUDIO_CLOCK;

/// What was received of an audio stream.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioReport {
    /// RTP packets received, each counted once.
    pub packets: u64,
    /// Packets with sound: the sum of the next three. The others are padding.
    pub frames: u64,
    /// Packets that are what was sent: equal to a packet of the fixture and in its place or, without a fixture, well-formed.
    pub intact: u64,
    /// Packets that are not in the fixture or, without a fixture, no Opus packets.
    pub foreign: u64,
    /// Packets of the fixture in a wrong place.
    pub misplaced: u64,
    /// RTP packets expected and never received (RFC 3550, A.3).
    pub lost: u64,
    /// RTP packets received again.
    pub duplicates: u64,
    /// Bytes of all RTP headers and payloads received.
    pub bytes: u64,
    /// Bytes of RTP payloads, each packet counted once.
    pub payload_bytes: u64,
    /// Interarrival jitter in milliseconds (RFC 3550, 6.4.1), as it stands now.
    pub jitter_ms: Option<f64>,
    /// Packets with sound per second from the first to the last.
    pub rate: Option<f64>,
    /// The longest time without a packet beyond the duration of the sound in the one before.
    pub longest_gap: Option<Duration>,
    /// How long no packet came at the end, if that is more than three times the average interval, and more than 150 ms above
    /// it.
    pub silence: Option<Duration>,
    /// Packets that would have come in that time at the average rate.
    pub missing: u64,
}

/// Receives and verifies an Opus stream.
#[derive(Debug)]
pub struct AudioReceiver {
    expected: Option<Arc<AudioFixture>>,
    sequence: Sequence,
    jitter: Jitter,
    /// An extended sequence number, and where in the fixture its packet is.
    anchor: Option<(u64, usize)>,
    first_packet: Option<Instant>,
    /// When a packet arrived last, and how much sound was in it.
    last: Option<(Instant, Duration)>,
    longest_gap: Option<Duration>,
    silence: Option<Duration>,
    rate: Rate,
    intact: u64,
    foreign: u64,
    misplaced: u64,
    bytes: u64,
    payload_bytes: u64,
}

enum Verdict {
    Intact,
    Foreign,
    Misplaced,
}

impl AudioReceiver {
    /// A receiver of a stream whose sender sends `expected`, or any Opus if `None`.
    pub fn new(expected: Option<Arc<AudioFixture>>) -> Self {
        Self {
            expected,
            sequence: Sequence::new(),
            jitter: Jitter::new(AUDIO_CLOCK),
            anchor: None,
            first_packet: None,
            last: None,
            longest_gap: None,
            silence: None,
            rate: Rate::default(),
            intact: 0,
            foreign: 0,
            misplaced: 0,
            bytes: 0,
            payload_bytes: 0,
        }
    }

    /// Takes a packet that arrived at `now`.
    pub fn handle(&mut self, packet: &Packet, now: Instant) {
        self.take(&Incoming::from(packet), now);
    }

    /// As [`handle`](Self::handle), for a packet whose payload lies in somebody's buffer.
    pub fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival {
        self.bytes += (packet.header_len + packet.payload.len()) as u64;
        self.first_packet.get_or_insert(now);
        let arrival = self.sequence.note(packet.sequence_number);
        if let Arrival::Restarted(_) = arrival {
            self.anchor = None;
        }
        if let Arrival::New(number) | Arrival::Restarted(number) = arrival {
            self.payload_bytes += packet.payload.len() as u64;
            self.jitter.note(number, packet.timestamp, now);
            if !packet.payload.is_empty() {
                self.judge(number, packet.payload, now);
            }
        }
        arrival
    }

    /// Sequence numbers, loss and jitter as they stand now.
    pub fn reception(&self) -> Reception {
        Reception::new(&self.sequence, &self.jitter)
    }

    fn judge(&mut self, number: u64, payload: &[u8], now: Instant) {
        let duration = bitstream::opus_duration(payload);
        // Taken out for the comparison: counting the references of one fixture from all cores costs more than the rest.
        let expected = self.expected.take();
        let verdict = match &expected {
            Some(fixture) => self.compare(fixture, number, payload),
            None if duration.is_some() => Verdict::Intact,
            None => Verdict::Foreign,
        };
        self.expected = expected;
        match verdict {
            Verdict::Intact => self.intact += 1,
            Verdict::Foreign => self.foreign += 1,
            Verdict::Misplaced => self.misplaced += 1,
        }
        self.rate.note(now);
        if let Some((at, covered)) = self.last {
            let gap = now.saturating_duration_since(at).saturating_sub(covered);
            self.longest_gap = self.longest_gap.max(Some(gap));
        }
        self.last = Some((now, duration.unwrap_or_default()));
    }

    /// Counts the silence at the end, before the last report. Packets were expected until `end`; later ones may have come.
    pub fn finish(&mut self, end: Instant) {
        let Some((at, covered)) = self.last else { return };
        self.silence = silence::at_end(Some(at), end, self.rate.interval());
        self.longest_gap = self.longest_gap.max(self.silence.map(|silence| silence.saturating_sub(covered)));
    }

    /// When the first packet arrived.
    pub fn first_packet(&self) -> Option<Instant> {
        self.first_packet
    }

    /// What was received so far.
    pub fn report(&self) -> AudioReport {
        AudioReport {
            packets: self.sequence.received(),
            frames: self.intact + self.foreign + self.misplaced,
            intact: self.intact,
            foreign: self.foreign,
            misplaced: self.misplaced,
            lost: self.sequence.lost(),
            duplicates: self.sequence.duplicates(),
            bytes: self.bytes,
            payload_bytes: self.payload_bytes,
            jitter_ms: self.jitter.milliseconds(),
            rate: self.rate.per_second(),
            longest_gap: self.longest_gap,
            silence: self.silence,
            missing: self.silence.map_or(0, |silence| silence::missing(silence, self.rate.interval())),
        }
    }

    /// Each packet's place in the fixture follows from its sequence number: neither loss nor reordering moves it.
    fn compare(&mut self, fixture: &AudioFixture, number: u64, payload: &[u8]) -> Verdict {
        let packets = fixture.packets();
        let next = self.anchor.map(|(anchor, index)| {
            let distance = number as i64 - anchor as i64;
            (index as i64 + distance).rem_euclid(packets.len() as i64) as usize
        });
        if next.is_some_and(|next| packets[next] == payload) {
            return Verdict::Intact;
        }
        let position = fixture.position(payload);
        if let Position::At(index) = position {
            self.anchor = Some((number, index));
        }
        match position {
            Position::Nowhere => Verdict::Foreign,
            _ if next.is_none() => Verdict::Intact,
            _ => Verdict::Misplaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::send::{AudioSender, RtpStream};

    fn sent(count: usize, start: Instant) -> Vec<(Packet, Instant)> {
        let stream = RtpStream { ssrc: 1, payload_type: 111, seed: 5 };
        let mut sender = AudioSender::new(AudioFixture::load(None).unwrap(), stream, start);
        let packets = (0..count).map(|_| {
            let due = sender.next_due();
            (sender.produce(due).unwrap().packets.remove(0), due)
        });
        packets.collect()
    }

    fn received(packets: &[(Packet, Instant)]) -> AudioReport {
        let mut receiver = AudioReceiver::new(Some(AudioFixture::load(None).unwrap()));
        for (packet, at) in packets {
            receiver.handle(packet, *at);
        }
        receiver.report()
    }

    #[test]
    fn a_whole_stream_is_intact() {
        let report = received(&sent(250, Instant::now()));
        assert_eq!((report.packets, report.intact, report.lost), (250, 250, 0));
        assert_eq!(report.longest_gap, Some(Duration::ZERO));
        assert!((report.rate.unwrap() - 50.0).abs() < 1e-6);
        assert!(report.jitter_ms.unwrap() < 0.001);
    }

    #[test]
    fn loss_and_reordering_leave_the_rest_intact() {
        let mut packets = sent(250, Instant::now());
        packets.drain(90..110);
        let (earlier, later) = (packets[120].1, packets[121].1);
        packets.swap(120, 121);
        (packets[120].1, packets[121].1) = (earlier, later);
        let report = received(&packets);
        assert_eq!((report.intact, report.misplaced, report.lost), (230, 0, 20));
        assert_eq!(report.longest_gap, Some(Duration::from_millis(400)));
    }

    #[test]
    fn silence_until_the_end_is_a_gap_in_which_packets_are_missing() {
        let packets = sent(75, Instant::now());
        let last = packets[74].1;
        for (silence_ms, gap_ms, missing) in [(0, 0, 0), (170, 0, 0), (171, 151, 8), (6500, 6480, 325)] {
            let mut receiver = AudioReceiver::new(Some(AudioFixture::load(None).unwrap()));
            packets.iter().for_each(|(packet, at)| receiver.handle(packet, *at));
            receiver.finish(last + Duration::from_millis(silence_ms));
            let report = receiver.report();
            assert_eq!(report.longest_gap, Some(Duration::from_millis(gap_ms)), "after {silence_ms} ms");
            assert_eq!((report.missing, report.intact), (missing, 75), "after {silence_ms} ms");
        }
    }

    #[test]
    fn without_sound_packets_are_rare_and_their_absence_is_natural() {
        // Discontinuous transmission: one packet every 400 ms (RFC 6716, section 2.1.9).
        let mut packets = sent(10, Instant::now());
        let start = packets[0].1;
        (0..).zip(&mut packets).for_each(|(index, (_, at))| *at = start + Duration::from_millis(400 * index));
        let mut receiver = AudioReceiver::new(Some(AudioFixture::load(None).unwrap()));
        packets.iter().for_each(|(packet, at)| receiver.handle(packet, *at));
        receiver.finish(packets[9].1 + Duration::from_millis(1100));
        assert_eq!(receiver.report().missing, 0);
    }

    #[test]
    fn a_flipped_bit_and_a_swapped_payload_are_found() {
        let mut packets = sent(100, Instant::now());
        let mut payload = packets[50].0.payload.to_vec();
        payload[20] ^= 4;
        packets[50].0.payload = payload.into();
        let report = received(&packets);
        assert_eq!((report.intact, report.foreign), (99, 1));

        let mut packets = sent(100, Instant::now());
        let payload = packets[50].0.payload.clone();
        packets[50].0.payload = std::mem::replace(&mut packets[51].0.payload, payload);
        let report = received(&packets);
        assert!(report.misplaced >= 2, "{report:?}");
        assert_eq!(report.foreign, 0);
    }

    #[test]
    fn without_a_fixture_only_opus_is_intact() {
        let mut receiver = AudioReceiver::new(None);
        let mut packets = sent(3, Instant::now());
        packets[1].0.payload = Bytes::from_static(&[3]);
        for (packet, at) in &packets {
            receiver.handle(packet, *at);
        }
        assert_eq!((receiver.report().intact, receiver.report().foreign), (2, 1));
    }
}
