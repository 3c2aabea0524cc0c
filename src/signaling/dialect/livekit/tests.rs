use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::messages::{
    Mute, Participant, Pong, RequestResponse, SubscriptionPermission, SubscriptionResponse, Track, TrackUnpublished,
};
use super::*;

const OFFER: &str = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=msid:harness video-VP8\r\na=sendonly\r\n\
                     m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=msid:harness audio-opus\r\na=sendonly\r\n";

/// A client, as the server sees it.
struct Seat {
    dialect: Box<dyn Dialect>,
    now: Instant,
}

impl Seat {
    /// Whom the server has let in, and who has joined.
    fn joined(feed: Option<&[&str]>) -> Self {
        let mut seat = Self::new(feed.is_some());
        seat.hear(join(10, 20)).unwrap();
        assert!(matches!(seat.heard(), Some(ServerMessage::Welcome { id, .. }) if id == "bot/0"));
        if let Some(feed) = feed {
            seat.dialect.follow(json!(feed));
        }
        seat.dialect.say(&ClientMessage::Join { room: "a room".into() }).unwrap();
        let joined = ServerMessage::Joined { room: "a room".into(), peers: vec![LIVEKIT.into()] };
        assert_eq!(seat.heard(), Some(joined));
        seat
    }

    fn new(follows: bool) -> Self {
        let place = Place { feed: follows.then_some("bot/1"), ..place() };
        Self { dialect: open(&LiveKit::default(), "wss://h:7880", place).dialect, now: Instant::now() }
    }

    fn hear(&mut self, heard: Heard) -> Result<(), ClientError> {
        let message = SignalResponse { message: Some(heard) }.encode_to_vec();
        self.dialect.handle_frame(Message::binary(message), self.now)
    }

    fn heard(&mut self) -> Option<ServerMessage> {
        self.dialect.waiting().messages.pop_front()
    }

    fn said(&mut self) -> Option<Request> {
        let frame = self.dialect.waiting().frames.pop_front()?;
        SignalRequest::decode(frame.into_data()).unwrap().message
    }

    fn candidate(&mut self, line: Option<&str>) {
        let candidate = line.map(|line| IceCandidate { candidate: line.into(), ..IceCandidate::default() });
        self.dialect.say(&ClientMessage::Candidate { to: LIVEKIT.into(), candidate }).unwrap();
    }

    fn publish(&mut self) {
        self.dialect.say(&ClientMessage::Offer { to: LIVEKIT.into(), sdp: OFFER.into() }).unwrap();
    }

    /// The time of the next timeout comes.
    fn wait(&mut self) -> Result<(), ClientError> {
        self.now = self.dialect.poll_timeout().expect("a timeout");
        self.dialect.handle_timeout(self.now)
    }
}

fn place() -> Place<'static> {
    Place { room: Some("a room"), peer: Some("bot/0"), ..Place::default() }
}

fn join(ping_interval: i32, ping_timeout: i32) -> Heard {
    let participant = Some(Participant { sid: "PA_1".into(), identity: "bot/0".into() });
    Heard::Join(Box::new(Join { participant, alternative_url: String::new(), ping_timeout, ping_interval }))
}

fn description(kind: &str, sdp: &str, id: u32) -> SessionDescription {
    SessionDescription { kind: kind.into(), sdp: sdp.into(), id }
}

fn published(cid: &str, sid: &str) -> Heard {
    Heard::TrackPublished(TrackPublished { cid: cid.into(), track: Some(Track { sid: sid.into() }) })
}

fn trickle(candidate_init: &str, target: i32) -> Trickle {
    Trickle { candidate_init: candidate_init.into(), target, is_final: candidate_init.is_empty() }
}

