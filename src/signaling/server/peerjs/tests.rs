use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::signaling::server::Limits;
use crate::signaling::server::hub::{Hub, Id};
use crate::signaling::server::outbox::{End, Outbox};

/// A client, and what it hears.
struct Seat {
    id: Id,
    outbox: Arc<Outbox>,
    tongue: PeerJs,
}

impl Seat {
    fn new(hub: &Hub, id: &str) -> Self {
        let claim = Claim::parse(&format!("key=peerjs&id={id}&token=t")).unwrap();
        let outbox = Arc::new(Outbox::new(&hub.limits));
        let mut seat = Self { id: id.into(), outbox, tongue: PeerJs::new(claim) };
        assert!(hub.register(seat.id.clone(), seat.outbox.clone(), false, seat.tongue.token()));
        let scene = Scene { hub, id: &seat.id, outbox: &seat.outbox };
        seat.tongue.greet(scene);
        seat
    }

    fn say(&mut self, hub: &Hub, message: &Value) {
        self.tongue.act(Scene { hub, id: &self.id, outbox: &self.outbox }, &message.to_string());
    }

    fn heard(&mut self) -> Vec<Value> {
        let texts = self.outbox.take().into_iter().filter_map(|text| self.tongue.hear(text));
        texts.map(|text| serde_json::from_str(&text).unwrap()).collect()
    }
}

fn offer(to: &str) -> Value {
    let sdp = json!({"type": "offer", "sdp": "v=0\r\nm=audio 9"});
    json!({"type": "OFFER", "dst": to, "payload": {
        "sdp": sdp, "type": "media", "connectionId": "mc_1", "metadata": {"room": 7}}})
}

#[test]
fn a_claim_needs_key_id_and_token() {
    assert_eq!(Claim::parse("key=k&id=a-1&token=t&version=1.5.5").unwrap().id, "a-1");
    for query in ["", "key=k&id=a", "id=a&token=t", "key=k&token=t"] {
        assert!(Claim::parse(query).unwrap_err().to_string().contains("No id, token, or key"), "{query}");
    }
    let key = "k".repeat(129);
    assert!(Claim::parse(&format!("key={key}&id=a&token=t")).unwrap_err().to_string().contains("Invalid key"));
    for id in ["%22", "a%20b%22", "-a", &"a".repeat(65)] {
        assert!(Claim::parse(&format!("key=k&token=t&id={id}")).is_err(), "{id}");
    }
}

#[test]
fn clients_of_peerjs_get_what_each_other_sent() {
    let hub = Hub::new(Limits::default());
    let (mut a, mut b) = (Seat::new(&hub, "a"), Seat::new(&hub, "b"));
    assert_eq!(b.heard(), [json!({"type": "OPEN"})]);
    a.say(&hub, &offer("b"));
    let mut expected = offer("b");
    expected["src"] = "a".into();
    assert_eq!(b.heard(), [expected]);
    let candidate = json!({"type": "CANDIDATE", "dst": "b", "payload": {
        "candidate": {"candidate": "candidate:1"}, "type": "media", "connectionId": "mc_1"}});
    a.say(&hub, &candidate);
    assert_eq!(b.heard()[0]["payload"], candidate["payload"]);
    a.say(&hub, &json!({"type": "LEAVE", "dst": "b"}));
    assert_eq!(b.heard(), [json!({"type": "LEAVE", "src": "a", "dst": "b"})]);
}

