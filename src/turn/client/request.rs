//! The requests of a client (RFC 8489, section 9.2; RFC 8656, sections 7 to 12).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::turn::credentials::Key;
use crate::turn::message::{Attribute, Builder, Class, Family, Method, TransactionId};

/// The protocol number of UDP, which is what is relayed (RFC 8656, section 18.7).
const UDP: u8 = 17;

/// A request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// What is my address?
    Binding,
    /// Give me an address; of IPv6 if asked for.
    Allocate { ipv6: bool },
    /// Keep the allocation for so long; 0 releases it.
    Refresh { lifetime: Duration },
    /// Let this host send to my allocation.
    CreatePermission { peer: IpAddr },
    /// Let this peer send to my allocation, and give it a short name.
    ChannelBind { peer: SocketAddr, channel: u16 },
}

/// What authenticates a request.
#[derive(Clone, Debug)]
pub(super) struct Authentication {
    pub(super) username: String,
    pub(super) realm: String,
    pub(super) nonce: Vec<u8>,
    pub(super) key: Key,
}

impl Request {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Binding => Method::BINDING,
            Self::Allocate { .. } => Method::ALLOCATE,
            Self::Refresh { .. } => Method::REFRESH,
            Self::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Self::ChannelBind { .. } => Method::CHANNEL_BIND,
        }
    }

    /// The bytes of the request.
    pub(super) fn encode(self, transaction: TransactionId, authentication: Option<&Authentication>) -> Vec<u8> {
        let mut message = Builder::new(Class::Request, self.method(), transaction);
        match self {
            Self::Binding => {}
            Self::Allocate { ipv6 } => {
                message.bytes(Attribute::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
                // IPv4 is the default, and servers of RFC 5766 do not know the attribute.
                if ipv6 {
                    message.bytes(Attribute::REQUESTED_ADDRESS_FAMILY, &[Family::V6.number(), 0, 0, 0]);
                }
            }
            Self::Refresh { lifetime } => {
                message.number(Attribute::LIFETIME, u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
            }
            Self::CreatePermission { peer } => {
                message.xor_address(Attribute::XOR_PEER_ADDRESS, SocketAddr::new(peer, 0));
            }
            Self::ChannelBind { peer, channel } => {
                message.number(Attribute::CHANNEL_NUMBER, u32::from(channel) << 16);
                message.xor_address(Attribute::XOR_PEER_ADDRESS, peer);
            }
        }
        if let Some(Authentication { username, realm, nonce, key }) = authentication {
            message.text(Attribute::USERNAME, username).text(Attribute::REALM, realm);
            message.bytes(Attribute::NONCE, nonce).sign(key);
        }
        message.fingerprint();
        message.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::message::Message;

    #[test]
    fn an_authenticated_request_carries_what_it_must_in_order() {
        let key = Key::long_term("u", "r", &"p".into());
        let authentication =
            Authentication { username: "u".into(), realm: "r".into(), nonce: b"n".to_vec(), key: key.clone() };
        let request = Request::ChannelBind { peer: "192.0.2.1:5000".parse().unwrap(), channel: 0x4001 };
        let bytes = request.encode(TransactionId([7; 12]), Some(&authentication));
        let message = Message::parse(&bytes).unwrap();
        let attributes: Vec<Attribute> = message.attributes().map(|(attribute, _)| attribute).collect();
        assert_eq!(
            attributes,
            [
                Attribute::CHANNEL_NUMBER,
                Attribute::XOR_PEER_ADDRESS,
                Attribute::USERNAME,
                Attribute::REALM,
                Attribute::NONCE,
            ]
        );
        assert_eq!(message.xor_address(Attribute::XOR_PEER_ADDRESS), "192.0.2.1:5000".parse().ok());
        assert_eq!(message.number(Attribute::CHANNEL_NUMBER), Some(0x4001_0000));
        assert!(message.is_signed_with(&key) && message.has_fingerprint());
    }
}
