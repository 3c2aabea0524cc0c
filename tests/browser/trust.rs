//! A browser loads the page of a server whose certificate is pinned, and refuses one with another certificate.

use crate::support::{harness, machine, media_with_echo, plan, server};
use harness::peer::browser::{BrowserPool, Unavailable};
use harness::plan::Engine;

async fn the_pin_decides(engine: Engine) {
    let (server, impostor) = (server().await, server().await);
    let plan = plan(engine, engine, media_with_echo());
    let endpoint = server.endpoint();
    let pool = BrowserPool::new(harness());
    for (group, answer) in pool.prepare(&plan, &|_| machine(&endpoint)).await {
        let info = answer.unwrap_or_else(|error| panic!("{group}: {error}; {}", error.remedy()));
        assert!(info.browser_version.contains('.'), "{info:?}");
    }
    pool.close().await;

    // The same pins, but the server behind the address has another certificate.
    let mut wrong = impostor.endpoint();
    (wrong.leaf_sha256, wrong.spki_sha256) = (endpoint.leaf_sha256, endpoint.spki_sha256);
    let pool = BrowserPool::new(harness());
    for answer in pool.prepare(&plan, &|_| machine(&wrong)).await.into_values() {
        let error = answer.expect_err("a browser loaded the page of a server with the wrong certificate");
        assert!(matches!(error, Unavailable::Page { .. }), "{error}");
        let text = error.to_string().to_lowercase();
        assert!(text.contains("cert"), "{text}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_trusts_the_pinned_key_alone() {
    the_pin_decides(Engine::Chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_trusts_the_pinned_certificate_alone() {
    the_pin_decides(Engine::Firefox).await;
}
