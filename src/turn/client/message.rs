//! STUN and TURN messages as the client needs them (RFC 8489, section 5; RFC 8656, sections 12, 17 and 18), over the
//! stack's codec.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rtc::crypto::RTCCryptoProvider;
use rtc::stun::attributes::{
    ATTR_ALTERNATE_SERVER, ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_ERROR_CODE, ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_SOFTWARE, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS,
    ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{
    self, CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE,
    METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH, METHOD_SEND, Message,
    MessageType, Setter, TransactionId,
};
use rtc::stun::xoraddr::XorMappedAddress;

/// The protocol number of UDP, which is what is relayed (RFC 8656, section 18.7).
const UDP: u8 = 17;

/// A request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Request {
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
pub(crate) struct Authentication {
    pub(crate) username: String,
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
    /// MD5 of user name, realm and password.
    pub(crate) key: Vec<u8>,
}

/// What comes from a server.
#[derive(Debug)]
pub(crate) enum Incoming {
    Response(Response),
    /// A datagram of a peer, as Data indication.
    Data {
        peer: SocketAddr,
        payload: Bytes,
    },
    /// A datagram of a peer, over a channel.
    Channel {
        number: u16,
        payload: Bytes,
    },
}

/// An answer to a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) transaction: TransactionId,
    /// The code and the words of an error response.
    pub(crate) error: Option<(u16, String)>,
    pub(crate) realm: Option<String>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) relayed: Option<SocketAddr>,
    pub(crate) alternate: Option<SocketAddr>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) software: Option<String>,
}

impl Request {
    /// The method's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Binding => "Binding",
            Self::Allocate { .. } => "Allocate",
            Self::Refresh { .. } => "Refresh",
            Self::CreatePermission { .. } => "CreatePermission",
            Self::ChannelBind { .. } => "ChannelBind",
        }
    }

    /// The bytes of the request.
    pub(crate) fn encode(
        self,
        transaction: TransactionId,
        authentication: Option<&Authentication>,
        provider: &dyn RTCCryptoProvider,
    ) -> Result<Vec<u8>, rtc::shared::error::Error> {
        let method = match self {
            Self::Binding => METHOD_BINDING,
            Self::Allocate { .. } => METHOD_ALLOCATE,
            Self::Refresh { .. } => METHOD_REFRESH,
            Self::CreatePermission { .. } => METHOD_CREATE_PERMISSION,
            Self::ChannelBind { .. } => METHOD_CHANNEL_BIND,
        };
        let mut message = begin(MessageType::new(method, CLASS_REQUEST), transaction);
        match self {
            Self::Binding => {}
            Self::Allocate { ipv6 } => {
                message.add(ATTR_REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]);
                // IPv4 is the default, and servers of RFC 5766 do not know the attribute.
                if ipv6 {
                    message.add(ATTR_REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
                }
            }
            Self::Refresh { lifetime } => {
                let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
                message.add(ATTR_LIFETIME, &seconds.to_be_bytes());
            }
            Self::CreatePermission { peer } => add_peer(&mut message, SocketAddr::new(peer, 0))?,
            Self::ChannelBind { peer, channel } => {
                let [high, low] = channel.to_be_bytes();
                message.add(ATTR_CHANNEL_NUMBER, &[high, low, 0, 0]);
                add_peer(&mut message, peer)?;
            }
        }
        if let Some(Authentication { username, realm, nonce, key }) = authentication {
            message.add(ATTR_USERNAME, username.as_bytes());
            message.add(ATTR_REALM, realm.as_bytes());
            message.add(ATTR_NONCE, nonce);
            MessageIntegrity::new_raw_integrity_with_provider(key.clone(), provider.crypto()).add_to(&mut message)?;
        }
        FINGERPRINT.add_to(&mut message)?;
        Ok(message.raw)
    }
}

