//! What crosses the sockets of a peer, as [`Wire`], [`Relays`], [`Strangers`] and [`HandshakeRepeats`] are to see it, in
//! every stack.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handshake::HandshakeRepeats;
use super::relays::Relays;
use super::strangers::Strangers;
use super::wire::{Way, Wire, indicated, is_relayed_check, unwrapped};

/// Looks at the datagrams of one peer.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) wire: Arc<Wire>,
    pub(super) relays: Arc<Relays>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) handshake: Arc<HandshakeRepeats>,
}

impl Observer {
    /// Whether a message may go to a server over a stream, or come from it: no connectivity check before its time.
    pub(super) fn may_cross(&self, server: usize, message: &[u8]) -> bool {
        !self.wire.is_connecting() || !is_relayed_check(message) || self.relays.may_check(server)
    }

    /// Whether a datagram from there may be heard yet. One that comes through an own relay is its sender's: the stack makes
    /// a peer-reflexive candidate of a stranger whichever way it comes, and tries it directly, too.
    pub(super) fn may_be_heard(&self, source: SocketAddr, datagram: &[u8]) -> bool {
        if !self.wire.is_connecting() {
            return true;
        }
        let (source, payload) = indicated(datagram).unwrap_or((source, datagram));
        self.strangers.may_be_heard(source, payload)
    }

    /// Whether a datagram, out of the wrapping of a relay, only repeats what has been heard of the handshake.
    pub(super) fn is_repeat(&self, payload: &[u8]) -> bool {
        self.wire.is_connecting() && self.handshake.is_repeat(payload)
    }

    /// A datagram has gone out.
    pub(super) fn sent(&self, destination: SocketAddr, datagram: &[u8]) {
        if self.wire.is_connecting() {
            self.relays.sent(destination, datagram);
            let payload = unwrapped(datagram);
            self.wire.sent(payload, self.way(destination, payload.len() < datagram.len()));
        }
    }

    /// A datagram has come in; `payload` is what is in it, without the wrapping of a relay.
    pub(super) fn received(&self, source: SocketAddr, datagram: &[u8], payload: &[u8]) {
        if self.wire.is_connecting() {
            self.relays.received(source, datagram);
            self.wire.received(payload, self.way(source, payload.len() < datagram.len()));
        }
    }

    fn way(&self, address: SocketAddr, wrapped: bool) -> Way {
        let server = wrapped.then(|| self.relays.server_at(address)).flatten();
        server.map_or(Way::Direct(address), Way::Relay)
    }
}
