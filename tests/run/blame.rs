//! Calls that fail at both ends: which failure is told follows from what happened, not from which end was the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::common::{Lab, Run, text};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

const CALLS: usize = 6;

/// What a server of socket.io makes of an event of one client that is meant for the other: what it tells whom.
type Relay = fn(event: &str, content: Value) -> Option<(Whom, String, Value)>;

#[derive(Clone, Copy)]
enum Whom {
    Sender,
    Other,
}

/// The clients by their ids.
type Clients = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>>;

/// Runs calls through such a server; gives the peer, phase and reason of each failure.
async fn failures_with(relay: Relay) -> Vec<(String, String, String)> {
    let lab = Lab::new();
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let ca = lab.dir.path().join("ca.pem");
    std::fs::write(&ca, pair.cert.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (acceptor, clients) = (TlsAcceptor::from(Arc::new(config)), Clients::default());
        for number in 0.. {
            let Ok((tcp, _)) = listener.accept().await else { return };
            tokio::spawn(serve(tcp, acceptor.clone(), format!("p{number}"), Arc::clone(&clients), relay));
        }
    });
    let scenario = format!(
        "name = \"blame\"\n[signaling]\nprotocol = \"socketio\"\nurl = \"wss://{address}\"\nca = \"{}\"\n\
         [signaling.socketio]\n\
         offer = {{ event = \"offer\", args = [{{ sdp = \"{{description}}\", to = \"{{to}}\" }}], from = \"/0/from\", at = \"/0/sdp\" }}\n\
         answer = {{ event = \"answer\", args = [{{ sdp = \"{{description}}\", to = \"{{to}}\" }}], from = \"/0/from\", at = \"/0/sdp\" }}\n\
         candidate = {{ event = \"candidate\", args = [{{ sdp = \"{{candidate}}\", to = \"{{to}}\" }}], from = \"/0/from\", at = \"/0/sdp\" }}\n\
         [[peers]]\ncount = {}\n[media]\nvideo = \"none\"\naudio = \"none\"\n[deadlines]\njoin = \"10s\"\nconnect = \"2s\"\n\
         [load]\nhold = \"200ms\"\n",
        text(&ca),
        2 * CALLS,
    );
    let child = lab.start(&lab.scenario("blame", &scenario));
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    serving.abort();
    let run = Run::new(output, &lab.out());
    let report = run.report();
    let failures = report["failures"].as_array().unwrap_or_else(|| panic!("{report}"));
    let said = |failure: &Value, what: &str| failure[what].as_str().expect(what).to_owned();
    let failures: Vec<_> =
        failures.iter().map(|it| (said(it, "peer"), said(it, "phase"), said(it, "reason"))).collect();
    assert_eq!(failures.len(), CALLS, "{failures:?}");
    failures
}

/// One client, for as long as it is there.
async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, id: String, clients: Clients, relay: Relay) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(acceptor.accept(tcp).await.ok()?).await.ok()?;
    let (inbox, mut told) = mpsc::unbounded_channel();
    clients.lock().unwrap().insert(id.clone(), inbox);
    let open = json!({"sid": id, "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1_000_000});
    socket.send(Message::text(format!("0{open}"))).await.ok()?;
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame?.ok()?,
            Some(frame) = told.recv() => {
                socket.send(frame).await.ok()?;
                continue;
            }
        };
        let Message::Text(packet) = frame else { continue };
        if packet.starts_with("40") {
            socket.send(Message::text(format!("40{}", json!({ "sid": id })))).await.ok()?;
        }
        let Some(event) = packet.strip_prefix("42") else { continue };
        let (name, content): (String, Value) = serde_json::from_str(event).unwrap();
        let to = content["to"].as_str().expect("to whom").to_owned();
        let content = json!({"sdp": content["sdp"], "from": id});
        if let Some((whom, name, content)) = relay(&name, content) {
            let whom = if matches!(whom, Whom::Other) { &to } else { &id };
            let frame = Message::text(format!("42{}", json!([name, content])));
            let _ = clients.lock().unwrap()[whom].send(frame);
        }
    }
}

/// All calls fail at the end that offers, in the same phase, with a reason that says all this.
fn assert_all(failures: &[(String, String, String)], phase: &str, words: &[&str]) {
    for (peer, of, reason) in failures {
        let number: usize = peer.rsplit('/').next().unwrap().parse().unwrap();
        assert!(number.is_multiple_of(2) && of == phase, "{failures:?}");
        assert!(words.iter().all(|words| reason.contains(words)), "{failures:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_heard_the_cause_is_told_before_one_that_waited() {
    let refusal: Relay = |event, _| {
        let error = json!({"code": 12, "text": "no such room"});
        (event == "offer").then_some((Whom::Sender, "error-message".into(), error))
    };
    let heard = ["the answer", "`error-message` (1×)", "no such room", "; the other end (offer): timed out"];
    assert_all(&failures_with(refusal).await, "answer", &heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_arrive_is_what_fails() {
    let drop: Relay = |event, content| (event != "answer").then(|| (Whom::Other, event.to_owned(), content));
    let waits = ["waiting for the answer", "; the other end (ICE): timed out"];
    assert_all(&failures_with(drop).await, "answer", &waits);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_stranger_is_named() {
    let strange: Relay = |event, mut content| {
        if event == "answer" {
            content["from"] = "somebody".into();
        }
        Some((Whom::Other, event.to_owned(), content))
    };
    let words = ["waiting for the answer", "an answer of \"somebody\" came", "; the other end (ICE)"];
    assert_all(&failures_with(strange).await, "answer", &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_the_name_of_an_offer_is_named() {
    let confused: Relay =
        |event, content| Some((Whom::Other, if event == "answer" { "offer" } else { event }.to_owned(), content));
    let words = ["waiting for the answer", "an offer of \"p", "; the other end (ICE)"];
    assert_all(&failures_with(confused).await, "answer", &words);
}