/// A datagram for a peer, as Send indication.
pub(crate) fn send_indication(peer: SocketAddr, payload: &[u8]) -> Result<Vec<u8>, rtc::shared::error::Error> {
    let mut message = begin(MessageType::new(METHOD_SEND, CLASS_INDICATION), TransactionId::new());
    add_peer(&mut message, peer)?;
    message.add(ATTR_DATA, payload);
    Ok(message.raw)
}

/// A datagram for the peer of a channel, padded as streams need it and datagrams allow it (RFC 8656, section 12.5).
pub(crate) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut message = Vec::with_capacity(4 + payload.len().next_multiple_of(4));
    message.extend(number.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(payload);
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

impl Incoming {
    /// Reads what a server sent; `None` for what is no message to a client.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if let [high @ 0x40..=0x7f, low, l0, l1, rest @ ..] = bytes {
            let payload = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
            let number = u16::from_be_bytes([*high, *low]);
            return Some(Self::Channel { number, payload: Bytes::copy_from_slice(payload) });
        }
        if !message::is_stun_message(bytes) {
            return None;
        }
        let mut message = Message { raw: bytes.to_vec(), ..Message::new() };
        message.decode().ok()?;
        match message.typ.class {
            CLASS_SUCCESS_RESPONSE | CLASS_ERROR_RESPONSE => Some(Self::Response(Response::read(&message)?)),
            CLASS_INDICATION if message.typ.method == METHOD_DATA => {
                let peer = address(&message, ATTR_XOR_PEER_ADDRESS)?;
                Some(Self::Data { peer, payload: message.get(ATTR_DATA).ok()?.into() })
            }
            _ => None,
        }
    }
}

impl Response {
    fn read(message: &Message) -> Option<Self> {
        let error = if message.typ.class == CLASS_ERROR_RESPONSE {
            let value = message.get(ATTR_ERROR_CODE).ok()?;
            let [_, _, class, number, reason @ ..] = value.as_slice() else { return None };
            let code = u16::from(class & 7) * 100 + u16::from(*number);
            Some((code, String::from_utf8_lossy(reason).trim_end_matches('\0').to_owned()))
        } else {
            None
        };
        let text = |kind| message.get(kind).ok().map(|value| String::from_utf8_lossy(&value).into_owned());
        let seconds: Option<[u8; 4]> = message.get(ATTR_LIFETIME).ok().and_then(|value| value.try_into().ok());
        Some(Self {
            transaction: message.transaction_id,
            error,
            realm: text(ATTR_REALM),
            nonce: message.get(ATTR_NONCE).ok(),
            mapped: address(message, ATTR_XORMAPPED_ADDRESS),
            relayed: address(message, ATTR_XOR_RELAYED_ADDRESS),
            alternate: message.get(ATTR_ALTERNATE_SERVER).ok().and_then(|value| plain_address(&value)),
            lifetime: seconds.map(|seconds| Duration::from_secs(u32::from_be_bytes(seconds).into())),
            software: text(ATTR_SOFTWARE).map(|software| software.trim_end_matches('\0').to_owned()),
        })
    }
}

fn begin(kind: MessageType, transaction: TransactionId) -> Message {
    let mut message = Message::new();
    message.typ = kind;
    message.transaction_id = transaction;
    message.write_header();
    message
}

fn add_peer(message: &mut Message, peer: SocketAddr) -> Result<(), rtc::shared::error::Error> {
    XorMappedAddress { ip: peer.ip(), port: peer.port() }.add_to_as(message, ATTR_XOR_PEER_ADDRESS)
}

fn address(message: &Message, kind: AttrType) -> Option<SocketAddr> {
    let mut address = XorMappedAddress::default();
    address.get_from_as(message, kind).ok()?;
    Some(SocketAddr::new(address.ip, address.port))
}

/// An address that is not XORed (RFC 8489, section 14.1).
fn plain_address(value: &[u8]) -> Option<SocketAddr> {
    let [_, family, p0, p1, ip @ ..] = value else { return None };
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([*p0, *p1])))
}

