use proptest::prelude::*;

use super::*;
use crate::turn::message::channel_data;

#[test]
fn a_stranger_is_answered_only_so_often_and_a_user_always() {
    let mut config = config();
    config.limits.anonymous_per_second = 5;
    let mut lab = Lab::with(config);
    let mut user = User::new("192.0.2.1:5000");
    user.relay(&mut lab);
    let mut stranger = User::new("192.0.2.1:6000");
    let request = stranger.request(Method::BINDING, |_| {});
    let answers: usize = (0..100).map(|_| lab.send(stranger.client, &request).len()).sum();
    assert_eq!(answers, 4);
    let mut stranger = User::of("192.0.2.1:6000", "alice", "a secret");
    let request = stranger.request(Method::ALLOCATE, |_| {});
    assert_eq!(lab.send(stranger.client, &request), []);
    assert_eq!(lab.server.counters().dropped.rate, 97);
    for _ in 0..100 {
        assert_eq!(user.refresh(&mut lab, 600).code(), 200);
    }
}

#[test]
fn a_stranger_gets_little_for_little() {
    let mut lab = Lab::new();
    for method in [Method::BINDING, Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION] {
        let request = Builder::new(Class::Request, method, TransactionId([1; 12])).finish();
        let outputs = lab.send(User::new("192.0.2.1:5000").client, &request);
        let [Output::ToClient { data, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        assert!(data.len() <= 100, "{} for {method:?}", data.len());
    }
}

#[test]
fn answers_and_unknown_methods_are_not_answered() {
    let mut lab = Lab::new();
    let client = User::new("192.0.2.1:5000").client;
    for (class, method) in [
        (Class::Success, Method::BINDING),
        (Class::Error, Method::ALLOCATE),
        (Class::Indication, Method::BINDING),
        (Class::Indication, Method::DATA),
        (Class::Request, Method::SEND),
        (Class::Request, Method(0x00A)),
    ] {
        let message = Builder::new(class, method, TransactionId([1; 12])).finish();
        assert_eq!(lab.send(client, &message), [], "{class:?} {method:?}");
    }
}

#[test]
fn the_longest_datagrams_are_relayed_or_dropped() {
    for remote in ["192.0.2.1:5000", "192.0.2.1:5001"] {
        let (mut lab, mut user) = (Lab::new(), User::new(remote));
        let relay = user.relay(&mut lab);
        user.permit(&mut lab, "203.0.113.1:7000");
        assert_eq!(lab.peer_sends(relay, "203.0.113.1:7000", &vec![1; 65_000]).len(), 1);
        assert_eq!(lab.peer_sends(relay, "203.0.113.1:7000", &vec![1; 65_001]).len(), 0);
        assert!(indicated(&lab.peer_sends(relay, "203.0.113.1:7000", b"")).is_some());
        user.bind(&mut lab, 0x4000, "203.0.113.1:7000");
        assert_eq!(lab.send(user.client, &channel_data(0x4000, b"", false).unwrap()).len(), 1);
        assert_eq!(lab.send(user.client, &[0x40, 0x00, 0xFF, 0xFF, 1]).len(), 0);
    }
}

/// A message in which anything may be wrong.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        Just((Class::Request, Method::BINDING)),
        Just((Class::Request, Method::ALLOCATE)),
        Just((Class::Request, Method::REFRESH)),
        Just((Class::Request, Method::CREATE_PERMISSION)),
        Just((Class::Request, Method::CHANNEL_BIND)),
        Just((Class::Indication, Method::SEND)),
    ];
    let types = prop_oneof![0..0x30_u16, 0x8000..0x8030_u16, any::<u16>()];
    let values = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), Just(vec![17, 0, 0, 0]), Just(vec![0x80])];
    let attributes = prop::collection::vec((types, values), 0..6);
    (kinds, attributes, prop::option::of((any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |((class, method), attributes, broken)| {
            let mut builder = Builder::new(class, method, TransactionId([2; 12]));
            for (attribute, value) in attributes {
                builder.bytes(Attribute(attribute), &value);
            }
            let mut bytes = builder.finish();
            if let Some((index, value)) = broken {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_datagram_brings_the_server_down(
        messages in prop::collection::vec(message(), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut lab = Lab::new();
        let mut user = User::new("192.0.2.1:5000");
        let relay = user.relay(&mut lab);
        for message in &messages {
            lab.send(user.client, message);
            // The same attributes, from somebody who may ask.
            if let Ok(parsed) = Message::parse(message) {
                let attributes: Vec<_> = parsed.attributes().collect();
                let request = user.request(parsed.method(), |builder| {
                    for (attribute, value) in &attributes {
                        builder.bytes(*attribute, value);
                    }
                });
                lab.send(user.client, &request);
                let mut another = User { client: User::new("192.0.2.1:5001").client, ..user.clone() };
                let request = another.request(parsed.method(), |builder| {
                    for (attribute, value) in &attributes {
                        builder.bytes(*attribute, value);
                    }
                });
                lab.send(another.client, &request);
            }
        }
        lab.send(user.client, &noise);
        lab.peer_sends(relay, "203.0.113.1:7000", &noise);
        lab.pass(seconds(8000));
        prop_assert_eq!(lab.open.len(), 0);
        prop_assert_eq!(lab.server.poll_timeout(), None);
    }

    #[test]
    fn no_stream_brings_the_server_down(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8),
        messages in prop::collection::vec(message(), 0..4),
    ) {
        let mut lab = Lab::new();
        let mut client = User::new("192.0.2.1:5000").client;
        client.transport = ClientTransport::Tcp;
        for data in messages.iter().chain(&chunks) {
            lab.send(client, data);
        }
        lab.pass(seconds(8000));
        prop_assert_eq!(lab.server.counters().streams, 0);
    }
}
