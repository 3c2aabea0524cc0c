//! Sites, carriers and hosts come into being.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::flights::Flights;
use super::{Host, HostId, INTERNET, NetError, Realm, Site, SiteId, Target, World};
use crate::net::counters::Counters;
use crate::net::firewall::Firewall;
use crate::net::hash::FastMap;
use crate::net::kept::Kept;
use crate::net::layer::{Layer, Router};
use crate::net::link::Link;
use crate::net::nat::{Naive, Nat};
use crate::net::spec::{self, CarrierSpec, Ipv4Prefix, LinkSpec, NatKind, SiteSpec, is_public};
use crate::plan::derive_seed;

/// Between a carrier and its customers (RFC 6598).
const SHARED: Ipv4Prefix = Ipv4Prefix::new(Ipv4Addr::new(100, 64, 0, 0), 10);
/// Where the public addresses of sites come from; the rest of the fake internet is left to public hosts.
const SITES: Ipv4Prefix = Ipv4Prefix::new(Ipv4Addr::new(11, 128, 0, 0), 9);
/// From where the links report packets that are too long.
pub(super) const CORE: Router =
    Router { v4: Ipv4Addr::new(11, 255, 255, 254), v6: Ipv6Addr::new(0x2a0f, 0xffff, 0, 0, 0, 0, 0, 1) };

/// In a realm, an address has a target.
type Route = (usize, IpAddr, Target);

/// What a site and a carrier have in common.
struct Network<'a> {
    name: &'a str,
    layers: &'a [spec::Layer],
    up: &'a LinkSpec,
    down: &'a LinkSpec,
    router: Router,
    outer: usize,
}

impl World {
    /// A world with nothing but the internet. Everything random in it derives from the seed.
    pub fn new(seed: u64) -> Self {
        let internet = Realm { routes: FastMap::default(), prefix: None, prefix_v6: None, site: None, isolated: false };
        Self {
            seed,
            start: None,
            hosts: Vec::new(),
            sites: Vec::new(),
            realms: vec![internet],
            internet: Counters::default(),
            flights: Flights::default(),
            output: std::collections::VecDeque::new(),
            captured: None,
            kept_per_host: 0,
            handed_out: [0, 0],
        }
    }

    /// Adds a site, on the internet or behind a carrier that was added before. Its outermost NAT gets addresses that no
    /// other has.
    pub fn add_site(&mut self, spec: &SiteSpec) -> Result<SiteId, NetError> {
        self.check(&spec.name, spec.problem())?;
        let outer = match &spec.behind {
            None => INTERNET,
            Some(carrier) => {
                let known = self.sites.iter().find(|site| site.carrier && site.name == *carrier);
                known
                    .map(|site| site.inner)
                    .ok_or_else(|| NetError::UnknownCarrier { site: spec.name.clone(), carrier: carrier.clone() })?
            }
        };
        let v6 = spec.ipv6.as_ref().and_then(|ipv6| ipv6.prefix.address(1)).unwrap_or(CORE.v6);
        let router = Router { v4: spec.lan.address(1).unwrap_or(SHARED.network()), v6 };
        let network = Network { name: &spec.name, layers: &spec.layers, up: &spec.up, down: &spec.down, router, outer };
        let id = self.add_network(&network)?;
        let site = &mut self.sites[id.0 as usize];
        let realm = &mut self.realms[site.inner];
        (realm.prefix, realm.isolated) = (Some(spec.lan), spec.isolated);
        if let Some(ipv6) = &spec.ipv6 {
            realm.prefix_v6 = Some(ipv6.prefix);
            if let Some(edge) = &ipv6.edge {
                site.layers.insert(0, Layer::Ipv6Edge(Box::new(Firewall::new(edge, router))));
            }
        }
        Ok(id)
    }