/// A response to a request, for tests that play a server.
#[cfg(test)]
pub(crate) fn respond(
    request: &[u8],
    class: message::MessageClass,
    fill: impl FnOnce(&mut Message),
) -> Result<Vec<u8>, rtc::shared::error::Error> {
    let mut asked = Message { raw: request.to_vec(), ..Message::new() };
    asked.decode()?;
    let mut message = begin(MessageType::new(asked.typ.method, class), asked.transaction_id);
    fill(&mut message);
    Ok(message.raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authenticated_request_carries_what_it_must_in_order() {
        let provider = rtc::crypto::default_provider().unwrap();
        let key = MessageIntegrity::long_term_integrity_key("u".into(), "r".into(), "p".into(), provider.crypto());
        let authentication =
            Authentication { username: "u".into(), realm: "r".into(), nonce: b"n".to_vec(), key: key.unwrap() };
        let request = Request::ChannelBind { peer: "192.0.2.1:5000".parse().unwrap(), channel: 0x4001 };
        let bytes = request.encode(TransactionId([7; 12]), Some(&authentication), &*provider).unwrap();
        let mut message = Message { raw: bytes, ..Message::new() };
        message.decode().unwrap();
        let kinds: Vec<u16> = message.attributes.0.iter().map(|attribute| attribute.typ.value()).collect();
        assert_eq!(kinds, [0x000c, 0x0012, 0x0006, 0x0014, 0x0015, 0x0008, 0x8028]);
        assert_eq!(address(&message, ATTR_XOR_PEER_ADDRESS), "192.0.2.1:5000".parse().ok());
        MessageIntegrity::check(&mut message, &authentication.key, provider.crypto()).unwrap();
    }

    #[test]
    fn channel_data_is_padded_and_read_without_its_padding() {
        let bytes = channel_data(0x4001, b"abcde");
        assert_eq!(bytes.len(), 12);
        let Some(Incoming::Channel { number: 0x4001, payload }) = Incoming::parse(&bytes) else {
            panic!("no channel data")
        };
        assert_eq!(&payload[..], b"abcde");
        assert!(Incoming::parse(&bytes[..6]).is_none(), "truncated");
    }

    #[test]
    fn a_data_indication_gives_peer_and_payload() {
        let peer = "[2001:db8::1]:9".parse().unwrap();
        let mut bytes = send_indication(peer, b"hello").unwrap();
        // The same attributes in the other direction.
        bytes[1] = 0x17;
        let Some(Incoming::Data { peer: from, payload }) = Incoming::parse(&bytes) else { panic!("no data") };
        assert_eq!((from, &payload[..]), (peer, &b"hello"[..]));
    }

    #[test]
    fn an_error_response_gives_code_reason_and_alternate() {
        let provider = rtc::crypto::default_provider().unwrap();
        let request = Request::Binding.encode(TransactionId([1; 12]), None, &*provider).unwrap();
        let bytes = respond(&request, CLASS_ERROR_RESPONSE, |message| {
            message.add(ATTR_ERROR_CODE, &[0, 0, 3, 0, b'm', b'o', b'v', b'e']);
            message.add(ATTR_ALTERNATE_SERVER, &[0, 1, 0x0d, 0x96, 192, 0, 2, 9]);
        });
        let Some(Incoming::Response(response)) = Incoming::parse(&bytes.unwrap()) else { panic!("no response") };
        assert_eq!(response.error, Some((300, "move".into())));
        assert_eq!(response.alternate, "192.0.2.9:3478".parse().ok());
    }

    #[test]
    fn noise_is_no_message() {
        for noise in [&b""[..], b"\x40", b"\x80\x00\x00\x00", &[0; 20]] {
            assert!(Incoming::parse(noise).is_none(), "{noise:?}");
        }
    }
}
