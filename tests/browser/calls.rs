//! Browsers call each other with audio, video and a data channel, and what arrives is verified at both ends.

use std::time::Duration;

use crate::support::{create, harness, has_mark, media_with_echo, plan, server, values, with_source};
use harness::peer::browser::BrowserPool;
use harness::plan::{BrowserSource, Engine};
use harness::record::{EventKind, Mark, MediaKind, MediaReport, Metric};

async fn call(offerer: Engine, answerer: Engine, source: BrowserSource) {
    let server = server().await;
    let pool = BrowserPool::new(harness());
    let plan = with_source(plan(offerer, answerer, media_with_echo()), source);
    let mut call = create(&pool, &plan, &server.endpoint()).await;
    call.set_up().await.unwrap();
    let sent = call.hold_and_report(Duration::from_secs(3)).await.unwrap();
    let events = call.leave().await;
    pool.close().await;

    let reports: Vec<&MediaReport> = events
        .iter()
        .filter_map(|event| match event {
            EventKind::Media(report) => Some(report),
            _ => None,
        })
        .collect();
    for report in &reports {
        eprintln!("{} {:?} {}: {}", report.peer, report.kind, report.codec, report.detail);
    }
    for event in &events {
        match event {
            EventKind::Warning(warning) => eprintln!("warning: {}", warning.text),
            EventKind::Path(path) => eprintln!("{} {:?} -> {:?}", path.peer, path.local, path.remote),
            EventKind::Absent(absence) => eprintln!("{} {:?}: {}", absence.peer, absence.metric, absence.reason),
            _ => {}
        }
    }
    let unverified: Vec<_> = reports.iter().filter(|report| !report.verified).collect();
    assert!(unverified.is_empty(), "{unverified:#?} of {sent:?}");
    for peer in ["offerer/0", "answerer/0"] {
        let kinds: Vec<MediaKind> =
            reports.iter().filter(|report| report.peer == peer).map(|report| report.kind).collect();
        assert_eq!(kinds, [MediaKind::Audio, MediaKind::Video, MediaKind::DataEcho], "{peer}");
        for mark in [
            Mark::JoinStarted,
            Mark::SignalingConnected,
            Mark::Joined,
            Mark::GatheringStarted,
            Mark::FirstHost,
            Mark::GatheringComplete,
            Mark::IceChecking,
            Mark::IceConnected,
            Mark::IceNominated,
            Mark::DtlsConnected,
            Mark::Connected,
            Mark::DataChannelOpen,
            Mark::FirstRtp,
            Mark::FirstFrame,
            Mark::FirstMedia,
            Mark::Left,
        ] {
            assert!(has_mark(&events, peer, mark), "{peer} has no {mark:?}");
        }
        assert!(events.iter().any(|event| matches!(event, EventKind::Path(path) if path.peer == peer)));
    }
    for metric in [
        Metric::SignalingRttMs,
        Metric::DataChannelLatencyMs,
        Metric::SendBitrateBps,
        Metric::RecvBitrateBps,
        Metric::RttMs,
        Metric::JitterMs,
        Metric::FreezeTimeMs,
        Metric::PacketLossRatio,
    ] {
        let values = values(&events, metric);
        eprintln!("{metric:?} {} {:?}", values.len(), &values[..values.len().min(4)]);
        assert!(!values.is_empty(), "{metric:?} has no sample");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_calls_chromium() {
    call(Engine::Chromium, Engine::Chromium, BrowserSource::Fake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_calls_firefox() {
    call(Engine::Chromium, Engine::Firefox, BrowserSource::Fake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_calls_chromium() {
    call(Engine::Firefox, Engine::Chromium, BrowserSource::Canvas).await;
}
