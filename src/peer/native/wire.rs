//! What can be seen on the wire of a peer: connectivity checks and the first RTP packet, at the instant of the system
//! call.
//!
//! The stack tells of a working pair only once it is nominated, and later than it happened; the datagrams tell it at
//! once. Kinds of datagrams are told apart as RFC 7983 says.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::net::UnreachableReason;
use crate::record::{Mark, PeerRecorder};
use crate::turn::message::{Attribute, Class, Message, Method, TransactionId, parse_channel_data};

/// Ways that are counted: a checklist has at most 100 pairs (RFC 8445, section 6.1.2.5).
const WAYS: usize = 128;

/// Where a datagram goes, or comes from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Way {
    /// This address.
    Direct(SocketAddr),
    /// A relay of the peer's own, by the number of its server.
    Relay(usize),
}

/// What came of the checks that went one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) received: u64,
    pub(super) first: Option<Instant>,
    pub(super) worked: Option<Instant>,
}

/// What the peer has tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    pub(super) ways: BTreeMap<Way, Tried>,
    /// What ICMP said of addresses.
    pub(super) unreachable: BTreeMap<SocketAddr, UnreachableReason>,
    /// When a STUN server was first asked for the outside address.
    pub(super) stun_asked: Option<Instant>,
    /// When one first answered.
    pub(super) stun_answered: Option<Instant>,
}

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
    /// Connectivity checks that we sent: which way, and whether each nominates its pair.
    sent: HashMap<TransactionId, (Way, bool)>,
    /// Requests to STUN servers.
    asked: Vec<TransactionId>,
    /// Checks of the other side that nominate their pair, until we have answered one with success.
    nominations: Vec<TransactionId>,
    connected: bool,
    nominated: bool,
    attempts: Attempts,
}

impl Checks {
    /// The tally of a way; absent beyond the number of ways that there can be.
    fn tried(&mut self, way: Way) -> Option<&mut Tried> {
        let ways = &mut self.attempts.ways;
        (ways.len() < WAYS || ways.contains_key(&way)).then(|| ways.entry(way).or_default())
    }
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

    /// What was tried until now, or until the peer was connected.
    pub(super) fn attempts(&self) -> Attempts {
        self.checks.lock().map(|checks| checks.attempts.clone()).unwrap_or_default()
    }

    /// ICMP says that what was sent there does not arrive.
    pub(super) fn unreachable(&self, destination: SocketAddr, reason: UnreachableReason) {
        let Ok(mut checks) = self.checks.lock() else { return };
        let known = &mut checks.attempts.unreachable;
        if self.is_connecting() && known.len() < WAYS {
            known.entry(destination).or_insert(reason);
        }
    }

    /// A datagram went out this way.
    pub(super) fn sent(&self, datagram: &[u8], way: Way) {
        if !self.is_connecting() {
            return;
        }
        let Some((message, transaction)) = binding(datagram) else { return };
        let Ok(mut checks) = self.checks.lock() else { return };
        match message.class() {
            // Requests to a STUN server carry no USERNAME; connectivity checks do (RFC 8445, section 7.2.2).
            Class::Request if message.get(Attribute::USERNAME).is_some() => {
                checks.sent.insert(transaction, (way, nominates(&message)));
                if let Some(tried) = checks.tried(way) {
                    tried.sent += 1;
                    tried.first.get_or_insert_with(Instant::now);
                }
            }
            Class::Request if checks.asked.len() < WAYS => {
                checks.asked.push(transaction);
                checks.attempts.stun_asked.get_or_insert_with(Instant::now);
            }
            Class::Success if !checks.nominated && checks.nominations.contains(&transaction) => {
                checks.nominated = true;
                self.recorder.mark(Mark::IceNominated);
            }
            _ => {}
        }
    }

    /// A datagram came in this way.
    pub(super) fn received(&self, datagram: &[u8], way: Way) {
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
                if checks.asked.contains(&transaction) {
                    checks.attempts.stun_answered.get_or_insert_with(Instant::now);
                }
                let Some((way, nominates)) = checks.sent.remove(&transaction) else { return };
                if let Some(tried) = checks.tried(way) {
                    tried.answered += 1;
                    tried.worked.get_or_insert_with(Instant::now);
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
            Class::Request => {
                if let Some(tried) = checks.tried(way) {
                    tried.received += 1;
                }
                if nominates(&message) && checks.nominations.len() < 64 {
                    checks.nominations.push(transaction);
                }
            }
            _ => {}
        }
    }
}

