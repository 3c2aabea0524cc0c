//! One request until its answer, sans-IO: retransmissions (RFC 8489, section 6.2), the first 401 and stale nonces
//! (section 9.2). Time is passed in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::error::{ClientError, Refusal};
use super::request::{Authentication, Request};
use crate::turn::credentials::{Key, Login};
use crate::turn::message::{Attribute, Class, Message, TransactionId};

/// The time until the first retransmission over UDP; it doubles each time (RFC 8489, section 6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// A nonce that is stale again and again is a fault of the server.
const STALE_NONCES: u32 = 3;

/// What a client has learned about its server, and needs for every further request.
pub(super) struct Session {
    server: SocketAddr,
    login: Option<Login>,
    authentication: Option<Authentication>,
    /// Whether the transport retransmits by itself.
    reliable: bool,
    /// How long an answer may take.
    deadline: Duration,
}

/// A request on its way.
pub(super) struct Exchange<'a> {
    session: &'a mut Session,
    request: Request,
    transaction: TransactionId,
    bytes: Vec<u8>,
    /// When to send again; `None` over a reliable transport, once sent.
    next: Option<Instant>,
    interval: Duration,
    deadline: Instant,
    unauthorized: u32,
    stale_nonces: u32,
}

/// A successful answer, with what it holds of these.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) mapped: Option<SocketAddr>,
    pub(super) relayed: Option<SocketAddr>,
    pub(super) lifetime: Option<Duration>,
    pub(super) software: Option<String>,
    /// How often the request was answered with 401 before.
    pub(super) unauthorized: u32,
    /// How often it was answered with 438 before.
    pub(super) stale_nonces: u32,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send these bytes, then ask again.
    Send(Vec<u8>),
    /// Wait for a response, at most until then.
    Wait(Instant),
}

impl Session {
    pub(super) fn new(server: SocketAddr, login: Option<Login>, reliable: bool, deadline: Duration) -> Self {
        Self { server, login, authentication: None, reliable, deadline }
    }

    pub(super) fn begin(&mut self, request: Request, now: Instant) -> Exchange<'_> {
        let deadline = now + self.deadline;
        let mut exchange = Exchange {
            session: self,
            request,
            transaction: TransactionId::random(),
            bytes: Vec::new(),
            next: None,
            interval: RTO,
            deadline,
            unauthorized: 0,
            stale_nonces: 0,
        };
        exchange.prepare(now);
        exchange
    }

    /// Learns realm and nonce from a 401 or 438; false if there is nothing to answer it with.
    fn challenged(&mut self, response: &Message<'_>) -> bool {
        let (Some(login), Some(nonce)) = (&self.login, response.get(Attribute::NONCE)) else { return false };
        let known = self.authentication.as_ref().map(|known| known.realm.clone());
        let Some(realm) = response.text(Attribute::REALM).map(str::to_owned).or(known) else { return false };
        let key = Key::long_term(login.username(), &realm, login.password());
        let username = login.username().to_owned();
        self.authentication = Some(Authentication { username, realm, nonce: nonce.to_vec(), key });
        true
    }

    fn broken(&self, detail: String) -> ClientError {
        ClientError::Protocol { address: self.server, detail }
    }
}

