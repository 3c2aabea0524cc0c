//! Whoever goes past a limit is told, or cut off; everybody else goes on.

use crate::support::{Raw, metric, server, within};
use futures_util::{SinkExt, StreamExt};
use harness::signaling::Limits;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn an_oversized_message_is_answered_and_then_the_connection_is_closed() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let text = json!({"type": "offer", "to": b.id, "sdp": "x".repeat(64 << 10)}).to_string();
    // Several messages more behind it: the explanation must arrive all the same.
    for _ in 0..50 {
        a.socket.feed(Message::text(text.clone())).await.unwrap();
    }
    within("sending", a.socket.flush()).await.unwrap();
    assert_eq!(a.next().await["code"], "too-large");
    assert_eq!(a.close_code().await, Some(1009));
    assert_eq!(b.next().await, json!({"type": "peer-left", "id": a.id}));
    b.is_undisturbed().await;
}

#[tokio::test]
async fn the_largest_message_passes() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    let frame = json!({"type": "offer", "to": b.id, "sdp": ""}).to_string().len();
    let sdp = "x".repeat((64 << 10) - frame);
    a.send(&json!({"type": "offer", "to": b.id, "sdp": sdp})).await;
    assert_eq!(b.next().await, json!({"type": "offer", "from": a.id, "sdp": sdp}));
}

#[tokio::test]
async fn a_flood_is_dropped_with_an_error_and_cut_off_when_it_goes_on() {
    let limits = Limits { messages_per_second: 1, burst: 10, dropped_messages: 5, ..Limits::default() };
    let server = server(limits).await;
    let (mut a, mut b) = Raw::pair(&server).await;
    // The join has taken one message of the burst.
    for _ in 0..30 {
        a.socket.feed(Message::text(json!({"type": "offer", "to": b.id, "sdp": "x"}).to_string())).await.unwrap();
    }
    within("sending", a.socket.flush()).await.unwrap();
    for _ in 0..9 {
        assert_eq!(b.next().await["type"], "offer");
    }
    for _ in 0..5 {
        assert_eq!(a.next().await["code"], "too-many-messages");
    }
    assert_eq!(a.close_code().await, Some(1008));
    assert_eq!(b.next().await, json!({"type": "peer-left", "id": a.id}));
    assert_eq!(metric(&server, "clients_cut_off_total{reason=\"too-many-messages\"}").await, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_the_others_go_on() {
    let limits = Limits { queue_bytes: 256 << 10, ..Limits::default() };
    let server = server(limits).await;
    let (mut a, deaf) = Raw::pair(&server).await;
    let mut other = Raw::join(&server, "room").await;
    assert_eq!(a.next().await["type"], "peer-joined");

    let message = json!({"type": "offer", "to": deaf.id, "sdp": "x".repeat(60_000)}).to_string();
    let gone = json!({"type": "peer-left", "id": deaf.id});
    for sent in 0.. {
        assert!(sent < 2_000, "120 MB wait for a client that does not read");
        a.send_text(message.clone()).await;
        other.send(&json!({"type": "ping", "nonce": sent})).await;
        let mut answer = other.next().await;
        let is_gone = answer == gone;
        if is_gone {
            answer = other.next().await;
        }
        assert_eq!(answer, json!({"type": "pong", "nonce": sent}));
        if is_gone {
            break;
        }
    }
    assert_eq!(a.next().await, gone);
    other.is_undisturbed().await;
    assert_eq!(metric(&server, "clients_cut_off_total{reason=\"slow-reader\"}").await, 1);
}

#[tokio::test]
async fn a_room_takes_so_many_clients() {
    let server = server(Limits { room_clients: 2, ..Limits::default() }).await;
    let (_a, _b) = Raw::pair(&server).await;
    let mut c = Raw::connect(&server).await;
    c.send(&json!({"type": "join", "room": "room"})).await;
    assert_eq!(c.next().await["code"], "room-full");
    c.is_undisturbed().await;
}

#[tokio::test]
async fn the_server_takes_so_many_connections() {
    let server = server(Limits { connections: 1, ..Limits::default() }).await;
    let mut a = Raw::connect(&server).await;
    let error = harness::signaling::Client::connect(&server.endpoint()).await.unwrap_err();
    assert!(matches!(error, harness::signaling::ClientError::Tls { .. }), "{error}");
    a.is_undisturbed().await;
    within("closing", a.socket.close(None)).await.unwrap();
    while within("the end", a.socket.next()).await.is_some() {}
    // The seat is free once the server's task has ended, which nobody is told.
    within("a free seat", async {
        while harness::signaling::Client::connect(&server.endpoint()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
