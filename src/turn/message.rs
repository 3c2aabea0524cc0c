//! STUN messages (RFC 8489), with the attributes of TURN (RFC 8656) and of NAT discovery (RFC 5780).
//!
//! A [`Message`] borrows what was received, and a [`Builder`] writes one. Nothing is allocated for a message that is only
//! read, nothing is logged about a malformed one, and what lies behind its integrity is out of reach: a server reads
//! messages of strangers. (The STUN crates at hand copy every attribute, read beyond the length of the header, or log each
//! malformed datagram.)

mod attribute;
mod build;
mod channel;

use std::net::SocketAddr;

pub use self::attribute::{Attribute, Family};
pub use self::build::Builder;
pub use self::channel::{CHANNEL_NUMBERS, channel_data, parse_channel_data};

use super::credentials::Key;

/// The value that tells STUN from other protocols (RFC 8489, section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 20;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// What FINGERPRINT is XORed with (RFC 8489, section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// What a message is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// Answers that it was done.
    Success,
    /// Answers that it was not.
    Error,
}

/// What is asked for, as numbered by IANA.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Method(pub u16);

impl Method {
    /// The client's address as the server sees it (RFC 8489).
    pub const BINDING: Self = Self(0x001);
    /// A relayed address (RFC 8656).
    pub const ALLOCATE: Self = Self(0x003);
    /// More time for it, or none.
    pub const REFRESH: Self = Self(0x004);
    /// Data for a peer, from the client.
    pub const SEND: Self = Self(0x006);
    /// Data of a peer, to the client.
    pub const DATA: Self = Self(0x007);
    /// Lets peers in, by their IP address.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// A number that stands for a peer.
    pub const CHANNEL_BIND: Self = Self(0x009);

    /// Its name in the standards.
    pub fn name(self) -> &'static str {
        match self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            _ => "unknown",
        }
    }
}

/// Pairs an answer with its request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// One that nobody can guess (RFC 8489, section 5).
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// The first bits, the magic cookie or the length are another protocol's.
    #[error("not a STUN message")]
    NotStun,
    /// More or fewer bytes than the header says, or an attribute beyond the end.
    #[error("a length is wrong")]
    Length,
    /// The checksum is wrong.
    #[error("the fingerprint is wrong")]
    Fingerprint,
}

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the attributes end that count: those behind MESSAGE-INTEGRITY could be anybody's.
    end: usize,
    integrity: Option<usize>,
    fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads a message that takes all of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        if bytes.len() < HEADER_BYTES || bytes[0] & 0xC0 != 0 || bytes[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(ParseError::NotStun);
        }
        let length = usize::from(u16_at(bytes, 2));
        if length % 4 != 0 || bytes.len() != HEADER_BYTES + length {
            return Err(ParseError::Length);
        }
        let mut message = Self { bytes, end: bytes.len(), integrity: None, fingerprint: false };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let (attribute, value, next) = attribute_at(bytes, at).ok_or(ParseError::Length)?;
            match attribute {
                Attribute::MESSAGE_INTEGRITY if message.integrity.is_none() && value.len() == Key::TAG_BYTES => {
                    message.integrity = Some(at);
                    message.end = at;
                }
                Attribute::FINGERPRINT => {
                    if next != bytes.len() || value != fingerprint(&bytes[..at]).to_be_bytes() {
                        return Err(ParseError::Fingerprint);
                    }
                    message.fingerprint = true;
                    message.end = message.end.min(at);
                }
                _ => {}
            }
            at = next;
        }
        Ok(message)
    }

    /// What it is for.
    pub fn class(&self) -> Class {
        match u16_at(self.bytes, 0) & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// What is asked for.
    pub fn method(&self) -> Method {
        let kind = u16_at(self.bytes, 0);
        Method(kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2)
    }

    /// Its transaction.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        TransactionId(id)
    }

    /// All of it.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it has a FINGERPRINT, which then is right.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint
    }

    /// Whether it has a MESSAGE-INTEGRITY, right or wrong.
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether its MESSAGE-INTEGRITY was made with this key (RFC 8489, section 14.5).
    pub fn is_signed_with(&self, key: &Key) -> bool {
        let Some(at) = self.integrity else { return false };
        let tag = &self.bytes[at + ATTRIBUTE_HEADER_BYTES..at + ATTRIBUTE_HEADER_BYTES + Key::TAG_BYTES];
        // The length in the header counts as if MESSAGE-INTEGRITY were the last attribute.
        let length = at + ATTRIBUTE_HEADER_BYTES + Key::TAG_BYTES - HEADER_BYTES;
        key.verify(&[&self.bytes[..2], &(length as u16).to_be_bytes(), &self.bytes[4..at]], tag)
    }

    /// The attributes that count, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = (Attribute, &'a [u8])> + use<'a> {
        let bytes = &self.bytes[..self.end];
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            let (attribute, value, next) = attribute_at(bytes, at)?;
            at = next;
            Some((attribute, value))
        })
    }

    /// The value of an attribute: the first, if it stands there twice.
    pub fn get(&self, attribute: Attribute) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == attribute).map(|(_, value)| value)
    }

    /// A value that is a text.
    pub fn text(&self, attribute: Attribute) -> Option<&'a str> {
        std::str::from_utf8(self.get(attribute)?).ok()
    }

    /// A value of four bytes.
    pub fn number(&self, attribute: Attribute) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(attribute)?.try_into().ok()?))
    }

    /// A value that is an address.
    pub fn address(&self, attribute: Attribute) -> Option<SocketAddr> {
        attribute::parse_address(self.get(attribute)?)
    }

    /// A value that is an address XORed with the header.
    pub fn xor_address(&self, attribute: Attribute) -> Option<SocketAddr> {
        self.parse_xor_address(self.get(attribute)?)
    }

    /// An address XORed with the header, as one of several attributes of a kind.
    pub fn parse_xor_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let address = attribute::parse_address(value)?;
        Some(attribute::xor(address, self.transaction_id()))
    }

    /// The code of an error, and its reason.
    pub fn error_code(&self) -> Option<(u16, &'a str)> {
        let value = self.get(Attribute::ERROR_CODE)?;
        let [_, _, class, number, reason @ ..] = value else { return None };
        let reason = std::str::from_utf8(reason).unwrap_or_default();
        // RFC 3489 padded the text itself, and some servers still do.
        Some((u16::from(class & 0x07) * 100 + u16::from(*number), reason.trim_end_matches('\0')))
    }
}

/// CRC-32 of a message whose header counts FINGERPRINT already, XORed (RFC 8489, section 14.7).
fn fingerprint(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) ^ FINGERPRINT_XOR
}

/// The attribute that begins at `at`, and where the next one does.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(Attribute, &[u8], usize)> {
    let header = bytes.get(at..at + ATTRIBUTE_HEADER_BYTES)?;
    let start = at + ATTRIBUTE_HEADER_BYTES;
    let value = bytes.get(start..start + usize::from(u16_at(header, 2)))?;
    let next = start + value.len().next_multiple_of(4);
    (next <= bytes.len()).then_some((Attribute(u16_at(header, 0)), value, next))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests;
