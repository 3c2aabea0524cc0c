//! Connectivity checks from addresses that signaling has not told of.
//!
//! A check from the other end's relay may overtake the message that names the relay. The stack then takes the relay for a
//! peer-reflexive candidate, ranks it above server-reflexive ones, and does not correct this when the message comes (RFC
//! 8838, section 11.4, lets it). Where both filter by address, the relay would win over the direct path. So the end that
//! nominates hears a stranger only after a while, in which checks are repeated anyway.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::Role;

/// How long signaling may be behind.
const GRACE: Duration = Duration::from_millis(200);

/// The addresses that a peer has heard of, and those that it has heard from.
#[derive(Debug)]
pub(super) struct Strangers {
    /// The offerer controls (RFC 8445, section 6.1.1), so it nominates.
    nominates: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    introduced: HashSet<SocketAddr>,
    /// Those of them that are relays of the other end.
    relayed: HashSet<SocketAddr>,
    first_heard: HashMap<SocketAddr, Instant>,
}

impl Strangers {
    pub(super) fn new(role: Role) -> Self {
        Self { nominates: role == Role::Offerer, state: Mutex::default() }
    }

    /// Signaling tells of a candidate (RFC 8839, section 5.1).
    pub(super) fn introduce(&self, candidate: &str) {
        if let Some(address) = address(candidate) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.introduced.insert(address);
            if candidate.contains(" typ relay") {
                state.relayed.insert(address);
            }
        }
    }

    /// Whether signaling has told of a relay of the other end there.
    pub(super) fn is_relay(&self, address: SocketAddr) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).relayed.contains(&address)
    }

    /// Signaling tells of the candidates in a description.
    pub(super) fn introduce_all(&self, sdp: &str) {
        sdp.lines().filter_map(|line| line.strip_prefix("a=")).for_each(|candidate| self.introduce(candidate));
    }

    /// Whether a datagram from there may be heard yet.
    pub(super) fn may_be_heard(&self, source: SocketAddr, datagram: &[u8]) -> bool {
        if !self.nominates || !is_binding_request(datagram) {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.introduced.contains(&source)
            || state.first_heard.entry(source).or_insert_with(Instant::now).elapsed() >= GRACE
    }
}

fn is_binding_request(datagram: &[u8]) -> bool {
    matches!(datagram, [0x00, 0x01, _, _, 0x21, 0x12, 0xa4, 0x42, ..])
}

/// The address in `candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ …`; absent for a name.
fn address(candidate: &str) -> Option<SocketAddr> {
    let mut fields = candidate.strip_prefix("candidate:")?.split_ascii_whitespace().skip(4);
    let (ip, port) = (fields.next()?.parse::<IpAddr>().ok()?, fields.next()?.parse().ok()?);
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: [u8; 8] = [0x00, 0x01, 0, 0, 0x21, 0x12, 0xa4, 0x42];

    #[test]
    fn a_stranger_is_heard_once_it_is_introduced_or_has_waited() {
        let strangers = Strangers::new(Role::Offerer);
        let source: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        assert!(!strangers.may_be_heard(source, &CHECK));
        assert!(!strangers.is_relay(source));
        strangers.introduce("candidate:1 1 udp 41885439 192.0.2.1 5000 typ relay raddr 10.0.0.1 rport 9");
        assert!(strangers.may_be_heard(source, &CHECK) && strangers.is_relay(source));

        let other: SocketAddr = "192.0.2.2:5000".parse().unwrap();
        assert!(!strangers.may_be_heard(other, &CHECK));
        std::thread::sleep(GRACE);
        assert!(strangers.may_be_heard(other, &CHECK));
    }

    #[test]
    fn everything_but_checks_is_heard_and_so_is_everybody_by_the_answerer() {
        let source = "192.0.2.1:5000".parse().unwrap();
        assert!(Strangers::new(Role::Offerer).may_be_heard(source, &[22, 254, 253]));
        assert!(Strangers::new(Role::Answerer).may_be_heard(source, &CHECK));
    }

    #[test]
    fn a_description_introduces_its_candidates() {
        let strangers = Strangers::new(Role::Offerer);
        strangers.introduce_all("v=0\r\na=candidate:1 1 udp 1 2001:db8::1 7 typ host\r\na=end-of-candidates\r\n");
        assert!(strangers.may_be_heard("[2001:db8::1]:7".parse().unwrap(), &CHECK));
    }
}
