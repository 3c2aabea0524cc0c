//! What can be seen on the wire of a peer: connectivity checks and the first RTP packet, at the instant of the system
//! call.
//!
//! The stack tells of a working pair only once it is nominated, and later than it happened; the datagrams tell it at
//! once. Kinds of datagrams are told apart as RFC 7983 says.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::record::{Mark, PeerRecorder};
use crate::turn::message::{Attribute, Class, Message, Method, TransactionId, parse_channel_data};

/// Watches the datagrams of one peer until it is connected and media has arrived.
#[derive(Debug)]
pub(super) struct Wire {
    recorder: PeerRecorder,
    connecting: AtomicBool,
    rtp_seen: AtomicBool,
    checks: Mutex<Checks>,
}

#[derive(Debug, Default)]
struct Checks {
    /// Connectivity checks that we sent, and whether each nominates its pair.
    sent: HashMap<TransactionId, bool>,
    /// Checks of the other side that nominate their pair, until we have answered one with success.
    nominations: Vec<TransactionId>,
    connected: bool,
    nominated: bool,
    /// When the first check was sent.
    first: Option<Instant>,
    /// How long after that the first pair with a relay of our own worked.
    fallback: Option<Duration>,
}

impl Wire {
    pub(super) fn new(recorder: PeerRecorder) -> Self {
        Self { recorder, connecting: AtomicBool::new(true), rtp_seen: AtomicBool::new(false), checks: Mutex::default() }
    }

    /// Whether the peer is still connecting.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.load(Ordering::Relaxed)
    }

    /// The peer is connected and its first media has arrived: there is nothing left to watch for.
    pub(super) fn settled(&self) {
        self.connecting.store(false, Ordering::Relaxed);
        if let Ok(mut checks) = self.checks.lock() {
            checks.sent = HashMap::new();
        }
    }

    /// From the first check that was sent to the first pair that worked through a relay of the peer's own.
    pub(super) fn time_to_fallback(&self) -> Option<Duration> {
        self.checks.lock().ok()?.fallback
    }

    pub(super) fn sent(&self, datagram: &[u8]) {
        if !self.is_connecting() {
            return;
        }
        let Some((message, transaction)) = binding(datagram) else { return };
        let Ok(mut checks) = self.checks.lock() else { return };
        match message.class() {
            // Requests to a STUN server carry no USERNAME; connectivity checks do (RFC 8445, section 7.2.2).
            Class::Request if message.get(Attribute::USERNAME).is_some() => {
                checks.first.get_or_insert_with(Instant::now);
                checks.sent.insert(transaction, nominates(&message));
            }
            Class::Success if !checks.nominated && checks.nominations.contains(&transaction) => {
                checks.nominated = true;
                self.recorder.mark(Mark::IceNominated);
            }
            _ => {}
        }
    }

    /// A datagram came in, `relayed` by a relay of the peer's own or not.
    pub(super) fn received(&self, datagram: &[u8], relayed: bool) {
        if !self.is_connecting() {
            return;
        }
        if is_rtp(datagram) {
            if !self.rtp_seen.swap(true, Ordering::Relaxed) {
                self.recorder.mark(Mark::FirstRtp);
            }
            return;
        }
        let Some((message, transaction)) = binding(datagram) else { return };
        let Ok(mut checks) = self.checks.lock() else { return };
        match message.class() {
            Class::Success => {
                let Some(nominates) = checks.sent.remove(&transaction) else { return };
                if relayed && checks.fallback.is_none() {
                    checks.fallback = checks.first.map(|first| first.elapsed());
                }
                if !checks.connected {
                    checks.connected = true;
                    self.recorder.mark(Mark::IceConnected);
                }
                if nominates && !checks.nominated {
                    checks.nominated = true;
                    self.recorder.mark(Mark::IceNominated);
                }
            }
            Class::Request if nominates(&message) && checks.nominations.len() < 64 => {
                checks.nominations.push(transaction);
            }
            _ => {}
        }
    }
}

/// Whether a datagram is RTP and not RTCP (RFC 7983, section 7; RFC 5761, section 4).
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, second, ..] if !(64..=95).contains(&(second & 0x7f)))
}

/// Whether a datagram is DTLS (RFC 7983, section 7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram, [20..=63, ..])
}

/// The datagram that a relay is to carry, or has carried, if it is one: what is in channel data, and in Send and Data
/// indications (RFC 8656, sections 11 and 12). Called for each packet, so the first byte settles it for media.
pub(super) fn unwrapped(datagram: &[u8]) -> &[u8] {
    let inner = match datagram {
        [0x40..=0x4f, ..] => parse_channel_data(datagram).map(|(_, data)| data),
        [0x00, 0x16 | 0x17, ..] => Message::parse(datagram).ok().and_then(|message| message.get(Attribute::DATA)),
        _ => None,
    };
    inner.unwrap_or(datagram)
}

