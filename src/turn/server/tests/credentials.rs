use super::*;
use crate::turn::credentials::time_limited;

#[test]
fn the_first_request_is_challenged_and_the_second_gets_in() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let challenge = user.allocate(&mut lab, |_| {});
    assert_eq!(challenge.code(), 200);
    assert_eq!(challenge.lifetime(), Some(600));
    assert_eq!(user.realm, "example.org");
    assert_eq!(lab.server.counters().errors, [(401, 1)].into());
}

#[test]
fn answers_to_who_is_known_are_signed() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let success = user.allocate(&mut lab, |_| {});
    let error = user.allocate(&mut lab, |_| {});
    assert_eq!(error.code(), 437);
    for reply in [success, error] {
        assert!(reply.message().is_signed_with(&Key::long_term("alice", "example.org", &"a secret".into())));
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_unauthenticated() {
    let mut lab = Lab::new();
    for (username, password) in [("alice", "wrong"), ("nobody", "a secret")] {
        let mut user = User::of("192.0.2.1:5000", username, password);
        assert_eq!(user.allocate(&mut lab, |_| {}).code(), 401);
        assert_eq!(user.allocate(&mut lab, |_| {}).code(), 401);
    }
}

#[test]
fn a_signature_without_user_realm_or_nonce_is_a_bad_request() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let request = user.ask(&mut lab, Method::ALLOCATE, |builder| {
        builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24).text(Attribute::USERNAME, "alice");
        builder.sign(&Key::long_term("alice", "example.org", &"a secret".into()));
    });
    assert_eq!(request.code(), 400);
}

#[test]
fn a_bogus_nonce_is_stale_and_comes_with_a_good_one() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    user.nonce = "bogus".into();
    assert_eq!(user.refresh(&mut lab, 600).code(), 438);
    assert_eq!(user.refresh(&mut lab, 600).code(), 200);
}

#[test]
fn a_nonce_becomes_stale_in_time() {
    let mut config = config();
    config.lifetimes.nonce = seconds(2);
    let (mut lab, mut user) = (Lab::with(config), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    lab.pass(seconds(3));
    assert_eq!(user.refresh(&mut lab, 600).code(), 438);
    assert_eq!(user.refresh(&mut lab, 600).code(), 200);
}

#[test]
fn a_nonce_of_the_server_before_its_restart_is_stale_and_the_allocation_gone() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    lab.server = Server::new(config(), [8; 32], lab.now, UNIX);
    assert_eq!(user.refresh(&mut lab, 600).code(), 438);
    assert_eq!(user.refresh(&mut lab, 600).code(), 437);
    // coturn says 400 here.
    assert_eq!(user.permit(&mut lab, "203.0.113.1:1").code(), 437);
    assert_eq!(user.allocate(&mut lab, |_| {}).code(), 200);
}

#[test]
fn an_expired_user_name_gets_nothing_new_but_keeps_what_it_has() {
    let mut lab = Lab::new();
    let (username, password) = time_limited(&"north".into(), "carol", UNIX + seconds(60));
    let mut user = User::of("192.0.2.1:5000", &username, password.expose());
    user.relay(&mut lab);
    lab.pass(seconds(61));
    assert_eq!(user.refresh(&mut lab, 600).code(), 200);
    assert_eq!(user.permit(&mut lab, "203.0.113.1:1").code(), 200);
    assert_eq!(user.bind(&mut lab, 0x4000, "203.0.113.1:1").code(), 200);

    let mut another = User { client: User::new("192.0.2.1:5001").client, ..user };
    assert_eq!(another.allocate(&mut lab, |_| {}).code(), 401);
    assert_eq!(another.allocate(&mut lab, |_| {}).code(), 401);
}

#[test]
fn the_credentials_of_an_allocation_cannot_be_changed() {
    let (mut lab, mut alice) = (Lab::new(), User::new("192.0.2.1:5000"));
    alice.relay(&mut lab);
    let mut bob = User { username: "bob".into(), password: "b secret".into(), ..alice };
    assert_eq!(bob.refresh(&mut lab, 600).code(), 441);
    assert_eq!(bob.permit(&mut lab, "203.0.113.1:1").code(), 441);
    assert_eq!(bob.allocate(&mut lab, |_| {}).code(), 437);
}

#[test]
fn an_attribute_that_must_be_known_and_is_not_is_named() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let reply = user.allocate(&mut lab, |builder| {
        builder.bytes(Attribute::DONT_FRAGMENT, &[]).bytes(Attribute(0x7ABC), &[1]).bytes(Attribute(0x8ABC), &[1]);
    });
    assert_eq!(reply.code(), 420);
    assert_eq!(reply.message().get(Attribute::UNKNOWN_ATTRIBUTES), Some(&[0x00, 0x1A, 0x7A, 0xBC][..]));
}
