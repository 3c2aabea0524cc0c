//! The receiver that opens packets where they arrived, and verifies every one.

use std::time::{Duration, Instant};

use super::keys::SessionKey;
use super::srtp::{Cipher, ReceiveIndex, SrtpError, TAG};
use crate::media::Packet;
use crate::media::receive::{Arrival, AudioReceiver, Incoming, Reception, VideoReceiver};
use crate::peer::native::wire::is_rtp;

/// The length of an RTP header without CSRCs and extensions, in bytes.
const HEADER: usize = 12;
/// How long a missing packet is asked for: for longer, the video receiver does not wait for it.
const ASKED_FOR: Duration = Duration::from_millis(500);
/// How many missing packets are asked for, at most: the latest.
const MISSING: usize = 512;

/// Whether a datagram is an SRTP packet: not STUN, DTLS or TURN (RFC 7983, section 7), and not SRTCP (RFC 5761, section 4).
pub fn is_srtp(datagram: &[u8]) -> bool {
    is_rtp(datagram)
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handled {
    /// It was verified and counted.
    Taken,
    /// It is of no stream that this receiver knows, and unchanged: it is the core's.
    Unknown,
    /// It is of one of the streams, but cannot be opened; its bytes are lost.
    Refused(SrtpError),
}

/// What a stream is verified with, wherever that is kept.
pub trait Verifier {
    /// Takes a packet that arrived at `now`.
    fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival;

    /// Sequence numbers, loss and jitter as they stand now, if anything has begun.
    fn reception(&self) -> Option<Reception>;

    /// Whether what is missing is to be asked for: `nack` was negotiated.
    fn asks_again(&self) -> bool;

    /// Whether to ask for a key frame now; see [`VideoReceiver::needs_key_frame`].
    fn needs_key_frame(&mut self, now: Instant) -> bool;
}

impl Verifier for VideoReceiver {
    fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival {
        self.take(packet, now)
    }

    fn reception(&self) -> Option<Reception> {
        Some(self.reception())
    }

    fn asks_again(&self) -> bool {
        true
    }

    fn needs_key_frame(&mut self, now: Instant) -> bool {
        self.needs_key_frame(now)
    }
}

impl Verifier for AudioReceiver {
    fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival {
        self.take(packet, now)
    }

    fn reception(&self) -> Option<Reception> {
        Some(self.reception())
    }

    fn asks_again(&self) -> bool {
        false
    }

    fn needs_key_frame(&mut self, _now: Instant) -> bool {
        false
    }
}

/// What arrived of a stream, as W3C webrtc-stats counts it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct InboundCounters {
    /// RTP packets.
    pub packets: u64,
    /// Bytes of RTP payloads.
    pub payload_bytes: u64,
    /// Bytes of RTP headers.
    pub header_bytes: u64,
    /// Bytes of the datagrams that came this way, tags included; those that came through the core are not in it.
    pub datagram_bytes: u64,
    /// Datagrams that came this way.
    pub datagrams: u64,
    /// Datagrams of the stream that could not be opened.
    pub refused: u64,
}

/// Receives the streams of a connection.
pub struct FastReceiver<V> {
    cipher: Cipher,
    streams: Vec<Stream<V>>,
}

/// One stream of a connection.
#[derive(Debug)]
pub struct Stream<V> {
    ssrc: u32,
    index: ReceiveIndex,
    verifier: V,
    counters: InboundCounters,
    missing: Missing,
}

impl<V: Verifier> FastReceiver<V> {
    /// A receiver of packets that are sealed with this key.
    pub fn new(key: &SessionKey) -> Self {
        Self { cipher: Cipher::new(key), streams: Vec::new() }
    }

    /// Takes over a stream. What came of it before went through the core.
    pub fn add(&mut self, ssrc: u32, verifier: V) {
        let (index, counters, missing) = Default::default();
        self.streams.push(Stream { ssrc, index, verifier, counters, missing });
    }

    /// Takes a datagram that arrived at `now`; its payload is decrypted in place.
    pub fn handle(&mut self, datagram: &mut [u8], now: Instant) -> Handled {
        let Some(header) = Header::parse(datagram) else { return Handled::Unknown };
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == header.ssrc) else {
            return Handled::Unknown;
        };
        let length = datagram.len();
        let opened = stream.index.open(&self.cipher, header.ssrc, header.sequence_number, header.len, datagram);
        stream.counters.datagrams += 1;
        stream.counters.datagram_bytes += length as u64;
        let payload = match opened.map(|payload| header.without_padding(payload)) {
            Ok(payload) => payload,
            Err(error) => {
                stream.counters.refused += 1;
                return Handled::Refused(error);
            }
        };
        let Header { marker, sequence_number, timestamp, len: header_len, .. } = header;
        stream.take(&Incoming { marker, sequence_number, timestamp, header_len, payload }, now);
        Handled::Taken
    }

    /// Takes a packet that came through the core; `false` if its stream is not known.
    pub fn handle_opened(&mut self, packet: &Packet, now: Instant) -> bool {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == packet.header.ssrc) else {
            return false;
        };
        stream.index.passed(packet.header.sequence_number);
        stream.take(&Incoming::from(packet), now);
        true
    }

    /// The streams that were added, in that order.
    pub fn streams(&self) -> &[Stream<V>] {
        &self.streams
    }

    /// The streams that were added, in that order.
    pub fn streams_mut(&mut self) -> &mut [Stream<V>] {
        &mut self.streams
    }
}

