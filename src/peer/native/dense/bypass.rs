//! Media packets of calls between native peers, past the core: the [fast path](super::fast) of one peer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use serde_json::{Value, json};

use super::super::media::Media;
use super::fast::Batch;
use super::fast::path::{FastPath, Shelves};
use super::fast::receive::{Handled, InboundCounters, Verifier, is_srtp};
use super::fast::rtcp::{Compound, Feedback, RtcpCounters};
use super::fast::send::{OutboundCounters, Source};
use crate::media::receive::{Arrival, Incoming, Reception};

/// The media packets of one peer.
pub(super) struct Bypass {
    shelves: Shelves,
    media: Arc<Media>,
    /// Once the connection is up.
    path: Option<FastPath<Track>>,
    /// The bytes that the peer's media knows to have been sent.
    counted: u64,
}

/// A track of the other end.
struct Track {
    media: Arc<Media>,
    kind: RtpCodecKind,
}

impl Verifier for Track {
    fn take(&mut self, packet: &Incoming<'_>, now: Instant) -> Arrival {
        // Media is taken over when its track has begun.
        self.media.take(self.kind, packet, now).unwrap_or(Arrival::Suspect)
    }

    fn reception(&self) -> Option<Reception> {
        self.media.reception(self.kind)
    }

    fn asks_again(&self) -> bool {
        self.kind == RtpCodecKind::Video
    }

    fn needs_key_frame(&mut self, now: Instant) -> bool {
        self.media.needs_key_frame(self.kind, now)
    }
}

impl Bypass {
    /// Of a peer whose core was made with these.
    pub(super) fn new(shelves: Shelves, media: Arc<Media>) -> Self {
        Self { shelves, media, path: None, counted: 0 }
    }

    /// The connection is up. False if its keys are not known.
    pub(super) fn open(&mut self, now: Instant) -> bool {
        if self.path.is_none() {
            self.path = FastPath::open(&self.shelves, now, SystemTime::now(), rand::random());
        }
        self.path.is_some()
    }

    /// Whether media goes this way now.
    pub(super) fn is_open(&self) -> bool {
        self.path.is_some()
    }

    /// Sends this from now on.
    pub(super) fn send(&mut self, source: Source) {
        if let Some(path) = &mut self.path {
            path.send(source);
        }
    }

    /// Sends no more.
    pub(super) fn stop(&mut self) {
        if let Some(path) = &mut self.path {
            path.stop();
        }
    }

    /// A track of the other end has begun.
    pub(super) fn receive(&mut self, ssrc: u32, kind: RtpCodecKind) {
        if let Some(path) = &mut self.path {
            path.receive(ssrc, Track { media: Arc::clone(&self.media), kind });
        }
    }

    /// Takes a datagram, decrypting it in place; false if it is the core's.
    pub(super) fn handle(&mut self, datagram: &mut [u8], now: Instant) -> bool {
        let Some(path) = self.path.as_mut().filter(|_| is_srtp(datagram)) else { return false };
        match path.handle(datagram, now) {
            Handled::Taken => true,
            Handled::Unknown => false,
            Handled::Refused(error) => {
                tracing::debug!(%error, "a media packet is dropped");
                true
            }
        }
    }

    /// Takes a packet that came through the core; false if it is of no track.
    pub(super) fn handle_opened(&mut self, packet: &Packet, now: Instant) -> bool {
        self.path.as_mut().is_some_and(|path| path.handle_opened(packet, now))
    }

    /// When something is to be sent next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.path.as_ref().map(FastPath::poll_timeout)
    }

    /// Adds the media that is due to the batch, and gives the RTCP that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, batch: &mut Batch) -> Vec<Compound> {
        let Some(path) = &mut self.path else { return Vec::new() };
        let Media { send_lateness, sent, .. } = &*self.media;
        path.produce(now, batch, |sender, produced| {
            send_lateness.record_ticks(produced.lateness, produced.skipped);
            let counter = if sender.is_video() { &sent.video_frames } else { &sent.audio_packets };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let made = path.senders().iter().map(|sender| sender.made().bytes).sum();
        sent.bytes.fetch_add(made - self.counted, Ordering::Relaxed);
        self.counted = made;
        path.poll_rtcp(now)
    }

    /// Adds what the other end has asked for to the batch.
    pub(super) fn listen(&mut self, now: Instant, batch: &mut Batch) {
        if let Some(path) = &mut self.path {
            path.listen(now, batch);
        }
    }

    /// What went this way so far.
    pub(super) fn bypassed(&self) -> Option<Bypassed> {
        let path = self.path.as_ref()?;
        let sent = path.senders().iter().map(|sender| Sent {
            ssrc: sender.stream().ssrc,
            video: sender.is_video(),
            counters: sender.counters(),
        });
        let received = path.streams().iter().map(|stream| Received {
            ssrc: stream.ssrc(),
            video: stream.verifier().kind == RtpCodecKind::Video,
            counters: stream.counters(),
            reception: stream.verifier().reception(),
        });
        let (heard, asked) = (path.heard().clone(), path.asked());
        Some(Bypassed { sent: sent.collect(), received: received.collect(), heard, asked })
    }
}

