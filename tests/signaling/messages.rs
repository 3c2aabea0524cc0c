//! Messages reach whom they are for, untouched; what cannot be acted upon is answered, and disturbs nobody else.

use crate::support::{Raw, metric, server, within};
use harness::signaling::Limits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

async fn refusal(client: &mut Raw, message: Value) -> Value {
    client.send(&message).await;
    let error = client.next().await;
    assert_eq!(error["type"], "error", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    error
}

#[tokio::test]
async fn a_call_is_relayed_untouched_and_in_order() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let candidate = json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0",
        "sdpMLineIndex": 0, "usernameFragment": null});
    a.send(&json!({"type": "offer", "to": b.id, "sdp": "v=0\r\n", "extra": {"deep": [1, {"x": null}]}})).await;
    a.send(&json!({"type": "candidate", "to": b.id, "candidate": candidate})).await;
    a.send(&json!({"type": "candidate", "to": b.id, "candidate": null})).await;
    let expected = json!({"type": "offer", "from": a.id, "sdp": "v=0\r\n", "extra": {"deep": [1, {"x": null}]}});
    assert_eq!(b.next().await, expected);
    assert_eq!(b.next().await, json!({"type": "candidate", "from": a.id, "candidate": candidate}));
    assert_eq!(b.next().await, json!({"type": "candidate", "from": a.id, "candidate": null}));
    b.send(&json!({"type": "answer", "to": a.id, "sdp": "v=0"})).await;
    assert_eq!(a.next().await, json!({"type": "answer", "from": b.id, "sdp": "v=0"}));
    assert_eq!(metric(&server, "messages_relayed_total").await, 4);
}

#[tokio::test]
async fn nobody_can_speak_for_another() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    a.send(&json!({"type": "offer", "from": b.id, "to": b.id, "sdp": "x"})).await;
    assert_eq!(b.next().await, json!({"type": "offer", "from": a.id, "sdp": "x"}));
}

#[tokio::test]
async fn ids_are_long_and_all_different() {
    let server = server(Limits::default()).await;
    let (a, b) = Raw::pair(&server).await;
    assert_ne!(a.id, b.id);
    assert!(a.id.len() * 4 >= 96, "{}", a.id);
}

#[tokio::test]
async fn an_unknown_recipient_is_reported_to_the_sender_alone() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let error = refusal(&mut a, json!({"type": "offer", "to": "nobody", "sdp": "x"})).await;
    assert_eq!(
        (&error["code"], &error["about"], &error["to"]),
        (&json!("unknown-recipient"), &json!("offer"), &json!("nobody"))
    );
    b.is_undisturbed().await;
    assert_eq!(metric(&server, "errors_total{code=\"unknown-recipient\"}").await, 1);
}

#[tokio::test]
async fn a_client_of_another_room_cannot_be_reached() {
    let server = server(Limits::default()).await;
    let mut a = Raw::join(&server, "one").await;
    let mut b = Raw::join(&server, "two").await;
    let error = refusal(&mut a, json!({"type": "answer", "to": b.id, "sdp": "x"})).await;
    assert_eq!(error["code"], "wrong-room");
    b.is_undisturbed().await;
}

#[tokio::test]
async fn every_other_fault_has_its_code() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let mut outside = Raw::connect(&server).await;
    let expect = async |client: &mut Raw, message: Value, code: &str| {
        assert_eq!(refusal(client, message.clone()).await["code"], code, "{message}");
    };
    expect(&mut a, json!({"type": "dance"}), "unknown-type").await;
    expect(&mut a, json!({"type": "join", "room": "other"}), "already-joined").await;
    expect(&mut a, json!({"type": 7}), "malformed").await;
    expect(&mut a, json!({"room": "x"}), "malformed").await;
    expect(&mut a, json!({"type": "offer", "sdp": "x"}), "malformed").await;
    expect(&mut a, json!({"type": "ping"}), "malformed").await;
    expect(&mut a, json!(["offer"]), "malformed").await;
    expect(&mut outside, json!({"type": "offer", "to": b.id, "sdp": "x"}), "not-joined").await;
    expect(&mut outside, json!({"type": "leave"}), "not-joined").await;
    expect(&mut outside, json!({"type": "join", "room": ""}), "bad-room").await;
    expect(&mut outside, json!({"type": "join", "room": "x".repeat(129)}), "bad-room").await;
    b.is_undisturbed().await;
}

#[tokio::test]
async fn text_that_is_no_json_and_binary_frames_are_malformed() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    for text in ["", "{", "hello", "{\"type\":\"offer\",\"type\":\"answer\"}"] {
        a.send_text(text).await;
        assert_eq!(a.next().await["code"], "malformed", "{text}");
    }
    use futures_util::SinkExt;
    within("sending", a.socket.send(Message::Binary(Bytes::from_static(b"{}")))).await.unwrap();
    assert_eq!(a.next().await["code"], "malformed");
    b.is_undisturbed().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_the_connection() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let frame = Frame::message(Bytes::from_static(b"\xff\xfe"), OpCode::Data(Data::Text), true);
    within("sending", a.socket.send(Message::Frame(frame))).await.unwrap();
    assert_eq!(a.close_code().await, Some(1007));
    assert_eq!(b.next().await, json!({"type": "peer-left", "id": a.id}));
}

#[tokio::test]
async fn leaving_is_told_and_the_room_is_free_again() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    a.send(&json!({"type": "leave"})).await;
    assert_eq!(a.next().await, json!({"type": "left", "room": "room"}));
    assert_eq!(b.next().await, json!({"type": "peer-left", "id": a.id}));
    a.send(&json!({"type": "join", "room": "room"})).await;
    assert_eq!(a.next().await, json!({"type": "joined", "room": "room", "peers": [b.id]}));
    assert_eq!(b.next().await, json!({"type": "peer-joined", "id": a.id}));
}

#[tokio::test]
async fn a_connection_that_ends_leaves_its_room() {
    let server = server(Limits::default()).await;
    let (a, mut b) = Raw::pair(&server).await;
    let id = a.id.clone();
    drop(a);
    assert_eq!(b.next().await, json!({"type": "peer-left", "id": id}));
}

#[tokio::test]
async fn a_nonce_comes_back_as_it_was() {
    let server = server(Limits::default()).await;
    let mut a = Raw::connect(&server).await;
    for nonce in [json!(null), json!(1.5), json!("x"), json!({"a": [true]})] {
        a.send(&json!({"type": "ping", "nonce": nonce})).await;
        assert_eq!(a.next().await, json!({"type": "pong", "nonce": nonce}));
    }
}