impl<V: Verifier> Stream<V> {
    /// The synchronization source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What verifies it.
    pub fn verifier(&self) -> &V {
        &self.verifier
    }

    /// What verifies it.
    pub fn verifier_mut(&mut self) -> &mut V {
        &mut self.verifier
    }

    /// What arrived of it.
    pub fn counters(&self) -> InboundCounters {
        self.counters
    }

    /// Sequence numbers that are missing now and worth asking for, in order.
    pub(super) fn missing(&mut self, now: Instant) -> Vec<u16> {
        self.missing.list(now)
    }

    fn take(&mut self, packet: &Incoming<'_>, now: Instant) {
        self.counters.packets += 1;
        self.counters.header_bytes += packet.header_len as u64;
        self.counters.payload_bytes += packet.payload.len() as u64;
        let arrival = self.verifier.take(packet, now);
        if self.verifier.asks_again() {
            self.missing.note(arrival, now);
        }
    }
}

/// The packets of a stream that others have overtaken.
#[derive(Debug, Default)]
struct Missing {
    highest: Option<u64>,
    /// Extended sequence numbers, in order, each with when it was found missing.
    numbers: Vec<(u64, Instant)>,
}

impl Missing {
    fn note(&mut self, arrival: Arrival, now: Instant) {
        match arrival {
            Arrival::New(number) => {
                let highest = *self.highest.get_or_insert(number);
                if number <= highest {
                    if let Ok(at) = self.numbers.binary_search_by_key(&number, |&(number, _)| number) {
                        self.numbers.remove(at);
                    }
                    return;
                }
                let from = (highest + 1).max(number.saturating_sub(MISSING as u64));
                self.numbers.extend((from..number).map(|number| (number, now)));
                let excess = self.numbers.len().saturating_sub(MISSING);
                self.numbers.drain(..excess);
                self.highest = Some(number);
            }
            Arrival::Restarted(number) => *self = Self { highest: Some(number), numbers: Vec::new() },
            Arrival::Duplicate | Arrival::Suspect => {}
        }
    }

    fn list(&mut self, now: Instant) -> Vec<u16> {
        self.numbers.retain(|&(_, at)| now.saturating_duration_since(at) < ASKED_FOR);
        self.numbers.iter().map(|&(number, _)| number as u16).collect()
    }
}

/// The header of an RTP packet (RFC 3550, section 5.1).
#[derive(Clone, Copy, Debug)]
struct Header {
    padding: bool,
    marker: bool,
    sequence_number: u16,
    timestamp: u32,
    ssrc: u32,
    /// With CSRCs and extension.
    len: usize,
}

impl Header {
    /// Reads the header of an SRTP packet; `None` if it is none or too short.
    fn parse(datagram: &[u8]) -> Option<Self> {
        if !is_srtp(datagram) || datagram.len() < HEADER + TAG {
            return None;
        }
        let word = |at: usize| Some(u32::from_be_bytes(datagram.get(at..at + 4)?.try_into().ok()?));
        let mut len = HEADER + 4 * usize::from(datagram[0] & 0x0f);
        if datagram[0] & 0x10 != 0 {
            len += 4 + 4 * (word(len)? & 0xffff) as usize;
        }
        Some(Self {
            padding: datagram[0] & 0x20 != 0,
            marker: datagram[1] & 0x80 != 0,
            sequence_number: word(0)? as u16,
            timestamp: word(4)?,
            ssrc: word(8)?,
            len,
        })
    }

