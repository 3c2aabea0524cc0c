//! Which outside address and port a mapping gets.

use std::net::{Ipv4Addr, SocketAddrV4};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::net::hash::FastMap;
use crate::net::packet::Protocol;
use crate::net::spec::{NatKind, NatSpec, Pooling, PortAllocation};

/// The outside addresses of a NAT, and what is in use of their ports.
pub(super) struct Ports {
    kind: NatKind,
    allocation: PortAllocation,
    pooling: Pooling,
    keep_parity: bool,
    first: u16,
    last: u16,
    outside: Vec<Ipv4Addr>,
    /// How many ports of each address are in use, by protocol.
    used: Vec<[u32; 3]>,
    /// Where the search for a sequential port begins, by protocol.
    next: [u16; 3],
    /// The outside address of each inside host, where pairs are kept.
    pairs: FastMap<Ipv4Addr, usize>,
    /// The outside address of the last mapping, where pairs are not kept.
    turn: usize,
    rng: ChaCha8Rng,
}

impl Ports {
    /// How often a random port is drawn before the search goes on from the last one.
    const DRAWS: usize = 8;

    pub(super) fn new(spec: &NatSpec, outside: Vec<Ipv4Addr>, seed: u64) -> Self {
        Self {
            kind: spec.kind,
            allocation: spec.ports,
            pooling: spec.pooling,
            keep_parity: spec.keep_parity,
            first: spec.first_port,
            last: spec.last_port,
            used: vec![[0; 3]; outside.len()],
            outside,
            next: [spec.first_port; 3],
            pairs: FastMap::default(),
            turn: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Whether the address is one of the outside ones.
    pub(super) fn has(&self, address: Ipv4Addr) -> bool {
        self.outside.contains(&address)
    }

    /// The outside address that the inside host has for itself, if there is one left.
    pub(super) fn own(&mut self, inside: Ipv4Addr) -> Option<usize> {
        let next = self.pairs.len();
        match self.pairs.get(&inside) {
            Some(index) => Some(*index),
            None if next < self.outside.len() => {
                self.pairs.insert(inside, next);
                Some(next)
            }
            None => None,
        }
    }

    /// The inside host that has this outside address for itself.
    pub(super) fn owner(&self, outside: Ipv4Addr) -> Option<Ipv4Addr> {
        let index = self.outside.iter().position(|address| *address == outside)?;
        self.pairs.iter().find(|(_, owned)| **owned == index).map(|(inside, _)| *inside)
    }

    /// A free outside endpoint for an inside one; absent if none is left.
    pub(super) fn pick(
        &mut self,
        protocol: Protocol,
        inside: SocketAddrV4,
        taken: impl Fn(SocketAddrV4) -> bool,
    ) -> Option<SocketAddrV4> {
        if self.kind == NatKind::OneToOne {
            let outside = self.own(*inside.ip())?;
            return Some(SocketAddrV4::new(self.outside[outside], inside.port()));
        }
        let index = match self.pooling {
            Pooling::Paired => {
                let next = self.pairs.len() % self.outside.len();
                *self.pairs.entry(*inside.ip()).or_insert(next)
            }
            Pooling::Arbitrary => {
                self.turn = (self.turn + 1) % self.outside.len();
                self.turn
            }
        };
        let others = if self.pooling == Pooling::Arbitrary { self.outside.len() } else { 1 };
        (index..index + others).find_map(|index| self.pick_at(index % self.outside.len(), protocol, inside, &taken))
    }

    /// A free port of this outside address.
    fn pick_at(
        &mut self,
        index: usize,
        protocol: Protocol,
        inside: SocketAddrV4,
        taken: &impl Fn(SocketAddrV4) -> bool,
    ) -> Option<SocketAddrV4> {
        if self.used[index][protocol as usize] >= self.count() {
            return None;
        }
        let address = self.outside[index];
        let free = |port: u16| !taken(SocketAddrV4::new(address, port));
        let start = self.start(protocol, inside.port(), &free);
        let port = self.search(start, inside.port(), &free)?;
        if self.allocation == PortAllocation::Sequential {
            self.next[protocol as usize] = self.after(port, 1);
        }
        Some(SocketAddrV4::new(address, port))
    }

    /// A port was taken into use.
    pub(super) fn took(&mut self, protocol: Protocol, outside: SocketAddrV4) {
        if let Some(index) = self.outside.iter().position(|address| address == outside.ip()) {
            self.used[index][protocol as usize] += 1;
        }
    }

    /// A port is free again.
    pub(super) fn gave_back(&mut self, protocol: Protocol, outside: SocketAddrV4) {
        if let Some(index) = self.outside.iter().position(|address| address == outside.ip()) {
            self.used[index][protocol as usize] -= 1;
        }
    }

    /// Where the search for a port begins.
    fn start(&mut self, protocol: Protocol, inside: u16, free: &impl Fn(u16) -> bool) -> u16 {
        match self.allocation {
            PortAllocation::Preserving if (self.first..=self.last).contains(&inside) => inside,
            PortAllocation::Preserving => self.after(self.first, u32::from(inside)),
            PortAllocation::Sequential => self.next[protocol as usize],
            PortAllocation::Random => {
                let mut port = self.first;
                for _ in 0..Self::DRAWS {
                    port = self.random();
                    if free(port) && self.fits(port, inside) {
                        break;
                    }
                }
                port
            }
        }
    }

    /// The first free port from `start` on, of the wanted parity if one is left.
    fn search(&self, start: u16, inside: u16, free: &impl Fn(u16) -> bool) -> Option<u16> {
        let ports = || (0..self.count()).map(|step| self.after(start, step));
        ports()
            .find(|port| self.fits(*port, inside) && free(*port))
            .or_else(|| self.keep_parity.then(|| ports().find(|port| free(*port))).flatten())
    }

    fn fits(&self, port: u16, inside: u16) -> bool {
        !self.keep_parity || port % 2 == inside % 2
    }

    fn random(&mut self) -> u16 {
        // A draw without rejection: the bias of 2^-16 is nothing beside the range.
        let draw = u64::from(self.rng.next_u32()) * u64::from(self.count());
        self.first + (draw >> 32) as u16
    }

    fn count(&self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// The port so many steps after this one, around the end of the range.
    fn after(&self, port: u16, steps: u32) -> u16 {
        self.first + ((u32::from(port - self.first) + steps) % self.count()) as u16
    }
}
