//! How the server behaves.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::misbehaviour::Misbehaviour;
use crate::turn::credentials::Credentials;

/// Everything the sans-IO server is told. Its sockets are the driver's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The realm of the credentials.
    pub realm: String,
    /// Who may allocate.
    pub credentials: Credentials,
    /// The UDP addresses that clients reach the server at. With two addresses and the same two ports on each, clients
    /// can find out about their NAT (RFC 5780).
    pub listeners: Vec<SocketAddr>,
    /// The addresses of relay ports: the first of each family is used.
    pub relay_addresses: Vec<IpAddr>,
    /// The ports that relay ports are chosen from.
    pub relay_ports: RangeInclusive<u16>,
    /// How long things last.
    pub lifetimes: Lifetimes,
    /// How many of them there may be.
    pub limits: Limits,
    /// Peers that nobody may reach through the server: they are answered with 403.
    pub refused_peers: Vec<Prefix>,
    /// What the server does wrong.
    pub misbehaviour: Misbehaviour,
}

impl Config {
    /// A server that behaves, with its relay ports at one address.
    pub fn new(realm: impl Into<String>, credentials: Credentials, relay_address: IpAddr) -> Self {
        Self {
            realm: realm.into(),
            credentials,
            listeners: Vec::new(),
            relay_addresses: vec![relay_address],
            // RFC 8656, section 7.2.
            relay_ports: 49_152..=65_535,
            lifetimes: Lifetimes::default(),
            limits: Limits::default(),
            refused_peers: Vec::new(),
            misbehaviour: Misbehaviour::default(),
        }
    }
}

/// How long things last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    /// An allocation, unless the client asks for more (RFC 8656, section 3.2).
    pub allocation: Duration,
    /// An allocation, whatever the client asks for.
    pub allocation_max: Duration,
    /// A permission (RFC 8656, section 9).
    pub permission: Duration,
    /// A channel (RFC 8656, section 12).
    pub channel: Duration,
    /// A nonce (RFC 8656, section 5: at least hourly).
    pub nonce: Duration,
    /// A relay port that waits for its RESERVATION-TOKEN (RFC 8656, section 7.2).
    pub reservation: Duration,
    /// A stream that has no allocation and brings no message.
    pub idle_stream: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            allocation: Duration::from_secs(600),
            allocation_max: Duration::from_secs(3600),
            permission: Duration::from_secs(300),
            channel: Duration::from_secs(600),
            nonce: Duration::from_secs(3600),
            reservation: Duration::from_secs(30),
            idle_stream: Duration::from_secs(60),
        }
    }
}

/// How many of them there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Allocations of all clients; one more is answered with 508.
    pub allocations: usize,
    /// Allocations of one user; one more is answered with 486.
    pub allocations_per_user: usize,
    /// Permissions of an allocation, and channels; one more is answered with 508.
    pub peers: usize,
    /// Answers a second to one IP address that has shown no credentials. What is beyond it is dropped, so that the server
    /// is of no use for flooding others.
    pub anonymous_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // Room for the thousands of simulated peers that share one loopback address.
        Self { allocations: 16_384, allocations_per_user: 16_384, peers: 256, anonymous_per_second: 20_000 }
    }
}

/// A range of IP addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix {
    /// One of them.
    pub address: IpAddr,
    /// How many of its first bits they share.
    pub length: u8,
}

impl Prefix {
    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differing = (ours.to_bits() ^ other.to_bits()).leading_zeros();
                differing >= u32::from(self.length)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                (ours.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.length)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_the_addresses_that_share_its_bits() {
        for (prefix, length, address, holds) in [
            ("10.0.0.0", 8, "10.255.1.2", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("0.0.0.0", 0, "203.0.113.9", true),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.0", false),
            ("fc00::", 7, "fdff::1", true),
            ("fc00::", 7, "10.0.0.1", false),
        ] {
            let prefix = Prefix { address: prefix.parse().unwrap(), length };
            assert_eq!(prefix.contains(address.parse().unwrap()), holds, "{address} in {prefix:?}");
        }
    }
}
