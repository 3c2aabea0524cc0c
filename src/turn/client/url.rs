//! URLs of ICE servers (RFC 7064 for STUN, RFC 7065 for TURN).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::net::oracle::RelayTransport;

/// Where a STUN or TURN server is, and how it is reached.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IceUrl {
    /// What the server is asked for.
    pub scheme: Scheme,
    /// How it is reached.
    pub transport: Transport,
    /// A name or an address; an IPv6 address stands without its brackets.
    pub host: String,
    /// The port; 3478, and 5349 with TLS, where the URL has none.
    pub port: u16,
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// The address that it sees.
    Stun,
    /// An address of its own.
    Turn,
}

/// How a server is reached. What it relays is UDP in any case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Transport {
    /// `stun:`, and `turn:` without anything else.
    Udp,
    /// `turn:` with `?transport=tcp`.
    Tcp,
    /// `stuns:` and `turns:`.
    Tls,
}

impl Transport {
    /// The word of `relayProtocol` in W3C webrtc-stats.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl From<Transport> for RelayTransport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
        }
    }
}

impl IceUrl {
    /// Whether a native peer can use the server at all.
    ///
    /// # Errors
    ///
    /// STUN over TLS: the stack asks STUN servers over UDP only.
    pub fn check_for_native_peers(&self) -> Result<(), UrlError> {
        if self.scheme == Scheme::Stun && self.transport == Transport::Tls {
            let reason = "native peers ask STUN servers over UDP only".to_owned();
            return Err(UrlError { url: self.to_string(), reason, remedy: "write stun: instead of stuns:" });
        }
        Ok(())
    }
}

/// A text that is no URL of a STUN or TURN server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{url:?} is no usable STUN or TURN server: {reason}")]
pub struct UrlError {
    /// The text.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to write.
    pub remedy: &'static str,
}

/// The remedy where nothing more precise is known.
const SHAPE: &str = "write stun:host:port, turn:host:port?transport=udp or turns:host:port?transport=tcp";

impl FromStr for IceUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let fault = |reason: &str, remedy| UrlError { url: url.to_owned(), reason: reason.to_owned(), remedy };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| fault("it has no scheme", SHAPE))?;
        // Of either case (RFC 3986, section 3.1).
        let (scheme, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (Scheme::Stun, false),
            "stuns" => (Scheme::Stun, true),
            "turn" => (Scheme::Turn, false),
            "turns" => (Scheme::Turn, true),
            other => return Err(fault(&format!("unknown scheme {other:?}"), SHAPE)),
        };
        if rest.starts_with("//") {
            return Err(fault("its scheme is followed by //", "leave out the //: these URLs have none"));
        }
        let (authority, query) =
            rest.split_once('?').map_or((rest, None), |(authority, query)| (authority, Some(query)));
        let transport = match (scheme, secure, query) {
            (_, false, None) | (Scheme::Turn, false, Some("transport=udp")) => Transport::Udp,
            (Scheme::Turn, false, Some("transport=tcp")) => Transport::Tcp,
            (_, true, None) | (Scheme::Turn, true, Some("transport=tcp")) => Transport::Tls,
            (Scheme::Turn, true, Some("transport=udp")) => {
                return Err(fault("TURN over DTLS is not supported, nor do browsers use it", "write ?transport=tcp"));
            }
            (Scheme::Stun, _, Some(_)) => {
                return Err(fault("a STUN URL has no option (RFC 7064)", "leave out the part from the ?"));
            }
            (_, _, Some(query)) => {
                return Err(fault(&format!("unknown option {query:?}"), "write ?transport=udp or ?transport=tcp"));
            }
        };
        if authority.contains(['/', ' ']) {
            return Err(fault("more than a host and a port stands before the ?", SHAPE));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| fault("its [ is not closed", SHAPE))?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(fault(&format!("{host:?} is no IPv6 address"), SHAPE));
                }
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(|| fault("only :port may follow the ]", SHAPE))?),
                };
                (host, port)
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if authority.matches(':').count() > 1 && !authority.starts_with('[') {
            return Err(fault("an IPv6 address stands in brackets", "write [address]:port"));
        }
        if authority.contains('@') {
            return Err(fault("these URLs hold no user name or password", "give the user name and password apart"));
        }
        if host.is_empty() {
            return Err(fault("it has no host", SHAPE));
        }
        let port = match port.map(str::parse::<u16>) {
            None if secure => 5349,
            None => 3478,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(fault("its port is not between 1 and 65535", SHAPE)),
        };
        Ok(Self { scheme, transport, host: host.to_owned(), port })
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let scheme = match (self.scheme, self.transport) {
            (Scheme::Stun, Transport::Tls) => "stuns",
            (Scheme::Stun, _) => "stun",
            (Scheme::Turn, Transport::Tls) => "turns",
            (Scheme::Turn, _) => "turn",
        };
        write!(f, "{scheme}:{open}{}{close}:{}", self.host, self.port)?;
        match (self.scheme, self.transport) {
            (Scheme::Turn, Transport::Udp) => f.write_str("?transport=udp"),
            (Scheme::Turn, _) => f.write_str("?transport=tcp"),
            (Scheme::Stun, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_scheme_transport_host_and_port() {
        for (text, shown) in [
            ("stun:a.example", "stun:a.example:3478"),
            ("stuns:a.example", "stuns:a.example:5349"),
            ("TURN:a.example", "turn:a.example:3478?transport=udp"),
            ("turn:10.0.0.1", "turn:10.0.0.1:3478?transport=udp"),
            ("turn:a.example:443?transport=tcp", "turn:a.example:443?transport=tcp"),
            ("turns:[::1]:443?transport=tcp", "turns:[::1]:443?transport=tcp"),
            ("turns:[2001:db8::1]", "turns:[2001:db8::1]:5349?transport=tcp"),
        ] {
            let url: IceUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url), "what is shown is the same URL");
        }
        let url: IceUrl = "turns:a.example".parse().unwrap();
        assert_eq!((url.scheme, url.transport), (Scheme::Turn, Transport::Tls));
    }

    #[test]
    fn other_texts_are_refused_with_reason_and_remedy() {
        for (text, reason, remedy) in [
            ("a.example", "no scheme", "write stun:"),
            ("http://a", "unknown scheme", "write stun:"),
            ("turn://a", "followed by //", "leave out"),
            ("stun:", "no host", "write stun:"),
            ("turn:a:3478/x", "more than a host and a port", "write stun:"),
            ("stun:a:70000", "between 1 and 65535", "write stun:"),
            ("stun:a:0", "between 1 and 65535", "write stun:"),
            ("stun:a?transport=udp", "no option", "leave out"),
            ("turn:a?transport=sctp", "unknown option", "?transport=tcp"),
            ("turns:a?transport=udp", "DTLS", "?transport=tcp"),
            ("turn:2001:db8::1", "brackets", "[address]"),
            ("turn:[2001:db8::1", "not closed", "write stun:"),
            ("turn:[a.example]", "no IPv6", "write stun:"),
            ("turn:[::1]3478", "may follow", "write stun:"),
            ("turn:user@a", "no user name", "apart"),
        ] {
            let error = text.parse::<IceUrl>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert!(error.remedy.contains(remedy), "{text}: {}", error.remedy);
        }
    }
}
