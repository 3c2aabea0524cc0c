//! The page on which a person takes part in a run: what the page of a browser peer does, behind a button that the person
//! presses, as browsers let no page play sound or use a camera without.

use bytes::Bytes;

use crate::people::BASE_STYLE;
use crate::signaling::Page;

/// The page, for the server to serve below `/join/`; it needs [`pages`](super::pages), too.
pub fn pages() -> Vec<Page> {
    let files = [
        ("/join/", "text/html; charset=utf-8", include_str!("person/index.html")),
        ("/join/base.css", "text/css; charset=utf-8", BASE_STYLE),
        ("/join/style.css", "text/css; charset=utf-8", include_str!("person/style.css")),
        ("/join/person.js", "text/javascript; charset=utf-8", include_str!("person/person.js")),
    ];
    let page = |(path, content_type, body): (&str, &str, &'static str)| Page {
        path: path.to_owned(),
        content_type: content_type.to_owned(),
        body: Bytes::from_static(body.as_bytes()),
    };
    files.map(page).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_page_asks_for_is_served_and_nothing_stands_in_it_that_the_policy_forbids() {
        let served: Vec<String> = pages().into_iter().chain(super::super::pages()).map(|page| page.path).collect();
        let html = include_str!("person/index.html");
        assert!(!html.contains(" style=") && !html.contains("<style"), "{html}");
        assert_eq!(html.split_whitespace().find(|word| word.starts_with("on") && word.contains('=')), None);
        let asked = [html, include_str!("person/person.js")].join("\n");
        let mut names: Vec<&str> = asked.split(['"', '\'']).filter(|word| word.starts_with('/')).collect();
        names.retain(|name| name.ends_with(".js") || name.ends_with(".css"));
        assert_eq!(names.len(), 5, "{names:?}");
        for name in names {
            assert!(served.iter().any(|path| path == name), "{name} of {served:?}");
        }
    }
}