/// Whether a datagram is RTP and not RTCP (RFC 7983, section 7; RFC 5761, section 4).
pub(super) fn is_rtp(datagram: &[u8]) -> bool {
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

/// What a relay hands on in a Data indication, and from whom (RFC 8656, section 11.4).
pub(super) fn indicated(message: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let [0x00, 0x17, ..] = message else { return None };
    let message = Message::parse(message).ok()?;
    Some((message.xor_address(Attribute::XOR_PEER_ADDRESS)?, message.get(Attribute::DATA)?))
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

    const HERE: Way = Way::Direct(SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9)));
    const REQUEST: Class = Class::Request;
    const SUCCESS: Class = Class::Success;
    const USERNAME: Attribute = Attribute::USERNAME;
    const USE_CANDIDATE: Attribute = Attribute::USE_CANDIDATE;

    #[test]
    fn a_data_indication_tells_who_sent_what_it_holds() {
        let peer: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let mut message = Builder::new(Class::Indication, Method::DATA, TransactionId::random());
        message.xor_address(Attribute::XOR_PEER_ADDRESS, peer).bytes(Attribute::DATA, b"check");
        let message = message.finish();
        assert_eq!(indicated(&message), Some((peer, &b"check"[..])));
        assert_eq!(unwrapped(&message), b"check");
        assert_eq!((indicated(b"check"), indicated(&message[..12])), (None, None));
    }

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
            wire.sent(&stun(REQUEST, 1, &[USERNAME]), HERE);
            wire.received(&stun(SUCCESS, 1, &[]), HERE);
            wire.sent(&stun(REQUEST, 2, &[USERNAME, USE_CANDIDATE]), HERE);
            wire.received(&stun(SUCCESS, 2, &[]), HERE);
        });
        assert_eq!(marks, [Mark::IceConnected, Mark::IceNominated]);
    }

    #[test]
    fn the_controlled_end_is_nominated_when_it_answers_the_nomination() {
        let marks = marks_of(|wire| {
            wire.received(&stun(REQUEST, 7, &[USERNAME, USE_CANDIDATE]), HERE);
            wire.sent(&stun(SUCCESS, 7, &[]), HERE);
        });
        assert_eq!(marks, [Mark::IceNominated]);
    }

    #[test]
    fn a_stun_server_is_not_a_working_pair() {
        let marks = marks_of(|wire| {
            wire.sent(&stun(REQUEST, 1, &[]), HERE);
            wire.received(&stun(SUCCESS, 1, &[]), HERE);
            wire.received(&stun(SUCCESS, 9, &[]), HERE);
            let attempts = wire.attempts();
            assert!(attempts.stun_asked.is_some() && attempts.stun_answered.is_some() && attempts.ways.is_empty());
        });
        assert_eq!(marks, []);
    }

    #[test]
    fn rtcp_is_not_rtp_and_only_the_first_packet_counts() {
        let marks = marks_of(|wire| {
            wire.received(&[0x80, 200, 0, 0], HERE);
            wire.received(&[0x80, 0x80 | 96, 0, 0], HERE);
            wire.received(&[0x80, 96, 0, 1], HERE);
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
    fn each_way_has_its_own_tally() {
        let wire = Wire::new(Recorder::new().0.for_peer("a", "c"));
        let way = Way::Relay(2);
        wire.sent(&stun(REQUEST, 1, &[USERNAME]), HERE);
        wire.sent(&stun(REQUEST, 2, &[USERNAME]), way);
        wire.sent(&stun(REQUEST, 3, &[USERNAME]), way);
        wire.received(&stun(REQUEST, 9, &[USERNAME]), HERE);
        wire.received(&stun(SUCCESS, 3, &[]), way);
        let ways = wire.attempts().ways;
        let (direct, relayed) = (ways[&HERE], ways[&way]);
        assert_eq!((direct.sent, direct.answered, direct.received), (1, 0, 1));
        assert_eq!((relayed.sent, relayed.answered, relayed.received), (2, 1, 0));
        assert!(direct.first <= relayed.first && relayed.worked.is_some() && direct.worked.is_none());
    }
}
