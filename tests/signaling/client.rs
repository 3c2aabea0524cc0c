//! The native client: a call's worth of messages, and every way in which a server can be wrong.

use crate::support::{server, within};
use harness::signaling::protocol::{ClientMessage, ErrorCode, IceCandidate, ServerMessage};
use harness::signaling::{Client, ClientError, Endpoint, Identity, Limits, Server};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn connect(server: &Server) -> Client {
    within("connecting", Client::connect(&server.endpoint())).await.unwrap()
}

/// What a client says of a server whose TLS is right and that then sends `bytes` to whoever comes.
async fn against(bytes: &'static [u8]) -> ClientError {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    // A certificate is only to be had with a server around it.
    let real = server(Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = rcgen_config();
    let mut endpoint = real.endpoint();
    endpoint.url = format!("wss://{address}/ws");
    endpoint.tls = config.1;
    let acceptor = TlsAcceptor::from(config.0);
    let liar = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut tls) = acceptor.accept(tcp).await else { return };
        let mut head = vec![0; 4096];
        let _ = tls.read(&mut head).await;
        let _ = tls.write_all(bytes).await;
        let _ = tls.shutdown().await;
        let _ = tls.read_to_end(&mut head).await;
    };
    let (_, outcome) = within("the liar", async { tokio::join!(liar, Client::connect(&endpoint)) }).await;
    outcome.unwrap_err()
}

fn rcgen_config() -> (std::sync::Arc<rustls::ServerConfig>, std::sync::Arc<rustls::ClientConfig>) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()).into();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server.into(), client.into())
}

#[tokio::test]
async fn two_clients_make_a_call() {
    let server = server(Limits::default()).await;
    let (mut a, mut b) = (connect(&server).await, connect(&server).await);
    assert!(within("joining", a.join("r")).await.unwrap().is_empty());
    assert_eq!(within("joining", b.join("r")).await.unwrap(), [a.id().to_owned()]);
    // The peer-joined comes before the pong, and must not be lost.
    within("the pong", a.ping()).await.unwrap();

    let (from_a, from_b) = (a.id().to_owned(), b.id().to_owned());
    let ((a_sender, mut a), (b_sender, mut b)) = (a.split(), b.split());
    assert_eq!(within("b", a.next()).await.unwrap(), ServerMessage::PeerJoined { id: from_b.clone() });
    let sdp = "v=0\r\n".to_owned();
    a_sender.send(&ClientMessage::Offer { to: from_b.clone(), sdp: sdp.clone() }).await.unwrap();
    assert_eq!(
        within("offer", b.next()).await.unwrap(),
        ServerMessage::Offer { from: from_a.clone(), sdp: sdp.clone() }
    );
    b_sender.send(&ClientMessage::Answer { to: from_a.clone(), sdp: sdp.clone() }).await.unwrap();
    assert_eq!(within("answer", a.next()).await.unwrap(), ServerMessage::Answer { from: from_b.clone(), sdp });
    let candidate = Some(IceCandidate { candidate: "c".into(), ..IceCandidate::default() });
    for candidate in [candidate, None] {
        a_sender
            .clone()
            .send(&ClientMessage::Candidate { to: from_b.clone(), candidate: candidate.clone() })
            .await
            .unwrap();
        let expected = ServerMessage::Candidate { from: from_a.clone(), candidate };
        assert_eq!(within("candidate", b.next()).await.unwrap(), expected);
    }
    a_sender.close().await;
    assert_eq!(within("a to leave", b.next()).await.unwrap(), ServerMessage::PeerLeft { id: from_a });
    assert!(matches!(within("the end", a.next()).await.unwrap_err(), ClientError::Closed { .. }));
}

#[tokio::test]
async fn a_refused_join_is_an_error_of_the_server() {
    let server = server(Limits::default()).await;
    let mut client = connect(&server).await;
    let error = within("joining", client.join("")).await.unwrap_err();
    assert!(matches!(error, ClientError::Server { code: ErrorCode::BadRoom, .. }), "{error}");
    assert!(within("joining", client.join("r")).await.is_ok());
}

#[tokio::test]
async fn a_shutdown_is_told_with_its_code() {
    let server = server(Limits::default()).await;
    let (_sender, mut receiver) = connect(&server).await.split();
    let (_, error) = within("the shutdown", async { tokio::join!(server.shutdown(), receiver.next()) }).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::Closed { code: Some(1001), .. }), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let server = server(Limits::default()).await;
    let endpoint = server.endpoint();
    within("the shutdown", server.shutdown()).await;
    let error = within("the refusal", Client::connect(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_matter_of_dns() {
    let mut endpoint = server(Limits::default()).await.endpoint();
    endpoint.url = "wss://no-such-host.invalid:1/ws".into();
    let error = within("the resolver", Client::connect(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ClientError::Dns { .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_untrusted() {
    let (one, other) = (server(Limits::default()).await, server(Limits::default()).await);
    let endpoint = Endpoint { tls: other.endpoint().tls, ..one.endpoint() };
    let error = within("the refusal", Client::connect(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_its_names() {
    let server = server(Limits::default()).await;
    let mut endpoint = server.endpoint();
    // Loopback as well, but not an address that the certificate names.
    let all = Server::start(harness::signaling::ServerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        identity: Identity::generate(&[]).unwrap(),
        pages: Vec::new(),
        limits: Limits::default(),
    });
    let all = all.await.unwrap();
    endpoint.tls = all.endpoint().tls;
    endpoint.url = format!("wss://127.0.0.2:{}/ws", all.address().port());
    let error = within("the refusal", Client::connect(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongName { .. }) && error.to_string().contains("localhost"), "{error}");
}

#[tokio::test]
async fn a_path_without_websocket_is_refused_with_its_status() {
    let server = server(Limits::default()).await;
    let mut endpoint = server.endpoint();
    endpoint.url = endpoint.url.replace("/ws", "/elsewhere");
    let error = within("the refusal", Client::connect(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ClientError::Upgrade { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_http_breaks_the_protocol() {
    let error = against(b"220 mail.example ESMTP\r\n\r\n").await;
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_has_closed() {
    let error = against(b"").await;
    assert!(matches!(error, ClientError::Closed { code: None, .. } | ClientError::Protocol { .. }), "{error:?}");
}