    /// The last byte of the padding says how long it is.
    fn without_padding<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        match payload.last() {
            Some(&padding) if self.padding => &payload[..payload.len().saturating_sub(usize::from(padding))],
            _ => payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bytes::Bytes;
    use rtc::rtp::header::Header as RtpHeader;
    use rtc::shared::marshal::Marshal;
    use rtc::srtp::context::Context;
    use rtc::srtp::protection_profile::ProtectionProfile;

    use super::*;
    use crate::media::fixture::VideoFixture;
    use crate::media::send::{RtpStream, VideoSender};
    use crate::plan::VideoCodec;

    fn keys<V: Verifier>() -> (FastReceiver<V>, Context) {
        let provider = rtc::crypto::default_provider().unwrap();
        let session = SessionKey::derive(provider.crypto(), &[1; 16], &[2; 12]).unwrap();
        let profile = ProtectionProfile::AeadAes128Gcm;
        let core = Context::new(&[1; 16], &[2; 12], profile, None, None, provider.crypto()).unwrap();
        (FastReceiver::new(&session), core)
    }

    fn sent(frames: usize) -> Vec<(Packet, Instant)> {
        let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
        let stream = RtpStream { ssrc: 9, payload_type: 96, seed: 3 };
        let mut sender = VideoSender::new(fixture, stream, NonZeroU32::new(30).unwrap(), Instant::now());
        let frame = |_| {
            let due = sender.next_due();
            sender.produce(due).unwrap().packets.into_iter().map(move |packet| (packet, due)).collect::<Vec<_>>()
        };
        (0..frames).flat_map(frame).collect()
    }

    fn video() -> VideoReceiver {
        VideoReceiver::new(VideoCodec::Vp8, Some(VideoFixture::load(VideoCodec::Vp8, None).unwrap()))
    }

    #[test]
    fn the_report_is_that_of_the_slow_path_whatever_the_network_does() {
        let mut packets = sent(90);
        packets.remove(150);
        packets.swap(200, 203);
        let repeated = packets[20].clone();
        packets.insert(22, repeated);
        let mut payload = packets[100].0.payload.to_vec();
        payload[700] ^= 1;
        packets[100].0.payload = payload.into();

        let (mut fast, mut core) = keys();
        fast.add(9, video());
        let mut slow = video();
        for (packet, at) in &packets {
            slow.handle(packet, *at);
            let mut datagram = core.encrypt_rtp(&packet.marshal().unwrap()).unwrap();
            let handled = fast.handle(&mut datagram, *at);
            assert!(matches!(handled, Handled::Taken | Handled::Refused(SrtpError::Replayed)), "{handled:?}");
        }
        let end = packets.last().unwrap().1;
        slow.finish(end);
        let video = fast.streams_mut()[0].verifier_mut();
        video.finish(end);
        let (fast_report, slow_report) = (video.report(), slow.report());
        assert_eq!((fast_report.intact, fast_report.foreign, fast_report.lost), (88, 1, 1));
        // Replay protection refuses what the slow path counts after it.
        let repeated = fast.streams()[0].counters().refused;
        assert_eq!(repeated, slow_report.duplicates);
        assert_eq!(
            crate::media::receive::VideoReport { duplicates: repeated, bytes: slow_report.bytes, ..fast_report },
            slow_report
        );
    }

    #[test]
    fn csrcs_extensions_and_padding_are_no_payload() {
        let (mut fast, mut core) = keys();
        fast.add(9, AudioReceiver::new(None));
        let mut header = RtpHeader { version: 2, ssrc: 9, csrc: vec![1, 2], ..RtpHeader::default() };
        header.extension = true;
        header.extension_profile = 0xbede;
        header.set_extension(3, Bytes::from_static(&[1, 2, 3])).unwrap();
        let payload = Bytes::from_static(&[0xf8, 1, 2, 3]);
        let mut plain = Packet { header, payload }.marshal().unwrap().to_vec();
        let header_len = plain.len() as u64 - 4;
        plain[0] |= 0x20;
        plain.extend([0, 0, 3]);
        let mut datagram = core.encrypt_rtp(&plain).unwrap();
        assert_eq!(fast.handle(&mut datagram, Instant::now()), Handled::Taken);
        let counters = fast.streams()[0].counters();
        assert_eq!((counters.header_bytes, counters.payload_bytes), (header_len, 4));
    }

    #[test]
    fn what_is_not_of_a_known_stream_is_left_as_it_was() {
        let (mut fast, _) = keys();
        fast.add(9, AudioReceiver::new(None));
        let mut other = [7; 60];
        for first in [[0, 1], [22, 254], [64, 0], [0x80, 200], [0x80, 96], [0x9f, 96]] {
            other[..2].copy_from_slice(&first);
            let before = other;
            assert_eq!(fast.handle(&mut other, Instant::now()), Handled::Unknown);
            assert_eq!(other, before);
        }
        for length in 0..60 {
            let mut short = vec![0x9f; length];
            if length > 12 {
                short[8..12].copy_from_slice(&9u32.to_be_bytes());
            }
            assert_ne!(fast.handle(&mut short, Instant::now()), Handled::Taken);
        }
    }

    #[test]
    fn what_is_missing_is_listed_until_it_comes_or_is_given_up() {
        let (mut missing, start) = (Missing::default(), Instant::now());
        for number in [70_000, 70_003, 70_001] {
            missing.note(Arrival::New(number), start);
        }
        assert_eq!(missing.list(start), [70_002u32 as u16]);
        let later = start + Duration::from_millis(400);
        missing.note(Arrival::New(70_005), later);
        assert_eq!(missing.list(later), [70_002u32 as u16, 70_004u32 as u16]);
        assert_eq!(missing.list(start + ASKED_FOR), [70_004u32 as u16]);
        missing.note(Arrival::New(80_000), later);
        assert_eq!(missing.list(later).len(), MISSING);
        missing.note(Arrival::Restarted(200_000), later);
        assert!(missing.list(later).is_empty());
    }
}
