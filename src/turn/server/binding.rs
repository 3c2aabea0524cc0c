//! Binding requests: the client's address, and what a client needs to find out about its NAT (RFC 5780).

use std::net::SocketAddr;
use std::time::Instant;

use super::auth::Asked;
use super::core::Server;
use super::io::Client;
use super::refusal::{Refusal, unknown_attributes};
use crate::turn::message::{Attribute, Builder, Message};

const KNOWN: &[Attribute] = &[
    Attribute::USERNAME,
    Attribute::MESSAGE_INTEGRITY,
    Attribute::REALM,
    Attribute::NONCE,
    Attribute::CHANGE_REQUEST,
    Attribute::RESPONSE_PORT,
    Attribute::PADDING,
];
/// Bits of CHANGE-REQUEST (RFC 5780, section 7.2).
const CHANGE_IP: u32 = 0x04;
const CHANGE_PORT: u32 = 0x02;
/// Header of PADDING, and FINGERPRINT.
const AROUND_PADDING_BYTES: usize = 4 + 8;

impl Server {
    pub(super) fn handle_binding(&mut self, now: Instant, client: Client, request: &Message<'_>) {
        if !self.limit.allows(now, client.remote.ip()) {
            self.counters.dropped.rate += 1;
            return;
        }
        let mut asked = Asked::new(client, request);
        match self.binding(asked, request) {
            Ok((answer, path)) => {
                asked.client = path;
                self.succeed(now, asked, answer, None);
            }
            Err(refusal) => self.refuse(now, asked, &refusal, None),
        }
    }

    /// The answer, and from where to where it goes.
    fn binding(&self, asked: Asked, request: &Message<'_>) -> Result<(Builder, Client), Refusal> {
        let unknown = unknown_attributes(request, KNOWN);
        if !unknown.is_empty() {
            return Err(Refusal::unknown(unknown));
        }
        let client = asked.client;
        let mut path = client;
        let change = request.number(Attribute::CHANGE_REQUEST).unwrap_or(0) & (CHANGE_IP | CHANGE_PORT);
        if change != 0 {
            let unable = || Refusal::unknown(vec![Attribute::CHANGE_REQUEST]);
            let other = self.other(client, change & CHANGE_IP != 0, change & CHANGE_PORT != 0);
            path.local = other.ok_or_else(unable)?;
        }
        if let Some(value) = request.get(Attribute::RESPONSE_PORT) {
            if client.transport.is_stream() {
                return Err(Refusal::unknown(vec![Attribute::RESPONSE_PORT]));
            }
            let [high, low, ..] = value else { return Err(400.into()) };
            let port = u16::from_be_bytes([*high, *low]);
            // RFC 5780, section 7.6: padding goes to nobody but the one who sent as much.
            if port == 0 || request.get(Attribute::PADDING).is_some() {
                return Err(400.into());
            }
            path.remote.set_port(port);
        }

        let mut answer = asked.success();
        answer.xor_address(Attribute::XOR_MAPPED_ADDRESS, client.remote);
        if let Some(other) = self.other(client, true, true) {
            // A client that gets both addresses can tell that a gateway rewrites the one which is not XORed.
            answer.address(Attribute::MAPPED_ADDRESS, client.remote);
            answer.address(Attribute::RESPONSE_ORIGIN, path.local);
            answer.address(Attribute::OTHER_ADDRESS, other);
        }
        if request.get(Attribute::PADDING).is_some() {
            // Never more than the request had: a forged source address must not be worth the while.
            let room = request.as_bytes().len().saturating_sub(answer.length() + AROUND_PADDING_BYTES);
            answer.bytes(Attribute::PADDING, &vec![0; room]);
        }
        Ok((answer, path))
    }

    /// The listener that differs from the client's in address, port or both, and in nothing else.
    fn other(&self, client: Client, ip: bool, port: bool) -> Option<SocketAddr> {
        let local = client.local;
        let differs = |listener: &&SocketAddr| {
            listener.is_ipv4() == local.is_ipv4()
                && (listener.ip() != local.ip()) == ip
                && (listener.port() != local.port()) == port
        };
        if client.transport.is_stream() {
            return None;
        }
        self.config.listeners.iter().find(differs).copied()
    }
}
