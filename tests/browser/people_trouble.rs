//! What the page for people says and does when a call does not come about, and when the server goes.

use crate::people_support::{Browser, connect, server};
use harness::plan::Engine;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_come_about_end_in_words() {
    let server = server(0).await;
    let url = server.endpoint().page_url;
    let browser = Browser::start(Engine::Chromium).await;
    let (one, two, three) = (browser.open(&url).await, browser.open(&url).await, browser.open(&url).await);
    let (id, other) = (one.text("#own-id").await, two.text("#own-id").await);

    for (wrong, words) in [("zzz-zzz-zzz", "Nobody with the id"), (id.as_str(), "your own id")] {
        one.write("#other", wrong).await;
        one.click("#call").await;
        one.until_text("#notice", words).await;
        one.until_state("idle").await;
    }

    one.write("#other", &other).await;
    one.click("#call").await;
    two.until_state("ringing").await;
    two.click("#decline").await;
    one.until_text("#notice", "declined").await;
    one.click("#call").await;
    two.until_state("ringing").await;
    one.click("#hang-up").await;
    two.until_text("#notice", "gave up").await;

    // Both call each other at once: one call is left, and rings at one of them.
    two.write("#other", &id).await;
    let tap = "setTimeout(() => document.querySelector('#call').click(), 1000 - Date.now() % 1000)";
    one.script(tap).await;
    two.script(tap).await;
    let (caller, callee) = if id < other { (&one, &two) } else { (&two, &one) };
    callee.until_state("ringing").await;
    callee.click("#answer").await;
    for window in [caller, callee] {
        window.until_text("#status", "Connected").await;
    }
    three.write("#other", &id).await;
    three.click("#call").await;
    three.until_text("#notice", "is in another call").await;
    assert_eq!(one.script("return document.body.dataset.state").await, "call", "a third one disturbs nobody");
    browser.close().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_the_server_and_the_page_comes_back_under_its_id() {
    let first = server(0).await;
    let url = first.endpoint().page_url;
    let browser = Browser::start(Engine::Chromium).await;
    let (one, two) = (browser.open(&url).await, browser.open(&url).await);
    let id = one.text("#own-id").await;
    connect(&two, &one).await;

    let port = first.address().port();
    first.shutdown().await;
    two.write("#text", "still there?").await;
    two.click("#send").await;
    one.until_text("#messages .theirs", "still there?").await;
    // What needs a new offer goes over the data channel.
    two.click("#camera").await;
    one.until("/^[1-9].*fps$/.test(document.querySelector('#f-received').textContent)").await;
    two.click("#hang-up").await;
    one.until_text("#notice", "hung up").await;
    one.until_text("#status", "Trying again").await;

    let second = server(port).await;
    one.until_text("#status", "Ready").await;
    assert_eq!(one.text("#own-id").await, id);
    browser.close().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_vanishes_is_not_called_a_good_connection() {
    let server = server(0).await;
    let url = server.endpoint().page_url;
    let (browser, vanishing) = (Browser::start(Engine::Chromium).await, Browser::start(Engine::Chromium).await);
    let (one, two) = (browser.open(&url).await, vanishing.open(&url).await);
    connect(&two, &one).await;
    one.until_text("#quality", "Good").await;
    vanishing.kill().await;
    one.until_text("#quality", "No answer").await;
    browser.close().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_cannot_be_had_is_told_in_words() {
    let server = server(0).await;
    let browser = Browser::start(Engine::Chromium).await;
    let window = browser.open(&server.endpoint().page_url).await;
    for (error, words) in [
        ("NotAllowedError", "may not use the camera"),
        ("NotFoundError", "has no camera"),
        ("NotReadableError", "Another program"),
    ] {
        window
            .script(&format!(
                "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{error}'))"
            ))
            .await;
        window.click("#camera").await;
        window.until_text("#notice", words).await;
        window.until("!document.querySelector('#camera').disabled").await;
    }
    // What a browser does that was not given HTTPS.
    window.script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })").await;
    window.click("#camera").await;
    window.until_text("#notice", "HTTPS").await;
    browser.close().await;
    server.shutdown().await;
}
