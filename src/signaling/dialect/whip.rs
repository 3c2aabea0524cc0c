//! WHIP (RFC 9725) and WHEP: a session is made by a POST of the offer, and ended by a DELETE. The server is the other end of the
//! call, and it is the client that offers, whether it publishes or plays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::http::Uri;

use super::template::{Words, resolve_text};
use super::{Dialect, Opening, Place, Request, Response, Waiting};
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};
use crate::signaling::redact::{redacted, redacted_answer};

/// The server as the other end of the call.
const SERVER: &str = "server";
/// RFC 9725, section 4.5: a server may ask to go elsewhere.
const REDIRECTS: usize = 5;

/// How a server of WHIP and WHEP is used.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Whip {
    /// Where to publish: `{room}` and `{peer}` stand for the room and the publisher.
    pub publish: String,
    /// Where to play: `{feed}` stands for the publisher. Without it nobody can play.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<String>,
    /// The bearer token, as `${NAME}` of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether candidates are sent by PATCH, as they are found. Otherwise the offer waits for all of them.
    #[serde(default)]
    pub trickle: bool,
}

impl Whip {
    /// With the values of the environment in place of `${NAME}`.
    pub(super) fn resolve(&mut self) -> Result<(), String> {
        if let Some(token) = &mut self.token {
            *token = resolve_text(token)?;
        }
        Ok(())
    }
}

/// A session that is about to be made.
pub(super) fn open(settings: &Whip, place: Place<'_>) -> Result<Opening, ClientError> {
    let template = match (place.feed, &settings.play) {
        (None, _) => &settings.publish,
        (Some(_), Some(play)) => play,
        (Some(_), None) => {
            let detail = "it is not said where to play: add `play` to [signaling.whip]";
            return Err(ClientError::from_url(&settings.publish, detail));
        }
    };
    let url = Words::new(None, place).url(template);
    let mut waiting = Waiting::default();
    let id = place.peer.unwrap_or("harness").to_owned();
    waiting.messages.push_back(ServerMessage::Welcome { protocol: 0, id, limits: None });
    let session = Session {
        url: url.clone(),
        token: settings.token.clone(),
        trickle: settings.trickle,
        waiting,
        offer: None,
        candidates: Vec::new(),
        resource: None,
        etag: None,
        redirects: 0,
        pings: Vec::new(),
    };
    Ok(Opening::new(url, Box::new(session)))
}

/// One session.
#[derive(Debug)]
struct Session {
    url: String,
    token: Option<String>,
    trickle: bool,
    waiting: Waiting,
    /// Until it is sent.
    offer: Option<String>,
    /// Those that have not been sent, with the end of them.
    candidates: Vec<Option<IceCandidate>>,
    /// The session's own URL, once there is one.
    resource: Option<String>,
    etag: Option<String>,
    redirects: usize,
    /// Nonces of pings that are not answered.
    pings: Vec<serde_json::Value>,
}

