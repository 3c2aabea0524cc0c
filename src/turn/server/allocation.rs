//! One allocation: a relay port, and which peers may use it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::config::Lifetimes;
use crate::turn::credentials::Key;
use crate::turn::message::TransactionId;

/// A relay port that belongs to a client.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) relay: SocketAddr,
    pub(super) owner: Owner,
    pub(super) expires: Instant,
    /// The request that made it, and its answer: a request that comes again is answered the same.
    pub(super) transaction: TransactionId,
    pub(super) answer: Bytes,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, Channel>,
    numbers: HashMap<SocketAddr, u16>,
}

/// Who made an allocation.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) username: String,
    pub(super) account: String,
    pub(super) key: Key,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    expires: Instant,
}

/// Why a channel is not bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BindError {
    /// The number stands for another peer, or the peer has another number.
    Taken,
    /// There are too many.
    Full,
}

impl Allocation {
    pub(super) fn new(
        relay: SocketAddr,
        owner: Owner,
        expires: Instant,
        transaction: TransactionId,
        answer: Bytes,
    ) -> Self {
        let (permissions, channels, numbers) = Default::default();
        Self { relay, owner, expires, transaction, answer, permissions, channels, numbers }
    }

    pub(super) fn permits(&self, peer: IpAddr, now: Instant) -> bool {
        self.permissions.get(&peer).is_some_and(|expires| now < *expires)
    }

    /// Lets all of these peers in for some time; none of them if they are too many.
    pub(super) fn permit(&mut self, peers: &[IpAddr], now: Instant, lifetime: Duration, limit: usize) -> bool {
        let news = |known: &HashMap<IpAddr, Instant>| peers.iter().filter(|peer| !known.contains_key(peer)).count();
        if self.permissions.len() + news(&self.permissions) > limit {
            self.permissions.retain(|_, expires| now < *expires);
            if self.permissions.len() + news(&self.permissions) > limit {
                return false;
            }
        }
        self.permissions.extend(peers.iter().map(|peer| (*peer, now + lifetime)));
        true
    }

    /// The peer that a channel stands for.
    pub(super) fn channel_peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        self.channels.get(&number).filter(|channel| now < channel.expires).map(|channel| channel.peer)
    }

    /// The channel that stands for a peer.
    pub(super) fn channel_number(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let number = *self.numbers.get(&peer)?;
        (self.channel_peer(number, now) == Some(peer)).then_some(number)
    }

    /// Binds a channel, or binds it for longer; either lets the peer in (RFC 8656, section 12.2).
    pub(super) fn bind(
        &mut self,
        number: u16,
        peer: SocketAddr,
        now: Instant,
        lifetimes: &Lifetimes,
        limit: usize,
    ) -> Result<(), BindError> {
        let bound = self.channel_peer(number, now);
        if bound.is_some_and(|bound| bound != peer)
            || self.channel_number(peer, now).is_some_and(|other| other != number)
        {
            return Err(BindError::Taken);
        }
        if bound.is_none() {
            self.channels.retain(|_, channel| now < channel.expires);
            self.numbers.retain(|_, number| self.channels.contains_key(number));
            if self.channels.len() >= limit {
                return Err(BindError::Full);
            }
        }
        if !self.permit(&[peer.ip()], now, lifetimes.permission, limit) {
            return Err(BindError::Full);
        }
        self.channels.insert(number, Channel { peer, expires: now + lifetimes.channel });
        self.numbers.insert(peer, number);
        Ok(())
    }
}
