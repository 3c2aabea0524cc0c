//! The way of a packet.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::build::CORE;
use super::flights::Flight;
use super::{HostId, INTERNET, SiteId, Target, World};
use crate::net::capture::Boundary;
use crate::net::counters::{Counters, DropReason};
use crate::net::layer::{Cut, Verdict};
use crate::net::link::Fate;
use crate::net::packet::{Packet, UnreachableReason};
use crate::net::spec::is_public;

/// From where a packet came into a network.
#[derive(Clone, Copy)]
enum Origin {
    Host(HostId),
    /// From a network whose outer one this is.
    Below(usize),
    /// From the network that is the outer one of this.
    Above,
}

impl World {
    /// A packet leaves a host.
    pub(super) fn send(&mut self, now: Instant, from: HostId, packet: Packet) {
        let host = &self.hosts[from.0 as usize];
        let realm = host.realm;
        if !host.addresses.contains(&packet.source.ip()) {
            self.counters_of(realm, Origin::Host(from)).count(DropReason::BadSource);
            return;
        }
        self.capture(now, self.boundary(realm), &packet);
        self.keep(now, from, &packet);
        self.route(now, realm, packet, Origin::Host(from));
    }

    /// A packet has passed a link.
    pub(super) fn arrive(&mut self, now: Instant, flight: Flight) {
        let Flight { site, up, packet } = flight;
        if up {
            let place = &mut self.sites[site];
            place.counters.outbound += 1;
            let outer = place.outer;
            self.route(now, outer, packet, Origin::Below(site));
        } else {
            self.capture(now, Boundary::Outside(SiteId(site as u32)), &packet);
            let layers = self.sites[site].layers.len();
            self.inward(now, site, packet, layers);
        }
    }

    /// A packet is in a network, and goes to whom it is for.
    fn route(&mut self, now: Instant, realm: usize, packet: Packet, origin: Origin) {
        let destination = packet.destination.ip();
        if realm == INTERNET && matches!(origin, Origin::Below(_)) && !is_public(packet.source.ip()) {
            // Carriers let no such packet pass (BCP 38).
            return self.lose(realm, origin, DropReason::BadSource);
        }
        let network = &self.realms[realm];
        match (network.routes.get(&destination).copied(), network.site, origin) {
            (Some(Target::Host(to)), site, Origin::Host(from)) if to != from => {
                if network.isolated {
                    return self.lose(realm, origin, DropReason::Isolated);
                }
                if site.is_some() {
                    self.counters_of(realm, origin).local += 1;
                }
                self.deliver(now, realm, to, packet);
            }
            (Some(Target::Host(to)), _, _) => self.deliver(now, realm, to, packet),
            (Some(Target::Site(below)), _, Origin::Below(from)) if below == from => {
                self.lose(realm, origin, DropReason::NoHairpin);
            }
            (Some(Target::Site(below)), _, _) => self.down_link(now, below, packet),
            (None, Some(_), Origin::Host(from)) if destination.is_multicast() => {
                self.multicast(now, realm, from, &packet);
            }
            (None, _, Origin::Above) => self.lose(realm, origin, DropReason::NoSuchHost),
            (None, Some(_), _) if network.owns(destination) => self.lose(realm, origin, DropReason::NoSuchHost),
            (None, Some(site), _) => self.outward(now, site, packet, 0),
            (None, None, _) => self.lose(realm, origin, DropReason::BlackHole),
        }
    }

    /// A packet passes a site's layers on its way out, from this one on, and enters the up link.
    fn outward(&mut self, now: Instant, site: usize, mut packet: Packet, first: usize) {
        for index in first..self.sites[site].layers.len() {
            let verdict = self.sites[site].layers[index].outbound(now, &mut packet);
            if !matches!(verdict, Verdict::Pass) {
                return self.divert(now, site, packet, index, true, verdict);
            }
        }
        self.capture(now, Boundary::Outside(SiteId(site as u32)), &packet);
        let since_start = self.since_start(now);
        match self.sites[site].up.transmit(now, since_start, &mut packet) {
            Fate::Arrives { at, again } => self.depart(now, Flight { site, up: true, packet }, at, again),
            Fate::Dropped(reason) => self.sites[site].counters.count(reason),
            Fate::TooBig { mtu } => {
                self.sites[site].counters.count(DropReason::TooBig);
                if let Some(error) = too_big(&packet, mtu) {
                    let layers = self.sites[site].layers.len();
                    self.inward(now, site, error, layers);
                }
            }
        }
    }