    /// Adds what sites can be behind. Hosts can be added to it too, with addresses in 100.64.0.0/10.
    pub fn add_carrier(&mut self, spec: &CarrierSpec) -> Result<SiteId, NetError> {
        self.check(&spec.name, spec.problem())?;
        let router = Router { v4: shared_router(), v6: CORE.v6 };
        let id = self.add_network(&Network {
            name: &spec.name,
            layers: &spec.layers,
            up: &spec.up,
            down: &spec.down,
            router,
            outer: INTERNET,
        })?;
        let carrier = &mut self.sites[id.0 as usize];
        carrier.carrier = true;
        self.realms[carrier.inner].prefix = Some(SHARED);
        Ok(id)
    }

    /// Adds a host to a site. Its addresses lie in the site's prefixes.
    pub fn add_host(&mut self, site: SiteId, addresses: &[IpAddr]) -> Result<HostId, NetError> {
        let place = &self.sites[site.0 as usize];
        let realm = &self.realms[place.inner];
        let inside = |address: &IpAddr| match address {
            IpAddr::V4(address) => realm.prefix.is_some_and(|prefix| prefix.contains(*address)),
            IpAddr::V6(address) => realm.prefix_v6.is_some_and(|prefix| prefix.contains(*address)),
        };
        if let Some(address) = addresses.iter().find(|address| !inside(address)) {
            return Err(NetError::OutsidePrefix { address: *address, site: place.name.clone() });
        }
        let (realm, host) = (place.inner, HostId(self.hosts.len() as u32));
        let mut routes: Vec<_> = addresses.iter().map(|address| (realm, *address, Target::Host(host))).collect();
        routes.extend(self.announcements(site.0 as usize, addresses));
        self.check_routes(&routes)?;
        let place = &mut self.sites[site.0 as usize];
        for address in addresses {
            if let IpAddr::V4(address) = address
                && !enters(&mut place.layers, *address)
            {
                return Err(NetError::NoOutsideAddress(place.name.clone()));
            }
        }
        Ok(self.settle(realm, addresses, routes))
    }

    /// Adds a host to the internet itself, such as a STUN server.
    pub fn add_public_host(&mut self, addresses: &[IpAddr]) -> Result<HostId, NetError> {
        match addresses.iter().find(|address| !is_public(**address)) {
            Some(address) => Err(NetError::NotPublic(*address)),
            None => {
                let host = Target::Host(HostId(self.hosts.len() as u32));
                let routes: Vec<_> = addresses.iter().map(|address| (INTERNET, *address, host)).collect();
                self.check_routes(&routes)?;
                Ok(self.settle(INTERNET, addresses, routes))
            }
        }
    }

    fn check(&self, name: &str, problem: Option<&'static str>) -> Result<(), NetError> {
        if let Some(problem) = problem {
            return Err(NetError::Invalid { name: name.to_owned(), problem });
        }
        if self.sites.iter().any(|site| site.name == name) {
            return Err(NetError::NameTaken(name.to_owned()));
        }
        Ok(())
    }

    fn add_network(&mut self, network: &Network<'_>) -> Result<SiteId, NetError> {
        let name = network.name;
        let seed = |what: &str| derive_seed(self.seed, &format!("net/{name}/{what}"));
        let seeds: Vec<u64> = (0..network.layers.len()).map(|index| seed(&format!("layer/{index}"))).collect();
        let (up, down) = (Link::new(network.up, seed("up")), Link::new(network.down, seed("down")));

        let mut layers: Vec<Layer> = Vec::new();
        let mut outside: Option<Vec<Ipv4Addr>> = None;
        for (index, layer) in network.layers.iter().enumerate().rev() {
            let router = if index == 0 { network.router } else { Router { v4: shared_router(), ..network.router } };
            let layer = match layer {
                spec::Layer::Firewall(firewall) => Layer::Firewall(Box::new(Firewall::new(firewall, router))),
                spec::Layer::Nat(nat) => {
                    let public = outside.is_none() && network.outer == INTERNET;
                    let addresses = (0..nat.addresses)
                        .map(|_| self.hand_out(public))
                        .collect::<Option<Vec<_>>>()
                        .ok_or_else(|| NetError::AddressesExhausted(name.to_owned()))?;
                    if !addresses.iter().all(|address| enters(&mut layers, *address)) {
                        return Err(NetError::NoOutsideAddress(name.to_owned()));
                    }
                    outside.get_or_insert_with(|| addresses.clone());
                    match nat.kind {
                        NatKind::Naive => Layer::Naive(Box::new(Naive::new(nat, addresses[0], seeds[index]))),
                        NatKind::Standard | NatKind::OneToOne => {
                            Layer::Nat(Box::new(Nat::new(nat, addresses, seeds[index])))
                        }
                    }
                }
            };
            layers.insert(0, layer);
        }

        let outside = outside.unwrap_or_default();
        if let Some(carrier) = self.realms[network.outer].site {
            let carrier = &mut self.sites[carrier];
            if !outside.iter().all(|address| enters(&mut carrier.layers, *address)) {
                return Err(NetError::NoOutsideAddress(carrier.name.clone()));
            }
        }
        let index = self.sites.len();
        for address in &outside {
            self.realms[network.outer].routes.insert((*address).into(), Target::Site(index));
        }
        let inner = self.realms.len();
        self.realms.push(Realm {
            routes: FastMap::default(),
            prefix: None,
            prefix_v6: None,
            site: Some(index),
            isolated: false,
        });
        self.sites.push(Site {
            name: name.to_owned(),
            carrier: false,
            inner,
            outer: network.outer,
            layers,
            up,
            down,
            counters: Counters::default(),
            outside,
        });
        Ok(SiteId(index as u32))
    }

