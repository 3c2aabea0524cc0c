//! The bundled server in its other protocols: all call each other, and junk is answered in its own protocol and disturbs nobody.

use crate::support::{get, metric, server, tls, within};
use futures_util::{SinkExt, StreamExt};
use harness::plan::Role;
use harness::signaling::client::Client;
use harness::signaling::dialect::{PeerJs, Place};
use harness::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};
use harness::signaling::{Limits, Protocol, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A WebSocket at a path of the server, on which nothing has been said.
struct Raw(WebSocketStream<TlsStream<TcpStream>>);

impl Raw {
    async fn open(server: &Server, path: &str) -> Self {
        let url = format!("{}{path}", server.endpoint().url.trim_end_matches("/ws"));
        let (socket, _) = within("the upgrade", tokio_tungstenite::client_async(url, tls(server).await)).await.unwrap();
        Self(socket)
    }

    /// A page of socket.io that is connected.
    async fn socket_io(server: &Server, room: &str) -> Self {
        let mut raw = Self::open(server, &format!("/socket.io/?EIO=4&transport=websocket&room={room}")).await;
        assert!(raw.next().await.starts_with("0{"));
        raw.send("40").await;
        assert!(raw.next().await.starts_with("40{"));
        assert!(raw.next().await.starts_with("42[\"newUser\""));
        raw
    }

    /// A client of PeerJS that is connected.
    async fn peer_js(server: &Server, id: &str) -> Self {
        let mut raw = Self::open(server, &format!("/peerjs?key=peerjs&id={id}&token=t")).await;
        assert_eq!(raw.next().await, r#"{"type":"OPEN"}"#);
        raw
    }

    async fn send(&mut self, text: impl Into<String>) {
        within("sending", self.0.send(Message::text(text.into()))).await.unwrap();
    }

    /// The next text that is no ping of Engine.IO, or how the connection ended.
    async fn next(&mut self) -> String {
        loop {
            match within("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3").await,
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return format!("ended: {other:?}"),
            }
        }
    }
}

async fn client(server: &Server, protocol: &Protocol, place: Place<'_>) -> Client {
    let endpoint = server.endpoint().speaking(protocol.clone());
    within("connecting", Client::connect_for(&endpoint, place, |_| {})).await.unwrap()
}

/// Offer, answer and a candidate between two clients, whatever each of them speaks.
async fn call(server: &Server, (caller, callee): (&Protocol, &Protocol), room: &str) {
    let place = |role| Place { room: Some(room), role: Some(role), ..Place::default() };
    let mut callee = client(server, callee, place(Role::Answerer)).await;
    within("joining", callee.join(room)).await.unwrap();
    let mut caller = client(server, caller, place(Role::Offerer)).await;
    let present = within("joining", caller.join(room)).await.unwrap();
    assert_eq!(present, [callee.id()]);
    let (caller_id, to) = (caller.id().to_owned(), callee.id().to_owned());
    let ((calling, mut heard_by_caller), (called, mut heard_by_callee)) = (caller.split(), callee.split());

    let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".to_owned();
    calling.send(&ClientMessage::Offer { to: to.clone(), sdp: sdp.clone() }).await.unwrap();
    let line = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host".to_owned();
    let candidate = IceCandidate {
        candidate: line,
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        ..IceCandidate::default()
    };
    calling.send(&ClientMessage::Candidate { to, candidate: Some(candidate.clone()) }).await.unwrap();
    let offer = ServerMessage::Offer { from: caller_id.clone(), sdp: sdp.clone() };
    assert_eq!(next_of_call(&mut heard_by_callee).await, offer);
    let candidate = ServerMessage::Candidate { from: caller_id.clone(), candidate: Some(candidate) };
    assert_eq!(next_of_call(&mut heard_by_callee).await, candidate);

    called.send(&ClientMessage::Answer { to: caller_id, sdp: sdp.clone() }).await.unwrap();
    assert!(
        matches!(next_of_call(&mut heard_by_caller).await, ServerMessage::Answer { sdp: heard, .. } if heard == sdp)
    );
}

async fn next_of_call(receiver: &mut harness::signaling::client::Receiver) -> ServerMessage {
    loop {
        match within("a message", receiver.next()).await.unwrap() {
            ServerMessage::PeerJoined { .. } => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn clients_of_all_protocols_call_each_other() {
    let server = server(Limits::default()).await;
    let socket_io = Protocol::SocketIo(Default::default());
    let peer_js = Protocol::PeerJs(PeerJs { id: Some("{room}-{role}".into()), ..PeerJs::default() });
    for (number, (caller, callee)) in [
        (&Protocol::Harness, &socket_io),
        (&socket_io, &Protocol::Harness),
        (&socket_io, &socket_io),
        // The key of PeerJS is its room.
        (&Protocol::Harness, &peer_js),
        (&peer_js, &peer_js),
    ]
    .into_iter()
    .enumerate()
    {
        let room = if *callee == peer_js { "peerjs".to_owned() } else { format!("room{number}") };
        call(&server, (caller, callee), &room).await;
    }
}

#[tokio::test]
async fn junk_of_a_page_of_socket_io_is_refused_in_its_own_words() {
    let server = server(Limits::default()).await;
    let (mut page, mut other) = (Raw::socket_io(&server, "r").await, Raw::socket_io(&server, "r").await);
    assert!(page.next().await.starts_with("42[\"newUser\""));
    for (junk, why) in [
        (r#"42["weather","fine"]"#, "the events are"),
        (r#"42["offer",7]"#, "must be an object"),
        (r#"42["offer",{"offer":{"sdp":"v=0"}}]"#, "must be a string"),
        (r#"42["offer",{"to":"nobody","offer":7}]"#, "no session description"),
        (r#"42["offer",{"to":"nobody","offer":{"type":"offer","sdp":"v=0"}}]"#, "no client has this id"),
        (r#"42["join",7]"#, "name of a room"),
    ] {
        page.send(junk).await;
        let said = page.next().await;
        assert!(said.starts_with("42[\"refused\"") && said.contains(why), "{junk}: {said}");
    }
    page.send("junk").await;
    assert!(page.next().await.starts_with("ended"), "Engine.IO ends a connection that breaks it");
    assert!(other.next().await.starts_with("42[\"userLeft\""), "and nobody else notices more than that");
}

#[tokio::test]
async fn a_page_of_socket_io_that_asks_for_an_acknowledgement_gets_one() {
    let server = server(Limits::default()).await;
    let mut page = Raw::socket_io(&server, "r").await;
    page.send(r#"420["join","another"]"#).await;
    let mut heard = [page.next().await, page.next().await];
    heard.sort();
    assert!(heard[0].starts_with("42[\"newUser\"") && heard[1] == "430[]", "{heard:?}");
    page.send(r#"421["offer",7]"#).await;
    let mut heard = [page.next().await, page.next().await];
    heard.sort();
    assert!(heard[0].starts_with("42[\"refused\"") && heard[1].starts_with("431[{\"error\":\"offer: "), "{heard:?}");
}

#[tokio::test]
async fn an_older_engine_io_is_refused() {
    let server = server(Limits::default()).await;
    let (head, body) = get(&server, "/socket.io/?EIO=3&transport=polling").await;
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("Unsupported protocol version"), "{head}\n{body}");
    assert!(head.to_lowercase().contains("access-control-allow-origin: *"), "{head}");
}

#[tokio::test]
async fn peer_js_is_refused_as_a_peer_server_does() {
    let server = server(Limits::default()).await;
    let mut nobody = Raw::open(&server, "/peerjs?key=peerjs").await;
    assert!(nobody.next().await.contains("No id, token, or key supplied"));
    assert!(nobody.next().await.starts_with("ended"));

    let mut alice = Raw::peer_js(&server, "alice").await;
    let mut second = Raw::open(&server, "/peerjs?key=peerjs&id=alice&token=u").await;
    assert!(second.next().await.contains("ID-TAKEN"));

    for junk in ["junk", "7", r#"{"type":"WEATHER"}"#, r#"{"type":"OFFER","dst":7}"#] {
        alice.send(junk).await;
        let said: Value = serde_json::from_str(&alice.next().await).unwrap();
        assert_eq!(said["type"], "ERROR", "{junk}: {said}");
    }
    alice.send(json!({"type": "LEAVE", "dst": "bob"}).to_string()).await;
    let said: Value = serde_json::from_str(&alice.next().await).unwrap();
    assert_eq!(said, json!({"type": "EXPIRE", "src": "bob", "dst": "alice"}), "after five seconds");

    let (head, body) = get(&server, "/peerjs/id?ts=1").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == 32, "{head}\n{body}");
}

#[tokio::test]
async fn a_server_with_clients_of_all_protocols_shuts_down_and_forgets_them() {
    let server = server(Limits::default()).await;
    let (mut page, mut peer) = (Raw::socket_io(&server, "r").await, Raw::peer_js(&server, "a").await);
    drop(Raw::socket_io(&server, "r").await);
    assert!(page.next().await.starts_with("42[\"newUser\""));
    assert!(page.next().await.starts_with("42[\"userLeft\""), "who is gone is noticed");
    assert_eq!(metric(&server, "clients").await, 2);
    within("the end", server.shutdown()).await;
    let ends = async {
        while !page.next().await.starts_with("ended") {}
        while !peer.next().await.starts_with("ended") {}
    };
    within("the end of connections", ends).await;
}
