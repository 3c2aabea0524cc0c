//! Requests that need credentials: the long-term mechanism (RFC 8489, section 9.2.4), and the way to what they ask for.

use std::time::Instant;

use bytes::Bytes;

use super::allocation::Owner;
use super::core::Server;
use super::io::Client;
use super::refusal::{Refusal, unknown_attributes};
use crate::turn::credentials::Key;
use crate::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};

/// What every request with credentials may hold.
const COMMON: &[Attribute] = &[
    Attribute::USERNAME,
    Attribute::MESSAGE_INTEGRITY,
    Attribute::REALM,
    Attribute::NONCE,
    Attribute::LIFETIME,
    Attribute::XOR_PEER_ADDRESS,
    Attribute::CHANNEL_NUMBER,
    Attribute::REQUESTED_ADDRESS_FAMILY,
    Attribute::EVEN_PORT,
    Attribute::REQUESTED_TRANSPORT,
    Attribute::RESERVATION_TOKEN,
];

/// What an answer needs of its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) transaction: TransactionId,
    /// A fingerprint is answered with one.
    pub(super) fingerprint: bool,
}

impl Asked {
    pub(super) fn new(client: Client, request: &Message<'_>) -> Self {
        let (method, transaction) = (request.method(), request.transaction_id());
        Self { client, method, transaction, fingerprint: request.has_fingerprint() }
    }

    /// A message without attributes that answers with success.
    pub(super) fn success(&self) -> Builder {
        Builder::new(Class::Success, self.method, self.transaction)
    }
}

impl Server {
    pub(super) fn handle_request(&mut self, now: Instant, client: Client, request: &Message<'_>) {
        let asked = Asked::new(client, request);
        let owner = match self.authenticate(now, client, request) {
            Ok(owner) => owner,
            Err(refusal) => {
                if !self.limit.allows(now, client.remote.ip()) {
                    self.counters.dropped.rate += 1;
                    return;
                }
                return self.refuse(now, asked, &refusal, None);
            }
        };
        let key = owner.key.clone();
        match self.authorized(now, asked, request, owner) {
            Ok(Some(answer)) => {
                self.succeed(now, asked, answer, Some(&key));
            }
            Ok(None) => {}
            Err(refusal) => self.refuse(now, asked, &refusal, Some(&key)),
        }
    }

    /// Sends the answer, and returns it.
    pub(super) fn succeed(&mut self, now: Instant, asked: Asked, answer: Builder, key: Option<&Key>) -> Bytes {
        self.counters.successes += 1;
        let data = seal(answer, key, asked.fingerprint);
        self.answer(now, asked, Class::Success, data.clone());
        data
    }

    pub(super) fn refuse(&mut self, now: Instant, asked: Asked, refusal: &Refusal, key: Option<&Key>) {
        *self.counters.errors.entry(refusal.code).or_default() += 1;
        let data = seal(refusal.build(asked.method, asked.transaction), key, asked.fingerprint);
        self.answer(now, asked, Class::Error, data);
    }

    /// Who made the request.
    fn authenticate(&mut self, now: Instant, client: Client, request: &Message<'_>) -> Result<Owner, Refusal> {
        if !request.has_integrity() {
            return Err(self.challenge(now, 401));
        }
        let texts = [Attribute::USERNAME, Attribute::REALM, Attribute::NONCE].map(|attribute| request.text(attribute));
        let [Some(username), Some(_), Some(nonce)] = texts else { return Err(400.into()) };
        // Time-limited credentials count when an allocation is made; it may outlive them, as it does with coturn.
        let known = self.allocations.get(&client).map(|allocation| &allocation.owner);
        let owner = match known.filter(|owner| owner.username == username) {
            Some(owner) => owner.clone(),
            None => {
                let credentials = &self.config.credentials;
                let key = credentials.key(username, &self.config.realm, self.unix(now));
                let key = key.map_err(|_| self.challenge(now, 401))?;
                Owner { username: username.to_owned(), account: credentials.account(username).to_owned(), key }
            }
        };
        if !request.is_signed_with(&owner.key) {
            return Err(self.challenge(now, 401));
        }
        let fresh = self.nonces.is_fresh(nonce, self.age(now));
        if !fresh || self.history.is_stale(&self.config.misbehaviour) {
            return Err(self.challenge(now, 438));
        }
        Ok(owner)
    }

    fn authorized(
        &mut self,
        now: Instant,
        asked: Asked,
        request: &Message<'_>,
        owner: Owner,
    ) -> Result<Option<Builder>, Refusal> {
        let unknown = unknown_attributes(request, COMMON);
        if !unknown.is_empty() {
            return Err(Refusal::unknown(unknown));
        }
        if asked.method == Method::ALLOCATE {
            self.allocate(now, asked, request, owner)?;
            return Ok(None);
        }
        // RFC 8656, section 5: no allocation is 437, and the allocation of another user is 441.
        let allocation = self.allocations.get(&asked.client).ok_or(437)?;
        if allocation.owner.username != owner.username {
            return Err(441.into());
        }
        match asked.method {
            Method::REFRESH => self.refresh(now, asked, request),
            Method::CREATE_PERMISSION => self.create_permission(now, asked, request),
            _ => self.channel_bind(now, asked, request),
        }
        .map(Some)
    }

    fn challenge(&self, now: Instant, code: u16) -> Refusal {
        let realm = self.config.misbehaviour.realm.as_ref().unwrap_or(&self.config.realm);
        Refusal { challenge: Some((realm.clone(), self.nonces.make(self.age(now)))), ..code.into() }
    }
}

fn seal(mut builder: Builder, key: Option<&Key>, fingerprint: bool) -> Bytes {
    if let Some(key) = key {
        builder.sign(key);
    }
    if fingerprint {
        builder.fingerprint();
    }
    builder.finish().into()
}
