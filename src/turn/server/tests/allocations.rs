use super::*;

#[test]
fn an_allocation_has_a_port_of_its_own_from_the_range() {
    let mut config = config();
    config.relay_ports = 50_000..=50_009;
    let mut lab = Lab::with(config);
    let mut relays = HashSet::new();
    for port in 1..=10 {
        let reply = User::new(&format!("192.0.2.1:{port}")).allocate(&mut lab, |_| {});
        assert_eq!(reply.message().xor_address(Attribute::XOR_MAPPED_ADDRESS), Some(at(&format!("192.0.2.1:{port}"))));
        assert_eq!(reply.relay().ip(), at(SERVER).ip());
        assert!((50_000..=50_009).contains(&reply.relay().port()));
        relays.insert(reply.relay());
    }
    assert_eq!(relays.len(), 10);
    assert_eq!(lab.open, relays);
    assert_eq!(User::new("192.0.2.1:11").allocate(&mut lab, |_| {}).code(), 508);
}

#[test]
fn a_second_allocation_of_a_client_is_a_mismatch() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    assert_eq!(user.allocate(&mut lab, |_| {}).code(), 437);
}

#[test]
fn a_request_that_comes_again_is_answered_the_same() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let reply = user.allocate(&mut lab, |_| {});
    user.transactions -= 1;
    lab.pass(seconds(1));
    assert_eq!(user.allocate(&mut lab, |_| {}), reply);
    assert_eq!(lab.open.len(), 1);
}

#[test]
fn a_request_that_comes_again_while_its_port_is_being_opened_is_answered_once() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    let wish = |builder: &mut Builder| {
        builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24);
    };
    assert_eq!(user.ask(&mut lab, Method::ALLOCATE, wish).code(), 401);
    let request = user.request(Method::ALLOCATE, wish);
    for _ in 0..2 {
        lab.server.handle_input(lab.now, Inbound::FromClient { client: user.client, data: &request });
    }
    let outputs = lab.outputs();
    assert_eq!(user.answer(outputs).code(), 200);
}

#[test]
fn an_allocation_ends_with_its_time_and_with_it_the_relay_port() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    lab.pass(seconds(599));
    assert_eq!(lab.open.len(), 1);
    lab.pass(seconds(1));
    assert_eq!(lab.open.len(), 0);
    assert_eq!(lab.server.counters().allocations, 0);
    assert_eq!(lab.server.poll_timeout(), None);
    assert_eq!(user.refresh(&mut lab, 600).code(), 437);
}

#[test]
fn a_refresh_gives_more_time() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    lab.pass(seconds(540));
    assert_eq!(user.refresh(&mut lab, 600).lifetime(), Some(600));
    lab.pass(seconds(599));
    assert_eq!(lab.open.len(), 1);
    lab.pass(seconds(1));
    assert_eq!(lab.open.len(), 0);
}

#[test]
fn no_client_gets_less_time_than_the_default_or_more_than_the_maximum() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    for (wish, granted) in [(1, 600), (599, 600), (601, 601), (3600, 3600), (u32::MAX, 3600)] {
        assert_eq!(user.refresh(&mut lab, wish).lifetime(), Some(granted), "{wish}");
    }
    let reply = User::new("192.0.2.1:5001").allocate(&mut lab, |builder| {
        builder.number(Attribute::LIFETIME, 0);
    });
    assert_eq!(reply.lifetime(), Some(600));
}

#[test]
fn a_refresh_of_zero_ends_the_allocation() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    let reply = user.refresh(&mut lab, 0);
    assert_eq!((reply.code(), reply.lifetime()), (200, Some(0)));
    assert_eq!(lab.open.len(), 0);
    // coturn says ok here.
    assert_eq!(user.refresh(&mut lab, 600).code(), 437);
    assert_eq!(user.allocate(&mut lab, |_| {}).code(), 200);
}

#[test]
fn only_udp_is_relayed() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    let mut user = User { client: User::new("192.0.2.1:5001").client, ..user };
    let tcp = user.ask(&mut lab, Method::ALLOCATE, |builder| {
        builder.number(Attribute::REQUESTED_TRANSPORT, 6 << 24);
    });
    assert_eq!(tcp.code(), 442);
    assert_eq!(user.ask(&mut lab, Method::ALLOCATE, |_| {}).code(), 400);
}

#[test]
fn the_family_of_the_relay_port_is_the_one_that_is_asked_for() {
    let mut lab = Lab::new();
    let mut ask = |port: u16, family: u32| {
        User::new(&format!("192.0.2.1:{port}")).allocate(&mut lab, |builder| {
            builder.number(Attribute::REQUESTED_ADDRESS_FAMILY, family << 24);
        })
    };
    assert!(ask(1, 1).relay().is_ipv4());
    assert!(ask(2, 2).relay().is_ipv6());
    assert_eq!(ask(3, 3).code(), 440);
}

#[test]
fn a_family_that_the_server_does_not_have_is_refused() {
    let mut config = config();
    config.relay_addresses.pop();
    let reply = User::new("192.0.2.1:5000").allocate(&mut Lab::with(config), |builder| {
        builder.number(Attribute::REQUESTED_ADDRESS_FAMILY, 2 << 24);
    });
    assert_eq!(reply.code(), 440);
}

