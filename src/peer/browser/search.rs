//! How a browser looked for its path, from what its page heard and from its last statistics. Browsers do not say when they
//! sent their checks, and not when they asked a server; that stays absent.

use serde::Deserialize;
use serde_json::Value;

use super::stats::Stats;
use crate::net::oracle::RelayTransport;
use crate::peer::network::IceServer;
use crate::record::{Checks, PathSearch, RelayTried};
use crate::turn::client::{IceUrl, Scheme};

/// What a page heard of its STUN and TURN servers (`icecandidate` and `icecandidateerror`).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Heard {
    /// When, in milliseconds of the page's clock.
    pub(super) at: f64,
    /// The server's URL, where the browser tells it.
    pub(super) url: Option<String>,
    /// `udp`, `tcp` or `tls`: a relayed candidate came; absent for an error.
    pub(super) relay_protocol: Option<String>,
    /// What went wrong; absent for a candidate.
    pub(super) error: Option<String>,
}

/// What the browser has tried until now.
pub(super) fn search(servers: &[IceServer], heard: &[Heard], stats: &Stats, micros: impl Fn(f64) -> u64) -> PathSearch {
    let urls = servers.iter().flat_map(|server| &server.urls).filter_map(|url| url.parse::<IceUrl>().ok());
    let turn = urls.filter(|url| url.scheme == Scheme::Turn);
    let relays = turn.map(|url| {
        let transport = RelayTransport::from(url.transport);
        let same = |heard: &&Heard| match &heard.url {
            Some(told) => told.parse::<IceUrl>().is_ok_and(|told| told == url),
            None => heard.relay_protocol.as_deref() == Some(transport.name()),
        };
        let own = || heard.iter().filter(same);
        let fault = own().find(|heard| heard.error.is_some());
        RelayTried {
            allocated_us: own().find(|heard| heard.error.is_none()).map(|heard| micros(heard.at)),
            fault: fault.and_then(|heard| heard.error.clone()),
            fault_us: fault.map(|heard| micros(heard.at)),
            ..RelayTried::new(url.to_string(), transport)
        }
    });
    let mut search = PathSearch { relays: relays.collect(), ..PathSearch::default() };
    for pair in stats.candidate_pairs() {
        let (local, remote) = (pair.local, pair.remote);
        let own = local["relayProtocol"].as_str().and_then(RelayTransport::from_name);
        let checks = if local["candidateType"] == "relay" {
            let relay = search.relays.iter_mut().find(|relay| Some(relay.transport) == own);
            relay.map(|relay| &mut relay.checks)
        } else if remote["candidateType"] == "relay" {
            Some(&mut search.to_relay)
        } else {
            Some(&mut search.direct)
        };
        if let Some(checks) = checks {
            add(checks, pair.stats);
        }
    }
    search
}

fn add(checks: &mut Checks, pair: &Value) {
    let count = |member: &str| pair[member].as_u64().unwrap_or(0);
    checks.sent += count("requestsSent");
    checks.answered += count("responsesReceived");
    checks.received += count("requestsReceived");
    *checks.pairs.get_or_insert(0) += u32::from(count("requestsSent") > 0);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_and_pairs_are_told_apart() {
        let urls = ["stun:a", "turn:a?transport=udp", "turn:a?transport=tcp", "turns:a?transport=tcp"];
        let server = IceServer { urls: urls.map(str::to_owned).into(), username: None, credential: None };
        let heard = |url: Option<&str>, protocol: Option<&str>, error: Option<&str>| Heard {
            at: 5.0,
            url: url.map(str::to_owned),
            relay_protocol: protocol.map(str::to_owned),
            error: error.map(str::to_owned),
        };
        let heard = [
            heard(Some("turn:a:3478?transport=udp"), None, Some("701 TURN allocate request timed out.")),
            heard(None, Some("tls"), None),
        ];
        let pair = |local: &str, remote: &str, sent: u64, answered: u64| {
            json!({"type": "candidate-pair", "localCandidateId": local, "remoteCandidateId": remote,
                   "requestsSent": sent, "responsesReceived": answered, "requestsReceived": 0})
        };
        let stats = Stats(vec![
            json!({"type": "local-candidate", "id": "h", "candidateType": "host"}),
            json!({"type": "local-candidate", "id": "t", "candidateType": "relay", "relayProtocol": "tls"}),
            json!({"type": "remote-candidate", "id": "s", "candidateType": "srflx"}),
            json!({"type": "remote-candidate", "id": "r", "candidateType": "relay"}),
            pair("h", "s", 9, 0),
            pair("h", "r", 8, 0),
            pair("t", "s", 7, 6),
        ]);
        let found = search(&[server], &heard, &stats, |at| at as u64 * 1_000);
        assert_eq!((found.direct.sent, found.to_relay.sent, found.direct.pairs), (9, 8, Some(1)));
        let [udp, tcp, tls] = &found.relays[..] else { panic!("{found:?}") };
        assert!(udp.fault.as_ref().is_some_and(|fault| fault.contains("timed out")) && udp.fault_us == Some(5_000));
        assert_eq!((tcp.allocated_us, tcp.fault.as_ref()), (None, None));
        assert_eq!((tls.allocated_us, tls.checks.answered), (Some(5_000), 6));
    }
}
