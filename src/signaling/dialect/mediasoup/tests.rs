use super::*;

const OFFER: &str = "v=0\r\na=fingerprint:sha-256 AB\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=setup:actpass\r\na=mid:0\r\n\
                     a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=ssrc:7 cname:harness\r\na=sendonly\r\n\
                     m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:8 cname:harness\r\n";
const ANSWER: &str =
    "v=0\r\na=fingerprint:sha-256 CD\r\nm=video 9 UDP/TLS/RTP/SAVPF 101\r\na=setup:passive\r\na=mid:0\r\n";

/// A client, as the server sees it.
struct Seat(Box<dyn Dialect>);

impl Seat {
    /// With the router's capabilities and a transport, as mediasoup 3.14 gives them, and in the room.
    fn protoo(feed: Option<&[&str]>) -> Self {
        let mut seat = Self::new(&Mediasoup::default(), feed);
        assert_eq!(seat.method(), "getRouterRtpCapabilities");
        seat.accept(0, capabilities());
        assert_eq!(seat.said()["data"]["consuming"], feed.is_some());
        seat.accept(1, transport());
        let join = seat.said();
        assert_eq!(join["data"].get("rtpCapabilities").is_some(), feed.is_some());
        seat.accept(2, json!({"peers": []}));
        let joined = ServerMessage::Joined { room: "a room".into(), peers: vec![MEDIASOUP.into()] };
        assert_eq!(seat.heard(), Some(joined));
        seat
    }

