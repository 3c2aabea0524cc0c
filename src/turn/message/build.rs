//! Writing messages.

use std::net::SocketAddr;

use super::attribute::{self, Attribute};
use super::{ATTRIBUTE_HEADER_BYTES, Class, HEADER_BYTES, MAGIC_COOKIE, Method, TransactionId, fingerprint};
use crate::turn::credentials::Key;

/// A message in the making. Attributes stand in the order in which they are added.
#[derive(Clone, Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Builder {
    /// A message without attributes.
    pub fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        let method = method.0;
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let kind = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2 | class;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(transaction.0);
        Self { bytes, transaction }
    }

    /// An attribute as it is. What would make the message longer than its header can say is left out.
    pub fn bytes(&mut self, attribute: Attribute, value: &[u8]) -> &mut Self {
        let length = self.bytes.len() - HEADER_BYTES + ATTRIBUTE_HEADER_BYTES + value.len().next_multiple_of(4);
        let Ok(length) = u16::try_from(length) else { return self };
        self.bytes.extend(attribute.0.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(HEADER_BYTES + usize::from(length), 0);
        self.write_length(length);
        self
    }

    /// An attribute that is a text.
    pub fn text(&mut self, attribute: Attribute, text: &str) -> &mut Self {
        self.bytes(attribute, text.as_bytes())
    }

    /// An attribute of four bytes.
    pub fn number(&mut self, attribute: Attribute, number: u32) -> &mut Self {
        self.bytes(attribute, &number.to_be_bytes())
    }

    /// An attribute that is an address.
    pub fn address(&mut self, attribute: Attribute, address: SocketAddr) -> &mut Self {
        let mut value = Vec::with_capacity(20);
        attribute::write_address(address, &mut value);
        self.bytes(attribute, &value)
    }

    /// An attribute that is an address XORed with the header.
    pub fn xor_address(&mut self, attribute: Attribute, address: SocketAddr) -> &mut Self {
        self.address(attribute, attribute::xor(address, self.transaction))
    }

    /// ERROR-CODE with its reason (RFC 8489, section 14.8).
    pub fn error_code(&mut self, code: u16, reason: &str) -> &mut Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend(reason.as_bytes());
        self.bytes(Attribute::ERROR_CODE, &value)
    }

    /// MESSAGE-INTEGRITY over all attributes so far.
    pub fn sign(&mut self, key: &Key) -> &mut Self {
        let length = self.bytes.len() - HEADER_BYTES;
        self.write_length((length + ATTRIBUTE_HEADER_BYTES + Key::TAG_BYTES) as u16);
        let tag = key.sign(&[&self.bytes]);
        self.bytes(Attribute::MESSAGE_INTEGRITY, &tag)
    }

    /// FINGERPRINT, which must be the last attribute.
    pub fn fingerprint(&mut self) -> &mut Self {
        let length = self.bytes.len() - HEADER_BYTES;
        self.write_length((length + ATTRIBUTE_HEADER_BYTES + 4) as u16);
        let crc = fingerprint(&self.bytes);
        self.number(Attribute::FINGERPRINT, crc)
    }

    /// How long the message is so far, in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn write_length(&mut self, length: u16) {
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
