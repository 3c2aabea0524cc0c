//! What stands between two networks sees packets in both directions, and says what becomes of each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::counters::DropReason;
use super::firewall::Firewall;
use super::nat::{Naive, Nat};
use super::packet::{Packet, Protocol, Transport, UnreachableReason};

/// A NAT or a firewall with its state.
pub(super) enum Layer {
    Nat(Box<Nat>),
    Naive(Box<Naive>),
    Firewall(Box<Firewall>),
    /// Sees IPv6 only.
    Ipv6Edge(Box<Firewall>),
}

/// What becomes of a packet.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on, as it now is.
    Pass,
    /// It goes back the way it came, as it now is.
    Back,
    /// It ends here; what the packet now is goes back in its place.
    Refuse(DropReason),
    /// It ends here.
    Drop(DropReason),
    /// Its connection ends here, and both ends are told.
    Cut(DropReason, Box<Cut>),
}

/// What both ends of a connection are told.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) inside: Packet,
    pub(super) outside: Packet,
}

/// The addresses from which a layer reports errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Router {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

impl Layer {
    /// A packet on its way out.
    pub(super) fn outbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        match (self, packet.source) {
            (Self::Nat(nat), SocketAddr::V4(_)) => nat.outbound(now, packet),
            (Self::Naive(nat), SocketAddr::V4(_)) => nat.outbound(now, packet),
            (Self::Firewall(firewall), _) | (Self::Ipv6Edge(firewall), SocketAddr::V6(_)) => {
                firewall.outbound(now, packet)
            }
            (Self::Nat(_) | Self::Naive(_), SocketAddr::V6(_)) | (Self::Ipv6Edge(_), SocketAddr::V4(_)) => {
                Verdict::Pass
            }
        }
    }

    /// A packet on its way in.
    pub(super) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        match (self, packet.source) {
            (Self::Nat(nat), SocketAddr::V4(_)) => nat.inbound(now, packet),
            (Self::Naive(nat), SocketAddr::V4(_)) => nat.inbound(now, packet),
            (Self::Firewall(firewall), _) | (Self::Ipv6Edge(firewall), SocketAddr::V6(_)) => {
                firewall.inbound(now, packet)
            }
            (Self::Nat(_) | Self::Naive(_), SocketAddr::V6(_)) | (Self::Ipv6Edge(_), SocketAddr::V4(_)) => {
                Verdict::Pass
            }
        }
    }
}

impl Router {
    /// The address of the family that the other one has.
    pub(super) fn address(self, like: SocketAddr) -> IpAddr {
        if like.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// Puts an ICMP error about the packet in its place. ICMP errors are not answered.
pub(super) fn refuse(packet: &mut Packet, reporter: IpAddr, with: UnreachableReason, reason: DropReason) -> Verdict {
    match packet.unreachable(reporter, with) {
        Some(error) => {
            *packet = error;
            Verdict::Refuse(reason)
        }
        None => Verdict::Drop(reason),
    }
}

/// Puts what a closed port answers in the packet's place: a reset for TCP, an ICMP error for the rest.
pub(super) fn refuse_port(packet: &mut Packet, reporter: IpAddr, reason: DropReason) -> Verdict {
    match &packet.transport {
        Transport::Tcp(segment) if segment.rst() => Verdict::Drop(reason),
        Transport::Tcp(segment) => {
            *packet = Packet::tcp(packet.destination, packet.source, segment.reset());
            Verdict::Refuse(reason)
        }
        Transport::Udp(_) | Transport::Unreachable(_) => refuse(packet, reporter, UnreachableReason::Port, reason),
    }
}

/// A protocol and an IPv4 endpoint in one word, as the key of a table.
pub(super) fn endpoint_key(protocol: Protocol, address: Ipv4Addr, port: u16) -> u64 {
    (protocol as u64) << 48 | u64::from(address.to_bits()) << 16 | u64::from(port)
}
