//! How a native peer looked for its path, from what its socket saw and what became of its servers.

use super::relays::Relays;
use super::strangers::Strangers;
use super::wire::{Tried, Way, Wire};
use crate::record::{Checks, PathSearch, PeerRecorder};

/// What the peer has tried until now.
pub(super) fn search(recorder: &PeerRecorder, wire: &Wire, relays: &Relays, strangers: &Strangers) -> PathSearch {
    let micros = |at| recorder.micros(at);
    let attempts = wire.attempts();
    let mut search = PathSearch {
        peer: recorder.peer().to_owned(),
        call: recorder.call().to_owned(),
        stun_asked_us: attempts.stun_asked.map(micros),
        stun_answered_us: attempts.stun_answered.map(micros),
        relays: relays.tried(micros),
        ..PathSearch::default()
    };
    for (way, tried) in attempts.ways {
        match way {
            Way::Direct(address) => {
                let checks = if strangers.is_relay(address) { &mut search.to_relay } else { &mut search.direct };
                add(checks, tried, micros);
                *checks.pairs.get_or_insert(0) += u32::from(tried.sent > 0);
            }
            Way::Relay(server) => {
                if let Some(relay) = search.relays.get_mut(server) {
                    add(&mut relay.checks, tried, micros);
                }
            }
        }
    }
    for (address, reason) in attempts.unreachable {
        let relay = relays.server_at(address).and_then(|server| search.relays.get_mut(server));
        let slot = match relay {
            Some(relay) => &mut relay.icmp,
            None if strangers.is_relay(address) => &mut search.to_relay.icmp,
            None => &mut search.direct.icmp,
        };
        slot.get_or_insert_with(|| reason.name().to_owned());
    }
    search
}

fn add(checks: &mut Checks, tried: Tried, micros: impl Fn(std::time::Instant) -> u64) {
    let earliest = |known: Option<u64>, other: Option<u64>| known.into_iter().chain(other).min();
    checks.sent += tried.sent;
    checks.answered += tried.answered;
    checks.received += tried.received;
    checks.first_us = earliest(checks.first_us, tried.first.map(&micros));
    checks.worked_us = earliest(checks.worked_us, tried.worked.map(&micros));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lab::place::Machine;
    use crate::net::UnreachableReason;
    use crate::peer::network::{IceServer, IceServers};
    use crate::plan::Role;
    use crate::record::Recorder;

    /// A check with a USERNAME (RFC 8489, section 14.3) that is empty.
    const CHECK: [u8; 24] = [0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0];

    #[test]
    fn direct_pairs_pairs_with_relays_and_pairs_through_an_own_relay_are_told_apart() {
        let recorder = Recorder::new().0.for_peer("a", "c");
        let server = IceServer { urls: vec!["turn:a?transport=tcp".into()], username: None, credential: None };
        let relays = Relays::new(&IceServers::new(vec![server], None), Arc::new(Machine)).unwrap();
        let strangers = Strangers::new(Role::Offerer);
        strangers.introduce("candidate:1 1 udp 1 192.0.2.9 9 typ relay raddr 0.0.0.0 rport 0");
        let wire = Wire::new(recorder.clone());
        for address in ["192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:2", "192.0.2.9:9"] {
            wire.sent(&CHECK, Way::Direct(address.parse().unwrap()));
        }
        wire.sent(&CHECK, Way::Relay(0));
        wire.unreachable("192.0.2.2:2".parse().unwrap(), UnreachableReason::Prohibited);
        let found = search(&recorder, &wire, &relays, &strangers);
        assert_eq!((found.direct.pairs, found.direct.sent), (Some(2), 3));
        assert_eq!((found.to_relay.pairs, found.to_relay.sent), (Some(1), 1));
        assert_eq!((found.relays[0].checks.pairs, found.relays[0].checks.sent), (None, 1));
        assert_eq!(found.direct.icmp.as_deref(), Some("administratively prohibited"));
        assert!(found.direct.first_us.is_some() && found.direct.worked_us.is_none());
    }
}
