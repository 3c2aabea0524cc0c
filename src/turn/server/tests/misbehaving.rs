use std::num::NonZeroU32;

use super::*;

fn lab(misbehaviour: Misbehaviour) -> Lab {
    Lab::with(Config { misbehaviour, ..config() })
}

#[test]
fn a_wrong_realm_lets_nobody_in() {
    let mut lab = lab(Misbehaviour { realm: Some("elsewhere".into()), ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    assert_eq!(user.allocate(&mut lab, |_| {}).code(), 401);
    assert_eq!(user.realm, "elsewhere");
}

#[test]
fn every_second_nonce_is_stale() {
    let mut lab = lab(Misbehaviour { stale_nonce_every: NonZeroU32::new(2), ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    user.relay(&mut lab);
    let codes: Vec<_> = (0..4).map(|_| user.refresh(&mut lab, 600).code()).collect();
    assert_eq!(codes, [438, 200, 438, 200]);
}

#[test]
fn allocations_are_sent_elsewhere() {
    let mut lab = lab(Misbehaviour { redirect: Some(at("11.0.0.9:3478")), ..Misbehaviour::default() });
    let reply = User::new("192.0.2.1:5000").allocate(&mut lab, |_| {});
    assert_eq!(reply.code(), 300);
    assert_eq!(reply.message().address(Attribute::ALTERNATE_SERVER), Some(at("11.0.0.9:3478")));
}

#[test]
fn allocations_fail_as_told() {
    for (error, code) in
        [(AllocationError::Mismatch, 437), (AllocationError::Quota, 486), (AllocationError::Capacity, 508)]
    {
        let mut lab = lab(Misbehaviour { refuse_allocations: Some(error), ..Misbehaviour::default() });
        assert_eq!(User::new("192.0.2.1:5000").allocate(&mut lab, |_| {}).code(), code);
        assert_eq!(lab.open.len(), 0);
    }
}

#[test]
fn the_first_answers_are_lost() {
    let mut lab = lab(Misbehaviour { drop_first_responses: true, ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    let wish = |builder: &mut Builder| {
        builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24);
    };
    let request = user.request(Method::ALLOCATE, wish);
    assert_eq!(lab.send(user.client, &request), []);
    let outputs = lab.send(user.client, &request);
    assert_eq!(user.answer(outputs).code(), 401);
    let request = user.request(Method::ALLOCATE, wish);
    assert_eq!(lab.send(user.client, &request), []);
    let outputs = lab.send(user.client, &request);
    user.answer(outputs).relay();
    assert_eq!(lab.open.len(), 1);
    assert_eq!(lab.server.counters().dropped.told, 2);
}

#[test]
fn a_share_of_the_relayed_packets_is_lost() {
    let mut lab = lab(Misbehaviour { drop_relayed: 0.25, ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    let relay = user.relay(&mut lab);
    user.permit(&mut lab, "203.0.113.1:7000");
    let sent: usize = (0..1000).map(|_| user.send(&mut lab, "203.0.113.1:7000", b"x").len()).sum();
    let received: usize = (0..1000).map(|_| lab.peer_sends(relay, "203.0.113.1:7000", b"x").len()).sum();
    for passed in [sent, received] {
        assert!((700..800).contains(&passed), "{passed}");
    }
}

#[test]
fn nothing_is_answered_until_the_server_is_told_to_behave() {
    let mut lab = lab(Misbehaviour { silent: true, ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    let request = user.request(Method::BINDING, |_| {});
    assert_eq!(lab.send(user.client, &request), []);
    lab.server.misbehave(Misbehaviour::default());
    assert_eq!(lab.send(user.client, &request).len(), 1);
}

#[test]
fn answers_are_late_and_in_order() {
    let mut lab = lab(Misbehaviour { delay: seconds(2), ..Misbehaviour::default() });
    let mut user = User::new("192.0.2.1:5000");
    let first = user.request(Method::BINDING, |_| {});
    let second = user.request(Method::BINDING, |_| {});
    assert_eq!(lab.send(user.client, &first), []);
    assert_eq!(lab.send(user.client, &second), []);
    assert_eq!(lab.pass(seconds(1)), []);
    let late = lab.pass(seconds(1));
    let ids: Vec<_> = late
        .iter()
        .map(|output| {
            let Output::ToClient { data, .. } = output else { panic!("{output:?}") };
            Message::parse(data).unwrap().transaction_id().0[0]
        })
        .collect();
    assert_eq!(ids, [1, 2]);
}