#[test]
fn who_does_not_know_of_connections_is_given_one() {
    let hub = Hub::new(Limits::default());
    let mut a = Seat::new(&hub, "a");
    let own: Id = "own".into();
    let outbox = Arc::new(Outbox::new(&hub.limits));
    assert!(hub.register(own.clone(), outbox.clone(), true, None));
    hub.join(&own, "peerjs").unwrap();
    a.heard();
    let relay = |text: &str| hub.relay(&own, "a", || text.into()).unwrap();
    relay(r#"{"type":"offer","from":"own","sdp":"v=0\r\nm=video 9"}"#);
    relay(r#"{"type":"candidate","from":"own","candidate":{"candidate":"candidate:1"}}"#);
    relay(r#"{"type":"candidate","from":"own","candidate":null}"#);
    let heard = a.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!((&heard[0]["type"], &heard[0]["payload"]["type"]), (&json!("OFFER"), &json!("media")));
    assert_eq!(heard[0]["payload"]["connectionId"], heard[1]["payload"]["connectionId"]);

    outbox.take();
    let payload = json!({"sdp": {"type": "answer", "sdp": "v=0"}, "type": "media", "connectionId": "mc_own1"});
    a.say(&hub, &json!({"type": "ANSWER", "dst": "own", "payload": payload}));
    let answer: Value = serde_json::from_str(&outbox.take()[0]).unwrap();
    assert_eq!((&answer["type"], &answer["from"], &answer["sdp"]), (&json!("answer"), &json!("a"), &json!("v=0")));
}

#[test]
fn a_message_waits_for_its_recipient_and_then_expires() {
    let hub = Hub::new(Limits::default());
    let mut a = Seat::new(&hub, "a");
    assert_eq!(a.heard(), [json!({"type": "OPEN"})]);
    a.say(&hub, &offer("b"));
    a.say(&hub, &offer("c"));
    assert!(a.heard().is_empty());
    let mut b = Seat::new(&hub, "b");
    let heard = b.heard();
    assert_eq!(heard[0], json!({"type": "OPEN"}));
    assert_eq!(heard[1]["type"], "OFFER", "{heard:?}");
    a.heard();
    let due = a.tongue.due().unwrap() + Duration::from_secs(1);
    a.tongue.lapse(Scene { hub: &hub, id: &a.id, outbox: &a.outbox }, due);
    assert_eq!(a.heard(), [json!({"type": "EXPIRE", "src": "c", "dst": "a"})]);
    assert_eq!(a.tongue.due(), None);
}

#[test]
fn who_connects_again_with_its_token_stays_who_it_is() {
    let hub = Hub::new(Limits::default());
    let (mut a, b) = (Seat::new(&hub, "a"), Seat::new(&hub, "b"));
    a.heard();
    hub.relay(&b.id, "a", || r#"{"type":"leave-call","from":"b"}"#.into()).unwrap();
    let (again, foreign) = (Arc::new(Outbox::new(&hub.limits)), Arc::new(Outbox::new(&hub.limits)));
    assert!(!hub.register(a.id.clone(), foreign.clone(), false, Some("another".into())));
    assert!(!hub.register(a.id.clone(), foreign, false, None));
    assert!(hub.register(a.id.clone(), again.clone(), false, a.tongue.token()));
    let former = a.outbox.poll_end(&Context::from_waker(Waker::noop()));
    assert_eq!(former, Poll::Ready(End::Superseded));
    hub.unregister(&a.id, &a.outbox);

    a.outbox = again;
    a.tongue.greet(Scene { hub: &hub, id: &a.id, outbox: &a.outbox });
    assert_eq!(a.heard(), [json!({"type": "LEAVE", "src": "b", "dst": "a"}), json!({"type": "OPEN"})]);
    assert_eq!(hub.levels().clients, 2);
    hub.unregister(&a.id, &a.outbox);
    assert_eq!(hub.levels().clients, 1);
}

#[test]
fn junk_is_answered_as_peer_server_does() {
    let hub = Hub::new(Limits::default());
    let mut a = Seat::new(&hub, "a");
    a.heard();
    for junk in [json!(7), json!({"type": "WEATHER"}), json!({"type": "OFFER"}), json!({"type": "OFFER", "dst": "b"})] {
        a.say(&hub, &junk);
        let heard = a.heard();
        assert_eq!(heard.len(), 1, "{junk}");
        assert_eq!(heard[0]["type"], "ERROR", "{junk}: {heard:?}");
    }
    a.say(&hub, &json!({"type": "HEARTBEAT"}));
    assert!(a.heard().is_empty());
}
