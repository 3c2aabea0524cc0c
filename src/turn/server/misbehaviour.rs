//! What the server does wrong when it is told to: for tests of clients, and of those who look for faults.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Asked;
use super::io::Client;
use crate::turn::message::{Class, Method};

/// More answers than this are not remembered; then the first ones are dropped anew.
const REMEMBERED: usize = 65_536;

/// A thing that the server can be told to do wrong, by its name in scenarios and on the command line.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// Challenges name a realm whose keys the server does not have: no client gets in.
    WrongRealm,
    /// Every request is answered with 438, whatever its nonce.
    StaleNonce,
    /// Allocations are answered with 300 and another server.
    AlternateServer,
    /// Allocations are answered with 437.
    Mismatch,
    /// Allocations are answered with 486.
    Quota,
    /// Allocations are answered with 508.
    Capacity,
    /// The first success and the first error of each method are not sent, for each client.
    DropFirstResponse,
    /// Nothing is relayed.
    DropRelayed,
    /// Nothing is answered and nothing is relayed.
    Silent,
}

/// What the server does wrong. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Misbehaviour {
    /// Challenges name this realm, whose keys the server does not have: no client gets in.
    pub realm: Option<String>,
    /// Every n-th request with right credentials is answered with 438, whatever its nonce.
    pub stale_nonce_every: Option<NonZeroU32>,
    /// Allocate requests are answered with 300 and this server.
    pub redirect: Option<SocketAddr>,
    /// Allocate requests are answered with this error.
    pub refuse_allocations: Option<AllocationError>,
    /// The first success and the first error of each method are not sent, for each client.
    pub drop_first_responses: bool,
    /// The share of relayed packets that are not sent, 0 to 1, in both directions.
    pub drop_relayed: f64,
    /// Nothing is answered and nothing is relayed.
    pub silent: bool,
    /// Answers are late by this much; relayed packets are not.
    pub delay: Duration,
}

impl Misbehaviour {
    /// All of these at once; `alternate` is where [`Flaw::AlternateServer`] sends clients.
    pub fn of(flaws: &[Flaw], alternate: SocketAddr) -> Self {
        let mut told = Self::default();
        for flaw in flaws {
            match flaw {
                Flaw::WrongRealm => told.realm = Some("elsewhere.example".into()),
                Flaw::StaleNonce => told.stale_nonce_every = Some(NonZeroU32::MIN),
                Flaw::AlternateServer => told.redirect = Some(alternate),
                Flaw::Mismatch => told.refuse_allocations = Some(AllocationError::Mismatch),
                Flaw::Quota => told.refuse_allocations = Some(AllocationError::Quota),
                Flaw::Capacity => told.refuse_allocations = Some(AllocationError::Capacity),
                Flaw::DropFirstResponse => told.drop_first_responses = true,
                Flaw::DropRelayed => told.drop_relayed = 1.0,
                Flaw::Silent => told.silent = true,
            }
        }
        told
    }
}

/// An error that an Allocate request can be made to fail with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AllocationError {
    /// 437: the client has an allocation already.
    Mismatch,
    /// 486: the user has too many.
    Quota,
    /// 508: the server has too many.
    Capacity,
}

impl AllocationError {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Mismatch => 437,
            Self::Quota => 486,
            Self::Capacity => 508,
        }
    }
}

/// What has been done wrong so far.
#[derive(Debug, Default)]
pub(super) struct History {
    answered: HashSet<(Client, Method, Class)>,
    requests: u32,
}

impl History {
    /// Whether this answer must not be sent.
    pub(super) fn drops(&mut self, told: &Misbehaviour, asked: Asked, class: Class) -> bool {
        if !told.drop_first_responses {
            return false;
        }
        if self.answered.len() >= REMEMBERED {
            self.answered.clear();
        }
        self.answered.insert((asked.client, asked.method, class))
    }

    /// Whether this request's nonce must be called stale.
    pub(super) fn is_stale(&mut self, told: &Misbehaviour) -> bool {
        let Some(every) = told.stale_nonce_every else { return false };
        self.requests = self.requests.wrapping_add(1);
        self.requests % every == 0
    }
}
