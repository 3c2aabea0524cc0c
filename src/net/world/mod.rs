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
use super::kept::{Kept, KeptPacket};
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
    captured: Option<Capture>,
    /// How many packets are kept of each host.
    kept_per_host: usize,
    /// How many public and how many carrier-grade addresses were handed out.
    handed_out: [u32; 2],
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("sites", &self.sites.len()).finish_non_exhaustive()
    }
}

/// Packets that wait to be polled.
#[derive(Default)]
struct Capture {
    packets: VecDeque<Captured>,
    bytes: usize,
    missed: u64,
}

struct Host {
    realm: usize,
    addresses: Vec<IpAddr>,
    kept: Kept,
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

/// Bytes of captured packets that wait to be polled at most.
const CAPTURED: usize = 256 << 20;

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
        let captured = self.captured.as_mut()?;
        let next = captured.packets.pop_front()?;
        captured.bytes -= next.packet.ip_length();
        Some(next)
    }

    /// Keeps every packet at every boundary from now on, for [`poll_capture`](Self::poll_capture), as long as those that
    /// wait there have less than 256 MiB.
    pub fn enable_capture(&mut self) {
        self.captured.get_or_insert_default();
    }

    /// How many packets were not captured, since too many waited.
    pub fn uncaptured(&self) -> u64 {
        self.captured.as_ref().map_or(0, |captured| captured.missed)
    }

    /// Keeps this many packets of each host from now on, cut short: as many of the first as of the last.
    pub fn keep_packets(&mut self, per_host: usize) {
        self.kept_per_host = per_host;
    }

    /// Takes what was kept of a host's packets, in the order of time.
    pub fn take_kept_packets(&mut self, host: HostId) -> Vec<KeptPacket> {
        std::mem::take(&mut self.hosts[host.0 as usize].kept).into_packets()
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

    fn keep(&mut self, at: Instant, host: HostId, packet: &Packet) {
        if self.kept_per_host > 0 {
            self.hosts[host.0 as usize].kept.pass(at, packet, self.kept_per_host);
        }
    }

    fn capture(&mut self, at: Instant, boundary: Boundary, packet: &Packet) {
        let Some(captured) = &mut self.captured else { return };
        let length = packet.ip_length();
        if captured.bytes + length > CAPTURED {
            captured.missed += 1;
            return;
        }
        captured.bytes += length;
        captured.packets.push_back(Captured { at, boundary, packet: packet.clone() });
    }
}