    fn new(settings: &Mediasoup, feed: Option<&[&str]>) -> Self {
        let place =
            Place { room: Some("a room"), peer: Some("bot/0"), feed: feed.and(Some("bot/1")), ..Place::default() };
        let opening = open(settings, "wss://h:4443/", place);
        let mut seat = Self(opening.dialect);
        match settings.form {
            Form::Protoo => {
                assert_eq!(opening.subprotocol, Some("protoo"));
                assert_eq!(opening.url, "wss://h:4443/?roomId=a%20room&peerId=bot%2F0");
            }
            Form::SocketIo => {
                let query = "EIO=4&transport=websocket&roomId=a%20room&peerId=bot%2F0";
                assert_eq!(opening.url, format!("wss://h:4443/socket.io/?{query}"));
                seat.hear(r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#).unwrap();
                assert_eq!(seat.frame(), "40");
                seat.hear(r#"40{"sid":"s"}"#).unwrap();
            }
        }
        assert!(matches!(seat.heard(), Some(ServerMessage::Welcome { id, .. }) if id == "bot/0"));
        if let Some(feed) = feed {
            seat.0.follow(json!(feed));
        }
        seat.0.say(&ClientMessage::Join { room: "a room".into() }).unwrap();
        seat
    }

    fn hear(&mut self, text: &str) -> Result<(), ClientError> {
        self.0.handle_frame(Message::text(text), Instant::now())
    }

    fn accept(&mut self, id: u64, data: Value) {
        self.hear(&json!({"response": true, "id": id, "ok": true, "data": data}).to_string()).unwrap();
    }

    fn announce(&mut self, id: u64, producer: &str, kind: &str) {
        let data = consumer(producer, kind);
        self.hear(&json!({"request": true, "id": id, "method": "newConsumer", "data": data}).to_string()).unwrap();
    }

    fn frame(&mut self) -> String {
        self.0.waiting().frames.pop_front().expect("a frame").to_text().unwrap().to_owned()
    }

    fn said(&mut self) -> Value {
        serde_json::from_str(&self.frame()).unwrap()
    }

    fn method(&mut self) -> Value {
        self.said()["method"].take()
    }

    fn heard(&mut self) -> Option<ServerMessage> {
        self.0.waiting().messages.pop_front()
    }

    fn offer(&mut self) {
        self.0.say(&ClientMessage::Offer { to: MEDIASOUP.into(), sdp: OFFER.into() }).unwrap();
    }

    fn answer(&mut self) {
        self.0.say(&ClientMessage::Answer { to: MEDIASOUP.into(), sdp: ANSWER.into() }).unwrap();
    }
}

fn capabilities() -> Value {
    json!({
        "codecs": [
            {"kind": "audio", "mimeType": "audio/opus", "clockRate": 48000, "channels": 2, "preferredPayloadType": 100,
             "parameters": {}, "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "transport-cc", "parameter": ""}]},
            {"kind": "video", "mimeType": "video/VP8", "clockRate": 90000, "preferredPayloadType": 101,
             "parameters": {}, "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "goog-remb", "parameter": ""}]},
            {"kind": "video", "mimeType": "video/rtx", "clockRate": 90000, "preferredPayloadType": 102,
             "parameters": {"apt": 101}, "rtcpFeedback": []}
        ],
        "headerExtensions": [{"kind": "video", "uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "preferredId": 1,
                              "preferredEncrypt": false, "direction": "sendrecv"}]
    })
}

fn transport() -> Value {
    json!({
        "id": "t", "iceParameters": {"usernameFragment": "u", "password": "p", "iceLite": true},
        "iceCandidates": [{"foundation": "udpcandidate", "priority": 1_076_302_079, "ip": "127.0.0.1", "address": "127.0.0.1",
                           "protocol": "udp", "port": 40000, "type": "host"}],
        "dtlsParameters": {"role": "auto", "fingerprints": [{"algorithm": "sha-256", "value": "BB"}]}
    })
}

fn consumer(producer: &str, kind: &str) -> Value {
    let (mime_type, payload_type) = if kind == "audio" { ("audio/opus", 100) } else { ("video/VP8", 101) };
    let codec = json!({"mimeType": mime_type, "payloadType": payload_type, "clockRate": 90000, "parameters": {},
                       "rtcpFeedback": []});
    json!({
        "peerId": "bot/1", "id": format!("c-{producer}"), "producerId": producer, "kind": kind, "type": "simple",
        "rtpParameters": {"codecs": [codec], "headerExtensions": [], "encodings": [{"ssrc": 9}],
                          "rtcp": {"cname": "harness", "reducedSize": true}, "mid": if kind == "audio" { "1" } else { "0" }}
    })
}

#[test]
fn who_publishes_is_answered_when_the_server_has_all() {
    let mut seat = Seat::protoo(None);
    seat.offer();
    let connect = seat.said();
    let dtls = json!({"role": "client", "fingerprints": [{"algorithm": "sha-256", "value": "AB"}]});
    assert_eq!((&connect["method"], &connect["data"]["transportId"]), (&json!("connectWebRtcTransport"), &json!("t")));
    assert_eq!(connect["data"]["dtlsParameters"], dtls);
    let (video, audio) = (seat.said(), seat.said());
    assert_eq!((&video["method"], &video["data"]["kind"]), (&json!("produce"), &json!("video")));
    assert_eq!(video["data"]["rtpParameters"]["encodings"], json!([{"ssrc": 7}]));
    assert_eq!(audio["data"]["kind"], "audio");
    seat.accept(5, json!({"id": "pa"}));
    seat.accept(4, json!({"id": "pv"}));
    assert_eq!((seat.heard(), seat.0.feed()), (None, None));
    seat.accept(3, json!({}));
    let Some(ServerMessage::Answer { from, sdp }) = seat.heard() else { panic!("no answer") };
    assert_eq!((from.as_str(), sdp.matches("a=recvonly").count()), (MEDIASOUP, 2));
    assert_eq!(seat.0.feed(), Some(json!(["pv", "pa"])), "in the order of the sections");
}

#[test]
fn consumers_of_protoo_are_accepted_once_there_is_an_answer() {
    let mut seat = Seat::protoo(Some(&["pv", "pa"]));
    seat.announce(70, "px", "audio");
    let refused = seat.said();
    assert_eq!((&refused["ok"], &refused["errorCode"]), (&json!(false), &json!(403)), "that of somebody else");
    seat.announce(71, "pa", "audio");
    assert_eq!(seat.heard(), None);
    assert!(seat.0.unexpected().unwrap().contains("for 1 of 2 producers"));
    seat.announce(72, "pv", "video");
    let Some(ServerMessage::Offer { sdp, .. }) = seat.heard() else { panic!("no offer") };
    assert!(sdp.find("m=video").unwrap() < sdp.find("m=audio").unwrap(), "{sdp}");
    assert!(sdp.contains("a=ssrc:9 cname:harness"), "{sdp}");
    seat.announce(73, "pv", "video");
    assert_eq!((&seat.said()["ok"], seat.heard()), (&json!(false), None), "a second one of the same producer");
    seat.answer();
    let connect = seat.said();
    assert_eq!(connect["data"]["dtlsParameters"]["role"], "server", "who waits for the handshake");
    assert!(seat.0.waiting().frames.is_empty());
    seat.accept(3, json!({}));
    let accepted = [seat.said(), seat.said()].map(|said| (said["id"].clone(), said["ok"].clone()));
    assert_eq!(accepted, [(json!(71), json!(true)), (json!(72), json!(true))]);
}

#[test]
fn consumers_of_socket_io_are_asked_for_and_resumed() {
    let methods = BTreeMap::from([("consume".to_owned(), "consume-media".to_owned())]);
    let settings = Mediasoup { form: Form::SocketIo, path: None, methods };
    let mut seat = Seat::new(&settings, Some(&["pv"]));
    assert_eq!(seat.frame(), r#"420["getRouterRtpCapabilities",{}]"#);
    seat.hear(&format!("430{}", json!([{"rtpCapabilities": capabilities()}]))).unwrap();
    assert!(seat.frame().starts_with(r#"421["createWebRtcTransport","#));
    seat.hear(&format!("431{}", json!([{"params": transport()}]))).unwrap();
    assert!(seat.frame().starts_with(r#"422["join","#));
    seat.hear("432[]").unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Joined { .. })));
    assert!(seat.frame().starts_with(r#"423["consume-media",{"producerId":"pv","#));
    seat.hear(&format!("433{}", json!([consumer("pv", "video")]))).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Offer { .. })));
    seat.answer();
    assert!(seat.frame().starts_with(r#"424["connectWebRtcTransport","#));
    seat.hear("434[{}]").unwrap();
    assert_eq!(seat.frame(), r#"425["resumeConsumer",{"consumerId":"c-pv"}]"#);
    seat.hear("2").unwrap();
    assert_eq!(seat.frame(), "3", "the heartbeat of Engine.IO");
}

#[test]
fn what_the_server_refuses_is_quoted() {
    let mut seat = Seat::new(&Mediasoup::default(), None);
    let refused = r#"{"response":true,"id":0,"ok":false,"errorCode":403,"errorReason":"the room is full"}"#;
    let error = seat.hear(refused).unwrap_err().to_string();
    assert!(error.contains("getRouterRtpCapabilities: 403: the room is full"), "{error}");

    let settings = Mediasoup { form: Form::SocketIo, ..Mediasoup::default() };
    for (acknowledgement, why) in [
        (r#"[{"error":"no such room"}]"#, "getRouterRtpCapabilities: no such room"),
        (r#"[{"error":{"message":"not now"}}]"#, "getRouterRtpCapabilities: not now"),
        (r#"[{"ok":false,"errorReason":"full"}]"#, "getRouterRtpCapabilities: full"),
    ] {
        let mut seat = Seat::new(&settings, None);
        let error = seat.hear(&format!("430{acknowledgement}")).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let mut seat = Seat::new(&settings, None);
    let error = seat.hear(r#"44{"message":"not authorized"}"#).unwrap_err().to_string();
    assert!(error.contains("not authorized"), "{error}");
}

#[test]
fn junk_is_quoted() {
    for text in ["hello", "[]", r#"{"response":true,"id":99,"ok":true}"#, r#"{"id":1}"#] {
        let error = Seat::new(&Mediasoup::default(), None).hear(text).unwrap_err().to_string();
        assert!(error.contains("breaks the protocol") && error.contains(text), "{error}");
    }
    let mut seat = Seat::new(&Mediasoup::default(), None);
    let answer = r#"{"response":true,"id":0,"ok":true,"data":{"codecs":"all"}}"#;
    let error = seat.hear(answer).unwrap_err().to_string();
    assert!(error.contains("not the router's capabilities") && error.contains(r#"{"codecs":"all"}"#), "{error}");
}

#[test]
fn without_a_common_codec_nothing_is_asked_for() {
    let mut seat = Seat::protoo(None);
    let offer = ClientMessage::Offer { to: MEDIASOUP.into(), sdp: OFFER.replace("VP8", "H264") };
    let error = seat.0.say(&offer).unwrap_err().to_string();
    assert!(error.contains("(video/H264): it has video/VP8"), "{error}");
}

#[test]
fn what_means_nothing_is_remembered_and_what_ends_a_consumer_is_told() {
    let mut seat = Seat::protoo(Some(&["pv"]));
    seat.hear(r#"{"notification":true,"method":"activeSpeaker","data":{"peerId":"bot/1"}}"#).unwrap();
    assert!(seat.0.unexpected().unwrap().contains("`activeSpeaker`"));
    seat.hear(r#"{"request":true,"id":5,"method":"newDataConsumer","data":{}}"#).unwrap();
    assert_eq!(seat.said()["errorCode"], 404);
    seat.announce(6, "pv", "video");
    assert!(matches!(seat.heard(), Some(ServerMessage::Offer { .. })));
    seat.hear(r#"{"notification":true,"method":"consumerClosed","data":{"consumerId":"c-pv"}}"#).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Error { message, .. }) if message.contains("consumerClosed")));
}
