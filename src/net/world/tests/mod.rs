//! Whole networks, in simulated time.

mod firewalls;
mod ice;
mod ipv6;
mod links;
mod properties;
mod routing;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::net::counters::DropReason;
use crate::net::packet::{Protocol, TcpSegment, Transport, Unreachable, UnreachableReason};
use crate::net::presets;
use crate::net::spec::{
    CarrierSpec, Conditions, Filtering, Hairpin, Layer, Mapping, NatSpec, PortAllocation, SiteSpec,
};

const STUN: &str = "11.0.0.1:3478";
const MS: Duration = Duration::from_millis(1);

/// A world with a public host at [`STUN`], at a time that the test sets.
struct Bed {
    world: World,
    now: Instant,
    stun: HostId,
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A site of a kind with a name, whose LAN is 192.168.`lan`.0/24.
fn site(kind: &str, lan: u8) -> SiteSpec {
    presets::site(kind, format!("site-{lan}"), format!("192.168.{lan}.0/24").parse().unwrap()).unwrap()
}

impl Bed {
    fn new() -> Self {
        let mut world = World::new(5);
        let stun = world.add_public_host(&[ip("11.0.0.1")]).unwrap();
        Self { world, now: Instant::now(), stun }
    }

    /// Adds a site with a host at number 2 of its LAN.
    fn add(&mut self, spec: &SiteSpec) -> (SiteId, HostId) {
        let site = self.world.add_site(spec).unwrap();
        let host = self.world.add_host(site, &[IpAddr::V4(spec.lan.address(2).unwrap())]).unwrap();
        (site, host)
    }

    fn send(&mut self, from: HostId, source: &str, destination: impl ToString) {
        let packet = Packet::udp(at(source), at(&destination.to_string()), &b"hello"[..]);
        self.world.handle_input(self.now, from, packet);
    }

    fn send_tcp(&mut self, from: HostId, source: &str, destination: &str, segment: TcpSegment) {
        self.world.handle_input(self.now, from, Packet::tcp(at(source), at(destination), segment));
    }

    /// Lets time pass, and the world with it.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.world.handle_timeout(self.now);
    }

    /// What reached a host, oldest first, without what reached others.
    fn received(&mut self, host: HostId) -> Vec<Packet> {
        let mut received = Vec::new();
        let others: Vec<_> = std::iter::from_fn(|| self.world.poll_output())
            .filter_map(|(to, packet)| {
                if to == host {
                    received.push(packet);
                    None
                } else {
                    Some((to, packet))
                }
            })
            .collect();
        self.world.output.extend(others);
        received
    }

    /// The source with which a packet from a host reaches the public one.
    fn mapped(&mut self, from: HostId, source: &str) -> SocketAddr {
        self.send(from, source, STUN);
        self.received(self.stun).pop().expect("the packet arrives").source
    }

    fn dropped(&self, site: SiteId, reason: DropReason) -> u64 {
        self.world.counters(site).dropped(reason)
    }
}