    fn check_routes(&self, routes: &[Route]) -> Result<(), NetError> {
        if routes.is_empty() {
            return Err(NetError::NoAddress);
        }
        let taken = routes.iter().find(|(realm, address, _)| self.realms[*realm].routes.contains_key(address));
        taken.map_or(Ok(()), |(_, address, _)| Err(NetError::AddressTaken(*address)))
    }

    fn settle(&mut self, realm: usize, addresses: &[IpAddr], routes: Vec<Route>) -> HostId {
        for (realm, address, target) in routes {
            self.realms[realm].routes.insert(address, target);
        }
        self.hosts.push(Host { realm, addresses: addresses.to_vec(), kept: Kept::default() });
        HostId((self.hosts.len() - 1) as u32)
    }

    /// The realms in which the addresses of a site's host are known as they are, with the way to it.
    fn announcements(&self, site: usize, addresses: &[IpAddr]) -> Vec<Route> {
        let mut routes = Vec::new();
        for address in addresses {
            let mut below = Some(site);
            while let Some(site) = below {
                let Site { outer, layers, .. } = &self.sites[site];
                let translated = layers.iter().any(|layer| matches!(layer, Layer::Nat(_) | Layer::Naive(_)));
                let shared = matches!(address, IpAddr::V4(address) if SHARED.contains(*address));
                if (address.is_ipv4() && translated) || !(is_public(*address) || (shared && *outer != INTERNET)) {
                    break;
                }
                routes.push((*outer, *address, Target::Site(site)));
                below = self.realms[*outer].site;
            }
        }
        routes
    }

    /// An address that nobody has.
    fn hand_out(&mut self, public: bool) -> Option<Ipv4Addr> {
        let (prefix, count) = if public { (SITES, 0) } else { (SHARED, 1) };
        loop {
            let number = self.handed_out[count];
            // Without the first and last addresses of each 256, which look like networks and broadcasts; the first 256
            // shared ones are for routers and for hosts of the carriers.
            let address = prefix.address((number / 254 + count as u32) * 256 + number % 254 + 1)?;
            self.handed_out[count] += 1;
            if !self.realms[INTERNET].routes.contains_key(&IpAddr::V4(address)) {
                return Some(address);
            }
        }
    }
}

/// Makes an address known to the innermost NAT, if there is one.
fn enters(layers: &mut [Layer], address: Ipv4Addr) -> bool {
    let nat = layers.iter_mut().find_map(|layer| match layer {
        Layer::Nat(nat) => Some(Some(nat)),
        Layer::Naive(_) => Some(None),
        Layer::Firewall(_) | Layer::Ipv6Edge(_) => None,
    });
    nat.flatten().is_none_or(|nat| nat.add_inside(address))
}

fn shared_router() -> Ipv4Addr {
    SHARED.address(1).unwrap_or(SHARED.network())
}
