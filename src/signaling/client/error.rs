//! Why signaling does not work, told apart so that a report can say what to repair.

use std::io;

use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use crate::signaling::protocol::ErrorCode;
use crate::signaling::redact::{redacted, redacted_answer};
use crate::signaling::trust;

/// Why a client has no signaling (any more).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not one of a secure WebSocket.
    #[error("{url:?} is not the URL of a signaling server: {detail}; it should look like wss://host:8443/ws")]
    Url {
        /// The URL, without what may be secret in it.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The host has no address.
    #[error("the host name {host} has no address: {source}")]
    Dns {
        /// The host.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nothing listens there.
    #[error("{address} refuses the connection: is the signaling server running, and on this port?")]
    Refused {
        /// Address and port.
        address: String,
    },
    /// There is no TCP connection for another reason.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The certificate comes from a CA that is not trusted.
    #[error("the certificate of {host} comes from a CA that is not trusted: give its CA as a PEM file")]
    Untrusted {
        /// The host.
        host: String,
    },
    /// The certificate is for another host.
    #[error("the certificate of {host} is for other names ({names})")]
    WrongName {
        /// The host.
        host: String,
        /// The names in the certificate.
        names: String,
    },
    /// The certificate's time is over, or has not come.
    #[error("the certificate of {host} {detail}: renew it, or check this machine's clock")]
    Expired {
        /// The host.
        host: String,
        /// "expired at …" or "is not valid before …".
        detail: String,
    },
    /// TLS fails for another reason.
    #[error("TLS with {host} fails: {source}")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The server speaks HTTP but does not open a WebSocket.
    #[error("{url} answers the WebSocket upgrade with HTTP status {status}{body}")]
    Upgrade {
        /// The URL, without what may be secret in it.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer's text, after a colon; empty without one.
        body: String,
    },
    /// The server ended the connection.
    #[error("the signaling server closed the connection{}", close_text(*code, reason))]
    Closed {
        /// The WebSocket close code (RFC 6455, section 7.4); `None` if it went without one.
        code: Option<u16>,
        /// What the server says; often empty.
        reason: String,
    },
    /// The server sent something that the protocol does not allow.
    #[error("the signaling server breaks the protocol: {detail}; it sent: {quote}")]
    Protocol {
        /// What is wrong.
        detail: String,
        /// The beginning of what came.
        quote: String,
    },
    /// The server answered with an `error` message.
    #[error("the signaling server says {}: {message}", code.name())]
    Server {
        /// Its code.
        code: ErrorCode,
        /// Its text.
        message: String,
    },
    /// The server refused something in its own words.
    #[error("the signaling server refuses: {message}")]
    Refusal {
        /// What it says.
        message: String,
    },
    /// The server has not said anything for longer than its protocol allows.
    #[error("the signaling server has been silent for {after:?}")]
    Silent {
        /// How long it may be silent.
        after: std::time::Duration,
    },
    /// The connection broke.
    #[error("the signaling connection broke: {0}")]
    Io(io::Error),
    /// The server did not let the client into its room in time.
    #[error("the signaling server did not let the person into the room within {after:?}")]
    Late {
        /// The deadline.
        after: std::time::Duration,
    },
    /// Whose media the client wants does not publish any.
    #[error("the publisher {publisher}, whose media the peer is to get, has failed: {why}")]
    Unpublished {
        /// The peer.
        publisher: String,
        /// Why not.
        why: String,
    },
    /// What befell a connection that several calls share.
    #[error("{0}")]
    Shared(std::sync::Arc<Self>),
}

impl ClientError {
    pub(in crate::signaling) fn from_url(url: &str, detail: impl Into<String>) -> Self {
        Self::Url { url: redacted(url), detail: detail.into() }
    }

    pub(super) fn from_tcp(address: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            _ => Self::Connect { address, source },
        }
    }

    pub(super) fn from_tls(host: &str, source: io::Error) -> Self {
        use rustls::CertificateError as Fault;

        let host = host.to_owned();
        let fault = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match fault {
            Some(rustls::Error::InvalidCertificate(fault)) => match fault {
                Fault::UnknownIssuer | Fault::BadSignature => Self::Untrusted { host },
                Fault::NotValidForName => Self::WrongName { host, names: "not named".into() },
                Fault::NotValidForNameContext { presented, .. } => {
                    Self::WrongName { host, names: presented.join(", ") }
                }
                Fault::Expired => Self::Expired { host, detail: "has expired".into() },
                Fault::ExpiredContext { not_after, .. } => {
                    Self::Expired { host, detail: format!("expired at {}", trust::date(*not_after)) }
                }
                Fault::NotValidYet => Self::Expired { host, detail: "is not valid yet".into() },
                Fault::NotValidYetContext { not_before, .. } => {
                    Self::Expired { host, detail: format!("is not valid before {}", trust::date(*not_before)) }
                }
                _ => Self::Tls { host, source },
            },
            _ => Self::Tls { host, source },
        }
    }

    /// What the server says is quoted without the token `bearer`, as LiveKit repeats one that it refuses, and without the
    /// query of the URL.
    pub(super) fn from_upgrade(url: &str, error: WsError, bearer: Option<&str>) -> Self {
        match error {
            WsError::Http(response) => {
                let text = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                let text = bearer.map_or_else(|| text.clone(), |bearer| text.replace(bearer, "***"));
                let text = redacted_answer(&text, url);
                let body = if text.trim().is_empty() { String::new() } else { format!(": {}", excerpt(text.trim())) };
                Self::Upgrade { url: redacted(url), status: response.status().as_u16(), body }
            }
            other => Self::from_socket(other),
        }
    }

    pub(super) fn from_socket(error: WsError) -> Self {
        let closed = || Self::Closed { code: None, reason: String::new() };
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => closed(),
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
                closed()
            }
            WsError::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                ) =>
            {
                closed()
            }
            WsError::Io(error) => Self::Io(error),
            other => Self::Protocol { detail: other.to_string(), quote: "not readable".into() },
        }
    }
}

