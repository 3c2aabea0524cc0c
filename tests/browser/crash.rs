//! A browser or driver that dies, hangs or crashes in a call is a clean failure, and leaves no process behind.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Call, create, descendants, harness, media_with_echo, plan, server};
use harness::peer::browser::BrowserPool;
use harness::plan::Engine;
use harness::record::{Failure, Phase};

/// Does `damage` to a call that is up, and returns the failures of its ends.
async fn failures_after(damage: impl Fn()) -> Vec<Failure> {
    let server = server().await;
    let pool = BrowserPool::new(harness());
    let plan = plan(Engine::Chromium, Engine::Chromium, media_with_echo());
    let mut call = create(&pool, &plan, &server.endpoint()).await;
    call.set_up().await.unwrap();
    damage();
    let Call { offerer, answerer, .. } = &mut call;
    let mut failures = Vec::new();
    let begun = Instant::now();
    while failures.is_empty() {
        for result in [offerer.snapshot().await, answerer.snapshot().await] {
            failures.extend(result.err());
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody noticed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    call.leave().await;
    pool.close().await;
    let begun = Instant::now();
    while !descendants().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {:?}", descendants());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    failures
}

/// Sends a signal to the descendants of this process with this name.
fn signal(name: &str, signal: &str) {
    let found = descendants();
    let pids: Vec<&str> = found.iter().filter_map(|line| line.strip_suffix(name)?.strip_suffix(' ')).collect();
    assert!(!pids.is_empty(), "no {name} among {found:?}");
    assert!(Command::new("kill").arg(signal).args(pids).status().unwrap().success());
}

// One test, for each watches all descendants of this process.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_loses_its_browser_fails_cleanly() {
    for (what, name, kind) in [
        ("driver killed", "chromedriver", "-KILL"),
        ("browser killed", "chromium", "-KILL"),
        ("driver hangs", "chromedriver", "-STOP"),
    ] {
        let failures = failures_after(|| signal(name, kind)).await;
        for failure in &failures {
            eprintln!("{what}: {failure}");
            assert_eq!(failure.phase, Phase::Media, "{what}: {failure}");
            assert!(failure.reason.contains("chromium"), "{what}: {failure}");
        }
    }
}
