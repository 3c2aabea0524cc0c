//! One NAT, as RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP) and RFC 6888 (carrier-grade) describe it.

mod naive;
mod ports;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::counters::DropReason;
use super::hash::FastMap;
use super::layer::{Verdict, endpoint_key};
use super::packet::{Packet, Protocol, TcpSegment, Transport, Unreachable};
use super::spec::{Filtering, Hairpin, Mapping, NatKind, NatSpec, Refresh};
use super::tcp::{Connection, TcpLifetimes, begins};
pub(super) use naive::Naive;
use ports::Ports;

/// A NAT with its mappings.
pub(super) struct Nat {
    spec: NatSpec,
    mapping: Mapping,
    udp_lifetime: Duration,
    tcp_lifetimes: TcpLifetimes,
    ports: Ports,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// By inside endpoint, and as much of the remote one as the mapping depends on.
    by_inside: FastMap<(u64, u64), u32>,
    /// By outside endpoint.
    by_outside: FastMap<u64, u32>,
    /// Until when a mapping accepts UDP, or a new TCP connection, from a remote endpoint, or as much of it as the filter
    /// looks at.
    contacts: FastMap<(u64, u64), Instant>,
    /// TCP connections, by mapping and remote endpoint.
    connections: FastMap<(u64, u64), Tracked>,
    /// The number of the next mapping; numbers are not used again.
    next_id: u64,
    /// How much there may be in the tables before what is over is cleared away.
    sweep_at: usize,
    /// Before that, clearing away would free no port.
    sweep_not_before: Option<Instant>,
}

/// One mapping.
struct Entry {
    id: u64,
    key: (u64, u64),
    protocol: Protocol,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    expires: Instant,
    /// TCP connections that use it and are not over.
    open: u32,
}

struct Tracked {
    connection: Connection,
    expires: Instant,
}

impl Nat {
    const TABLE: usize = 4_096;

    /// A NAT with these outside addresses.
    pub(super) fn new(spec: &NatSpec, outside: Vec<Ipv4Addr>, seed: u64) -> Self {
        Self {
            mapping: spec.reduce().0,
            udp_lifetime: Duration::from_micros(spec.udp_lifetime_us),
            tcp_lifetimes: TcpLifetimes {
                established: Duration::from_micros(spec.tcp_established_us),
                transitory: Duration::from_micros(spec.tcp_transitory_us),
            },
            ports: Ports::new(spec, outside, seed),
            spec: spec.clone(),
            entries: Vec::new(),
            free: Vec::new(),
            by_inside: FastMap::default(),
            by_outside: FastMap::default(),
            contacts: FastMap::default(),
            connections: FastMap::default(),
            next_id: 0,
            sweep_at: Self::TABLE,
            sweep_not_before: None,
        }
    }

    /// Makes an inside host known before it sends. A one-to-one NAT may have no address left for it.
    pub(super) fn add_inside(&mut self, host: Ipv4Addr) -> bool {
        self.spec.kind != NatKind::OneToOne || self.ports.own(host).is_some()
    }

