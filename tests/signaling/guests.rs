//! Who is invited to a run may do what a page does, and nothing else; whatever one of them does, the others go on.

use crate::support::{Raw, http, server, tls, within};
use futures_util::SinkExt;
use harness::signaling::server::{Guest, GuestError, Reception};
use harness::signaling::{Limits, Server};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A page with this link, which may be turned away.
async fn visit(server: &Server, path: &str) -> (Raw, Value) {
    let url = format!("{}{}", server.endpoint().url.replace("/ws", "/"), path.replace("join/?", "join/ws?"));
    let (socket, _) = within("the upgrade", tokio_tungstenite::client_async(url, tls(server).await)).await.unwrap();
    let mut raw = Raw { id: String::new(), socket };
    let greeting = raw.next().await;
    (raw, greeting)
}

fn join() -> Value {
    json!({"join": {"agent": "a page\u{1b}[2J", "camera": false}})
}

/// One place after the other, each with somebody who has joined.
async fn joined<const N: usize>(server: &Server) -> ([Raw; N], Reception) {
    let reception = server.invite("run", (0..N).map(|number| format!("me/{number}")).collect()).unwrap();
    let mut pages = Vec::new();
    for invitation in reception.invitations() {
        let (mut page, greeting) = visit(server, &invitation.path).await;
        assert_eq!(greeting, json!({"place": {"run": "run", "peer": invitation.place}}));
        page.send(&join()).await;
        pages.push(page);
    }
    let mut counts = Vec::new();
    within("all to join", reception.all_joined(|count| counts.push(count))).await;
    assert_eq!(counts.last(), Some(&N));
    (pages.try_into().unwrap_or_else(|_| panic!("one for each place")), reception)
}

async fn call_is_answered(page: &mut Raw, guest: &Guest) {
    let answering = async {
        let call = page.next().await;
        assert_eq!((&call["call"], &call["args"]), (&json!("add"), &json!([1, 2])));
        page.send(&json!({"id": call["id"], "result": [3, "\u{1b}[31mred\n"]})).await;
    };
    let (result, ()) = tokio::join!(guest.call("add", vec![json!(1), json!(2)]), answering);
    assert_eq!(result.unwrap(), json!([3, "\u{fffd}[31mred\n"]), "what would steer a terminal is gone");
}

