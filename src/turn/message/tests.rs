use proptest::prelude::*;

use super::*;

/// RFC 5769, section 2.4: a request with long-term authentication.
const LONG_TERM: &[u8] = b"\x00\x01\x00\x60\x21\x12\xa4\x42\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e\
    \x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00\
    \x00\x15\x00\x1c\x66\x2f\x2f\x34\x39\x39\x6b\x39\x35\x34\x64\x36\x4f\x4c\x33\x34\x6f\x4c\x39\x46\x53\x54\x76\x79\
    \x36\x34\x73\x41\
    \x00\x14\x00\x0b\x65\x78\x61\x6d\x70\x6c\x65\x2e\x6f\x72\x67\x00\
    \x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66";

/// RFC 5769, section 2.2: a response with an IPv4 address and a fingerprint.
const RESPONSE: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
    \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
    \x80\x28\x00\x04\xc0\x7d\x4c\x96";

fn key() -> Key {
    Key::long_term("user", "realm", &"password".into())
}

fn request() -> Builder {
    Builder::new(Class::Request, Method::CHANNEL_BIND, TransactionId([9; 12]))
}

#[test]
fn the_request_of_the_standard_is_read_and_its_signature_holds() {
    let message = Message::parse(LONG_TERM).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.text(Attribute::REALM), Some("example.org"));
    let username = message.text(Attribute::USERNAME).unwrap();
    let key = |password: &str| Key::long_term(username, "example.org", &password.into());
    assert!(message.is_signed_with(&key("TheMatrIX")));
    assert!(!message.is_signed_with(&key("TheMatrix")));
}

#[test]
fn the_response_of_the_standard_is_read_and_its_fingerprint_holds() {
    let message = Message::parse(RESPONSE).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
    assert!(message.has_fingerprint());
    assert_eq!(message.xor_address(Attribute::XOR_MAPPED_ADDRESS), Some("192.0.2.1:32853".parse().unwrap()));

    let mut broken = RESPONSE.to_vec();
    broken[25] ^= 1;
    assert_eq!(Message::parse(&broken).unwrap_err(), ParseError::Fingerprint);
}

#[test]
fn what_is_written_is_read_back() {
    for (class, method) in [
        (Class::Request, Method::ALLOCATE),
        (Class::Indication, Method::SEND),
        (Class::Success, Method::CREATE_PERMISSION),
        (Class::Error, Method(0xFFF)),
    ] {
        let address = "[2001:db8::7]:4711".parse().unwrap();
        let mut builder = Builder::new(class, method, TransactionId([3; 12]));
        builder.text(Attribute::SOFTWARE, "abcde").xor_address(Attribute::XOR_PEER_ADDRESS, address);
        builder.address(Attribute::OTHER_ADDRESS, address).number(Attribute::LIFETIME, 600).sign(&key()).fingerprint();
        let bytes = builder.finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (class, method));
        assert_eq!(message.transaction_id(), TransactionId([3; 12]));
        assert_eq!(message.text(Attribute::SOFTWARE), Some("abcde"));
        assert_eq!(message.xor_address(Attribute::XOR_PEER_ADDRESS), Some(address));
        assert_eq!(message.address(Attribute::OTHER_ADDRESS), Some(address));
        assert_eq!(message.number(Attribute::LIFETIME), Some(600));
        assert!(message.is_signed_with(&key()) && message.has_fingerprint());
    }
}

#[test]
fn an_error_has_its_code_and_reason() {
    let mut builder = Builder::new(Class::Error, Method::REFRESH, TransactionId([9; 12]));
    builder.error_code(438, "Stale Nonce");
    let error = builder.finish();
    assert_eq!(Message::parse(&error).unwrap().error_code(), Some((438, "Stale Nonce")));
}

#[test]
fn what_stands_behind_the_signature_does_not_count() {
    let mut builder = request();
    builder.number(Attribute::LIFETIME, 1).sign(&key()).number(Attribute::CHANNEL_NUMBER, 2);
    let bytes = builder.finish();
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_signed_with(&key()));
    assert_eq!(message.number(Attribute::LIFETIME), Some(1));
    assert_eq!(message.get(Attribute::CHANNEL_NUMBER), None);
}

#[test]
fn lengths_that_do_not_match_are_refused() {
    let mut builder = request();
    builder.text(Attribute::SOFTWARE, "abcde");
    let bytes = builder.finish();
    assert_eq!(Message::parse(&bytes[..bytes.len() - 4]).unwrap_err(), ParseError::Length);
    assert_eq!(Message::parse(&[&bytes[..], &[0; 4]].concat()).unwrap_err(), ParseError::Length);
    assert_eq!(Message::parse(&bytes[..19]).unwrap_err(), ParseError::NotStun);
    let mut beyond = bytes.clone();
    beyond[HEADER_BYTES + 3] = 200;
    assert_eq!(Message::parse(&beyond).unwrap_err(), ParseError::Length);
}

#[test]
fn a_message_never_becomes_longer_than_its_header_can_say() {
    let mut builder = request();
    builder
        .bytes(Attribute::DATA, &vec![1; 65_500])
        .bytes(Attribute::PADDING, &[0; 1000])
        .number(Attribute::LIFETIME, 1);
    let bytes = builder.finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.get(Attribute::PADDING), None);
    assert_eq!(message.number(Attribute::LIFETIME), Some(1));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_read(bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
        let mut bytes = bytes;
        if header && bytes.len() >= HEADER_BYTES {
            bytes[0] &= 0x3F;
            bytes.truncate(bytes.len() / 4 * 4);
            let length = (bytes.len() - HEADER_BYTES) as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (message.class(), message.method(), message.error_code(), message.is_signed_with(&key()));
            for (attribute, _) in message.attributes() {
                let _ = (message.address(attribute), message.xor_address(attribute), message.text(attribute));
            }
        }
        let _ = parse_channel_data(&bytes);
    }
}
