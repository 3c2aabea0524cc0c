use super::*;
use crate::turn::message::{channel_data, parse_channel_data};

const PEER: &str = "203.0.113.1:7000";

#[test]
fn data_goes_to_a_peer_with_a_permission_and_comes_back() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    assert_eq!(user.permit(&mut lab, PEER).code(), 200);
    let data = bytes::Bytes::from_static(b"hello");
    assert_eq!(user.send(&mut lab, PEER, b"hello"), [Output::ToPeer { relay, peer: at(PEER), data }]);
    assert_eq!(indicated(&lab.peer_sends(relay, PEER, b"hi")), Some((at(PEER), b"hi".to_vec())));
    // A permission is for an address with all its ports.
    assert!(indicated(&lab.peer_sends(relay, "203.0.113.1:7001", b"hi")).is_some());

    let counters = lab.server.counters();
    assert_eq!(counters.to_peers, Traffic { packets: 1, bytes: 5 });
    assert_eq!(counters.to_clients, Traffic { packets: 2, bytes: 4 });
}

#[test]
fn nothing_passes_without_a_permission() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.permit(&mut lab, PEER);
    assert_eq!(user.send(&mut lab, "203.0.113.2:7000", b"hello"), []);
    assert_eq!(lab.peer_sends(relay, "203.0.113.2:7000", b"hello"), []);
    assert_eq!(User::new("192.0.2.1:5001").send(&mut lab, PEER, b"hello"), []);
    assert_eq!(lab.server.counters().dropped.no_permission, 3);
}

#[test]
fn a_permission_ends_with_its_time_unless_it_is_made_again() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.permit(&mut lab, PEER);
    lab.pass(seconds(299));
    user.permit(&mut lab, PEER);
    lab.pass(seconds(299));
    assert!(indicated(&lab.peer_sends(relay, PEER, b"hi")).is_some());
    lab.pass(seconds(1));
    assert_eq!(lab.peer_sends(relay, PEER, b"hi"), []);
    assert_eq!(user.send(&mut lab, PEER, b"hi"), []);
}

#[test]
fn one_request_permits_many_peers_or_none() {
    let mut config = config();
    config.refused_peers = vec![Prefix { address: "10.0.0.0".parse().unwrap(), length: 8 }];
    let (mut lab, mut user) = (Lab::with(config), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    let mut permit = |lab: &mut Lab, peers: &[&str]| {
        let reply = user.ask(lab, Method::CREATE_PERMISSION, |builder| {
            for peer in peers {
                builder.xor_address(Attribute::XOR_PEER_ADDRESS, at(peer));
            }
        });
        reply.code()
    };
    assert_eq!(permit(&mut lab, &[]), 400);
    assert_eq!(permit(&mut lab, &["203.0.113.1:1", "10.1.2.3:1"]), 403);
    assert_eq!(permit(&mut lab, &["203.0.113.1:1", "[2001:db8::1]:1"]), 443);
    assert_eq!(lab.peer_sends(relay, "203.0.113.1:1", b"hi"), []);
    assert_eq!(permit(&mut lab, &["203.0.113.1:1", "203.0.113.2:1"]), 200);
    for peer in ["203.0.113.1:9", "203.0.113.2:9"] {
        assert!(indicated(&lab.peer_sends(relay, peer, b"hi")).is_some());
    }
}

#[test]
fn some_peers_are_always_refused() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    for peer in ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1"] {
        assert_eq!(user.permit(&mut lab, peer).code(), 403, "{peer}");
        assert_eq!(user.bind(&mut lab, 0x4000, peer).code(), 403, "{peer}");
    }
    let mut user = User::new("192.0.2.1:5001");
    user.allocate(&mut lab, |builder| {
        builder.number(Attribute::REQUESTED_ADDRESS_FAMILY, 2 << 24);
    });
    for peer in ["[::ffff:10.0.0.1]:1", "[ff02::1]:1", "[::]:1"] {
        assert_eq!(user.permit(&mut lab, peer).code(), 403, "{peer}");
    }
}

#[test]
fn a_channel_stands_for_its_peer_in_both_directions() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    assert_eq!(user.bind(&mut lab, 0x4001, PEER).code(), 200);
    let sent = lab.send(user.client, &channel_data(0x4001, b"hello", false).unwrap());
    assert_eq!(sent, [Output::ToPeer { relay, peer: at(PEER), data: b"hello"[..].into() }]);
    let received = lab.peer_sends(relay, PEER, b"hi");
    let [Output::ToClient { data, .. }] = &received[..] else { panic!("{received:?}") };
    assert_eq!(parse_channel_data(data), Some((0x4001, &b"hi"[..])));
    assert_eq!(data.len(), 6);
    // Another port of the same peer has the permission, and no channel.
    assert!(indicated(&lab.peer_sends(relay, "203.0.113.1:7001", b"hi")).is_some());
}