#[test]
fn a_refresh_for_another_family_is_a_mismatch() {
    let (mut lab, mut user) = (Lab::new(), User::new("192.0.2.1:5000"));
    user.relay(&mut lab);
    let reply = user.ask(&mut lab, Method::REFRESH, |builder| {
        builder.number(Attribute::REQUESTED_ADDRESS_FAMILY, 2 << 24);
    });
    assert_eq!(reply.code(), 443);
}

#[test]
fn an_even_port_is_even() {
    let mut lab = Lab::new();
    for port in 1..=20 {
        let reply = User::new(&format!("192.0.2.1:{port}")).allocate(&mut lab, |builder| {
            builder.bytes(Attribute::EVEN_PORT, &[0]);
        });
        assert_eq!(reply.relay().port() % 2, 0);
        assert_eq!(reply.message().get(Attribute::RESERVATION_TOKEN), None);
    }
}

#[test]
fn the_next_port_waits_for_its_token() {
    let mut lab = Lab::new();
    let pair = User::new("192.0.2.1:1").allocate(&mut lab, |builder| {
        builder.bytes(Attribute::EVEN_PORT, &[0x80]);
    });
    let token = pair.message().get(Attribute::RESERVATION_TOKEN).unwrap().to_vec();
    assert_eq!(lab.open.len(), 2);
    let redeem = |lab: &mut Lab, port: u16| {
        User::new(&format!("192.0.2.1:{port}")).allocate(lab, |builder| {
            builder.bytes(Attribute::RESERVATION_TOKEN, &token);
        })
    };
    assert_eq!(redeem(&mut lab, 2).relay().port(), pair.relay().port() + 1);
    assert_eq!(redeem(&mut lab, 3).code(), 508);
    // The token's time is over, and the port is its owner's all the same.
    lab.pass(seconds(31));
    assert_eq!(lab.open.len(), 2);
}

#[test]
fn a_token_does_not_wait_for_ever() {
    let mut lab = Lab::new();
    User::new("192.0.2.1:1").allocate(&mut lab, |builder| {
        builder.bytes(Attribute::EVEN_PORT, &[0x80]);
    });
    lab.pass(seconds(31));
    assert_eq!(lab.open.len(), 1);
}

#[test]
fn a_token_goes_with_no_other_wish() {
    let mut lab = Lab::new();
    for (port, wish, value) in
        [(1, Attribute::EVEN_PORT, &[0][..]), (2, Attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])]
    {
        let reply = User::new(&format!("192.0.2.1:{port}")).allocate(&mut lab, |builder| {
            builder.bytes(Attribute::RESERVATION_TOKEN, &[1; 8]).bytes(wish, value);
        });
        assert_eq!(reply.code(), 400);
    }
}

#[test]
fn ports_of_other_programs_are_passed_over() {
    let mut config = config();
    config.relay_ports = 50_000..=50_003;
    let mut lab = Lab::with(config);
    lab.taken = [50_000, 50_001, 50_003].into();
    assert_eq!(User::new("192.0.2.1:1").relay(&mut lab).port(), 50_002);
    assert_eq!(User::new("192.0.2.1:2").allocate(&mut lab, |_| {}).code(), 508);
    assert_eq!(lab.open.len(), 1);
}

#[test]
fn half_a_pair_is_given_back() {
    let mut config = config();
    config.relay_ports = 50_000..=50_003;
    let mut lab = Lab::with(config);
    lab.taken = [50_001].into();
    let mut user = User::new("192.0.2.1:1");
    let pair = user.allocate(&mut lab, |builder| {
        builder.bytes(Attribute::EVEN_PORT, &[0x80]);
    });
    assert_eq!(pair.relay().port(), 50_002);
    assert_eq!(lab.open.len(), 2);
}

#[test]
fn a_user_has_a_quota_and_another_one_has_their_own() {
    let mut config = config();
    config.limits.allocations_per_user = 1;
    let mut lab = Lab::with(config);
    let mut first = User::new("192.0.2.1:1");
    first.relay(&mut lab);
    assert_eq!(User::new("192.0.2.1:2").allocate(&mut lab, |_| {}).code(), 486);
    User::of("192.0.2.1:3", "bob", "b secret").relay(&mut lab);
    first.refresh(&mut lab, 0);
    User::new("192.0.2.1:4").relay(&mut lab);
}

#[test]
fn the_quota_of_time_limited_credentials_is_the_users() {
    let mut config = config();
    config.limits.allocations_per_user = 1;
    let mut lab = Lab::with(config);
    let mut ask = |port: u16, user: &str, expiry| {
        let (username, password) =
            crate::turn::credentials::time_limited(&"north".into(), user, UNIX + seconds(expiry));
        User::of(&format!("192.0.2.1:{port}"), &username, password.expose()).allocate(&mut lab, |_| {}).code()
    };
    assert_eq!(ask(1, "carol", 60), 200);
    assert_eq!(ask(2, "carol", 61), 486);
    assert_eq!(ask(3, "dave", 60), 200);
}

#[test]
fn the_server_has_a_capacity() {
    let mut config = config();
    config.limits.allocations = 2;
    let mut lab = Lab::with(config);
    let codes: Vec<_> =
        (1..=3).map(|port| User::new(&format!("192.0.2.1:{port}")).allocate(&mut lab, |_| {}).code()).collect();
    assert_eq!(codes, [200, 200, 508]);
}