#[test]
fn a_token_says_who_comes_and_is_not_in_the_url() {
    let settings = LiveKit { key: "k".into(), secret: Some("s".into()) };
    for (feed, publishes) in [(None, true), (Some("bot/1"), false)] {
        for url in ["wss://h:7880", "wss://h:7880/", "wss://h:7880/rtc"] {
            let opening = open(&settings, url, Place { feed, ..place() });
            assert!(opening.url.starts_with("wss://h:7880/rtc?auto_subscribe=0&"), "{}", opening.url);
            let token = opening.bearer.unwrap();
            assert!(!opening.url.contains(&token));
            let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("k"), &json!("bot/0")));
            let video =
                json!({"roomJoin": true, "room": "a room", "canPublish": publishes, "canSubscribe": !publishes});
            assert_eq!(claims["video"], video);
        }
    }
}

/// Bytes as npm's `@livekit/protocol` 2.0 writes them.
#[test]
fn requests_are_those_of_livekits_own_library() {
    let add_track = AddTrack {
        cid: "video-VP8".into(),
        name: "video-VP8".into(),
        kind: VIDEO,
        source: CAMERA,
        layers: vec![VideoLayer { quality: HIGH }],
        disable_red: true,
    };
    let trickle = Trickle { candidate_init: "{}".into(), target: SUBSCRIBER, is_final: true };
    let subscription = UpdateSubscription { track_sids: vec!["TR_v".into(), "TR_a".into()], subscribe: true };
    for (request, expected) in [
        (Request::AddTrack(add_track), "22200a09766964656f2d5650381209766964656f2d565038180140014a0208026801"),
        (Request::Offer(description("offer", "v=0", 1)), "0a0e0a056f666665721203763d301801"),
        (Request::Answer(description("answer", "v=0", 2)), "120f0a06616e737765721203763d301802"),
        (Request::Trickle(trickle), "1a080a027b7d10011801"),
        (Request::Subscription(subscription), "320e0a0454525f760a0454525f611001"),
        (Request::Leave(Leave { reason: CLIENT_INITIATED, action: 0 }), "42021001"),
        (Request::Ping(Ping { timestamp: 10_000, rtt: 30 }), "82010508904e101e"),
    ] {
        let message = SignalRequest { message: Some(request) };
        let written: String = message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, expected, "{message:?}");
    }
}

/// As above.
#[test]
fn responses_are_read_as_livekits_own_library_writes_them() {
    let participant = Some(Participant { sid: "PA_1".into(), identity: "bot/0".into() });
    let join = Join { participant, alternative_url: String::new(), ping_timeout: 20, ping_interval: 10 };
    let (track_sid, message) = ("TR_v".to_owned(), "no".to_owned());
    let join_with_others = "0a380a090a04524d5f31120172120f0a0450415f311205626f742f3018011a0d0a0450415f321205626f742f31\
                            2205312e392e3030015014580a";
    for (written, expected) in [
        (join_with_others, Some(Heard::Join(Box::new(join)))),
        ("32100a0163120b0a0454525f7610011a0163", Some(published("c", "TR_v"))),
        ("4206080110031802", Some(Heard::Leave(Leave { reason: 3, action: 2 }))),
        (
            "aa01080a0454525f761002",
            Some(Heard::Subscription(SubscriptionResponse { track_sid: track_sid.clone(), error: 2 })),
        ),
        ("b20108080710021a026e6f", Some(Heard::Request(RequestResponse { reason: 2, message }))),
        ("a2010508904e1005", Some(Heard::Pong(Pong { last_ping_timestamp: 10_000 }))),
        (
            "7a0c0a0450415f32120454525f76",
            Some(Heard::Permission(SubscriptionPermission { track_sid: track_sid.clone(), allowed: false })),
        ),
        ("4a080a0454525f761001", Some(Heard::Mute(Mute { sid: track_sid.clone(), muted: true }))),
        ("8a01060a0454525f76", Some(Heard::TrackUnpublished(TrackUnpublished { track_sid }))),
        // That of the participants in the room.
        ("2a0f0a0d0a0450415f321205626f742f31", None),
    ] {
        let digits = written.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        assert_eq!(SignalResponse::decode(&bytes[..]).unwrap().message, expected, "{written}");
    }
}