#[test]
fn a_channel_is_for_one_peer_and_a_peer_has_one_channel() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    assert_eq!(user.bind(&mut lab, 0x4000, PEER).code(), 200);
    assert_eq!(user.bind(&mut lab, 0x4000, PEER).code(), 200);
    assert_eq!(user.bind(&mut lab, 0x4000, "203.0.113.1:7001").code(), 400);
    assert_eq!(user.bind(&mut lab, 0x4001, PEER).code(), 400);
    assert_eq!(user.bind(&mut lab, 0x4001, "203.0.113.1:7001").code(), 200);
    lab.pass(seconds(599));
    user.refresh(&mut lab, 3600);
    lab.pass(seconds(1));
    // Its time is over: it may stand for another peer.
    assert_eq!(lab.send(user.client, &channel_data(0x4000, b"hello", false).unwrap()), []);
    assert_eq!(user.bind(&mut lab, 0x4000, "203.0.113.9:7001").code(), 200);
    assert_eq!(user.bind(&mut lab, 0x4002, PEER).code(), 200);
}

#[test]
fn a_channel_outlives_the_permission_that_came_with_it() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.bind(&mut lab, 0x4000, PEER);
    lab.pass(seconds(300));
    assert_eq!(lab.peer_sends(relay, PEER, b"hi"), []);
    assert_eq!(lab.send(user.client, &channel_data(0x4000, b"hello", false).unwrap()).len(), 1);
    user.bind(&mut lab, 0x4000, PEER);
    assert_eq!(lab.peer_sends(relay, PEER, b"hi").len(), 1);
}

#[test]
fn a_channel_needs_a_number_and_a_peer() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    for number in [0, 0x3FFF, 0x7FFF, 0xFFFF] {
        assert_eq!(user.bind(&mut lab, number, PEER).code(), 400, "{number:#x}");
    }
    assert_eq!(user.bind(&mut lab, 0x4000, "[2001:db8::1]:1").code(), 443);
    let nobody = user.ask(&mut lab, Method::CHANNEL_BIND, |builder| {
        builder.number(Attribute::CHANNEL_NUMBER, 0x4000 << 16);
    });
    assert_eq!(nobody.code(), 400);
}

#[test]
fn an_allocation_has_a_limited_number_of_peers() {
    let mut config = config();
    config.limits.peers = 2;
    let (mut lab, mut user) = (Lab::with(config), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    assert_eq!(user.permit(&mut lab, "203.0.113.1:1").code(), 200);
    assert_eq!(user.permit(&mut lab, "203.0.113.2:1").code(), 200);
    assert_eq!(user.permit(&mut lab, "203.0.113.2:2").code(), 200);
    assert_eq!(user.permit(&mut lab, "203.0.113.3:1").code(), 508);
    assert_eq!(user.bind(&mut lab, 0x4000, "203.0.113.3:1").code(), 508);
    lab.pass(seconds(300));
    assert_eq!(user.permit(&mut lab, "203.0.113.3:1").code(), 200);
}

#[test]
fn two_clients_of_the_server_reach_each_other_through_it() {
    let mut lab = Lab::new();
    let (mut alice, mut bob) = (User::new("192.0.2.1:5000"), User::of("192.0.2.2:5000", "bob", "b secret"));
    let (a, b) = (alice.relay(&mut lab), bob.relay(&mut lab));
    alice.permit(&mut lab, &b.to_string());
    assert_eq!(alice.send(&mut lab, &b.to_string(), b"hello"), []);
    bob.permit(&mut lab, &a.to_string());
    let outputs = alice.send(&mut lab, &b.to_string(), b"hello");
    assert_eq!(indicated(&outputs), Some((a, b"hello".to_vec())));
    let Output::ToClient { client, .. } = outputs[0] else { unreachable!() };
    assert_eq!(client, bob.client);
}

#[test]
fn an_unreachable_peer_is_reported_to_the_client() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.permit(&mut lab, PEER);
    let mut unreachable =
        |peer| lab.input(Inbound::PeerUnreachable { relay, peer: at(peer), icmp_type: 3, icmp_code: 4, data: 1280 });
    let outputs = unreachable(PEER);
    let [Output::ToClient { data, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let message = Message::parse(data).unwrap();
    assert_eq!(message.xor_address(Attribute::XOR_PEER_ADDRESS), Some(at(PEER)));
    assert_eq!(message.get(Attribute::ICMP), Some(&[0, 0, 3, 4, 0, 0, 5, 0][..]));
    assert_eq!(unreachable("203.0.113.2:7000"), []);
}
