//! With the messages of Kurento's documentation ("Kurento Protocol"): a double, as no server can be installed for a test.

use super::*;

const SESSION: &str = "bd4d6227-0463-4d52-b1c3-c71f0be68466";
const PIPELINE: &str = "6ba9067f-cdcf-4ea6-a6ee-d74519585acd_kurento.MediaPipeline";
const ENDPOINT: &str = "6ba9067f-cdcf-4ea6-a6ee-d74519585acd_kurento.MediaPipeline/087b7777_kurento.WebRtcEndpoint";

struct Seat(Box<dyn Dialect>);

impl Seat {
    /// With an endpoint, and in a room.
    fn new() -> Self {
        let mut seat = Self::opened();
        let create = seat.said();
        assert_eq!((&create["method"], &create["params"]["type"]), (&json!("create"), &json!("MediaPipeline")));
        assert_eq!(create["params"].get("sessionId"), None);
        seat.answer(1, json!({"value": PIPELINE, "sessionId": SESSION})).unwrap();
        let create = seat.said();
        assert_eq!(create["params"]["constructorParams"]["mediaPipeline"], PIPELINE);
        assert_eq!(create["params"]["sessionId"], SESSION);
        seat.answer(2, json!({"value": ENDPOINT, "sessionId": SESSION})).unwrap();
        let subscribe = seat.said();
        assert_eq!((&subscribe["method"], &subscribe["params"]["object"]), (&json!("subscribe"), &json!(ENDPOINT)));
        seat.answer(3, json!({"value": "052061c1", "sessionId": SESSION})).unwrap();
        assert!(matches!(seat.heard(), Some(ServerMessage::Welcome { .. })));
        seat.say(ClientMessage::Join { room: "r".into() });
        let joined = ServerMessage::Joined { room: "r".into(), peers: vec![KURENTO.into()] };
        assert_eq!(seat.heard(), Some(joined));
        seat
    }

    fn opened() -> Self {
        for url in ["wss://h:8433", "wss://h:8433/kurento"] {
            assert_eq!(open(url).url, "wss://h:8433/kurento");
        }
        Self(open("wss://h:8433").dialect)
    }

    fn hear(&mut self, text: &str) -> Result<(), ClientError> {
        self.0.handle_frame(Message::text(text), Instant::now())
    }

    fn answer(&mut self, id: u64, result: Value) -> Result<(), ClientError> {
        self.hear(&json!({"id": id, "result": result, "jsonrpc": "2.0"}).to_string())
    }

    fn say(&mut self, message: ClientMessage) {
        self.0.say(&message).unwrap();
    }

    fn candidate(&mut self, line: &str) {
        let candidate = IceCandidate { candidate: line.into(), sdp_mid: Some("0".into()), ..IceCandidate::default() };
        self.say(ClientMessage::Candidate { to: KURENTO.into(), candidate: Some(candidate) });
    }

    fn said(&mut self) -> Value {
        let frame = self.0.waiting().frames.pop_front().expect("a frame");
        serde_json::from_str(frame.to_text().unwrap()).unwrap()
    }

    fn operation(&mut self) -> Value {
        self.said()["params"]["operation"].take()
    }

    fn heard(&mut self) -> Option<ServerMessage> {
        self.0.waiting().messages.pop_front()
    }
}

#[test]
fn an_endpoint_that_sends_back_answers_and_trickles() {
    let mut seat = Seat::new();
    seat.say(ClientMessage::Offer { to: KURENTO.into(), sdp: "v=0".into() });
    let connect = seat.said();
    assert_eq!(connect["params"]["operation"], "connect");
    assert_eq!(connect["params"]["operationParams"]["sink"], connect["params"]["object"]);
    let offer = seat.said();
    assert_eq!(offer["params"]["operationParams"]["offer"], "v=0");
    seat.candidate("candidate:1");
    assert!(seat.0.waiting().frames.is_empty(), "candidates wait for the answer");
    seat.answer(4, json!({"sessionId": SESSION})).unwrap();
    seat.answer(5, json!({"value": "v=0 answer", "sessionId": SESSION})).unwrap();
    assert!(matches!(seat.heard(), Some(ServerMessage::Answer { sdp, .. }) if sdp == "v=0 answer"));
    assert_eq!(seat.operation(), "gatherCandidates");
    let candidate = seat.said();
    assert_eq!(candidate["params"]["operationParams"]["candidate"]["candidate"], "candidate:1");
    seat.candidate("candidate:2");
    assert_eq!(seat.operation(), "addIceCandidate");
    let found = json!({"jsonrpc": "2.0", "method": "onEvent", "params": {"value": {
        "object": ENDPOINT, "type": "IceCandidateFound",
        "data": {"source": ENDPOINT, "tags": [], "timestamp": "1441277150", "type": "IceCandidateFound",
                 "candidate": {"__module__": "kurento", "__type__": "IceCandidate", "candidate": "candidate:3",
                               "sdpMid": "0", "sdpMLineIndex": 0}}}}});
    seat.hear(&found.to_string()).unwrap();
    let Some(ServerMessage::Candidate { candidate: Some(candidate), .. }) = seat.heard() else { panic!("none") };
    assert_eq!((candidate.candidate.as_str(), candidate.sdp_m_line_index), ("candidate:3", Some(0)));
    seat.say(ClientMessage::Leave);
    let release = seat.said();
    assert_eq!((&release["method"], &release["params"]["object"]), (&json!("release"), &json!(PIPELINE)));
}

#[test]
fn the_session_is_kept_alive_and_a_silent_server_is_noticed() {
    let mut seat = Seat::new();
    let due = seat.0.poll_timeout().expect("a time");
    seat.0.handle_timeout(due).unwrap();
    let ping = seat.said();
    assert_eq!((&ping["method"], &ping["params"]["interval"]), (&json!("ping"), &json!(240_000)));
    seat.answer(4, json!({"value": "pong"})).unwrap();
    let due = seat.0.poll_timeout().expect("a time");
    seat.0.handle_timeout(due).unwrap();
    let due = seat.0.poll_timeout().expect("a time");
    assert!(matches!(seat.0.handle_timeout(due), Err(ClientError::Silent { .. })));
}

#[test]
fn what_the_server_refuses_is_quoted() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":"33","message":"Invalid parameter format"}}"#;
    let said = Seat::opened().hear(error).unwrap_err().to_string();
    assert!(said.contains("create MediaPipeline: 33: Invalid parameter format"), "{said}");
    let rejected = json!({"rejected": {"code": 40007, "message": "no more sessions"}});
    let said = Seat::opened().answer(1, rejected).unwrap_err().to_string();
    assert!(said.contains("40007: no more sessions"), "{said}");
}

#[test]
fn junk_is_quoted() {
    for text in ["hello", "{}", r#"{"jsonrpc":"2.0","id":9,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        let error = Seat::opened().hear(text).unwrap_err().to_string();
        assert!(error.contains("breaks the protocol") && error.contains(text), "{error}");
    }
    let mut seat = Seat::new();
    seat.hear(r#"{"jsonrpc":"2.0","method":"onEvent","params":{"value":{"type":"EndOfStream"}}}"#).unwrap();
    assert!(seat.0.unexpected().unwrap().contains("EndOfStream"));
}
