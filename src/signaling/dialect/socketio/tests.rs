use serde_json::json;

use super::*;

const ROOM: Place<'static> = Place { room: Some("r 1"), role: None, peer: None, feed: None };

/// A connection that the server has accepted, with the mapping of the bundled server.
fn connected(mapping: SocketIo) -> Box<dyn Dialect> {
    let mut dialect = connecting(mapping);
    assert_eq!(said(&mut dialect), ["40"]);
    hear(&mut dialect, r#"40{"sid":"me"}"#).unwrap();
    dialect
}

/// A connection of Engine.IO on which the namespace is asked for.
fn connecting(mapping: SocketIo) -> Box<dyn Dialect> {
    let mut dialect = open(&Arc::new(mapping), "wss://h:1", ROOM).dialect;
    hear(&mut dialect, r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#)
        .unwrap();
    dialect
}

fn hear(dialect: &mut Box<dyn Dialect>, text: &str) -> Result<(), ClientError> {
    dialect.handle_frame(Message::text(text), Instant::now())
}

fn said(dialect: &mut Box<dyn Dialect>) -> Vec<String> {
    dialect.waiting().frames.drain(..).map(|frame| frame.to_text().unwrap().to_owned()).collect()
}

fn heard(dialect: &mut Box<dyn Dialect>) -> Vec<ServerMessage> {
    dialect.waiting().messages.drain(..).collect()
}

fn join(dialect: &mut Box<dyn Dialect>) {
    dialect.say(&ClientMessage::Join { room: "r".into() }).unwrap();
}

#[test]
fn the_url_says_version_transport_and_room() {
    let opening = open(&Arc::default(), "wss://h:1/", ROOM);
    assert_eq!(opening.url, "wss://h:1/socket.io/?EIO=4&transport=websocket&room=r%201");
}

#[test]
fn a_call_through_the_events_of_the_bundled_server() {
    let mut dialect = connected(SocketIo::default());
    hear(&mut dialect, r#"42["newUser","me",["you"]]"#).unwrap();
    join(&mut dialect);
    let welcome = ServerMessage::Welcome { protocol: 0, id: "me".into(), limits: None };
    assert_eq!(heard(&mut dialect), [welcome, ServerMessage::Joined { room: "r".into(), peers: vec!["you".into()] }]);

    dialect.say(&ClientMessage::Offer { to: "you".into(), sdp: "v=0".into() }).unwrap();
    assert_eq!(said(&mut dialect), [r#"42["offer",{"offer":{"sdp":"v=0","type":"offer"},"to":"you"}]"#]);
    hear(&mut dialect, r#"42["answer",{"answer":{"type":"answer","sdp":"v=0"},"from":"you"}]"#).unwrap();
    hear(&mut dialect, r#"42["candidate",{"candidate":null,"from":"you"}]"#).unwrap();
    let answer = ServerMessage::Answer { from: "you".into(), sdp: "v=0".into() };
    assert_eq!(heard(&mut dialect), [answer, ServerMessage::Candidate { from: "you".into(), candidate: None }]);
}

#[test]
fn who_comes_is_told_of_but_not_oneself() {
    let mut dialect = connected(SocketIo::default());
    heard(&mut dialect);
    for text in [r#"42["newUser","me",[]]"#, r#"42["newUser","you"]"#, r#"42["userLeft","you"]"#] {
        hear(&mut dialect, text).unwrap();
    }
    let (id, left) = ("you".to_owned(), "you".to_owned());
    assert_eq!(heard(&mut dialect), [ServerMessage::PeerJoined { id }, ServerMessage::PeerLeft { id: left }]);
}

#[test]
fn the_servers_pings_are_answered() {
    let mut dialect = connected(SocketIo::default());
    hear(&mut dialect, "2").unwrap();
    assert_eq!(said(&mut dialect), ["3"]);
}

#[test]
fn a_room_can_be_joined_with_an_acknowledgement_that_says_who_is_there() {
    let hear_at = |event: &str, at: &str| Some(Hear { event: event.into(), at: at.into() });
    let join_event = Say { event: "join-room".into(), args: vec![json!("{room}"), json!({"name": "{id}"})], ack: true };
    let mapping = SocketIo {
        namespace: "/calls".into(),
        join: Some(join_event),
        peers: hear_at("join-room", "/0/users"),
        ..SocketIo::default()
    };
    let mut dialect = open(&Arc::new(mapping), "wss://h", Place::default()).dialect;
    hear(&mut dialect, r#"0{"sid":"e","upgrades":[],"pingInterval":1,"pingTimeout":1,"maxPayload":1}"#).unwrap();
    hear(&mut dialect, r#"40/calls,{"sid":"me"}"#).unwrap();
    heard(&mut dialect);
    join(&mut dialect);
    assert_eq!(said(&mut dialect), ["40/calls,", r#"42/calls,0["join-room","r",{"name":"me"}]"#]);
    hear(&mut dialect, r#"43/calls,0[{"users":[{"id":"you"},{"id":"me"}]}]"#).unwrap();
    assert_eq!(heard(&mut dialect), [ServerMessage::Joined { room: "r".into(), peers: vec!["you".into()] }]);
}

#[test]
fn simple_peer_has_one_event_for_all() {
    let signal = Exchange {
        event: "signal".into(),
        args: vec![json!({"to": "{to}", "signal": "{signal}"})],
        heard_as: None,
        from: Some("/0/from".into()),
        at: "/0/signal".into(),
    };
    let mut dialect = connected(SocketIo { signal: Some(signal), ..SocketIo::default() });
    heard(&mut dialect);
    dialect.say(&ClientMessage::Offer { to: "b".into(), sdp: "v=0".into() }).unwrap();
    assert_eq!(said(&mut dialect), [r#"42["signal",{"signal":{"sdp":"v=0","type":"offer"},"to":"b"}]"#]);
    hear(&mut dialect, r#"42["signal",{"from":"b","signal":{"type":"answer","sdp":"v=0"}}]"#).unwrap();
    let candidate = r#"42["signal",{"from":"b","signal":{"type":"candidate","candidate":{"candidate":"candidate:1","sdpMid":"0"}}}]"#;
    hear(&mut dialect, candidate).unwrap();
    let heard = heard(&mut dialect);
    assert!(matches!(&heard[0], ServerMessage::Answer { from, .. } if from == "b"), "{heard:?}");
    assert!(matches!(&heard[1], ServerMessage::Candidate { candidate: Some(it), .. } if it.candidate == "candidate:1"));
}

#[test]
fn a_wrong_name_in_the_mapping_shows_which_event_came_instead() {
    let mut mapping = SocketIo::default();
    if let Some(offer) = &mut mapping.offer {
        offer.heard_as = Some("ofer".into());
    }
    let mut dialect = connected(mapping);
    hear(&mut dialect, r#"42["chat","hello"]"#).unwrap();
    let unexpected = dialect.unexpected().unwrap();
    assert!(unexpected.contains("`chat` (1×)") && unexpected.contains(r#"the last: `chat` ["hello"]"#), "{unexpected}");
    let error = hear(&mut dialect, r#"42["offer",{"offer":{"type":"offer","sdp":"v=0"},"from":"you"}]"#).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("`offer`") && error.contains("`ofer`"), "{error}");
}

#[test]
fn an_event_that_repeats_a_secret_is_quoted_without_it() {
    let auth = Some(json!({"token": "hunter2hunter2"}));
    let query = BTreeMap::from([("key".to_owned(), "swordfish9".to_owned())]);
    let mut dialect = connecting(SocketIo { auth, query, ..SocketIo::default() });
    said(&mut dialect);
    hear(&mut dialect, r#"40{"sid":"me"}"#).unwrap();
    hear(&mut dialect, r#"42["hello",{"you":"hunter2hunter2","with":"swordfish9"}]"#).unwrap();
    assert!(dialect.unexpected().unwrap().ends_with(r#"`hello` [{"with":"***","you":"***"}]"#), "{dialect:?}");
}

#[test]
fn refusals_quote_the_server() {
    let mut dialect = connected(SocketIo::default());
    let error = hear(&mut dialect, r#"44/nope,{"message":"Invalid namespace"}"#).unwrap_err().to_string();
    assert!(error.contains("/nope") && error.contains("Invalid namespace"), "{error}");
    let error = hear(&mut dialect, r#"44{"message":"unauthorized","data":{"hint":"log in"}}"#).unwrap_err().to_string();
    assert!(error.contains(r#"unauthorized ({"hint":"log in"})"#), "{error}");
    hear(&mut dialect, r#"42["kicked",{"reason":"idle"}]"#).unwrap();
    let error = hear(&mut dialect, "41").unwrap_err().to_string();
    assert!(error.contains("disconnected the socket") && error.contains(r#"`kicked` [{"reason":"idle"}]"#), "{error}");
    for (text, part) in [
        ("41", "disconnected"),
        ("1", "closed"),
        (r#"42["offer",{"from":"you"}]"#, "nothing at /0/offer"),
        (r#"42["offer",{"offer":{"sdp":"v=0"}}]"#, "no id of its sender"),
        (r#"42["offer",{"offer":7,"from":"you"}]"#, "no description"),
        ("42{}", "JSON array"),
        ("49", "no packet of socket.io"),
    ] {
        let error = hear(&mut dialect, text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn binary_attachments_are_passed_over() {
    let mut dialect = connected(SocketIo::default());
    hear(&mut dialect, r#"451-["file",{"_placeholder":true,"num":0}]"#).unwrap();
    dialect.handle_frame(Message::binary(vec![1, 2]), Instant::now()).unwrap();
    assert!(dialect.handle_frame(Message::binary(vec![1, 2]), Instant::now()).is_err());
}