    /// A packet from inside.
    pub(super) fn outbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        let (SocketAddr::V4(inside), SocketAddr::V4(remote)) = (packet.source, packet.destination) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        let entry = match &packet.transport {
            Transport::Udp(_) => self.udp_outbound(now, inside, remote),
            Transport::Tcp(segment) => {
                let segment = segment.clone();
                self.tcp_outbound(now, inside, remote, &segment)
            }
            Transport::Unreachable(error) => {
                let error = *error;
                return self.error_outbound(now, packet, error);
            }
        };
        let outside = match entry {
            Ok(index) => self.entries[index as usize].outside,
            Err(reason) => return Verdict::Drop(reason),
        };
        packet.source = outside.into();
        if !self.ports.has(*remote.ip()) {
            return Verdict::Pass;
        }
        if self.spec.hairpin == Hairpin::None {
            return Verdict::Drop(DropReason::NoHairpin);
        }
        match self.inbound(now, packet) {
            Verdict::Pass => {
                if self.spec.hairpin == Hairpin::Internal {
                    packet.source = inside.into();
                }
                Verdict::Back
            }
            other => other,
        }
    }

    /// A packet from outside. Those that are not expected vanish silently (RFC 5382 REQ-4, RFC 6888).
    pub(super) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        let (SocketAddr::V4(remote), SocketAddr::V4(outside)) = (packet.source, packet.destination) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        let entry = match &packet.transport {
            Transport::Udp(_) => self.udp_inbound(now, outside, remote),
            Transport::Tcp(segment) => {
                let segment = segment.clone();
                self.tcp_inbound(now, outside, remote, &segment)
            }
            Transport::Unreachable(error) => {
                let error = *error;
                return self.error_inbound(now, packet, error);
            }
        };
        match entry {
            Ok(index) => {
                packet.destination = self.entries[index as usize].inside.into();
                Verdict::Pass
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn udp_outbound(&mut self, now: Instant, inside: SocketAddrV4, remote: SocketAddrV4) -> Result<u32, DropReason> {
        let renews = self.spec.refresh != Refresh::Inbound;
        let expires = now + self.udp_lifetime;
        let index = match self.find_inside(now, Protocol::Udp, inside, remote) {
            Some(index) => {
                if renews {
                    self.entries[index as usize].expires = expires;
                }
                index
            }
            None => self.insert(now, Protocol::Udp, inside, remote, expires)?,
        };
        if let Some(filter) = self.filter_key(remote) {
            let contact = self.contacts.entry((self.entries[index as usize].id, filter)).or_insert(expires);
            if renews || *contact <= now {
                *contact = expires;
            }
        }
        Ok(index)
    }

    fn udp_inbound(&mut self, now: Instant, outside: SocketAddrV4, remote: SocketAddrV4) -> Result<u32, DropReason> {
        let expires = now + self.udp_lifetime;
        let index = match self.find_outside(now, Protocol::Udp, outside) {
            Some(index) => index,
            None => self.insert_owned(now, Protocol::Udp, outside, remote, expires)?,
        };
        let renews = self.spec.refresh != Refresh::Outbound;
        if let Some(filter) = self.filter_key(remote) {
            let contact = self.contacts.get_mut(&(self.entries[index as usize].id, filter));
            let contact = contact.filter(|contact| now < **contact).ok_or(DropReason::Unsolicited)?;
            if renews {
                *contact = expires;
            }
        }
        if renews {
            self.entries[index as usize].expires = expires;
        }
        Ok(index)
    }

    fn tcp_outbound(
        &mut self,
        now: Instant,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        segment: &TcpSegment,
    ) -> Result<u32, DropReason> {
        let expires = now + self.tcp_lifetimes.transitory;
        let index = match self.find_inside(now, Protocol::Tcp, inside, remote) {
            Some(index) => index,
            None if begins(segment) => self.insert(now, Protocol::Tcp, inside, remote, expires)?,
            None => return Err(DropReason::NoConnection),
        };
        let id = self.entries[index as usize].id;
        self.track(now, index, remote, segment, true, begins(segment))?;
        if let Some(filter) = self.filter_key(remote) {
            self.contacts.insert((id, filter), now + self.tcp_lifetimes.established);
        }
        Ok(index)
    }

    fn tcp_inbound(
        &mut self,
        now: Instant,
        outside: SocketAddrV4,
        remote: SocketAddrV4,
        segment: &TcpSegment,
    ) -> Result<u32, DropReason> {
        let expires = now + self.tcp_lifetimes.transitory;
        let index = match self.find_outside(now, Protocol::Tcp, outside) {
            Some(index) => index,
            None if begins(segment) => self.insert_owned(now, Protocol::Tcp, outside, remote, expires)?,
            None => return Err(DropReason::Unsolicited),
        };
        let contact = self.filter_key(remote).map(|filter| (self.entries[index as usize].id, filter));
        let welcome = contact.is_none_or(|contact| self.contacts.get(&contact).is_some_and(|expires| now < *expires));
        self.track(now, index, remote, segment, false, welcome && begins(segment))
            .map_err(|_| DropReason::Unsolicited)?;
        Ok(index)
    }

    /// Follows a connection of a mapping, or begins to if it `may_begin`, and keeps the mapping for as long.
    fn track(
        &mut self,
        now: Instant,
        index: u32,
        remote: SocketAddrV4,
        segment: &TcpSegment,
        outbound: bool,
        may_begin: bool,
    ) -> Result<(), DropReason> {
        let entry = &mut self.entries[index as usize];
        let key = (entry.id, endpoint_key(Protocol::Tcp, *remote.ip(), remote.port()));
        let known = self.connections.get_mut(&key);
        let tracked = match known {
            Some(tracked) if now < tracked.expires => tracked,
            _ if !may_begin => return Err(DropReason::NoConnection),
            known => {
                // One that faded away without an end still counts as open.
                if known.is_none_or(|tracked| tracked.connection.is_over()) {
                    entry.open += 1;
                }
                self.connections.insert(key, Tracked { connection: Connection::default(), expires: now });
                self.connections.get_mut(&key).ok_or(DropReason::NoConnection)?
            }
        };
        let was_over = tracked.connection.is_over();
        tracked.connection.observe(segment, outbound);
        tracked.expires = now + tracked.connection.lifetime(self.tcp_lifetimes);
        match (was_over, tracked.connection.is_over()) {
            (false, true) => entry.open = entry.open.saturating_sub(1),
            (true, false) => entry.open += 1,
            _ => {}
        }
        let ending = tracked.connection.is_over() && entry.open == 0;
        entry.expires = if ending { tracked.expires } else { entry.expires.max(tracked.expires) };
        Ok(())
    }

    /// An ICMP error of an inside host about a packet that it received (RFC 5508, REQ-5). It begins and renews nothing.
    fn error_outbound(&mut self, now: Instant, packet: &mut Packet, mut error: Unreachable) -> Verdict {
        let (SocketAddr::V4(inside), SocketAddr::V4(remote)) = (error.destination, error.source) else {
            return Verdict::Drop(DropReason::BadSource);
        };
        let Some(index) = self.find_inside(now, error.protocol, inside, remote) else {
            return Verdict::Drop(DropReason::Unsolicited);
        };
        let outside = self.entries[index as usize].outside;
        error.destination = outside.into();
        packet.source.set_ip((*outside.ip()).into());
        packet.transport = Transport::Unreachable(error);
        match packet.destination {
            SocketAddr::V4(destination) if self.ports.has(*destination.ip()) => {
                match self.error_inbound(now, packet, error) {
                    Verdict::Pass => Verdict::Back,
                    other => other,
                }
            }
            _ => Verdict::Pass,
        }
    }

    /// An ICMP error about a packet that left. It never ends a mapping (RFC 4787, REQ-12).
    fn error_inbound(&mut self, now: Instant, packet: &mut Packet, mut error: Unreachable) -> Verdict {
        let SocketAddr::V4(outside) = error.source else { return Verdict::Drop(DropReason::BadSource) };
        let Some(index) = self.find_outside(now, error.protocol, outside) else {
            return Verdict::Drop(DropReason::Unsolicited);
        };
        let inside = self.entries[index as usize].inside;
        error.source = inside.into();
        packet.destination = SocketAddr::new((*inside.ip()).into(), 0);
        packet.transport = Transport::Unreachable(error);
        Verdict::Pass
    }

    fn find_inside(
        &mut self,
        now: Instant,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<u32> {
        let index = *self.by_inside.get(&self.inside_key(protocol, inside, remote))?;
        self.live(now, index)
    }

    fn find_outside(&mut self, now: Instant, protocol: Protocol, outside: SocketAddrV4) -> Option<u32> {
        let index = *self.by_outside.get(&endpoint_key(protocol, *outside.ip(), outside.port()))?;
        self.live(now, index)
    }

    /// The mapping, unless its time is over; then it is taken away.
    fn live(&mut self, now: Instant, index: u32) -> Option<u32> {
        if now < self.entries[index as usize].expires {
            return Some(index);
        }
        self.remove(index);
        None
    }

    fn insert(
        &mut self,
        now: Instant,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        expires: Instant,
    ) -> Result<u32, DropReason> {
        if self.entries.len() - self.free.len() + self.contacts.len() + self.connections.len() >= self.sweep_at {
            self.sweep(now);
        }
        let taken = |outside: SocketAddrV4| {
            let index = self.by_outside.get(&endpoint_key(protocol, *outside.ip(), outside.port()));
            index.is_some_and(|index| now < self.entries[*index as usize].expires)
        };
        let outside = match self.ports.pick(protocol, inside, taken) {
            Some(outside) => outside,
            None if self.sweep_not_before.is_none_or(|at| at <= now) => {
                self.sweep(now);
                let taken = |outside: SocketAddrV4| {
                    self.by_outside.contains_key(&endpoint_key(protocol, *outside.ip(), outside.port()))
                };
                self.ports.pick(protocol, inside, taken).ok_or(DropReason::PortsExhausted)?
            }
            None => return Err(DropReason::PortsExhausted),
        };
        let outside_key = endpoint_key(protocol, *outside.ip(), outside.port());
        if let Some(expired) = self.by_outside.get(&outside_key) {
            self.remove(*expired);
        }
        let key = self.inside_key(protocol, inside, remote);
        let entry = Entry { id: self.next_id, key, protocol, inside, outside, expires, open: 0 };
        self.next_id += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.ports.took(protocol, outside);
        self.by_inside.insert(key, index);
        self.by_outside.insert(outside_key, index);
        Ok(index)
    }

    /// The mapping with which a packet from outside begins, at an address that an inside host owns.
    fn insert_owned(
        &mut self,
        now: Instant,
        protocol: Protocol,
        outside: SocketAddrV4,
        remote: SocketAddrV4,
        expires: Instant,
    ) -> Result<u32, DropReason> {
        if self.spec.kind != NatKind::OneToOne || self.spec.filtering != Filtering::EndpointIndependent {
            return Err(DropReason::Unsolicited);
        }
        let owner = self.ports.owner(*outside.ip()).ok_or(DropReason::NoSuchHost)?;
        self.insert(now, protocol, SocketAddrV4::new(owner, outside.port()), remote, expires)
    }

    fn remove(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (protocol, outside, key) = (entry.protocol, entry.outside, entry.key);
        self.by_inside.remove(&key);
        self.by_outside.remove(&endpoint_key(protocol, *outside.ip(), outside.port()));
        self.ports.gave_back(protocol, outside);
        self.free.push(index);
    }

    /// Clears away what is over.
    fn sweep(&mut self, now: Instant) {
        let mut live: Vec<u32> = self.by_outside.values().copied().collect();
        live.sort_unstable();
        for index in live {
            self.live(now, index);
        }
        self.contacts.retain(|_, expires| now < *expires);
        self.connections.retain(|_, tracked| now < tracked.expires);
        let live = self.by_outside.values().map(|index| self.entries[*index as usize].expires);
        self.sweep_not_before = live.min();
        let size = self.by_outside.len() + self.contacts.len() + self.connections.len();
        self.sweep_at = Self::TABLE.max(2 * size);
    }

    fn inside_key(&self, protocol: Protocol, inside: SocketAddrV4, remote: SocketAddrV4) -> (u64, u64) {
        let remote = match self.mapping {
            Mapping::EndpointIndependent => 0,
            Mapping::AddressDependent => endpoint_key(protocol, *remote.ip(), 0),
            Mapping::AddressAndPortDependent => endpoint_key(protocol, *remote.ip(), remote.port()),
        };
        (endpoint_key(protocol, *inside.ip(), inside.port()), remote)
    }

    /// What the filter looks at of a remote endpoint; absent if it looks at nothing.
    fn filter_key(&self, remote: SocketAddrV4) -> Option<u64> {
        match self.spec.filtering {
            Filtering::EndpointIndependent => None,
            Filtering::AddressDependent => Some(endpoint_key(Protocol::Udp, *remote.ip(), 0)),
            Filtering::AddressAndPortDependent => Some(endpoint_key(Protocol::Udp, *remote.ip(), remote.port())),
        }
    }
}
