//! Browsers send bulk data to each other, reliably or not, and count what arrived.

use std::time::Duration;

use crate::support::{bulk, create, harness, plan, server, values};
use harness::peer::browser::BrowserPool;
use harness::plan::Engine;
use harness::record::{EventKind, MediaKind, MediaReport, Metric};

async fn transfer(offerer: Engine, answerer: Engine, reliable: bool) {
    let server = server().await;
    let pool = BrowserPool::new(harness());
    let mut call = create(&pool, &plan(offerer, answerer, bulk(reliable)), &server.endpoint()).await;
    call.set_up().await.unwrap();
    let (sent, _) = call.hold_and_report(Duration::from_secs(2)).await.unwrap();
    let events = call.leave().await;
    pool.close().await;

    let is_bulk = |event: &EventKind| matches!(event, EventKind::Media(report) if report.kind == MediaKind::DataBulk);
    let reports: Vec<&EventKind> = events.iter().filter(|event| is_bulk(event)).collect();
    let [EventKind::Media(MediaReport { peer, verified, detail, frames_sent, .. })] = reports[..] else {
        panic!("not one report: {reports:?}");
    };
    assert!(*verified, "{detail}");
    assert_eq!((peer.as_str(), *frames_sent), ("answerer/0", sent.data_messages));
    assert_eq!(values(&events, Metric::DataChannelThroughputBps).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reliably_from_chromium_to_firefox() {
    transfer(Engine::Chromium, Engine::Firefox, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreliably_from_firefox_to_chromium() {
    transfer(Engine::Firefox, Engine::Chromium, false).await;
}
