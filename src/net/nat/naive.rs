//! Linux masquerading with a router that accepts packets to itself, of which [`NatKind::Naive`] tells.
//!
//! Connection tracking knows flows by both endpoints, in both directions, and lets no two flows share such a pair. A packet
//! that a peer sends before the inside host has sent to that peer belongs to no flow; the router takes it for its own,
//! remembers the flow, and refuses it. When the inside host then sends to that peer, the answers would look like that flow,
//! so that the packet leaves from another port, which the peer does not know.
//!
//! [`NatKind::Naive`]: crate::net::spec::NatKind::Naive

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::net::counters::DropReason;
use crate::net::hash::FastMap;
use crate::net::layer::{Verdict, endpoint_key, refuse_port};
use crate::net::packet::{Packet, Protocol, Transport, Unreachable};
use crate::net::spec::NatSpec;
use crate::net::tcp::{Connection, TcpLifetimes, begins};

/// A masquerading Linux router with its flows.
pub(in crate::net) struct Naive {
    outside: Ipv4Addr,
    first_port: u16,
    last_port: u16,
    udp_lifetime: Duration,
    tcp_lifetimes: TcpLifetimes,
    flows: FastMap<u64, Flow>,
    /// The flow of a source and a destination, as they are seen on either side of the router.
    tuples: FastMap<(u64, u64), u64>,
    next_id: u64,
    /// How many flows there may be before those that are over are cleared away.
    sweep_at: usize,
    rng: ChaCha8Rng,
}

struct Flow {
    /// Who began it; a flow of the router's own was begun by the remote end.
    inside: Option<SocketAddrV4>,
    outside: SocketAddrV4,
    tuples: [(u64, u64); 2],
    connection: Connection,
    expires: Instant,
}

impl Naive {
    const FLOWS: usize = 4_096;
    /// How many ports are tried before the packet is dropped, as Linux does.
    const DRAWS: usize = 128;

    pub(in crate::net) fn new(spec: &NatSpec, outside: Ipv4Addr, seed: u64) -> Self {
        Self {
            outside,
            first_port: spec.first_port,
            last_port: spec.last_port,
            udp_lifetime: Duration::from_micros(spec.udp_lifetime_us),
            tcp_lifetimes: TcpLifetimes {
                established: Duration::from_micros(spec.tcp_established_us),
                transitory: Duration::from_micros(spec.tcp_transitory_us),
            },
            flows: FastMap::default(),
            tuples: FastMap::default(),
            next_id: 0,
            sweep_at: Self::FLOWS,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A packet from inside.
    pub(in crate::net) fn outbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        let (SocketAddr::V4(inside), SocketAddr::V4(remote)) = (packet.source, packet.destination) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        if let Transport::Unreachable(error) = packet.transport {
            return self.error_outbound(now, packet, error);
        }
        if *remote.ip() == self.outside {
            return refuse_port(packet, self.outside.into(), DropReason::NoHairpin);
        }
        let protocol = packet.protocol();
        let id = match self.find(now, protocol, inside, remote) {
            Some(id) => id,
            None if matches!(&packet.transport, Transport::Tcp(segment) if !begins(segment)) => {
                return Verdict::Drop(DropReason::NoConnection);
            }
            None => match self.masquerade(now, protocol, inside, remote) {
                Some(id) => id,
                None => return Verdict::Drop(DropReason::PortsExhausted),
            },
        };
        self.renew(now, id, packet, true);
        packet.source = self.flows[&id].outside.into();
        Verdict::Pass
    }

    /// A packet from outside.
    pub(in crate::net) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        let (SocketAddr::V4(remote), SocketAddr::V4(outside)) = (packet.source, packet.destination) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        if let Transport::Unreachable(error) = packet.transport {
            return self.error_inbound(now, packet, error);
        }
        let protocol = packet.protocol();
        match self.find(now, protocol, remote, outside) {
            Some(id) => {
                self.renew(now, id, packet, false);
                if let Some(inside) = self.flows[&id].inside {
                    packet.destination = inside.into();
                    return Verdict::Pass;
                }
            }
            // The reset that answers a segment ends its flow at once, so that only UDP leaves one.
            None if protocol == Protocol::Udp => {
                let (key, back) = keys(protocol, remote, outside);
                self.insert(now, [(key, back), (back, key)], None, outside);
            }
            None => {}
        }
        refuse_port(packet, self.outside.into(), DropReason::Unsolicited)
    }

