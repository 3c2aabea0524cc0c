//! Sites, carriers and public hosts, and the internet between them: what both drivers drive.

mod build;
mod error;
mod flights;
#[cfg(test)]
mod tests;
mod travel;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::capture::{Boundary, Captured};
use super::counters::Counters;
use super::hash::FastMap;
use super::layer::Layer;
use super::link::Link;
use super::packet::Packet;
use super::spec::{Ipv4Prefix, Ipv6Prefix};
pub use error::NetError;
use flights::Flights;

/// A host in a world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(u32);

/// A site or a carrier in a world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SiteId(u32);

/// The model of a whole network.
///
/// The world starts with the first time that it is told. Give it what hosts send ([`handle_input`](Self::handle_input)), wake
/// it when [`poll_timeout`](Self::poll_timeout) says so ([`handle_timeout`](Self::handle_timeout)), and after each of both
/// bring what [`poll_output`](Self::poll_output) returns to the hosts. Time must not run backwards. A late driver does not
/// add up: each packet travels by the times of the model, and is only handed over late.
pub struct World {
    seed: u64,
    start: Option<Instant>,
    hosts: Vec<Host>,
    sites: Vec<Site>,
    /// The first one is the internet.
    realms: Vec<Realm>,
    /// Counters of the internet, for what came from its own hosts or could not be put down to a site.
    internet: Counters,
    flights: Flights,
    output: VecDeque<(HostId, Packet)>,
    /// Absent unless enabled.
    captured: Option<VecDeque<Captured>>,
    /// How many public and how many carrier-grade addresses were handed out.
    handed_out: [u32; 2],
}

struct Host {
    realm: usize,
    addresses: Vec<IpAddr>,
}

/// A site or a carrier: a network that is joined to an outer one.
struct Site {
    name: String,
    /// Whether sites can be behind it.
    carrier: bool,
    inner: usize,
    outer: usize,
    /// From inside to outside.
    layers: Vec<Layer>,
    up: Link,
    down: Link,
    counters: Counters,
    /// The outside addresses of the outermost NAT.
    outside: Vec<Ipv4Addr>,
}

/// A network in which addresses mean the same everywhere.
struct Realm {
    /// What has which address.
    routes: FastMap<IpAddr, Target>,
    prefix: Option<Ipv4Prefix>,
    prefix_v6: Option<Ipv6Prefix>,
    /// The site or carrier whose inside it is; absent for the internet.
    site: Option<usize>,
    isolated: bool,
}

#[derive(Clone, Copy)]
enum Target {
    Host(HostId),
    Site(usize),
}

const INTERNET: usize = 0;

impl World {
    /// A packet that a host sends.
    pub fn handle_input(&mut self, now: Instant, from: HostId, packet: Packet) {
        self.handle_timeout(now);
        self.send(now, from, packet);
        self.handle_timeout(now);
    }

    /// Lets arrive what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.start.get_or_insert(now);
        while let Some((at, flight)) = self.flights.land(now) {
            self.arrive(at, flight);
        }
    }

    /// A packet that reached a host.
    pub fn poll_output(&mut self) -> Option<(HostId, Packet)> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; absent while nothing is on its way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flights.next()
    }

    /// A packet that passed a boundary, if [`enable_capture`](Self::enable_capture) was called.
    pub fn poll_capture(&mut self) -> Option<Captured> {
        self.captured.as_mut()?.pop_front()
    }

    /// Keeps every packet at every boundary from now on, for [`poll_capture`](Self::poll_capture).
    pub fn enable_capture(&mut self) {
        self.captured.get_or_insert_default();
    }

    /// What became of the packets of a site or a carrier.
    pub fn counters(&self, site: SiteId) -> &Counters {
        &self.sites[site.0 as usize].counters
    }

    /// What became of the packets of public hosts, until they reached a site.
    pub fn internet_counters(&self) -> &Counters {
        &self.internet
    }

    /// The outside addresses of the outermost NAT of a site or a carrier; empty without a NAT.
    pub fn outside_addresses(&self, site: SiteId) -> &[Ipv4Addr] {
        &self.sites[site.0 as usize].outside
    }

    /// The name of a site or a carrier.
    pub fn site_name(&self, site: SiteId) -> &str {
        &self.sites[site.0 as usize].name
    }

    fn capture(&mut self, at: Instant, boundary: Boundary, packet: &Packet) {
        if let Some(captured) = &mut self.captured {
            captured.push_back(Captured { at, boundary, packet: packet.clone() });
        }
    }
}
