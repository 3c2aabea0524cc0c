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

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const DATA: u16 = 0x0013;
const USE_CANDIDATE: u16 = 0x0025;
const HEADER: usize = 20;

/// Ways that are counted: a checklist has at most 100 pairs (RFC 8445, section 6.1.2.5).
const WAYS: usize = 128;

type TransactionId = [u8; 12];

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
        let Some(message) = Stun::parse(datagram) else { return };
        let Ok(mut checks) = self.checks.lock() else { return };
        match message.kind {
            // Requests to a STUN server carry no USERNAME; connectivity checks do (RFC 8445, section 7.2.2).
            BINDING_REQUEST if message.has(USERNAME) => {
                checks.sent.insert(message.transaction, (way, message.has(USE_CANDIDATE)));
                if let Some(tried) = checks.tried(way) {
                    tried.sent += 1;
                    tried.first.get_or_insert_with(Instant::now);
                }
            }
            BINDING_REQUEST if checks.asked.len() < WAYS => {
                checks.asked.push(message.transaction);
                checks.attempts.stun_asked.get_or_insert_with(Instant::now);
            }
            BINDING_SUCCESS if !checks.nominated && checks.nominations.contains(&message.transaction) => {
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
        let Some(message) = Stun::parse(datagram) else { return };
        let Ok(mut checks) = self.checks.lock() else { return };
        match message.kind {
            BINDING_SUCCESS => {
                if checks.asked.contains(&message.transaction) {
                    checks.attempts.stun_answered.get_or_insert_with(Instant::now);
                }
                let Some((way, nominates)) = checks.sent.remove(&message.transaction) else { return };
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
            BINDING_REQUEST => {
                if let Some(tried) = checks.tried(way) {
                    tried.received += 1;
                }
                if message.has(USE_CANDIDATE) && checks.nominations.len() < 64 {
                    checks.nominations.push(message.transaction);
                }
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
/// indications (RFC 8656, sections 11 and 12).
pub(super) fn unwrapped(datagram: &[u8]) -> &[u8] {
    match datagram {
        [0x40..=0x4f, _, l0, l1, data @ ..] => {
            data.get(..usize::from(u16::from_be_bytes([*l0, *l1]))).unwrap_or(datagram)
        }
        [0x00, 0x16 | 0x17, ..] => Stun::parse(datagram).and_then(|message| message.get(DATA)).unwrap_or(datagram),
        _ => datagram,
    }
}

/// Whether a message between a TURN client and its server carries a connectivity check, or the answer to one.
pub(super) fn is_relayed_check(message: &[u8]) -> bool {
    let inner = unwrapped(message);
    inner.len() < message.len() && Stun::parse(inner).is_some()
}

/// The header and attributes of a STUN message (RFC 8489, section 5).
struct Stun<'a> {
    kind: u16,
    transaction: TransactionId,
    attributes: &'a [u8],
}

impl<'a> Stun<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        if datagram.len() < HEADER || datagram[0] > 3 || datagram[4..8] != [0x21, 0x12, 0xa4, 0x42] {
            return None;
        }
        let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
        let transaction = datagram[8..HEADER].try_into().ok()?;
        Some(Self { kind, transaction, attributes: &datagram[HEADER..] })
    }

    fn has(&self, wanted: u16) -> bool {
        self.get(wanted).is_some()
    }

    /// The value of an attribute.
    fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        while let [t0, t1, l0, l1, value @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            if u16::from_be_bytes([*t0, *t1]) == wanted {
                return value.get(..length);
            }
            rest = value.get(length.next_multiple_of(4)..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{EventKind, Recorder};

    const HERE: Way = Way::Direct(SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9)));

    fn stun(kind: u16, id: u8, attributes: &[u16]) -> Vec<u8> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend((attributes.len() as u16 * 4).to_be_bytes());
        message.extend([0x21, 0x12, 0xa4, 0x42]);
        message.extend([id; 12]);
        for attribute in attributes {
            message.extend(attribute.to_be_bytes());
            message.extend([0, 0]);
        }
        message
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
            wire.sent(&stun(BINDING_REQUEST, 1, &[USERNAME]), HERE);
            wire.received(&stun(BINDING_SUCCESS, 1, &[]), HERE);
            wire.sent(&stun(BINDING_REQUEST, 2, &[USERNAME, USE_CANDIDATE]), HERE);
            wire.received(&stun(BINDING_SUCCESS, 2, &[]), HERE);
        });
        assert_eq!(marks, [Mark::IceConnected, Mark::IceNominated]);
    }

    #[test]
    fn the_controlled_end_is_nominated_when_it_answers_the_nomination() {
        let marks = marks_of(|wire| {
            wire.received(&stun(BINDING_REQUEST, 7, &[USERNAME, USE_CANDIDATE]), HERE);
            wire.sent(&stun(BINDING_SUCCESS, 7, &[]), HERE);
        });
        assert_eq!(marks, [Mark::IceNominated]);
    }

    #[test]
    fn a_stun_server_is_not_a_working_pair() {
        let marks = marks_of(|wire| {
            wire.sent(&stun(BINDING_REQUEST, 1, &[]), HERE);
            wire.received(&stun(BINDING_SUCCESS, 1, &[]), HERE);
            wire.received(&stun(BINDING_SUCCESS, 9, &[]), HERE);
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
        let check = stun(BINDING_REQUEST, 1, &[]);
        let mut channel = vec![0x40, 0x01, 0, 20];
        channel.extend(&check);
        assert_eq!(unwrapped(&channel), check);
        for kind in [0x0016, 0x0017] {
            let mut indication = stun(kind, 2, &[]);
            indication[3] = 24;
            indication.extend([0, DATA as u8, 0, 20]);
            indication.extend(&check);
            assert_eq!(unwrapped(&indication), check);
        }
        for other in [&check[..], &[0x40, 0, 0, 9], &[0x80, 96], &[]] {
            assert_eq!(unwrapped(other), other);
        }
    }

    #[test]
    fn each_way_has_its_own_tally() {
        let wire = Wire::new(Recorder::new().0.for_peer("a", "c"));
        let way = Way::Relay(2);
        wire.sent(&stun(BINDING_REQUEST, 1, &[USERNAME]), HERE);
        wire.sent(&stun(BINDING_REQUEST, 2, &[USERNAME]), way);
        wire.sent(&stun(BINDING_REQUEST, 3, &[USERNAME]), way);
        wire.received(&stun(BINDING_REQUEST, 9, &[USERNAME]), HERE);
        wire.received(&stun(BINDING_SUCCESS, 3, &[]), way);
        let ways = wire.attempts().ways;
        let (direct, relayed) = (ways[&HERE], ways[&way]);
        assert_eq!((direct.sent, direct.answered, direct.received), (1, 0, 1));
        assert_eq!((relayed.sent, relayed.answered, relayed.received), (2, 1, 0));
        assert!(direct.first <= relayed.first && relayed.worked.is_some() && direct.worked.is_none());
    }

    #[test]
    fn truncated_attributes_do_no_harm() {
        let mut message = stun(BINDING_REQUEST, 1, &[0x8000]);
        let end = message.len();
        message[end - 1] = 200;
        assert!(!Stun::parse(&message).unwrap().has(USERNAME));
        assert!(Stun::parse(&message[..10]).is_none());
    }
}