#[test]
fn who_publishes_offers_once_the_server_knows_of_all_tracks() {
    let mut seat = Seat::joined(None);
    seat.publish();
    let Some(Request::AddTrack(video)) = seat.said() else { panic!("no add_track") };
    assert_eq!((video.cid.as_str(), video.kind, video.source, video.layers.len()), ("video-VP8", VIDEO, CAMERA, 1));
    let Some(Request::AddTrack(audio)) = seat.said() else { panic!("no add_track") };
    assert_eq!((audio.cid.as_str(), audio.kind, audio.source), ("audio-opus", AUDIO, MICROPHONE));
    seat.candidate(Some("candidate:1"));
    seat.hear(published("audio-opus", "TR_a")).unwrap();
    assert_eq!((seat.said(), seat.dialect.feed()), (None, None));
    assert_eq!(seat.dialect.unexpected().unwrap(), "the server has not published video-VP8");
    seat.hear(published("video-VP8", "TR_v")).unwrap();
    assert_eq!(seat.said(), Some(Request::Offer(description("offer", OFFER, 1))));
    let Some(Request::Trickle(first)) = seat.said() else { panic!("no candidate") };
    assert_eq!((first.target, first.is_final), (PUBLISHER, false));
    assert_eq!(serde_json::from_str::<Value>(&first.candidate_init).unwrap()["candidate"], "candidate:1");
    seat.candidate(None);
    assert_eq!(seat.said(), Some(Request::Trickle(trickle("", PUBLISHER))));

    let candidate = r#"{"candidate":"candidate:2","sdpMid":"0","sdpMLineIndex":0}"#;
    seat.hear(Heard::Trickle(trickle(candidate, SUBSCRIBER))).unwrap();
    seat.hear(Heard::Trickle(trickle(candidate, PUBLISHER))).unwrap();
    assert_eq!(seat.heard(), None, "its description comes first");
    seat.hear(Heard::Answer(description("answer", "v=0", 1))).unwrap();
    assert_eq!(seat.heard(), Some(ServerMessage::Answer { from: LIVEKIT.into(), sdp: "v=0".into() }));
    let heard = seat.heard();
    assert!(
        matches!(&heard, Some(ServerMessage::Candidate { candidate: Some(it), .. }) if it.candidate == "candidate:2"),
        "{heard:?}"
    );
    assert_eq!(seat.heard(), None, "that of the other connection is not for this one");
    assert_eq!(seat.dialect.feed(), Some(json!(["TR_v", "TR_a"])), "in the order of the sections");
    seat.dialect.say(&ClientMessage::Leave).unwrap();
    assert_eq!(seat.said(), Some(Request::Leave(Leave { reason: CLIENT_INITIATED, action: 0 })));
}

#[test]
fn who_subscribes_answers_every_offer() {
    let mut seat = Seat::joined(Some(&["TR_v", "TR_a"]));
    let track_sids = vec!["TR_v".to_owned(), "TR_a".to_owned()];
    assert_eq!(seat.said(), Some(Request::Subscription(UpdateSubscription { track_sids, subscribe: true })));
    for (sdp, id) in [("v=0 data", 1), ("v=0 media", 2)] {
        seat.hear(Heard::Offer(description("offer", sdp, id))).unwrap();
        assert_eq!(seat.heard(), Some(ServerMessage::Offer { from: LIVEKIT.into(), sdp: sdp.into() }));
        seat.dialect.say(&ClientMessage::Answer { to: LIVEKIT.into(), sdp: "v=0 own".into() }).unwrap();
        assert_eq!(seat.said(), Some(Request::Answer(description("answer", "v=0 own", id))));
    }
    seat.candidate(Some("candidate:1"));
    assert!(matches!(seat.said(), Some(Request::Trickle(Trickle { target: SUBSCRIBER, .. }))));
    assert_eq!(seat.dialect.feed(), None);
}

