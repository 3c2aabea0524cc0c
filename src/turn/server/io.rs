//! What goes into the server and what comes out of it.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ClientTransport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl ClientTransport {
    /// Whether messages must be cut out of a stream of bytes.
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// A client, by the 5-tuple that stands for it in TURN (RFC 8656, section 3.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Client {
    /// How it reaches the server.
    pub transport: ClientTransport,
    /// The client's address, as the server sees it.
    pub remote: SocketAddr,
    /// The server's address.
    pub local: SocketAddr,
}

/// What happened outside of the server.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// A client opened a stream.
    StreamOpened {
        /// Who.
        client: Client,
    },
    /// A datagram of a client, or bytes of its stream.
    FromClient {
        /// Who.
        client: Client,
        /// What came.
        data: &'a [u8],
    },
    /// A client's stream is at its end.
    StreamClosed {
        /// Whose.
        client: Client,
    },
    /// A datagram on a relay port.
    FromPeer {
        /// The relay port.
        relay: SocketAddr,
        /// Who sent it.
        peer: SocketAddr,
        /// What came.
        data: &'a [u8],
    },
    /// What a relay port had sent could not be delivered.
    PeerUnreachable {
        /// The relay port.
        relay: SocketAddr,
        /// Where it could not be delivered.
        peer: SocketAddr,
        /// The type of the ICMP message.
        icmp_type: u8,
        /// Its code.
        icmp_code: u8,
        /// The MTU of the next hop where the message has one, and 0 otherwise (RFC 8656, section 18.13).
        data: u32,
    },
    /// The answer to [`Output::OpenRelay`].
    RelayOpened {
        /// The relay port.
        relay: SocketAddr,
        /// Whether it is open.
        result: io::Result<()>,
    },
}

/// What is to be done outside of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send a datagram to a client, or bytes into its stream: all of them or none.
    ToClient {
        /// From where, to whom, and how.
        client: Client,
        /// What.
        data: Bytes,
    },
    /// Send a datagram from a relay port.
    ToPeer {
        /// The relay port.
        relay: SocketAddr,
        /// To whom.
        peer: SocketAddr,
        /// What.
        data: Bytes,
    },
    /// Open a UDP port, and say how that went with [`Inbound::RelayOpened`].
    OpenRelay {
        /// Its address.
        relay: SocketAddr,
    },
    /// Close a relay port.
    CloseRelay {
        /// Its address.
        relay: SocketAddr,
    },
    /// Close a client's stream once everything is sent. No [`Inbound::StreamClosed`] need follow.
    CloseStream {
        /// Whose.
        client: Client,
    },
}
