//! Why a STUN or TURN server does not do what it was asked, told apart so that a report can say what to repair.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a server does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host has no address.
    #[error("the host name {host} has no address: {source}")]
    Dns {
        /// The host.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nothing listens there.
    #[error("{address} refuses the connection")]
    Refused {
        /// The server.
        address: SocketAddr,
    },
    /// This machine has no way to that address.
    #[error("this machine has no route to {address}: {source}")]
    NoRoute {
        /// The server.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Something did not come in time.
    #[error("no {what} from {address} within {after:?}")]
    TimedOut {
        /// The server.
        address: SocketAddr,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// TLS fails.
    #[error("{0}")]
    Tls(TlsFault),
    /// The server ended the connection.
    #[error("{address} closed the connection")]
    Closed {
        /// The server.
        address: SocketAddr,
    },
    /// The server answers a request with an error.
    #[error("{0}")]
    Refusal(Refusal),
    /// The server sent something that the protocol does not allow.
    #[error("{address} breaks the protocol: {detail}")]
    Protocol {
        /// The server.
        address: SocketAddr,
        /// What is wrong.
        detail: String,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {source}")]
    Io {
        /// The server.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// This program cannot make the request.
    #[error("the request cannot be made: {0}")]
    Internal(String),
}

/// What is wrong with TLS.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TlsFault {
    /// The certificate comes from a CA that is not trusted, or its chain is not complete.
    #[error("certificate from a CA that is not trusted, or without its intermediates")]
    Untrusted,
    /// The certificate is for other names.
    #[error("certificate is for another name ({names}), not for {host}")]
    WrongName {
        /// The name that was asked for.
        host: String,
        /// The names in the certificate.
        names: String,
    },
    /// The certificate's time is over.
    #[error("certificate {detail}")]
    Expired {
        /// "expired at …".
        detail: String,
    },
    /// The certificate's time has not come.
    #[error("certificate {detail}")]
    NotYetValid {
        /// "is not valid before …".
        detail: String,
    },
    /// The handshake fails for another reason.
    #[error("no TLS: {0}")]
    Handshake(String),
}

/// An error response of a server (RFC 8489, section 14.8; RFC 8656, section 19).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The request, such as `Allocate`.
    pub method: &'static str,
    /// The error code, 300 to 699.
    pub code: u16,
    /// The server's words; may be empty.
    pub reason: String,
    /// Where the server of a 300 sends its clients.
    pub alternate: Option<SocketAddr>,
    /// How often the request was answered with 401: once is how it starts.
    pub unauthorized: u32,
    /// How often it was answered with 438.
    pub stale_nonces: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, code, reason, .. } = self;
        match reason.as_str() {
            "" => write!(f, "{method} is refused with {code}"),
            reason => write!(f, "{method} is refused with {code} ({reason})"),
        }
    }
}

impl ClientError {
    /// Sorts an error of the system.
    pub(crate) fn from_io(address: SocketAddr, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match source.kind() {
            Kind::ConnectionRefused => Self::Refused { address },
            Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::AddrNotAvailable | Kind::NetworkDown => {
                Self::NoRoute { address, source }
            }
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof | Kind::ConnectionAborted => {
                Self::Closed { address }
            }
            Kind::TimedOut => Self::TimedOut { address, what: "answer", after: Duration::ZERO },
            _ => Self::Io { address, source },
        }
    }
}
