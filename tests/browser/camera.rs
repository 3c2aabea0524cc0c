//! The windows of one Chromium share its camera, and calls come and go in them.

use crate::people_support::{self, Browser, Window};
use crate::support::{create, create_in, harness, media_with_echo, plan, server};
use harness::peer::browser::BrowserPool;
use harness::plan::Engine;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_begins_while_another_ends() {
    let server = server().await;
    let pool = BrowserPool::new(harness());
    let mut plan = plan(Engine::Chromium, Engine::Chromium, media_with_echo());
    let mut ending = create(&pool, &plan, &server.endpoint()).await;
    ending.set_up().await.unwrap();
    tokio::try_join!(ending.offerer.stop_media(), ending.answerer.stop_media()).unwrap();

    plan.calls[0].room = "another".into();
    let mut beginning = create_in(&pool, &plan, &server.endpoint()).await;
    beginning.set_up().await.unwrap();
    tokio::join!(ending.leave(), beginning.leave());
    pool.close().await;
}

/// Takes the camera, looks at it for up to three seconds, and says whether there was a picture.
const LOOK: &str = "return (async () => {
    window.camera = await navigator.mediaDevices.getUserMedia({ video: true });
    window.view = Object.assign(document.createElement('video'), { srcObject: camera, muted: true });
    document.body.append(view);
    view.play();
    const picture = new Promise((resolve) => view.requestVideoFrameCallback(() => resolve(true)));
    return Promise.race([picture, new Promise((resolve) => setTimeout(resolve, 3000, false))]);
})()";
const LOOK_AWAY: &str = "view.srcObject = null";
const GIVE_BACK: &str = "camera.getTracks().forEach((track) => track.stop())";

/// Watches the defect that the page's `#releaseCamera` works around: fails once upstream has mended it.
#[tokio::test(flavor = "multi_thread")]
async fn chromium_starts_no_camera_that_is_held_without_being_looked_at() {
    let server = people_support::server(0).await;
    let browser = Browser::start(Engine::Chromium).await;
    let url = server.endpoint().page_url;
    let sees = async |window: &Window<'_>| window.script(LOOK).await.as_bool().unwrap();

    let holder = browser.visit(&url).await;
    assert!(sees(&holder).await, "the camera gives no picture");
    holder.script(LOOK_AWAY).await;
    let other = browser.visit(&url).await;
    assert!(!sees(&other).await, "Chromium resumes the camera: upstream has mended it, remove `#releaseCamera`");

    for window in [&holder, &other] {
        window.script(GIVE_BACK).await;
    }
    assert!(sees(&other).await, "the camera does not start again");
    browser.close().await;
    server.shutdown().await;
}
