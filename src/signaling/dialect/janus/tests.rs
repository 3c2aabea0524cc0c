use super::*;

/// A client with a handle, and the number of its last request.
struct Seat(Box<dyn Dialect>);

impl Seat {
    fn new(settings: Janus, feed: Option<&str>) -> Self {
        let opening = open(&settings, "wss://h", Place { peer: Some("bot/0"), feed, ..Place::default() });
        assert_eq!(opening.subprotocol, Some("janus-protocol"));
        let mut seat = Self(opening.dialect);
        assert_eq!(seat.said()["janus"], "create");
        seat.hear(json!({"janus": "success", "transaction": "t1", "data": {"id": 7}})).unwrap();
        let attach = seat.said();
        assert_eq!((&attach["janus"], &attach["session_id"]), (&json!("attach"), &json!(7)));
        seat.hear(json!({"janus": "success", "session_id": 7, "transaction": "t2", "data": {"id": 9}})).unwrap();
        assert!(matches!(seat.heard(), Some(ServerMessage::Welcome { id, .. }) if id == "9"));
        seat
    }

    fn hear(&mut self, message: Value) -> Result<(), ClientError> {
        self.0.handle_frame(Message::text(message.to_string()), Instant::now())
    }

    fn event(&mut self, data: Value, jsep: Option<Value>) -> Result<(), ClientError> {
        let mut event = json!({"janus": "event", "sender": 9, "plugindata": {"plugin": "p", "data": data}});
        if let Some(jsep) = jsep {
            event["jsep"] = jsep;
        }
        self.hear(event)
    }

    fn say(&mut self, message: ClientMessage) {
        self.0.say(&message).unwrap();
    }

    fn said(&mut self) -> Value {
        let frame = self.0.waiting().frames.pop_front().expect("a frame");
        serde_json::from_str(frame.to_text().unwrap()).unwrap()
    }

    fn heard(&mut self) -> Option<ServerMessage> {
        self.0.waiting().messages.pop_front()
    }
}

fn join() -> ClientMessage {
    ClientMessage::Join { room: "r".into() }
}

fn joined() -> Option<ServerMessage> {
    Some(ServerMessage::Joined { room: "r".into(), peers: vec!["janus".into()] })
}

#[test]
fn a_textroom_offers() {
    let mut seat = Seat::new(Janus { plugin: Plugin::TextRoom, ..Janus::default() }, None);
    seat.say(join());
    assert_eq!(seat.heard(), joined());
    assert_eq!(seat.said()["body"], json!({"request": "setup"}));
    let offer = json!({"type": "offer", "sdp": "v=0"});
    seat.event(json!({"textroom": "event", "result": "ok"}), Some(offer)).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Offer { sdp, .. }) if sdp == "v=0"));
    seat.say(ClientMessage::Answer { to: "janus".into(), sdp: "v=1".into() });
    let answer = seat.said();
    assert_eq!((&answer["body"], &answer["jsep"]["sdp"]), (&json!({"request": "ack"}), &json!("v=1")));
}

#[test]
fn an_echo_test() {
    let mut seat = Seat::new(Janus::default(), None);
    seat.say(join());
    assert_eq!(seat.heard(), joined());
    seat.say(ClientMessage::Offer { to: "janus".into(), sdp: "v=0\r\nm=audio 9".into() });
    let offer = seat.said();
    assert_eq!(offer["body"], json!({"audio": true, "video": false}));
    assert_eq!((&offer["jsep"]["type"], &offer["handle_id"]), (&json!("offer"), &json!(9)));
    seat.hear(json!({"janus": "ack"})).unwrap();
    let early = json!({"janus": "trickle", "candidate": {"sdpMLineIndex": 0, "candidate": "candidate:1"}});
    seat.hear(early).unwrap();
    seat.hear(json!({"janus": "trickle", "candidate": {"completed": true}})).unwrap();
    seat.event(json!({"echotest": "event", "result": "ok"}), Some(json!({"type": "answer", "sdp": "v=0"}))).unwrap();
    assert_eq!(seat.heard(), Some(ServerMessage::Answer { from: "janus".into(), sdp: "v=0".into() }));
    assert!(
        matches!(seat.heard(), Some(ServerMessage::Candidate { candidate: Some(it), .. }) if it.candidate == "candidate:1")
    );
    assert!(matches!(seat.heard(), Some(ServerMessage::Candidate { candidate: None, .. })));
    seat.say(ClientMessage::Candidate { to: "janus".into(), candidate: None });
    assert_eq!(seat.said()["candidate"], json!({"completed": true}));
}

#[test]
fn a_publisher_makes_the_room_or_finds_it_made() {
    let create = Map::from_iter([("bitrate".to_owned(), json!(512_000))]);
    let settings = Janus { plugin: Plugin::VideoRoom, create: Some(create), ..Janus::default() };
    for made in [json!({"videoroom": "created"}), json!({"videoroom": "event", "error_code": 427, "error": "exists"})] {
        let mut seat = Seat::new(settings.clone(), None);
        seat.say(join());
        let create = seat.said();
        assert_eq!((&create["body"]["request"], &create["body"]["bitrate"]), (&json!("create"), &json!(512_000)));
        seat.hear(json!({"janus": "success", "plugindata": {"data": made}})).unwrap();
        let body = seat.said()["body"].clone();
        assert_eq!(
            (&body["request"], &body["ptype"], &body["room"]),
            (&json!("join"), &json!("publisher"), &create["body"]["room"])
        );
        seat.event(json!({"videoroom": "joined", "id": 42, "publishers": []}), None).unwrap();
        assert_eq!((seat.heard(), seat.0.feed()), (joined(), None));
        seat.hear(json!({"janus": "webrtcup"})).unwrap();
        assert_eq!(seat.0.feed(), Some(json!(42)));
    }
}

