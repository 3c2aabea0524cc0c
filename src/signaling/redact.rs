//! Keeps what may be secret in a URL out of errors, reports and the terminal: applications put tokens into queries.

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "***";
/// A value of a query that is shorter is no secret, and could be part of any word.
pub(super) const SHORTEST_SECRET: usize = 8;

/// A URL with the names of its query's members and without their values, and without user and password.
pub(crate) fn redacted(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let mut shown = without_user(place);
    if let Some(query) = query {
        let members = query.split('&').map(|member| match member.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        });
        shown += "?";
        shown += &members.collect::<Vec<_>>().join("&");
    }
    shown
}

/// What a server said, without the query of the URL that it was asked at, and without the values of that.
pub(super) fn redacted_answer(text: &str, url: &str) -> String {
    let Some((_, query)) = url.split_once('?').filter(|(_, query)| !query.is_empty()) else { return text.to_owned() };
    let written = query.split('&').filter_map(|member| member.split_once('=').map(|(_, value)| value.to_owned()));
    let decoded = form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value.into_owned());
    let values = written.chain(decoded).filter(|value| value.len() >= SHORTEST_SECRET);
    values.fold(text.replace(query, HIDDEN), |text, value| text.replace(&value, HIDDEN))
}

/// `scheme://user:password@host/path` (RFC 3986, section 3.2.1) without what stands before the host.
fn without_user(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://") else { return place.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("wss://h:8443/ws", "wss://h:8443/ws"),
            ("wss://h/socket.io/?EIO=4&token=hunter2", "wss://h/socket.io/?EIO=***&token=***"),
            ("https://h/whip?hunter2", "https://h/whip?***"),
            ("https://bob:hunter2@h/whip/a@b", "https://***@h/whip/a@b"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }

    #[test]
    fn a_server_that_repeats_a_query_is_quoted_without_it() {
        let url = "wss://h/x?EIO=4&room=a&token=hunter2%2Bhunter2";
        for (said, shown) in [
            ("Cannot GET /x?EIO=4&room=a&token=hunter2%2Bhunter2", "Cannot GET /x?***"),
            ("token hunter2%2Bhunter2 has expired", "token *** has expired"),
            ("token hunter2+hunter2 of a", "token *** of a"),
        ] {
            assert_eq!(redacted_answer(said, url), shown);
        }
        assert_eq!(redacted_answer("100% of 4", "wss://h/x"), "100% of 4");
    }
}
