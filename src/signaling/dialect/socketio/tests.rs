use serde_json::json;

use super::*;
use crate::signaling::protocol::IceCandidate;

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

/// A mapping that says nothing.
fn nothing() -> SocketIo {
    serde_json::from_str("{}").unwrap()
}

fn hear_at(event: &str, at: &str) -> Option<Hear> {
    Some(Hear { event: event.into(), at: at.into() })
}

fn exchange(event: &str, argument: Value, at: &str) -> Exchange {
    Exchange { event: event.into(), args: vec![argument], heard_as: None, from: None, at: at.into() }
}

#[test]
fn the_url_says_version_transport_and_room() {
    let opening = open(&Arc::default(), "wss://h:1/", ROOM);
    assert_eq!(opening.url, "wss://h:1/socket.io/?EIO=4&transport=websocket&room=r%201");
    for (path, expected) in [("/rt/v1", "rt/v1/?"), ("rt/", "rt/?"), ("/", "?"), ("", "?")] {
        let opening = open(&SocketIo { path: path.into(), ..SocketIo::default() }.into(), "wss://h", ROOM);
        assert!(opening.url.starts_with(&format!("wss://h/{expected}EIO=4")), "{path}: {}", opening.url);
    }
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
    let join_event = Say { event: "join-room".into(), args: vec![json!("{room}"), json!({"name": "{id}"})], ack: true };
    let mapping = SocketIo {
        namespace: "calls".into(),
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
    let signal = exchange("signal", json!({"to": "{to}", "signal": "{signal}"}), "/0/signal");
    let signal = Exchange { from: Some("/0/from".into()), ..signal };
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
fn what_else_simple_peer_signals_is_passed_over() {
    let signal = exchange("signal", json!({"to": "{to}", "signal": "{signal}"}), "/0/signal");
    let mut dialect = connected(SocketIo { signal: Some(signal), ..SocketIo::default() });
    for signal in [
        r#"{"type":"renegotiate","renegotiate":true}"#,
        r#"{"type":"transceiverRequest","transceiverRequest":{"kind":"video"}}"#,
    ] {
        heard(&mut dialect);
        hear(&mut dialect, &format!(r#"42["signal",{{"signal":{signal}}}]"#)).unwrap();
        assert_eq!(heard(&mut dialect), []);
    }
    let unexpected = dialect.unexpected().unwrap();
    assert!(unexpected.contains("`signal` (2×)") && unexpected.contains("transceiverRequest"), "{unexpected}");
    let candidate = r#"42["signal",{"signal":{"candidate":{"candidate":"candidate:1","sdpMid":"0"}}}]"#;
    hear(&mut dialect, candidate).unwrap();
    assert!(matches!(&heard(&mut dialect)[..], [ServerMessage::Candidate { candidate: Some(_), .. }]));
    let elsewhere =
        hear(&mut dialect, r#"42["signal",{"data":{"type":"offer","sdp":"v=0"}}]"#).unwrap_err().to_string();
    assert!(
        elsewhere.contains("brings a description") && elsewhere.contains("looks for it at /0/signal"),
        "{elsewhere}"
    );
}

/// The application of the WebRTC codelab.
fn codelab() -> SocketIo {
    let candidate = json!({"type": "candidate", "label": "{index}", "id": "{mid}", "candidate": "{line}"});
    SocketIo {
        offer: Some(exchange("message", json!("{description}"), "/0")),
        answer: Some(exchange("message", json!("{description}"), "/0")),
        candidate: Some(exchange("message", candidate, "/0")),
        ..nothing()
    }
}

#[test]
fn one_event_can_stand_for_all_three() {
    let mut dialect = connected(codelab());
    heard(&mut dialect);
    let line = "candidate:1 1 udp 1 192.0.2.1 5 typ host";
    let candidate = IceCandidate {
        candidate: line.into(),
        sdp_mid: Some("a".into()),
        sdp_m_line_index: Some(0),
        ..Default::default()
    };
    dialect.say(&ClientMessage::Candidate { to: "b".into(), candidate: Some(candidate.clone()) }).unwrap();
    let written = format!(r#"{{"candidate":"{line}","id":"a","label":0,"type":"candidate"}}"#);
    assert_eq!(said(&mut dialect), [format!(r#"42["message",{written}]"#)]);

    let from = || "b".to_owned();
    let offer = ServerMessage::Offer { from: from(), sdp: "v=0\na=setup:actpass".into() };
    let answer = ServerMessage::Answer { from: from(), sdp: "v=0\na=setup:active".into() };
    let candidate = ServerMessage::Candidate { from: from(), candidate: Some(candidate) };
    for (argument, expected) in [
        (r#"{"type":"offer","sdp":"v=0\na=setup:actpass"}"#, Some(&offer)),
        (r#"{"type":"answer","sdp":"v=0\na=setup:active"}"#, Some(&answer)),
        (r#"{"sdp":"v=0\na=setup:actpass"}"#, Some(&offer)),
        (r#""v=0\na=setup:active""#, Some(&answer)),
        (&written, Some(&candidate)),
        (&format!(r#"{{"candidate":"{line}","sdpMid":"a","sdpMLineIndex":0}}"#), Some(&candidate)),
        (r#""got user media""#, None),
        (r#""bye""#, None),
        (r#"{"type":"chat","text":"hello"}"#, None),
    ] {
        hear(&mut dialect, &format!(r#"42["message",{argument}]"#)).unwrap();
        assert_eq!(heard(&mut dialect).first(), expected, "{argument}");
    }
    let unexpected = dialect.unexpected().unwrap();
    assert!(unexpected.starts_with("events") && unexpected.contains("`message` (3×)"), "{unexpected}");
}

#[test]
fn one_event_can_have_each_at_a_place_of_its_own() {
    let mapping = SocketIo {
        offer: Some(exchange("message", json!({"description": "{description}"}), "/0/description")),
        answer: Some(exchange("message", json!({"description": "{description}"}), "/0/description")),
        candidate: Some(exchange("message", json!({"candidate": "{candidate}"}), "/0/candidate")),
        ..nothing()
    };
    let mut dialect = connected(mapping);
    heard(&mut dialect);
    hear(&mut dialect, r#"42["message",{"description":{"type":"answer","sdp":"v=0"}}]"#).unwrap();
    hear(&mut dialect, r#"42["message",{"candidate":null}]"#).unwrap();
    let from = || THE_OTHER.to_owned();
    let answer = ServerMessage::Answer { from: from(), sdp: "v=0".into() };
    assert_eq!(heard(&mut dialect), [answer, ServerMessage::Candidate { from: from(), candidate: None }]);
}

#[test]
fn candidates_can_come_several_at_once() {
    let mut dialect = connected(SocketIo::default());
    heard(&mut dialect);
    let both = r#"42["candidate",{"candidate":[{"candidate":"candidate:1","sdpMid":"0"},"candidate:2"],"from":"you"}]"#;
    hear(&mut dialect, both).unwrap();
    let lines = heard(&mut dialect).into_iter().map(|message| match message {
        ServerMessage::Candidate { candidate: Some(it), .. } => it.candidate,
        other => panic!("{other:?}"),
    });
    assert_eq!(lines.collect::<Vec<_>>(), ["candidate:1", "candidate:2"]);
}

#[test]
fn numbers_that_are_ids_stay_numbers() {
    let mapping = SocketIo {
        id: hear_at("hello", "/0/id"),
        peers: hear_at("users", "/0"),
        offer: Some(exchange("offer", json!({"to": "{to}", "by": "{id}", "text": "for {to}"}), "/0")),
        ..nothing()
    };
    let mut dialect = connected(mapping);
    hear(&mut dialect, r#"42["hello",{"id":1}]"#).unwrap();
    join(&mut dialect);
    hear(&mut dialect, r#"42["users",[{"id":1},{"id":2}]]"#).unwrap();
    let joined = ServerMessage::Joined { room: "r".into(), peers: vec!["2".into()] };
    assert_eq!(heard(&mut dialect).pop(), Some(joined));
    for (to, written) in [("2", "2"), ("x7", r#""x7""#), ("007", r#""007""#)] {
        dialect.say(&ClientMessage::Offer { to: to.into(), sdp: "v=0".into() }).unwrap();
        assert_eq!(said(&mut dialect), [format!(r#"42["offer",{{"by":1,"text":"for {to}","to":{written}}}]"#)]);
    }
}

#[test]
fn every_list_of_people_counts() {
    let mut dialect = connected(SocketIo { peers: hear_at("users", "/0"), ..nothing() });
    join(&mut dialect);
    heard(&mut dialect);
    let (came, left) =
        (|id: &str| ServerMessage::PeerJoined { id: id.into() }, |id: &str| ServerMessage::PeerLeft { id: id.into() });
    for (list, expected) in [
        (r#"["me"]"#, vec![ServerMessage::Joined { room: "r".into(), peers: Vec::new() }]),
        (r#"["me","a"]"#, vec![came("a")]),
        (r#"{"me":{},"a":{"name":"A"},"b":{}}"#, vec![came("b")]),
        (r#"["b","me"]"#, vec![left("a")]),
        (r#"{"error":"full"}"#, vec![]),
    ] {
        hear(&mut dialect, &format!(r#"42["users",{list}]"#)).unwrap();
        assert_eq!(heard(&mut dialect), expected, "{list}");
    }
    let unexpected = dialect.unexpected().unwrap();
    assert!(unexpected.contains(r#"`users` [{"error":"full"}]"#), "{unexpected}");

    let told = SocketIo { peers: hear_at("users", "/0"), peer_left: hear_at("bye", "/0"), ..nothing() };
    let mut dialect = connected(told);
    join(&mut dialect);
    for text in [r#"42["users",["a"]]"#, r#"42["users",[]]"#] {
        heard(&mut dialect);
        hear(&mut dialect, text).unwrap();
    }
    assert_eq!(heard(&mut dialect), [], "who leaves is told by an event");
}

#[test]
fn an_acknowledgement_refuses_only_if_it_says_so() {
    let mapping = |refused: Option<Hear>, peers: &str| SocketIo {
        join: Some(Say { event: "enter".into(), args: Vec::new(), ack: true }),
        peers: hear_at("enter", peers),
        refused,
        ..nothing()
    };
    let member = || hear_at("enter", "/0/error");
    for (refused, peers, acknowledgement, why) in [
        (member(), "/0/users", r#"{"ok":true,"users":["a"]}"#, None),
        (member(), "/0/users", r#"{"error":false,"users":["a"]}"#, None),
        (hear_at("enter", "/0"), "/1", r#"null,["a"]"#, None),
        (hear_at("enter", "/0"), "/1", r#""wrong password""#, Some("enter: wrong password")),
        (member(), "/0/users", r#"{"error":{"message":"full"}}"#, Some("enter: full")),
    ] {
        let mut dialect = connected(mapping(refused, peers));
        join(&mut dialect);
        heard(&mut dialect);
        hear(&mut dialect, &format!("430[{acknowledgement}]")).unwrap();
        match (&heard(&mut dialect)[..], why) {
            ([ServerMessage::Joined { peers, .. }], None) => assert_eq!(peers, &["a"], "{acknowledgement}"),
            ([ServerMessage::Error { message, .. }], Some(why)) => assert_eq!(message, why),
            (other, _) => panic!("{acknowledgement}: {other:?}"),
        }
    }
    let mut dialect = connected(mapping(None, "/0/users"));
    join(&mut dialect);
    hear(&mut dialect, r#"430[{"error":"wrong password"}]"#).unwrap();
    let unexpected = dialect.unexpected().unwrap();
    assert!(unexpected.contains(r#"`acknowledgement of enter` [{"error":"wrong password"}]"#), "{unexpected}");
}

#[test]
fn an_event_that_only_refuses_need_not_say_why() {
    let mut dialect = connected(SocketIo { refused: hear_at("full", "/0"), ..nothing() });
    heard(&mut dialect);
    hear(&mut dialect, r#"42["full"]"#).unwrap();
    assert!(
        matches!(&heard(&mut dialect)[..], [ServerMessage::Error { message, .. }] if message.starts_with("full: "))
    );
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
