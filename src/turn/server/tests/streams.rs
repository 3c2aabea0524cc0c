use super::*;
use crate::turn::message::channel_data;

fn user(remote: &str) -> User {
    let user = User::new(remote);
    User { client: Client { transport: ClientTransport::Tcp, ..user.client }, ..user }
}

#[test]
fn messages_are_cut_out_of_the_stream() {
    let (mut lab, mut user) = (Lab::new(), user("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.bind(&mut lab, 0x4000, "203.0.113.1:7000");
    let data = channel_data(0x4000, b"hello", true).unwrap();
    let stream = [&data[..], &data].concat();
    let outputs: Vec<_> = stream.chunks(3).flat_map(|chunk| lab.send(user.client, chunk)).collect();
    let expected = Output::ToPeer { relay, peer: at("203.0.113.1:7000"), data: b"hello"[..].into() };
    assert_eq!(outputs, [expected.clone(), expected]);
}

#[test]
fn channel_data_is_padded() {
    let (mut lab, mut user) = (Lab::new(), user("192.0.2.1:5000"));
    let relay = user.relay(&mut lab);
    user.bind(&mut lab, 0x4000, "203.0.113.1:7000");
    let outputs = lab.peer_sends(relay, "203.0.113.1:7000", b"hello");
    let [Output::ToClient { data, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(&data[..], b"\x40\x00\x00\x05hello\0\0\0");
}

#[test]
fn an_allocation_ends_with_its_stream() {
    let (mut lab, mut user) = (Lab::new(), user("192.0.2.1:5000"));
    user.relay(&mut lab);
    lab.input(Inbound::StreamClosed { client: user.client });
    assert_eq!(lab.open.len(), 0);
    assert_eq!(lab.server.counters().streams, 0);
    assert_eq!(lab.server.poll_timeout(), None);
}

#[test]
fn a_port_that_nobody_waits_for_any_more_is_given_back() {
    let mut config = config();
    config.limits.allocations_per_user = 1;
    let (mut lab, mut user) = (Lab::with(config), user("192.0.2.1:5000"));
    let wish = |builder: &mut Builder| {
        builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24);
    };
    user.ask(&mut lab, Method::ALLOCATE, wish);
    let request = user.request(Method::ALLOCATE, wish);
    lab.server.handle_input(lab.now, Inbound::FromClient { client: user.client, data: &request });
    lab.server.handle_input(lab.now, Inbound::StreamClosed { client: user.client });
    assert_eq!(lab.outputs(), []);
    assert_eq!(lab.open.len(), 0);
    assert_eq!(lab.server.counters().allocations, 0);
    User::new("192.0.2.1:5001").relay(&mut lab);
}

#[test]
fn another_protocol_is_shown_the_door() {
    let (mut lab, user) = (Lab::new(), user("192.0.2.1:5000"));
    lab.input(Inbound::StreamOpened { client: user.client });
    let outputs = lab.send(user.client, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
    assert_eq!(outputs, [Output::CloseStream { client: user.client }]);
    assert_eq!(lab.server.counters().streams, 0);
}

#[test]
fn a_stream_that_brings_nothing_is_closed() {
    let (mut lab, user) = (Lab::new(), user("192.0.2.1:5000"));
    lab.input(Inbound::StreamOpened { client: user.client });
    lab.pass(seconds(59));
    // Some bytes are no message.
    lab.send(user.client, &[0, 1]);
    assert_eq!(lab.pass(seconds(1)), [Output::CloseStream { client: user.client }]);
}

#[test]
fn a_stream_with_an_allocation_may_rest() {
    let (mut lab, mut user) = (Lab::new(), user("192.0.2.1:5000"));
    user.relay(&mut lab);
    assert_eq!(lab.pass(seconds(599)), []);
    // The allocation's time is over first.
    assert_eq!(lab.pass(seconds(120)), [Output::CloseStream { client: user.client }]);
}