    fn error_outbound(&mut self, now: Instant, packet: &mut Packet, mut error: Unreachable) -> Verdict {
        let (SocketAddr::V4(inside), SocketAddr::V4(remote)) = (error.destination, error.source) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        let Some(id) = self.find(now, error.protocol, inside, remote) else {
            return Verdict::Drop(DropReason::Unsolicited);
        };
        error.destination = self.flows[&id].outside.into();
        packet.source = SocketAddr::new(self.outside.into(), 0);
        packet.transport = Transport::Unreachable(error);
        Verdict::Pass
    }

    fn error_inbound(&mut self, now: Instant, packet: &mut Packet, mut error: Unreachable) -> Verdict {
        let (SocketAddr::V4(outside), SocketAddr::V4(remote)) = (error.source, error.destination) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        let inside = self.find(now, error.protocol, remote, outside).and_then(|id| self.flows[&id].inside);
        let Some(inside) = inside else { return Verdict::Drop(DropReason::Unsolicited) };
        error.source = inside.into();
        packet.destination = SocketAddr::new((*inside.ip()).into(), 0);
        packet.transport = Transport::Unreachable(error);
        Verdict::Pass
    }

    /// A new flow from inside, from the same port if no other flow has that port with this remote endpoint.
    fn masquerade(
        &mut self,
        now: Instant,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<u64> {
        let mut port = inside.port();
        for _ in 0..Self::DRAWS {
            let outside = SocketAddrV4::new(self.outside, port);
            if self.find(now, protocol, remote, outside).is_none() {
                let tuples = [keys(protocol, inside, remote), keys(protocol, remote, outside)];
                return Some(self.insert(now, tuples, Some(inside), outside));
            }
            port = self.rng.random_range(self.first_port..=self.last_port);
        }
        None
    }

    fn find(
        &mut self,
        now: Instant,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Option<u64> {
        let id = *self.tuples.get(&keys(protocol, source, destination))?;
        if now < self.flows[&id].expires {
            return Some(id);
        }
        self.remove(id);
        None
    }

    fn insert(
        &mut self,
        now: Instant,
        tuples: [(u64, u64); 2],
        inside: Option<SocketAddrV4>,
        outside: SocketAddrV4,
    ) -> u64 {
        if self.flows.len() >= self.sweep_at {
            let mut over: Vec<u64> =
                self.flows.iter().filter(|(_, flow)| flow.expires <= now).map(|(id, _)| *id).collect();
            over.sort_unstable();
            over.into_iter().for_each(|id| self.remove(id));
            self.sweep_at = Self::FLOWS.max(2 * self.flows.len());
        }
        let id = self.next_id;
        self.next_id += 1;
        for tuple in tuples {
            self.tuples.insert(tuple, id);
        }
        let expires = now + self.udp_lifetime;
        self.flows.insert(id, Flow { inside, outside, tuples, connection: Connection::default(), expires });
        id
    }

    fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        for tuple in flow.tuples {
            if self.tuples.get(&tuple) == Some(&id) {
                self.tuples.remove(&tuple);
            }
        }
    }

    fn renew(&mut self, now: Instant, id: u64, packet: &Packet, outbound: bool) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let lifetime = match &packet.transport {
            Transport::Tcp(segment) => {
                flow.connection.observe(segment, outbound);
                flow.connection.lifetime(self.tcp_lifetimes)
            }
            Transport::Udp(_) | Transport::Unreachable(_) => self.udp_lifetime,
        };
        flow.expires = now + lifetime;
    }
}

fn keys(protocol: Protocol, source: SocketAddrV4, destination: SocketAddrV4) -> (u64, u64) {
    (endpoint_key(protocol, *source.ip(), source.port()), endpoint_key(protocol, *destination.ip(), destination.port()))
}