impl Session {
    fn request(&mut self, method: &'static str, url: String, content: Option<&'static str>, body: String) {
        let mut headers = Vec::new();
        headers.extend(content.map(|content| ("content-type", content.to_owned())));
        headers.extend(self.token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
        if method == "PATCH" {
            headers.extend(self.etag.as_ref().map(|etag| ("if-match", etag.clone())));
        }
        self.waiting.requests.push_back(Request { method, url, headers, body });
    }

    /// Sends what can be sent by now.
    fn proceed(&mut self) {
        let all_found = self.candidates.iter().any(Option::is_none);
        if let Some(offer) = self.offer.take_if(|_| self.trickle || all_found) {
            let offer =
                if self.trickle { offer } else { with_candidates(&offer, &std::mem::take(&mut self.candidates)) };
            self.request("POST", self.url.clone(), Some("application/sdp"), offer);
        }
        if let Some(resource) = self.resource.clone().filter(|_| self.trickle && !self.candidates.is_empty()) {
            let fragment = fragment(&std::mem::take(&mut self.candidates));
            self.request("PATCH", resource, Some("application/trickle-ice-sdpfrag"), fragment);
        }
    }

    fn made(&mut self, response: Response) -> Result<(), ClientError> {
        let quote = excerpt(&response.body);
        let broken = |detail: String| ClientError::Protocol { detail, quote: quote.clone() };
        let location = response.location.as_deref().ok_or_else(|| broken("201 without a Location".into()))?;
        self.resource = Some(resolved(&response.url, location));
        self.etag = response.etag;
        if !response.body.starts_with("v=0") {
            return Err(broken("201 without a session description".into()));
        }
        self.waiting.messages.push_back(ServerMessage::Answer { from: SERVER.into(), sdp: response.body });
        self.proceed();
        Ok(())
    }
}

impl Dialect for Session {
    fn handle_response(&mut self, response: Response) -> Result<(), ClientError> {
        match (response.method, response.status) {
            ("POST", 201) => self.made(response),
            ("POST", 301 | 302 | 307 | 308) if self.redirects < REDIRECTS && response.location.is_some() => {
                self.redirects += 1;
                self.url = resolved(&response.url, response.location.as_deref().unwrap_or_default());
                if origin(&self.url) != origin(&response.url) {
                    // As browsers do (Fetch, section 4.4): the token was given for the first origin, and for no other.
                    self.token = None;
                }
                let body = response.asked;
                self.request("POST", self.url.clone(), Some("application/sdp"), body);
                Ok(())
            }
            // Whoever answers is there, whatever it thinks of the question.
            ("OPTIONS", _) => {
                let nonces = std::mem::take(&mut self.pings);
                self.waiting.messages.extend(nonces.into_iter().map(|nonce| ServerMessage::Pong { nonce }));
                Ok(())
            }
            ("DELETE", _) | ("PATCH", 200 | 204) => {
                self.etag = response.etag.or_else(|| self.etag.take());
                Ok(())
            }
            (method, status) => {
                let body = response.body.trim();
                let body = self.token.as_ref().map_or_else(|| body.to_owned(), |token| body.replace(token, "***"));
                let body = redacted_answer(&body, &response.url);
                let why = if body.is_empty() { String::new() } else { format!(": {}", excerpt(&body)) };
                Err(ClientError::Refusal {
                    message: format!("{method} {} gives HTTP status {status}{why}", redacted(&response.url)),
                })
            }
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => {
                self.waiting
                    .messages
                    .push_back(ServerMessage::Joined { room: room.clone(), peers: vec![SERVER.into()] });
            }
            ClientMessage::Offer { sdp, .. } => {
                self.offer = Some(sdp.clone());
                self.proceed();
            }
            ClientMessage::Candidate { candidate, .. } => {
                self.candidates.push(candidate.clone().filter(|candidate| !candidate.candidate.is_empty()));
                self.proceed();
            }
            ClientMessage::Ping { nonce } => {
                self.pings.push(nonce.clone());
                self.request("OPTIONS", self.url.clone(), None, String::new());
            }
            ClientMessage::Leave => {
                if let Some(resource) = self.resource.take() {
                    self.request("DELETE", resource, None, String::new());
                }
            }
            ClientMessage::Answer { .. } => {
                let detail = "a client of WHIP and WHEP offers, and answers nothing".to_owned();
                return Err(ClientError::Protocol { detail, quote: "nothing".into() });
            }
        }
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    /// Whoever plays needs no more than to know that it is there.
    fn feed(&self) -> Option<serde_json::Value> {
        self.resource.as_ref().map(|_| serde_json::Value::Null)
    }

    fn says_goodbye(&self) -> bool {
        true
    }
}

/// Scheme, host and port (RFC 6454, section 4); absent for what is no URL.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// An absolute or relative reference (RFC 3986, section 4.2) from a URL.
fn resolved(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let path = base[after_scheme..].find('/').map_or(base.len(), |at| after_scheme + at);
    if reference.starts_with('/') {
        return format!("{}{reference}", &base[..path]);
    }
    let folder = base.rfind('/').filter(|at| *at >= path).unwrap_or(base.len());
    format!("{}/{reference}", &base[..folder])
}

/// A description with candidates in their media sections (RFC 8839, section 5.1).
fn with_candidates(sdp: &str, candidates: &[Option<IceCandidate>]) -> String {
    let mut sections: Vec<String> = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") || sections.is_empty() {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            *section += line;
            *section += "\r\n";
        }
    }
    for candidate in candidates.iter().flatten() {
        let index = usize::from(candidate.sdp_m_line_index.unwrap_or(0)) + 1;
        let line = format!("a={}\r\n", candidate.candidate);
        if let Some(section) = sections.get_mut(index).filter(|section| !section.contains(&line)) {
            *section += &line;
        }
    }
    if let Some(section) = sections.get_mut(1).filter(|section| !section.contains("a=end-of-candidates")) {
        *section += "a=end-of-candidates\r\n";
    }
    sections.concat()
}

