//! Two people call each other on the page: by id, with camera, microphone and chat, and see how it goes.

use crate::people_support::{Browser, Window, connect, server};
use harness::plan::Engine;

/// Of all that is visible, what reaches beyond the width of a small phone. Some browsers have no window as narrow.
const BEYOND: &str = "
    document.documentElement.style.width = '360px';
    const beyond = [...document.body.querySelectorAll('*')].filter((element) => {
        const { width, left, right } = element.getBoundingClientRect();
        return width > 1 && (right > 360.5 || left < -0.5);
    });
    document.documentElement.style.width = '';
    return beyond.map((element) => element.id || element.tagName).join(' ');
";

async fn fits_a_phone(window: &Window<'_>, state: &str) {
    window.resize(360, 740).await;
    assert_eq!(window.script(BEYOND).await, "", "{state}");
}

async fn two_people(engine: Engine) {
    let server = server(0).await;
    let url = server.endpoint().page_url;
    let browser = Browser::start(engine).await;
    let one = browser.open(&url).await;
    let id = one.text("#own-id").await;
    let two = browser.open(&format!("{url}?call={id}")).await;
    assert_eq!(
        two.script("return document.querySelector('#other').value").await,
        id.as_str(),
        "the link offers the id"
    );
    fits_a_phone(&one, "idle").await;

    one.send_all().await;
    two.send_all().await;
    connect(&two, &one).await;
    for (window, other) in [(&one, &two), (&two, &one)] {
        window.until("document.querySelector('#remote').videoWidth > 0").await;
        // Frames decoded in the last second, of this size.
        window.until("/^[1-9].* [1-9][0-9]* fps$/.test(document.querySelector('#f-received').textContent)").await;
        window.until("/^[1-9].*fps$/.test(document.querySelector('#f-sent').textContent)").await;
        window.until("/bit\\/s$/.test(document.querySelector('#f-down').textContent)").await;
        window.until("/ ms$/.test(document.querySelector('#f-rtt').textContent)").await;
        window.until_text("#f-path", "Direct, UDP").await;
        window.until_text("#f-path", "host").await;
        window.until("document.querySelector('#remote').srcObject.getAudioTracks().some(({ muted }) => !muted)").await;
        let text = format!("<b>hello</b> from {}", window.text("#own-id").await);
        window.write("#text", &text).await;
        window.click("#send").await;
        // As it was written, and as no markup.
        other.until_text("#messages .theirs", &text).await;
    }
    fits_a_phone(&one, "call").await;

    one.click("#hang-up").await;
    two.until_state("idle").await;
    two.until_text("#notice", "hung up").await;
    one.until_state("idle").await;
    browser.close().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium() {
    two_people(Engine::Chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_firefox() {
    two_people(Engine::Firefox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_two_browsers() {
    let server = server(0).await;
    let url = server.endpoint().page_url;
    let (chromium, firefox) = (Browser::start(Engine::Chromium).await, Browser::start(Engine::Firefox).await);
    let (one, two) = (chromium.open(&url).await, firefox.open(&url).await);
    connect(&one, &two).await;
    // Both at once, in the middle of the call: two offers that cross each other.
    let tap = "setTimeout(() => document.querySelector('#camera').click(), 1000 - Date.now() % 1000)";
    one.script(tap).await;
    two.script(tap).await;
    for window in [&one, &two] {
        window.until("/^[1-9].*fps$/.test(document.querySelector('#f-received').textContent)").await;
    }
    two.click("#camera").await;
    one.until_text("#blank-text", "no picture").await;
    two.click("#hang-up").await;
    one.until_state("idle").await;
    chromium.close().await;
    firefox.close().await;
    server.shutdown().await;
}