    /// A packet enters a site's down link.
    fn down_link(&mut self, now: Instant, site: usize, mut packet: Packet) {
        let since_start = self.since_start(now);
        match self.sites[site].down.transmit(now, since_start, &mut packet) {
            Fate::Arrives { at, again } => self.depart(now, Flight { site, up: false, packet }, at, again),
            Fate::Dropped(reason) => self.sites[site].counters.count(reason),
            Fate::TooBig { mtu } => {
                self.sites[site].counters.count(DropReason::TooBig);
                if let Some(error) = too_big(&packet, mtu) {
                    self.route(now, self.sites[site].outer, error, Origin::Below(site));
                }
            }
        }
    }

    /// A packet passes a site's layers on its way in, from the one before this on, and reaches the network inside.
    fn inward(&mut self, now: Instant, site: usize, mut packet: Packet, before: usize) {
        for index in (0..before).rev() {
            let verdict = self.sites[site].layers[index].inbound(now, &mut packet);
            if !matches!(verdict, Verdict::Pass) {
                return self.divert(now, site, packet, index, false, verdict);
            }
        }
        let place = &mut self.sites[site];
        place.counters.inbound += 1;
        let inner = place.inner;
        self.route(now, inner, packet, Origin::Above);
    }

    /// A layer has not let a packet pass.
    fn divert(&mut self, now: Instant, site: usize, packet: Packet, index: usize, outbound: bool, verdict: Verdict) {
        let counters = &mut self.sites[site].counters;
        match verdict {
            Verdict::Drop(reason) => return counters.count(reason),
            Verdict::Refuse(reason) => counters.count(reason),
            Verdict::Cut(reason, cut) => {
                counters.count(reason);
                let Cut { inside, outside } = *cut;
                self.inward(now, site, inside, index);
                return self.outward(now, site, outside, index + 1);
            }
            Verdict::Back | Verdict::Pass => {}
        }
        if outbound { self.inward(now, site, packet, index) } else { self.outward(now, site, packet, index + 1) }
    }

    /// A packet is on its way over a link. One that is there at once overtakes none that arrives at the same time.
    fn depart(&mut self, now: Instant, flight: Flight, at: Instant, again: Option<Instant>) {
        let copy = again.map(|again| {
            let Flight { site, up, ref packet } = flight;
            (again, Flight { site, up, packet: packet.clone() })
        });
        if at <= now && self.flights.next().is_none_or(|next| next > now) {
            self.arrive(now, flight);
        } else {
            self.flights.depart(at, flight);
        }
        if let Some((again, flight)) = copy {
            self.flights.depart(again, flight);
        }
    }

    fn multicast(&mut self, now: Instant, realm: usize, from: HostId, packet: &Packet) {
        let network = &self.realms[realm];
        if network.isolated {
            return self.lose(realm, Origin::Host(from), DropReason::Isolated);
        }
        let mut listeners: Vec<HostId> = network
            .routes
            .iter()
            .filter(|(address, _)| address.is_ipv4() == packet.source.is_ipv4())
            .filter_map(|(_, target)| if let Target::Host(host) = target { Some(*host) } else { None })
            .filter(|host| *host != from)
            .collect();
        listeners.sort_unstable();
        listeners.dedup();
        for to in listeners {
            self.counters_of(realm, Origin::Host(from)).local += 1;
            self.deliver(now, realm, to, packet.clone());
        }
    }

    fn deliver(&mut self, now: Instant, realm: usize, to: HostId, packet: Packet) {
        self.capture(now, self.boundary(realm), &packet);
        self.keep(now, to, &packet);
        self.output.push_back((to, packet));
    }

    fn lose(&mut self, realm: usize, origin: Origin, reason: DropReason) {
        self.counters_of(realm, origin).count(reason);
    }

    /// Who accounts for a packet in a network: the site whose inside it is, or on the internet the one that it came from.
    fn counters_of(&mut self, realm: usize, origin: Origin) -> &mut Counters {
        match (self.realms[realm].site, origin) {
            (Some(site), _) | (None, Origin::Below(site)) => &mut self.sites[site].counters,
            (None, _) => &mut self.internet,
        }
    }

    fn boundary(&self, realm: usize) -> Boundary {
        self.realms[realm].site.map_or(Boundary::Internet, |site| Boundary::Inside(SiteId(site as u32)))
    }

    fn since_start(&self, now: Instant) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start))
    }
}

impl super::Realm {
    /// Whether the address can only be here.
    fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.prefix.is_some_and(|prefix| prefix.contains(address)),
            IpAddr::V6(address) => self.prefix_v6.is_some_and(|prefix| prefix.contains(address)),
        }
    }
}

fn too_big(packet: &Packet, mtu: u16) -> Option<Packet> {
    packet.unreachable(CORE.address(packet.source), UnreachableReason::TooBig { mtu })
}
