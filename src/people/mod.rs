//! The page on which people call each other through the bundled server, and how they get to it.
//!
//! The page in `page/` is a client of the signaling protocol like any other: `docs/people.md` says how it uses it.

mod invitation;
mod qr;

use bytes::Bytes;
use serde_json::json;

use crate::signaling::Page;

pub use invitation::{invitation, invitations};

/// What all pages for people look alike in.
pub(crate) const BASE_STYLE: &str = include_str!("page/base.css");

/// The page, for the server to serve at its root. `stun` are URLs of servers that tell a browser its own address (RFC 8489);
/// they must need no login, as whoever opens the page learns them.
pub fn pages(stun: &[String]) -> Vec<Page> {
    const HTML: &str = "text/html; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let files = [
        ("/", HTML, include_str!("page/index.html")),
        ("/people/base.css", STYLE, BASE_STYLE),
        ("/people/style.css", STYLE, include_str!("page/style.css")),
        ("/people/main.js", SCRIPT, include_str!("page/main.js")),
        ("/people/call.js", SCRIPT, include_str!("page/call.js")),
        ("/people/chat.js", SCRIPT, include_str!("page/chat.js")),
        ("/people/devices.js", SCRIPT, include_str!("page/devices.js")),
        ("/people/figures.js", SCRIPT, include_str!("page/figures.js")),
        ("/people/id.js", SCRIPT, include_str!("page/id.js")),
        ("/people/line.js", SCRIPT, include_str!("page/line.js")),
        ("/people/meter.js", SCRIPT, include_str!("page/meter.js")),
        ("/people/phone.js", SCRIPT, include_str!("page/phone.js")),
    ];
    let page =
        |path: &str, content_type: &str, body| Page { path: path.into(), content_type: content_type.into(), body };
    let servers = if stun.is_empty() { json!([]) } else { json!([{"urls": stun}]) };
    let servers = page("/people/ice.json", "application/json", servers.to_string().into());
    let files = files.map(|(path, kind, text)| page(path, kind, Bytes::from_static(text.as_bytes())));
    files.into_iter().chain([servers]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Page) -> String {
        String::from_utf8(page.body.to_vec()).unwrap()
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        let pages = pages(&[]);
        let served: Vec<&str> = pages.iter().map(|page| page.path.as_str()).collect();
        for page in pages.iter().filter(|page| page.path.ends_with(".js")) {
            for line in text(page).lines().filter(|line| line.starts_with("import ")) {
                let (_, name) = line.rsplit_once("'./").unwrap();
                let path = format!("/people/{}", name.trim_end_matches("';"));
                assert!(served.contains(&path.as_str()), "{} imports {path}", page.path);
            }
        }
    }

    #[test]
    fn the_content_security_policy_finds_nothing_to_forbid() {
        // The server's policy (default-src 'self') takes no script and no style that stands in the page.
        let pages = pages(&[]);
        let html = text(&pages[0]);
        assert!(!html.contains(" style=") && !html.contains("<style"), "{html}");
        let handler = html.split_whitespace().find(|word| word.starts_with("on") && word.contains('='));
        assert_eq!(handler, None);
        assert_eq!(html.matches("<script").count(), html.matches("<script type=\"module\" src=").count());
    }

    #[test]
    fn the_page_learns_of_a_stun_server() {
        let servers = |stun: &[String]| {
            let pages = pages(stun);
            text(pages.iter().find(|page| page.path == "/people/ice.json").unwrap())
        };
        assert_eq!(servers(&[]), "[]");
        assert_eq!(servers(&["stun:192.0.2.1:3478".into()]), r#"[{"urls":["stun:192.0.2.1:3478"]}]"#);
    }
}