impl Exchange<'_> {
    /// What to do at this instant.
    pub(super) fn poll(&mut self, now: Instant) -> Result<Step, ClientError> {
        if now >= self.deadline {
            return Err(ClientError::TimedOut {
                address: self.session.server,
                what: "STUN answer",
                after: self.session.deadline,
            });
        }
        match self.next {
            Some(next) if next <= now => {
                self.next = (!self.session.reliable).then(|| now + self.interval);
                self.interval *= 2;
                Ok(Step::Send(self.bytes.clone()))
            }
            Some(next) => Ok(Step::Wait(next.min(self.deadline))),
            None => Ok(Step::Wait(self.deadline)),
        }
    }

    /// Takes a response: the end of the exchange, or `None` if it goes on.
    pub(super) fn handle(&mut self, response: &Message<'_>, now: Instant) -> Result<Option<Answer>, ClientError> {
        if response.transaction_id() != self.transaction {
            return Ok(None);
        }
        let method = self.request.method().name();
        if response.class() == Class::Success {
            // What is not signed could be anybody's, and clients drop it (RFC 8489, section 9.2.5).
            if self.authentication().is_some_and(|sent| !response.is_signed_with(&sent.key)) {
                return Err(self.session.broken(format!("its answer to {method} is not signed with the password")));
            }
            return Ok(Some(self.answer(response)));
        }
        let Some((code, reason)) = response.error_code() else {
            return Err(self.session.broken(format!("its error in answer to {method} has no ERROR-CODE")));
        };
        let retry = match code {
            401 => {
                self.unauthorized += 1;
                // The first tells realm and nonce; the second says that the credentials are wrong.
                self.unauthorized == 1
            }
            438 => {
                self.stale_nonces += 1;
                self.stale_nonces < STALE_NONCES
            }
            _ => false,
        };
        if retry && self.session.challenged(response) {
            self.interval = RTO;
            self.prepare(now);
            return Ok(None);
        }
        Err(ClientError::Refusal(Refusal {
            method,
            code,
            reason: reason.to_owned(),
            alternate: response.address(Attribute::ALTERNATE_SERVER),
            unauthorized: self.unauthorized,
            stale_nonces: self.stale_nonces,
        }))
    }

    fn answer(&self, response: &Message<'_>) -> Answer {
        let lifetime = response.number(Attribute::LIFETIME);
        let software = response.text(Attribute::SOFTWARE);
        Answer {
            mapped: response.xor_address(Attribute::XOR_MAPPED_ADDRESS),
            relayed: response.xor_address(Attribute::XOR_RELAYED_ADDRESS),
            lifetime: lifetime.map(|seconds| Duration::from_secs(seconds.into())),
            software: software.map(|software| software.trim_end_matches('\0').to_owned()),
            unauthorized: self.unauthorized,
            stale_nonces: self.stale_nonces,
        }
    }

    /// A new transaction for the same request, with what is known now.
    fn prepare(&mut self, now: Instant) {
        self.transaction = TransactionId::random();
        self.bytes = self.request.encode(self.transaction, self.authentication());
        self.next = Some(now);
    }

    /// What the request is signed with. A Binding request needs nothing, and servers may refuse one that has it.
    fn authentication(&self) -> Option<&Authentication> {
        self.session.authentication.as_ref().filter(|_| self.request != Request::Binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::message::Builder;

    fn session(reliable: bool) -> Session {
        let login = Some(Login::new("alice", "secret"));
        Session::new("192.0.2.1:3478".parse().unwrap(), login, reliable, Duration::from_secs(5))
    }

    fn error(exchange: &Exchange<'_>, code: u16) -> Vec<u8> {
        let mut builder = Builder::new(Class::Error, exchange.request.method(), exchange.transaction);
        builder.error_code(code, "no").text(Attribute::REALM, "realm").text(Attribute::NONCE, "nonce");
        builder.finish()
    }

    fn handle(exchange: &mut Exchange<'_>, response: &[u8], now: Instant) -> Result<Option<Answer>, ClientError> {
        exchange.handle(&Message::parse(response).unwrap(), now)
    }

    fn refused(exchange: &mut Exchange<'_>, code: u16, now: Instant) -> Option<Refusal> {
        let response = error(exchange, code);
        match handle(exchange, &response, now) {
            Err(ClientError::Refusal(refusal)) => Some(refusal),
            Err(other) => panic!("{other}"),
            Ok(answer) => {
                assert!(answer.is_none());
                None
            }
        }
    }

    fn sends(exchange: &mut Exchange<'_>, now: Instant) -> bool {
        matches!(exchange.poll(now).unwrap(), Step::Send(_))
    }

    #[test]
    fn over_udp_a_request_is_repeated_at_growing_intervals_until_the_deadline() {
        let (mut session, start) = (session(false), Instant::now());
        let mut exchange = session.begin(Request::Binding, start);
        let mut sent = Vec::new();
        let mut now = start;
        let error = loop {
            match exchange.poll(now) {
                Ok(Step::Send(_)) => sent.push((now - start).as_millis()),
                Ok(Step::Wait(until)) => now = until,
                Err(error) => break error,
            }
        };
        assert_eq!(sent, [0, 500, 1500, 3500]);
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn over_a_stream_a_request_is_sent_once() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Binding, now);
        assert!(sends(&mut exchange, now));
        let Step::Wait(until) = exchange.poll(now).unwrap() else { panic!("sent again") };
        assert_eq!(until, now + Duration::from_secs(5));
    }

    #[test]
    fn the_first_401_is_answered_with_the_credentials_and_the_second_ends_it() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now);
        assert!(sends(&mut exchange, now));
        let (short, challenge) = (exchange.bytes.len(), error(&exchange, 401));
        assert!(handle(&mut exchange, &challenge, now).unwrap().is_none());
        assert!(sends(&mut exchange, now) && exchange.bytes.len() > short);
        let again = handle(&mut exchange, &challenge, now);
        assert!(again.unwrap().is_none(), "an answer to the old transaction is ignored");
        let refusal = refused(&mut exchange, 401, now).expect("refused");
        assert_eq!((refusal.code, refusal.unauthorized, refusal.method), (401, 2, "Allocate"));
    }

    #[test]
    fn a_stale_nonce_is_replaced_but_not_for_ever() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now);
        assert_eq!(refused(&mut exchange, 438, now), None);
        assert_eq!(refused(&mut exchange, 438, now), None);
        let refusal = refused(&mut exchange, 438, now).expect("refused");
        assert_eq!((refusal.code, refusal.stale_nonces), (438, 3));
    }

    #[test]
    fn a_300_tells_where_to_go() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now);
        let mut builder = Builder::new(Class::Error, exchange.request.method(), exchange.transaction);
        let alternate = "192.0.2.9:3478".parse().unwrap();
        builder.error_code(300, "move\0\0").address(Attribute::ALTERNATE_SERVER, alternate);
        let Err(ClientError::Refusal(refusal)) = handle(&mut exchange, &builder.finish(), now) else { panic!("taken") };
        assert_eq!((refusal.reason.as_str(), refusal.alternate), ("move", Some(alternate)));
    }

    #[test]
    fn success_tells_how_often_it_was_refused_before_and_must_be_signed() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now);
        assert_eq!(refused(&mut exchange, 401, now), None);
        let success = |exchange: &Exchange<'_>, password: &str| {
            let mut builder = Builder::new(Class::Success, exchange.request.method(), exchange.transaction);
            builder.number(Attribute::LIFETIME, 600).sign(&Key::long_term("alice", "realm", &password.into()));
            builder.finish()
        };
        let forged = success(&exchange, "guess");
        let error = handle(&mut exchange, &forged, now).unwrap_err();
        assert!(error.to_string().contains("is not signed with the password"), "{error}");
        let signed = success(&exchange, "secret");
        let answer = handle(&mut exchange, &signed, now).unwrap().expect("the end");
        assert_eq!((answer.unauthorized, answer.stale_nonces), (1, 0));
        assert_eq!(answer.lifetime, Some(Duration::from_secs(600)));
    }
}
