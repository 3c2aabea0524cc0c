//! What the server answers over HTTPS.

use crate::support::{get, http, server};
use harness::signaling::Limits;

#[tokio::test]
async fn a_page_comes_with_the_headers_that_isolate_it() {
    let server = server(Limits::default()).await;
    let (head, body) = get(&server, "/").await;
    assert_eq!(body, "<p>hello");
    for line in [
        "HTTP/1.1 200 OK",
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "cross-origin-opener-policy: same-origin",
        "cross-origin-embedder-policy: require-corp",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
}

#[tokio::test]
async fn the_ca_is_served() {
    let server = server(Limits::default()).await;
    assert_eq!(Some(get(&server, "/ca.pem").await.1.as_str()), server.identity().ca_pem());
}

#[tokio::test]
async fn no_path_leads_out() {
    let server = server(Limits::default()).await;
    for path in
        ["/../Cargo.toml", "/..%2fCargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd", "/etc/passwd", "/./", "/%00", "/."]
    {
        let (head, body) = get(&server, path).await;
        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        assert_eq!(body, "no such page\n", "{path}");
    }
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let server = server(Limits::default()).await;
    assert_eq!(get(&server, "/healthz").await.1, "ok\n");
    let (head, body) = get(&server, "/metrics").await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert!(body.contains("harness_signaling_connections 1\n"), "{body}");
}

#[tokio::test]
async fn other_methods_and_plain_requests_to_the_websocket_are_refused() {
    let server = server(Limits::default()).await;
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(http(&server, request).await.0.starts_with("HTTP/1.1 405"));
    let (head, body) = get(&server, "/ws").await;
    assert!(head.starts_with("HTTP/1.1 426"), "{head}");
    assert!(body.contains("WebSocket upgrade"), "{body}");
}
