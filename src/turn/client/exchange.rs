//! One request until its answer, sans-IO: retransmissions (RFC 8489, section 6.2), the first 401 and stale nonces
//! (section 9.2). Time is passed in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{self, RTCCryptoProvider};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::TransactionId;

use super::credentials::Credentials;
use super::error::{ClientError, Refusal};
use super::message::{Authentication, Request, Response};

/// The time until the first retransmission over UDP; it doubles each time (RFC 8489, section 6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// A nonce that is stale again and again is a fault of the server.
const STALE_NONCES: u32 = 3;

/// What a client has learned about its server, and needs for every further request.
pub(super) struct Session {
    server: SocketAddr,
    credentials: Option<Credentials>,
    authentication: Option<Authentication>,
    provider: Arc<dyn RTCCryptoProvider>,
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

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
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
    pub(super) fn new(
        server: SocketAddr,
        credentials: Option<Credentials>,
        reliable: bool,
        deadline: Duration,
    ) -> Result<Self, ClientError> {
        let provider = crypto::default_provider().map_err(|error| ClientError::Internal(error.to_string()))?;
        Ok(Self { server, credentials, authentication: None, provider, reliable, deadline })
    }

    pub(super) fn begin(&mut self, request: Request, now: Instant) -> Result<Exchange<'_>, ClientError> {
        let deadline = now + self.deadline;
        let mut exchange = Exchange {
            session: self,
            request,
            transaction: TransactionId::default(),
            bytes: Vec::new(),
            next: None,
            interval: RTO,
            deadline,
            unauthorized: 0,
            stale_nonces: 0,
        };
        exchange.prepare(now)?;
        Ok(exchange)
    }

    /// Learns realm and nonce from a 401 or 438; false if there is nothing to answer it with.
    fn challenged(&mut self, response: &Response) -> Result<bool, ClientError> {
        let (Some(credentials), Some(nonce)) = (&self.credentials, &response.nonce) else { return Ok(false) };
        let known = self.authentication.as_ref().map(|known| known.realm.clone());
        let Some(realm) = response.realm.clone().or(known) else { return Ok(false) };
        let (username, password) = (credentials.username().to_owned(), credentials.password().to_owned());
        let key = MessageIntegrity::long_term_integrity_key(
            username.clone(),
            realm.clone(),
            password,
            self.provider.crypto(),
        );
        let key = key.map_err(|error| ClientError::Internal(error.to_string()))?;
        self.authentication = Some(Authentication { username, realm, nonce: nonce.clone(), key });
        Ok(true)
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
    pub(super) fn handle(&mut self, response: Response, now: Instant) -> Result<Option<Answer>, ClientError> {
        if response.transaction != self.transaction {
            return Ok(None);
        }
        let Some((code, reason)) = response.error.clone() else {
            let (unauthorized, stale_nonces) = (self.unauthorized, self.stale_nonces);
            return Ok(Some(Answer { response, unauthorized, stale_nonces }));
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
        if retry && self.session.challenged(&response)? {
            self.interval = RTO;
            self.prepare(now)?;
            return Ok(None);
        }
        Err(ClientError::Refusal(Refusal {
            method: self.request.name(),
            code,
            reason,
            alternate: response.alternate,
            unauthorized: self.unauthorized,
            stale_nonces: self.stale_nonces,
        }))
    }

    /// A new transaction for the same request, with what is known now.
    fn prepare(&mut self, now: Instant) -> Result<(), ClientError> {
        self.transaction = TransactionId::new();
        // A Binding request needs no authentication, and servers may refuse one that has it.
        let authentication = self.session.authentication.as_ref().filter(|_| self.request != Request::Binding);
        let encoded = self.request.encode(self.transaction, authentication, &*self.session.provider);
        self.bytes = encoded.map_err(|error| ClientError::Internal(error.to_string()))?;
        self.next = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(reliable: bool) -> Session {
        let credentials = Some(Credentials::new("alice", "secret"));
        Session::new("192.0.2.1:3478".parse().unwrap(), credentials, reliable, Duration::from_secs(5)).unwrap()
    }

    fn error(exchange: &Exchange<'_>, code: u16) -> Response {
        Response {
            transaction: exchange.transaction,
            error: Some((code, "no".into())),
            realm: Some("realm".into()),
            nonce: Some(b"nonce".to_vec()),
            ..Response::default()
        }
    }

    fn sends(exchange: &mut Exchange<'_>, now: Instant) -> bool {
        matches!(exchange.poll(now).unwrap(), Step::Send(_))
    }

    #[test]
    fn over_udp_a_request_is_repeated_at_growing_intervals_until_the_deadline() {
        let (mut session, start) = (session(false), Instant::now());
        let mut exchange = session.begin(Request::Binding, start).unwrap();
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
        let mut exchange = session.begin(Request::Binding, now).unwrap();
        assert!(sends(&mut exchange, now));
        let Step::Wait(until) = exchange.poll(now).unwrap() else { panic!("sent again") };
        assert_eq!(until, now + Duration::from_secs(5));
    }

    #[test]
    fn the_first_401_is_answered_with_the_credentials_and_the_second_ends_it() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now).unwrap();
        assert!(sends(&mut exchange, now));
        let short = exchange.bytes.len();
        let challenge = error(&exchange, 401);
        assert!(exchange.handle(challenge.clone(), now).unwrap().is_none());
        assert!(sends(&mut exchange, now) && exchange.bytes.len() > short);
        assert!(exchange.handle(challenge, now).unwrap().is_none(), "an answer to the old transaction is ignored");
        let refusal = error(&exchange, 401);
        let Err(ClientError::Refusal(refusal)) = exchange.handle(refusal, now) else { panic!("not refused") };
        assert_eq!((refusal.code, refusal.unauthorized, refusal.method), (401, 2, "Allocate"));
    }

    #[test]
    fn a_stale_nonce_is_replaced_but_not_for_ever() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now).unwrap();
        let stale = error(&exchange, 438);
        assert!(exchange.handle(stale, now).unwrap().is_none());
        let stale = error(&exchange, 438);
        assert!(exchange.handle(stale, now).unwrap().is_none());
        let stale = error(&exchange, 438);
        let Err(ClientError::Refusal(refusal)) = exchange.handle(stale, now) else { panic!("not refused") };
        assert_eq!((refusal.code, refusal.stale_nonces), (438, 3));
    }

    #[test]
    fn success_tells_how_often_it_was_refused_before() {
        let (mut session, now) = (session(true), Instant::now());
        let mut exchange = session.begin(Request::Allocate { ipv6: false }, now).unwrap();
        let challenge = error(&exchange, 401);
        exchange.handle(challenge, now).unwrap();
        let response = Response { transaction: exchange.transaction, ..Response::default() };
        let answer = exchange.handle(response, now).unwrap().expect("the end");
        assert_eq!((answer.unauthorized, answer.stale_nonces), (1, 0));
    }
}
