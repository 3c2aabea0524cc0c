//! Answers that say no.

use std::net::SocketAddr;

use crate::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};

/// More than this many attributes are not listed in a 420: it must not become longer than its request.
const LISTED: usize = 8;

/// Why a request is refused.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// For 420.
    pub(super) unknown: Vec<Attribute>,
    /// For 300.
    pub(super) alternate: Option<SocketAddr>,
    /// For 401 and 438: realm and nonce.
    pub(super) challenge: Option<(String, String)>,
}

impl From<u16> for Refusal {
    fn from(code: u16) -> Self {
        Self { code, ..Self::default() }
    }
}

impl Refusal {
    pub(super) fn unknown(unknown: Vec<Attribute>) -> Self {
        Self { code: 420, unknown, ..Self::default() }
    }

    pub(super) fn build(&self, method: Method, transaction: TransactionId) -> Builder {
        let mut builder = Builder::new(Class::Error, method, transaction);
        builder.error_code(self.code, reason(self.code));
        if self.code == 420 {
            let types: Vec<u8> = self.unknown.iter().flat_map(|attribute| attribute.0.to_be_bytes()).collect();
            builder.bytes(Attribute::UNKNOWN_ATTRIBUTES, &types);
        }
        if let Some(alternate) = self.alternate {
            builder.address(Attribute::ALTERNATE_SERVER, alternate);
        }
        if let Some((realm, nonce)) = &self.challenge {
            builder.text(Attribute::REALM, realm).text(Attribute::NONCE, nonce);
        }
        builder
    }
}

/// The reasons of the standards: RFC 8489, section 14.8, and RFC 8656, section 19.
fn reason(code: u16) -> &'static str {
    match code {
        300 => "Try Alternate",
        400 => "Bad Request",
        401 => "Unauthenticated",
        403 => "Forbidden",
        420 => "Unknown Attribute",
        437 => "Allocation Mismatch",
        438 => "Stale Nonce",
        440 => "Address Family not Supported",
        441 => "Wrong Credentials",
        442 => "Unsupported Transport Protocol",
        443 => "Peer Address Family Mismatch",
        486 => "Allocation Quota Reached",
        508 => "Insufficient Capacity",
        _ => "Server Error",
    }
}

/// The attributes that must be known to act on a message, and are not among these (RFC 8489, section 6.3).
pub(super) fn unknown_attributes(message: &Message<'_>, known: &[Attribute]) -> Vec<Attribute> {
    let required = message.attributes().map(|(attribute, _)| attribute).filter(|attribute| attribute.is_required());
    required.filter(|attribute| !known.contains(attribute)).take(LISTED).collect()
}