/// Candidates as an SDP fragment (RFC 8840, section 9).
fn fragment(candidates: &[Option<IceCandidate>]) -> String {
    let mut fragment = String::new();
    let mut mid = None;
    for candidate in candidates {
        match candidate {
            Some(candidate) => {
                if mid.is_none()
                    && let Some(ufrag) = &candidate.username_fragment
                {
                    fragment += &format!("a=ice-ufrag:{ufrag}\r\n");
                }
                if mid != Some(candidate.sdp_mid.as_deref()) {
                    mid = Some(candidate.sdp_mid.as_deref());
                    fragment += "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n";
                    fragment += &format!("a=mid:{}\r\n", candidate.sdp_mid.as_deref().unwrap_or("0"));
                }
                fragment += &format!("a={}\r\n", candidate.candidate);
            }
            None => fragment += "a=end-of-candidates\r\n",
        }
    }
    fragment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(settings: &Whip, feed: Option<&str>) -> Box<dyn Dialect> {
        let place = Place { room: Some("r"), peer: Some("bot/0"), feed, ..Place::default() };
        let mut dialect = open(settings, place).unwrap().dialect;
        assert!(matches!(dialect.waiting().messages.pop_front(), Some(ServerMessage::Welcome { .. })));
        dialect
    }

    fn settings(trickle: bool) -> Whip {
        let token = Some("secret".to_owned());
        Whip { publish: "https://h/whip/{room}".into(), play: Some("https://h/whep/{feed}".into()), token, trickle }
    }

    fn offer(dialect: &mut Box<dyn Dialect>) {
        dialect
            .say(&ClientMessage::Offer { to: SERVER.into(), sdp: "v=0\r\nm=audio 9 A\r\na=mid:0\r\n".into() })
            .unwrap();
    }

    fn candidate(dialect: &mut Box<dyn Dialect>, line: Option<&str>) {
        let candidate = line.map(|line| IceCandidate {
            candidate: line.into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some("u".into()),
        });
        dialect.say(&ClientMessage::Candidate { to: SERVER.into(), candidate }).unwrap();
    }

    fn answer(request: &Request, status: u16, location: Option<&str>, body: &str) -> Response {
        Response {
            method: request.method,
            url: request.url.clone(),
            asked: request.body.clone(),
            status,
            location: location.map(str::to_owned),
            etag: Some("\"1\"".into()),
            body: body.into(),
        }
    }

    #[test]
    fn an_offer_waits_for_its_candidates() {
        let mut dialect = session(&settings(false), None);
        offer(&mut dialect);
        candidate(&mut dialect, Some("candidate:1 1 udp 1 192.0.2.1 5 typ host"));
        assert!(dialect.waiting().requests.is_empty());
        candidate(&mut dialect, None);
        let request = dialect.waiting().requests.pop_front().unwrap();
        assert_eq!((request.method, request.url.as_str()), ("POST", "https://h/whip/r"));
        assert!(request.headers.contains(&("authorization", "Bearer secret".into())));
        assert!(request.body.ends_with("a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n"));
        dialect.handle_response(answer(&request, 201, Some("/whip/r/7"), "v=0\r\n")).unwrap();
        assert!(
            matches!(dialect.waiting().messages.pop_front(), Some(ServerMessage::Answer { sdp, .. }) if sdp == "v=0\r\n")
        );
        assert!(dialect.feed().is_some());
        dialect.say(&ClientMessage::Leave).unwrap();
        let request = dialect.waiting().requests.pop_front().unwrap();
        assert_eq!((request.method, request.url.as_str()), ("DELETE", "https://h/whip/r/7"));
    }

    #[test]
    fn candidates_trickle_once_the_session_is_there() {
        let mut dialect = session(&settings(true), Some("bot/1"));
        offer(&mut dialect);
        let post = dialect.waiting().requests.pop_front().unwrap();
        assert_eq!(post.url, "https://h/whep/bot%2F1", "a name is no path (RFC 6570, section 3.2.2)");
        candidate(&mut dialect, Some("candidate:1"));
        candidate(&mut dialect, None);
        assert!(dialect.waiting().requests.is_empty());
        dialect.handle_response(answer(&post, 201, Some("https://g/s"), "v=0\r\n")).unwrap();
        let patch = dialect.waiting().requests.pop_front().unwrap();
        assert_eq!((patch.method, patch.url.as_str()), ("PATCH", "https://g/s"));
        assert!(patch.headers.contains(&("if-match", "\"1\"".into())), "{:?}", patch.headers);
        let expected =
            "a=ice-ufrag:u\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1\r\na=end-of-candidates\r\n";
        assert_eq!(patch.body, expected);
    }

    #[test]
    fn a_redirection_is_followed_with_the_same_offer() {
        let mut dialect = session(&settings(true), None);
        offer(&mut dialect);
        let post = dialect.waiting().requests.pop_front().unwrap();
        dialect.handle_response(answer(&post, 307, Some("https://other/whip"), "")).unwrap();
        let again = dialect.waiting().requests.pop_front().unwrap();
        assert_eq!((again.method, again.url.as_str(), again.body), ("POST", "https://other/whip", post.body));
    }

    #[test]
    fn a_token_stays_with_its_origin() {
        let authorized = |request: &Request| request.headers.iter().any(|(name, _)| *name == "authorization");
        for (location, stays) in [
            ("/whip/elsewhere", true),
            ("https://H:443/whip", true),
            ("https://other/whip", false),
            ("https://h:8443/whip", false),
            ("http://h/whip", false),
        ] {
            let mut dialect = session(&settings(true), None);
            offer(&mut dialect);
            let post = dialect.waiting().requests.pop_front().unwrap();
            assert!(authorized(&post));
            dialect.handle_response(answer(&post, 307, Some(location), "")).unwrap();
            let again = dialect.waiting().requests.pop_front().unwrap();
            assert_eq!(authorized(&again), stays, "{location}");
            dialect.handle_response(answer(&again, 201, Some("https://h/whip/7"), "v=0\r\n")).unwrap();
            dialect.say(&ClientMessage::Leave).unwrap();
            let farewell = dialect.waiting().requests.pop_front().unwrap();
            assert_eq!(authorized(&farewell), stays, "{location}: what another origin names gets no token either");
        }
    }

    #[test]
    fn a_refusal_is_quoted_without_the_token() {
        let settings = Whip { publish: "https://h/whip?key=hunter2".into(), ..settings(true) };
        let mut dialect = session(&settings, None);
        offer(&mut dialect);
        let post = dialect.waiting().requests.pop_front().unwrap();
        let error = dialect.handle_response(answer(&post, 401, None, "no such token: secret")).unwrap_err().to_string();
        assert!(error.contains("POST https://h/whip?key=*** gives HTTP status 401: no such token: ***"), "{error}");
    }

    #[test]
    fn refusals_quote_the_server() {
        let mut dialect = session(&settings(true), None);
        offer(&mut dialect);
        let post = dialect.waiting().requests.pop_front().unwrap();
        let error = dialect.handle_response(answer(&post, 403, None, "wrong token\n")).unwrap_err().to_string();
        assert!(error.contains("POST https://h/whip/r gives HTTP status 403: wrong token"), "{error}");
        for (location, body) in [(None, "v=0\r\n"), (Some("/x"), "no SDP")] {
            assert!(dialect.handle_response(answer(&post, 201, location, body)).is_err());
        }
    }

    #[test]
    fn references_are_resolved() {
        for (reference, expected) in
            [("https://g/x", "https://g/x"), ("/whip/7", "https://h:1/whip/7"), ("7", "https://h:1/a/7")]
        {
            assert_eq!(resolved("https://h:1/a/b", reference), expected);
        }
        assert_eq!(resolved("https://h", "/x"), "https://h/x");
    }
}