#[test]
fn who_is_silent_is_asked_and_given_up() {
    let mut seat = Seat::joined(None);
    seat.wait().unwrap();
    assert_eq!(seat.said(), Some(Request::Ping(Ping { timestamp: 10_000, rtt: 0 })));
    seat.now += Duration::from_millis(30);
    seat.hear(Heard::Pong(Pong { last_ping_timestamp: 10_000 })).unwrap();
    seat.wait().unwrap();
    assert_eq!(seat.said(), Some(Request::Ping(Ping { timestamp: 20_000, rtt: 30 })));
    seat.wait().unwrap();
    let error = seat.wait().unwrap_err().to_string();
    assert_eq!(error, "the signaling server has been silent for 20s");

    let mut seat = Seat::new(false);
    seat.hear(join(0, 0)).unwrap();
    assert_eq!(seat.dialect.poll_timeout(), None, "a server that wants no pings");
}

#[test]
fn what_the_server_refuses_is_quoted() {
    let leave = |reason, action| Heard::Leave(Leave { reason, action });
    let response = |reason, message: &str| Heard::Request(RequestResponse { reason, message: message.into() });
    let missing = SubscriptionResponse { track_sid: "TR_v".into(), error: 2 };
    let forbidden = SubscriptionPermission { track_sid: "TR_v".into(), allowed: false };
    let elsewhere = Join { alternative_url: "wss://other".into(), ..Join::default() };
    for (heard, why) in [
        (leave(2, 0), "leave: DUPLICATE_IDENTITY, DISCONNECT"),
        (leave(99, 2), "leave: number 99, RECONNECT"),
        (response(2, "does not have permission to publish"), "NOT_ALLOWED: does not have permission to publish"),
        (Heard::Subscription(missing), "subscription of TR_v: SE_TRACK_NOTFOUND"),
        (Heard::Permission(forbidden), "the subscription of TR_v is not allowed"),
        (Heard::Join(Box::new(elsewhere)), "it wants clients to go to wss://other"),
    ] {
        let error = Seat::joined(None).hear(heard).unwrap_err();
        assert_eq!(error.to_string(), format!("the signaling server refuses: {why}"));
    }
    for fine in [response(0, ""), response(4, "")] {
        Seat::joined(None).hear(fine).unwrap();
    }
}

#[test]
fn what_befalls_a_track_is_told() {
    let mut seat = Seat::joined(None);
    seat.hear(Heard::Mute(Mute { sid: "TR_v".into(), muted: true })).unwrap();
    seat.hear(Heard::TrackUnpublished(TrackUnpublished { track_sid: "TR_v".into() })).unwrap();
    for why in ["mutes the track TR_v", "taken the track TR_v back"] {
        let heard = seat.heard();
        assert!(
            matches!(&heard, Some(ServerMessage::Error { message, .. }) if message.contains(why)),
            "{why}: {heard:?}"
        );
    }
}

#[test]
fn junk_is_quoted() {
    let mut seat = Seat::new(false);
    let mut said = |frame: Message| seat.dialect.handle_frame(frame, Instant::now()).unwrap_err().to_string();
    let error = said(Message::text("{\"join\":{}}"));
    assert!(error.contains("a text where LiveKit sends protobuf; it sent: {\"join\":{}}"), "{error}");
    let error = said(Message::binary("hello world"));
    assert!(error.contains("no message of LiveKit") && error.contains("it sent: hello world"), "{error}");
    let error = said(Message::binary(vec![0xff; 40]));
    assert!(error.ends_with(&format!("it sent: {}… (40 bytes)", "ff".repeat(32))), "{error}");
    let error = said(Message::binary(Vec::new()));
    assert!(error.contains("an empty message"), "{error}");
    let trickle = Heard::Trickle(trickle("junk", PUBLISHER));
    let error = said(Message::binary(SignalResponse { message: Some(trickle) }.encode_to_vec()));
    assert!(error.contains("a candidate that is none"), "{error}");
    // Speakers, and what a newer server may say.
    for news in [vec![0x52, 0x00], vec![0xfa, 0x01, 0x00]] {
        seat.dialect.handle_frame(Message::binary(news), Instant::now()).unwrap();
    }
}

#[test]
fn an_offer_without_tracks_cannot_be_published() {
    let mut seat = Seat::joined(None);
    let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".to_owned();
    let error = seat.dialect.say(&ClientMessage::Offer { to: LIVEKIT.into(), sdp }).unwrap_err().to_string();
    assert!(error.contains("an offer without a track"), "{error}");
}