/// Whether a message between a TURN client and its server carries a connectivity check, or the answer to one.
pub(super) fn is_relayed_check(message: &[u8]) -> bool {
    let inner = unwrapped(message);
    inner.len() < message.len() && Message::parse(inner).is_ok()
}

/// A Binding request, or an answer to one: a connectivity check, unless it is for a STUN server.
fn binding(datagram: &[u8]) -> Option<(Message<'_>, TransactionId)> {
    let message = Message::parse(datagram).ok().filter(|message| message.method() == Method::BINDING)?;
    Some((message, message.transaction_id()))
}

fn nominates(check: &Message<'_>) -> bool {
    check.get(Attribute::USE_CANDIDATE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{EventKind, Recorder};
    use crate::turn::message::Builder;

    const REQUEST: Class = Class::Request;
    const SUCCESS: Class = Class::Success;
    const USERNAME: Attribute = Attribute::USERNAME;
    const USE_CANDIDATE: Attribute = Attribute::USE_CANDIDATE;

    fn stun(class: Class, id: u8, attributes: &[Attribute]) -> Vec<u8> {
        let mut message = Builder::new(class, Method::BINDING, TransactionId([id; 12]));
        for attribute in attributes {
            message.bytes(*attribute, &[]);
        }
        message.finish()
    }

    fn marks_of(exchange: impl FnOnce(&Wire)) -> Vec<Mark> {
        let (recorder, mut events) = Recorder::new();
        exchange(&Wire::new(recorder.for_peer("a", "c")));
        let mut marks = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let EventKind::Mark { mark, .. } = event.kind {
                marks.push(mark);
            }
        }
        marks
    }

    #[test]
    fn the_controlling_end_sees_a_working_pair_and_then_its_nomination() {
        let marks = marks_of(|wire| {
            wire.sent(&stun(REQUEST, 1, &[USERNAME]));
            wire.received(&stun(SUCCESS, 1, &[]), false);
            wire.sent(&stun(REQUEST, 2, &[USERNAME, USE_CANDIDATE]));
            wire.received(&stun(SUCCESS, 2, &[]), false);
        });
        assert_eq!(marks, [Mark::IceConnected, Mark::IceNominated]);
    }

    #[test]
    fn the_controlled_end_is_nominated_when_it_answers_the_nomination() {
        let marks = marks_of(|wire| {
            wire.received(&stun(REQUEST, 7, &[USERNAME, USE_CANDIDATE]), false);
            wire.sent(&stun(SUCCESS, 7, &[]));
        });
        assert_eq!(marks, [Mark::IceNominated]);
    }

    #[test]
    fn a_stun_server_is_not_a_working_pair() {
        let marks = marks_of(|wire| {
            wire.sent(&stun(REQUEST, 1, &[]));
            wire.received(&stun(SUCCESS, 1, &[]), false);
            wire.received(&stun(SUCCESS, 9, &[]), false);
        });
        assert_eq!(marks, []);
    }

    #[test]
    fn rtcp_is_not_rtp_and_only_the_first_packet_counts() {
        let marks = marks_of(|wire| {
            wire.received(&[0x80, 200, 0, 0], false);
            wire.received(&[0x80, 0x80 | 96, 0, 0], false);
            wire.received(&[0x80, 96, 0, 1], false);
        });
        assert_eq!(marks, [Mark::FirstRtp]);
    }

    #[test]
    fn what_a_relay_carries_is_seen_without_its_wrapping() {
        let check = stun(REQUEST, 1, &[]);
        let mut channel = vec![0x40, 0x01, 0, 20];
        channel.extend(&check);
        assert_eq!(unwrapped(&channel), check);
        for method in [Method::SEND, Method::DATA] {
            let mut indication = Builder::new(Class::Indication, method, TransactionId([2; 12]));
            indication.bytes(Attribute::DATA, &check);
            assert_eq!(unwrapped(&indication.finish()), check);
        }
        for other in [&check[..], &[0x40, 0, 0, 9], &[0x80, 96], &[]] {
            assert_eq!(unwrapped(other), other);
        }
    }

    #[test]
    fn the_time_to_fallback_counts_pairs_through_a_relay_only() {
        let wire = Wire::new(Recorder::new().0.for_peer("a", "c"));
        wire.sent(&stun(REQUEST, 1, &[USERNAME]));
        wire.sent(&stun(REQUEST, 2, &[USERNAME]));
        wire.received(&stun(SUCCESS, 1, &[]), false);
        assert_eq!(wire.time_to_fallback(), None);
        wire.received(&stun(SUCCESS, 2, &[]), true);
        assert!(wire.time_to_fallback().is_some());
    }
}
