//! Browser peers: real Chromium and Firefox over W3C WebDriver, each peer in a tab of its own; and people in browsers of
//! their own, whose page is called over a connection that it opens itself.
//!
//! [`BrowserPool`] starts browsers and gives out peers; the page in `page/` makes the calls; a guard process between the
//! harness and each driver sees that nothing is left behind. `docs/browsers.md` lists flags, trust and limits.

mod capabilities;
mod clock;
mod connector;
mod driver;
pub mod guard;
mod guarded;
mod link;
mod page;
mod peer;
mod people;
mod person;
mod pool;
mod report;
mod search;
mod session;
mod silence;
mod stand_in;
mod stats;
mod verify;

use bytes::Bytes;

use crate::signaling::Page;

pub(crate) use capabilities::has_route;
pub use driver::{Installation, Unavailable, find};
pub use people::People;
pub(crate) use people::longest_wait;
pub use person::pages as person_pages;
pub use pool::{BrowserInfo, BrowserPool};

/// The pages of a browser peer, for the server to serve below `/harness/`.
pub fn pages() -> Vec<Page> {
    const HTML: &str = "text/html; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let files = [
        ("index.html", HTML, include_str!("page/index.html")),
        ("peer.js", SCRIPT, include_str!("page/peer.js")),
        ("log.js", SCRIPT, include_str!("page/log.js")),
        ("trace.js", SCRIPT, include_str!("page/trace.js")),
        ("signaling.js", SCRIPT, include_str!("page/signaling.js")),
        ("media.js", SCRIPT, include_str!("page/media.js")),
        ("data.js", SCRIPT, include_str!("page/data.js")),
    ];
    let page = |(name, content_type, body): (&str, &str, &'static str)| Page {
        path: format!("/harness/{name}"),
        content_type: content_type.to_owned(),
        body: Bytes::from_static(body.as_bytes()),
    };
    files.map(page).into()
}