#[test]
fn a_subscriber_is_offered_its_feed() {
    let mut seat = Seat::new(Janus { plugin: Plugin::VideoRoom, ..Janus::default() }, Some("bot/1"));
    seat.0.follow(json!(42));
    seat.say(join());
    let body = seat.said()["body"].clone();
    assert_eq!((&body["ptype"], &body["streams"]), (&json!("subscriber"), &json!([{"feed": 42}])));
    seat.event(json!({"videoroom": "attached"}), Some(json!({"type": "offer", "sdp": "v=0"}))).unwrap();
    assert_eq!(seat.heard(), joined());
    assert_eq!(seat.heard(), Some(ServerMessage::Offer { from: "janus".into(), sdp: "v=0".into() }));
    seat.say(ClientMessage::Answer { to: "janus".into(), sdp: "v=0".into() });
    assert_eq!(seat.said()["body"]["request"], "start");
    assert_eq!(seat.0.feed(), None);
}

/// A subscriber that is offered audio and video.
fn subscriber() -> Seat {
    let mut seat = Seat::new(Janus { plugin: Plugin::VideoRoom, ..Janus::default() }, Some("bot/1"));
    seat.0.follow(json!(42));
    seat.say(join());
    seat.said();
    let streams = json!([{"type": "audio", "mid": "0"}, {"type": "video", "mid": "1"}]);
    let attached = json!({"videoroom": "attached", "streams": streams});
    seat.event(attached, Some(json!({"type": "offer", "sdp": "v=0"}))).unwrap();
    seat
}

#[test]
fn a_subscriber_asks_for_layers_of_the_video() {
    let mut seat = subscriber();
    for (layer, substream) in [(Layer::Quarter, 0), (Layer::Half, 1), (Layer::Full, 2)] {
        seat.0.ask_for(layer);
        let body = json!({"request": "configure", "streams": [{"mid": "1", "substream": substream}]});
        assert_eq!(seat.said()["body"], body);
        seat.event(json!({"videoroom": "event", "configured": "ok"}), None).unwrap();
        seat.event(json!({"videoroom": "event", "mid": "1", "substream": substream}), None).unwrap();
    }
    assert_eq!(seat.0.unexpected(), None);
}

#[test]
fn a_layer_that_is_refused_is_told_and_does_not_end_the_call() {
    let mut seat = subscriber();
    seat.0.ask_for(Layer::Full);
    let transaction = seat.said()["transaction"].clone();
    let data = json!({"videoroom": "event", "error_code": 430, "error": "Invalid value"});
    let refusal = json!({"janus": "event", "transaction": transaction, "plugindata": {"data": data}});
    seat.hear(refusal).unwrap();
    assert_eq!(seat.0.unexpected().as_deref(), Some("Janus refuses the layer: 430: Invalid value"));
    seat.event(data, None).expect_err("a refusal of something else");
}

#[test]
fn a_session_is_kept_alive_and_ended() {
    let mut seat = Seat::new(Janus::default(), None);
    let due = seat.0.poll_timeout().unwrap();
    seat.0.handle_timeout(due).unwrap();
    assert_eq!(seat.said()["janus"], "keepalive");
    assert_eq!(seat.0.poll_timeout(), Some(due + KEEPALIVE));
    seat.say(ClientMessage::Leave);
    assert_eq!(seat.said()["janus"], "destroy");
}

#[test]
fn what_means_nothing_is_passed_over_and_quoted() {
    let mut seat = Seat::new(Janus::default(), None);
    seat.say(join());
    while seat.heard().is_some() {}
    let answer = json!({"type": "answer", "sdp": "v=0"});
    let event = |more: Value| {
        let mut event =
            json!({"janus": "event", "plugindata": {"data": {"echotest": "event", "result": "ok"}}, "jsep": answer});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for (message, word) in [
        (json!({"janus": "detached"}), "detached"),
        (json!({"janus": "rebooting", "in": "5 s"}), "rebooting"),
        (json!({"janus": "event", "plugindata": {"data": {"echotest": "event", "result": "done"}}}), "done"),
        (event(json!({"session_id": 987_654})), "987654"),
        (event(json!({"sender": 876_543})), "876543"),
    ] {
        seat.hear(message).unwrap();
        let unexpected = seat.0.unexpected().unwrap();
        assert!(unexpected.contains(word), "{unexpected}");
        assert_eq!(seat.heard(), None, "{word}");
    }
    seat.hear(event(json!({}))).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Answer { .. })));
}

#[test]
fn refusals_quote_the_server() {
    let mut seat = Seat::new(Janus { plugin: Plugin::VideoRoom, ..Janus::default() }, None);
    seat.say(join());
    let error = seat.event(json!({"videoroom": "event", "error_code": 426, "error": "No such room (1)"}), None);
    assert!(error.unwrap_err().to_string().contains("426: No such room (1)"));
    let error = seat.hear(json!({"janus": "error", "error": {"code": 458, "reason": "No such session 999"}}));
    assert!(error.unwrap_err().to_string().contains("458: No such session 999"));
    seat.hear(json!({"janus": "hangup", "reason": "DTLS alert"})).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Error { message, .. }) if message.contains("DTLS alert")));
    assert!(seat.hear(json!({"foo": 1})).is_err());
}
