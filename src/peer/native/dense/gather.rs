//! Gathers the candidates of a peer (RFC 8445, section 5.1), which the core leaves to its user: host candidates from the
//! sockets, server-reflexive ones from STUN servers. [`turn`](super::turn) has the relayed ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::peer_connection::transport::{
    CandidateConfig, CandidateHostConfig, CandidateServerReflexiveConfig, RTCIceCandidate, RTCIceCandidateInit,
};
use rtc::shared::error::Result;

use crate::turn::client::{IceUrl, Scheme};
use crate::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};

/// The first wait for an answer; each further one is twice as long (RFC 8489, section 6.2.1).
const RETRANSMISSION: Duration = Duration::from_millis(500);

/// How often a request is sent (`Rc` there).
const REQUESTS: u32 = 7;

/// The last wait, in first waits (`Rm` there).
const LAST_WAIT: u32 = 16;

/// A server as the core is told of it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) told: String,
    pub(super) scheme: Scheme,
    pub(super) username: String,
    pub(super) password: String,
    host: String,
    port: u16,
}

impl Server {
    pub(super) fn new(told: &str, username: &str, password: &str) -> std::result::Result<Self, String> {
        let IceUrl { scheme, host, port, .. } =
            told.parse().map_err(|error: crate::turn::client::UrlError| error.to_string())?;
        let (told, username, password) = (told.to_owned(), username.to_owned(), password.to_owned());
        Ok(Self { told, scheme, username, password, host, port })
    }

    /// What is to be resolved.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The requests to STUN servers.
#[derive(Default)]
pub(super) struct Gatherer {
    requests: Vec<Request>,
}

struct Request {
    local: SocketAddr,
    server: SocketAddr,
    transaction: TransactionId,
    sent: u32,
    /// When to send again, or to give up.
    due: Instant,
}

impl Gatherer {
    /// Asks a server for the outside address of a socket.
    pub(super) fn ask(&mut self, local: SocketAddr, server: SocketAddr, now: Instant) {
        let known = |request: &Request| (request.local, request.server) == (local, server);
        if !self.requests.iter().any(known) {
            self.requests.push(Request { local, server, transaction: TransactionId::random(), sent: 0, due: now });
        }
    }

    /// Whether no answer is waited for.
    pub(super) fn is_done(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes the answer of a server: the candidate that it gives, if it gives one. `None` if it is not such an answer.
    pub(super) fn handle(&mut self, datagram: &[u8]) -> Option<Option<RTCIceCandidateInit>> {
        if self.requests.is_empty() {
            return None;
        }
        let message = Message::parse(datagram).ok().filter(|message| message.method() == Method::BINDING)?;
        if !matches!(message.class(), Class::Success | Class::Error) {
            return None;
        }
        let at = self.requests.iter().position(|request| request.transaction == message.transaction_id())?;
        let request = self.requests.swap_remove(at);
        let mapped = message.xor_address(Attribute::XOR_MAPPED_ADDRESS);
        Some(mapped.and_then(|mapped| server_reflexive(mapped, request.local).ok()))
    }

    /// The next request that is due: from where, to where, and what.
    pub(super) fn poll_write(&mut self, now: Instant) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.requests.retain(|request| request.sent < REQUESTS || request.due > now);
        let request = self.requests.iter_mut().find(|request| request.due <= now)?;
        request.sent += 1;
        let wait = if request.sent == REQUESTS { LAST_WAIT } else { 1 << (request.sent - 1) };
        request.due = now + RETRANSMISSION * wait;
        let message = Builder::new(Class::Request, Method::BINDING, request.transaction).finish();
        Some((request.local, request.server, message))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.requests.iter().map(|request| request.due).min()
    }
}

/// The candidate of a socket.
pub(super) fn host(local: SocketAddr) -> Result<RTCIceCandidateInit> {
    let config = CandidateHostConfig { base_config: base(local), ..Default::default() };
    RTCIceCandidate::from(&config.new_candidate_host()?).to_json()
}

fn server_reflexive(mapped: SocketAddr, local: SocketAddr) -> Result<RTCIceCandidateInit> {
    let config = CandidateServerReflexiveConfig {
        base_config: base(mapped),
        rel_addr: local.ip().to_string(),
        rel_port: local.port(),
        ..Default::default()
    };
    RTCIceCandidate::from(&config.new_candidate_server_reflexive()?).to_json()
}

/// What every kind of candidate at this address has.
pub(super) fn base(address: SocketAddr) -> CandidateConfig {
    CandidateConfig {
        network: "udp".to_owned(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_repeated_with_growing_waits_and_then_given_up() {
        let (mut gatherer, start) = (Gatherer::default(), Instant::now());
        gatherer.ask("10.0.0.1:1".parse().unwrap(), "192.0.2.1:3478".parse().unwrap(), start);
        gatherer.ask("10.0.0.1:1".parse().unwrap(), "192.0.2.1:3478".parse().unwrap(), start);
        let mut sent = Vec::new();
        let mut now = start;
        loop {
            while gatherer.poll_write(now).is_some() {
                sent.push((now - start).as_millis());
            }
            let Some(due) = gatherer.poll_timeout() else { break };
            now = due;
        }
        assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!((now - start).as_millis(), 39_500);
        assert!(gatherer.is_done());
    }

    #[test]
    fn an_answer_gives_a_candidate_and_other_messages_are_not_taken() {
        let (mut gatherer, now) = (Gatherer::default(), Instant::now());
        gatherer.ask("10.0.0.1:1".parse().unwrap(), "192.0.2.1:3478".parse().unwrap(), now);
        let (.., request) = gatherer.poll_write(now).unwrap();
        let transaction = Message::parse(&request).unwrap().transaction_id();
        let answer = |transaction| {
            let mut answer = Builder::new(Class::Success, Method::BINDING, transaction);
            answer.xor_address(Attribute::XOR_MAPPED_ADDRESS, "198.51.100.7:700".parse().unwrap());
            answer.finish()
        };
        assert!(gatherer.handle(&request).is_none());
        assert!(gatherer.handle(&answer(TransactionId::random())).is_none());
        let candidate = gatherer.handle(&answer(transaction)).unwrap().unwrap().candidate;
        assert!(candidate.contains("198.51.100.7 700 typ srflx raddr 10.0.0.1 rport 1"), "{candidate}");
        assert!(gatherer.is_done());
    }
}