/// The beginning of a text, for quoting it in an error.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS: usize = 160;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}… ({} bytes)", shown(&text[..end]), text.len()),
        None => shown(text),
    }
}

/// A text of a server as it can be shown: what would command a terminal, or turn the direction of what stands around it
/// (Unicode UAX 9, section 2), is escaped.
pub(super) fn shown(text: &str) -> String {
    let is_bidi = |character| matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_separator = |character| matches!(character, '\u{2028}' | '\u{2029}');
    let mut shown = String::with_capacity(text.len());
    for character in text.replace("\r\n", "\n").chars() {
        match character {
            '\n' | '\r' | '\t' => shown.push(' '),
            _ if character.is_control() || is_bidi(character) || is_separator(character) => {
                shown.extend(character.escape_unicode());
            }
            _ => shown.push(character),
        }
    }
    shown
}

fn close_text(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, "") => " without saying why".into(),
        (None, reason) => format!(": {reason}"),
        (Some(code), "") => format!(" with code {code}"),
        (Some(code), reason) => format!(" with code {code}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::Response;

    use super::*;

    #[test]
    fn a_long_text_is_quoted_by_its_beginning() {
        assert_eq!(excerpt("short"), "short");
        let long = "é".repeat(500);
        assert_eq!(excerpt(&long), format!("{}… (1000 bytes)", "é".repeat(160)));
    }

    #[test]
    fn what_would_command_a_terminal_or_a_page_is_escaped() {
        assert_eq!(excerpt("a\x1b[31mred\x07\u{9b}2J"), r"a\u{1b}[31mred\u{7}\u{9b}2J");
        assert_eq!(excerpt("\u{202e}gnp.exe\u{2066}"), r"\u{202e}gnp.exe\u{2066}");
        assert_eq!(excerpt("v=0\r\no=-\ts=-\n"), "v=0 o=- s=- ");
        assert_eq!(excerpt("שלום — ok"), "שלום — ok");
        let body = Some(b"\x1b]0;owned\x07".to_vec());
        let response = Response::builder().status(500).body(body).unwrap();
        let error = ClientError::from_upgrade("wss://h/ws", WsError::Http(Box::new(response)), None).to_string();
        assert!(error.ends_with(r"HTTP status 500: \u{1b}]0;owned\u{7}"), "{error}");
    }

    #[test]
    fn a_refused_token_is_not_quoted() {
        let token = "a".repeat(300);
        let body = format!("invalid token: {token}, error: wrong signature\n").into_bytes();
        let response = Response::builder().status(401).body(Some(body)).unwrap();
        let error = ClientError::from_upgrade("wss://h/rtc", WsError::Http(Box::new(response)), Some(&token));
        let expected = "wss://h/rtc answers the WebSocket upgrade with HTTP status 401: invalid token: ***, error: wrong signature";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_a_query_says_is_not_quoted() {
        let url = "wss://h/socket.io/?EIO=4&token=hunter2hunter2";
        let body = b"Cannot GET /socket.io/?EIO=4&token=hunter2hunter2".to_vec();
        let response = Response::builder().status(404).body(Some(body)).unwrap();
        let errors = [
            ClientError::from_upgrade(url, WsError::Http(Box::new(response)), None),
            ClientError::from_url(url, "it has no host"),
        ];
        for error in errors {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
            assert!(error.to_string().contains("wss://h/socket.io/?EIO=***&token=***"), "{error}");
        }
    }

    #[test]
    fn a_close_is_told_with_code_and_reason() {
        let error = ClientError::Closed { code: Some(1008), reason: "too many messages".into() };
        assert_eq!(error.to_string(), "the signaling server closed the connection with code 1008: too many messages");
        let error = ClientError::Closed { code: None, reason: "good-bye".into() };
        assert_eq!(error.to_string(), "the signaling server closed the connection: good-bye");
    }
}