/// Why a guest is gone, once it is.
async fn gone(guest: &Guest) -> String {
    match within("the call to fail", guest.call("poll", Vec::new())).await {
        Err(GuestError::Gone(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn functions_are_called_and_fail_as_the_page_says() {
    let server = server(Limits::default()).await;
    let ([mut page], reception) = joined(&server).await;
    let guest = reception.close().remove("me/0").unwrap();
    assert_eq!((guest.agent.as_str(), guest.camera), ("a page [2J", false));
    call_is_answered(&mut page, &guest).await;
    let failing = async {
        let call = page.next().await;
        page.send(&json!({"id": call["id"], "error": "no\u{7} such thing"})).await;
    };
    let (result, ()) = tokio::join!(guest.call("stats", Vec::new()), failing);
    assert_eq!(result.unwrap_err().to_string(), "no  such thing");
    drop(guest);
    assert_eq!(page.close_code().await, Some(1000));
}

#[tokio::test]
async fn only_those_who_are_invited_come_in_and_each_once() {
    let server = server(Limits::default()).await;
    let (head, _) = http(&server, "GET /join/ws?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 404"), "nobody has invited anybody: {head}");

    let ([page], reception) = joined(&server).await;
    assert!(server.invite("another", vec!["me/0".into()]).is_err());
    let path = reception.invitations()[0].path.clone();
    for wrong in ["join/?", "join/?0000", &path[..path.len() - 1], &format!("{path}0")] {
        let (mut stranger, greeting) = visit(&server, wrong).await;
        assert!(greeting["refused"].as_str().unwrap().contains("none of this run's"), "{wrong}: {greeting}");
        assert_eq!(stranger.close_code().await, Some(1000));
    }
    let (_, greeting) = visit(&server, &path).await;
    assert!(greeting["refused"].as_str().unwrap().contains("for one person"), "{greeting}");

    // Who leaves in time makes room.
    drop(page);
    let again = async {
        loop {
            let (page, greeting) = visit(&server, &path).await;
            if greeting["place"].is_object() {
                return page;
            }
        }
    };
    let mut page = within("the place to be free", again).await;
    page.send(&join()).await;
    within("the page to join", reception.all_joined(|_| ())).await;
    let guests = reception.close();
    assert_eq!(guests.len(), 1);
    drop(guests);
    assert_eq!(page.close_code().await, Some(1000));
    let (_, greeting) = visit(&server, &path).await;
    assert!(greeting["refused"].as_str().unwrap().contains("run"), "{greeting}");
}

#[tokio::test]
async fn who_has_not_joined_when_the_run_begins_is_sent_home() {
    let server = server(Limits::default()).await;
    let reception = server.invite("run", vec!["me/0".into()]).unwrap();
    let (mut page, _) = visit(&server, &reception.invitations()[0].path).await;
    assert!(reception.close().is_empty());
    assert!(page.next().await["refused"].as_str().unwrap().contains("does not wait"));
    assert_eq!(page.close_code().await, Some(1008));
}

#[tokio::test]
async fn whoever_breaks_the_protocol_goes_alone() {
    let server = server(Limits::default()).await;
    let large = json!({"id": 1, "result": "x".repeat(2 << 20)}).to_string();
    let deep = format!("{{\"id\": 1, \"result\": {}1{}}}", "[".repeat(1000), "]".repeat(1000));
    let evil = [
        (Message::text("junk"), "broke the protocol"),
        (Message::text(json!({"id": 7, "result": null}).to_string()), "answered call 7, which is none"),
        (Message::text(join().to_string()), "joined twice"),
        (Message::text("{}"), "neither joins nor answers"),
        (Message::text(json!({"id": 1, "result": 1, "more": 2}).to_string()), "unknown field"),
        (Message::text(deep), "recursion limit"),
        (Message::text(large), "more than 1048576 bytes"),
        (Message::binary(vec![0; 10]), "binary message"),
    ];
    let (pages, reception) = joined::<9>(&server).await;
    let mut guests = reception.close();
    let mut pages = pages.into_iter();
    let (mut good, good_guest) = (pages.next().unwrap(), guests.remove("me/0").unwrap());
    for ((mut page, guest), (message, why)) in pages.zip(guests.into_values()).zip(evil) {
        // It may be cut off before all of it is sent.
        let _ = page.socket.send(message).await;
        let reason = gone(&guest).await;
        assert!(reason.contains(why), "{reason:?} for {why:?}");
        call_is_answered(&mut good, &good_guest).await;
    }
}

#[tokio::test]
async fn a_page_that_answers_with_too_much_is_cut_off() {
    let server = server(Limits::default()).await;
    let ([mut page], reception) = joined(&server).await;
    let guest = reception.close().remove("me/0").unwrap();
    let much = "x".repeat(1_000_000);
    let mut answered = 0;
    let answering = async {
        loop {
            let call = page.next().await;
            if !call["refused"].is_null() {
                return call["refused"].clone();
            }
            page.send(&json!({"id": call["id"], "result": much})).await;
        }
    };
    let calling = async {
        while within("an answer", guest.call("stats", Vec::new())).await.is_ok() {
            answered += 1;
            assert!(answered < 1_000, "nothing bounds what a page says");
        }
    };
    let (refused, ()) = tokio::join!(answering, calling);
    assert!(refused.as_str().unwrap().contains("more than a call can need"), "{refused}");
    assert!(answered >= 7, "a burst of 8 MB passes: {answered}");
}

#[tokio::test]
async fn a_page_that_goes_is_told_from_one_whose_connection_breaks() {
    let server = server(Limits::default()).await;
    let ([mut closing, breaking], reception) = joined(&server).await;
    let mut guests = reception.close();
    let (first, second) = (guests.remove("me/0").unwrap(), guests.remove("me/1").unwrap());
    closing.socket.close(None).await.unwrap();
    assert_eq!(gone(&first).await, "the page was closed or reloaded");
    drop(breaking);
    assert_eq!(gone(&second).await, "the connection to the page is lost");
}