/// What went past the core, which its own statistics lack.
pub(in crate::peer::native) struct Bypassed {
    sent: Vec<Sent>,
    received: Vec<Received>,
    heard: Feedback,
    asked: RtcpCounters,
}

struct Sent {
    ssrc: u32,
    video: bool,
    counters: OutboundCounters,
}

struct Received {
    ssrc: u32,
    video: bool,
    counters: InboundCounters,
    reception: Option<Reception>,
}

impl Bypassed {
    /// Puts it into the core's statistics, under their W3C webrtc-stats names.
    pub(in crate::peer::native) fn complete(&self, raw: &mut Vec<Value>) {
        for Sent { ssrc, video, counters } in &self.sent {
            let entry = stream(raw, "outbound-rtp", *ssrc, *video);
            entry["packetsSent"] = json!(counters.packets);
            entry["bytesSent"] = json!(counters.payload_bytes);
            entry["headerBytesSent"] = json!(counters.header_bytes);
            entry["retransmittedPacketsSent"] = json!(counters.retransmitted);
            if *video {
                entry["nackCount"] = json!(self.heard.nacks);
                entry["pliCount"] = json!(self.heard.plis);
                entry["firCount"] = json!(self.heard.firs);
            }
        }
        for Received { ssrc, video, counters, reception } in &self.received {
            let entry = stream(raw, "inbound-rtp", *ssrc, *video);
            entry["packetsReceived"] = json!(counters.packets);
            entry["bytesReceived"] = json!(counters.payload_bytes);
            entry["headerBytesReceived"] = json!(counters.header_bytes);
            if let Some(Reception { expected, received, .. }) = reception {
                entry["packetsLost"] = json!(expected.saturating_sub(*received));
            }
            if *video {
                entry["nackCount"] = json!(self.asked.nacks);
                entry["pliCount"] = json!(self.asked.plis);
            }
        }
        let sum = |of: &dyn Fn(&Received) -> u64| self.received.iter().map(of).sum::<u64>();
        let added = [
            ("packetsSent", self.sent.iter().map(|sent| sent.counters.packets).sum()),
            ("bytesSent", self.sent.iter().map(|sent| sent.counters.datagram_bytes).sum()),
            ("packetsReceived", sum(&|received| received.counters.datagrams)),
            ("bytesReceived", sum(&|received| received.counters.datagram_bytes)),
        ];
        for entry in raw.iter_mut().filter(|entry| carries_media(entry)) {
            for (name, more) in added {
                entry[name] = json!(entry[name].as_u64().unwrap_or_default() + more);
            }
        }
    }
}

/// Whether an entry counts datagrams, media among them.
fn carries_media(entry: &Value) -> bool {
    entry["type"] == "transport" || (entry["type"] == "candidate-pair" && entry["nominated"] == true)
}

/// The entry of a stream, made if the core has none: it makes one with the first packet that it sees.
fn stream<'a>(raw: &'a mut Vec<Value>, kind: &str, ssrc: u32, video: bool) -> &'a mut Value {
    let known = raw.iter().position(|entry| entry["type"] == kind && entry["ssrc"] == ssrc);
    let index = known.unwrap_or_else(|| {
        let media = if video { "video" } else { "audio" };
        raw.push(json!({ "type": kind, "id": format!("{kind}-{media}-{ssrc}"), "ssrc": ssrc, "kind": media }));
        raw.len() - 1
    });
    &mut raw[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_past_the_core_is_in_its_statistics() {
        let counters = OutboundCounters {
            packets: 10,
            payload_bytes: 1000,
            header_bytes: 120,
            datagram_bytes: 1280,
            retransmitted: 2,
        };
        let sent = vec![Sent { ssrc: 1, video: true, counters }, Sent { ssrc: 2, video: false, counters }];
        let heard = Feedback { nacks: 3, ..Feedback::default() };
        let bypassed = Bypassed { sent, received: vec![], heard, asked: RtcpCounters::default() };
        let mut raw = vec![
            json!({ "type": "transport", "packetsSent": 5, "bytesSent": 500, "packetsReceived": 1, "bytesReceived": 9 }),
            json!({ "type": "candidate-pair", "nominated": false, "packetsSent": 1 }),
            json!({ "type": "outbound-rtp", "ssrc": 1, "packetsSent": 0, "nackCount": 0 }),
        ];
        bypassed.complete(&mut raw);
        assert_eq!((&raw[0]["packetsSent"], &raw[0]["bytesSent"]), (&json!(25), &json!(3060)));
        assert_eq!((&raw[0]["packetsReceived"], &raw[0]["bytesReceived"]), (&json!(1), &json!(9)));
        assert_eq!(raw[1], json!({ "type": "candidate-pair", "nominated": false, "packetsSent": 1 }));
        assert_eq!((&raw[2]["packetsSent"], &raw[2]["nackCount"]), (&json!(10), &json!(3)));
        assert_eq!((&raw[3]["kind"], &raw[3]["bytesSent"]), (&json!("audio"), &json!(1000)));
    }
}
