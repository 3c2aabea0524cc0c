//! The model of a run's networks, and who is where in it.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use crate::net::spec::{Layer, NatKind, SiteSpec};
use crate::net::{HostId, SiteId, World};
use crate::plan::{CallPlan, Engine, NetworkDriver, NetworkPlan, Plan, Role, derive_seed};

/// The addresses of the STUN and TURN server; two, so that NATs can be told apart (RFC 5780).
pub(super) const SERVER: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(11, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(11, 0, 0, 2))];

/// The address of the signaling server for programs in the networks, and its port: the one of HTTPS, which every firewall
/// that is modelled lets through.
pub(super) const SIGNALING: IpAddr = IpAddr::V4(Ipv4Addr::new(11, 0, 0, 10));
pub(super) const SIGNALING_PORT: u16 = 443;

/// The address of the first program on the internet itself; the others follow it.
const FIRST_PROGRAM: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 20);

/// The address that the networks are measured from, plus the number of the site from 1 on.
const METER: Ipv4Addr = Ipv4Addr::new(11, 0, 1, 0);

/// The longest IP packet that a host sends or takes, in bytes.
pub(super) const MTU: u16 = 1500;

/// The model with its hosts.
pub(super) struct Model {
    pub(super) world: World,
    pub(super) hosts: Vec<ModelHost>,
    by_name: HashMap<String, usize>,
    /// The hosts of peers, by the peers' ids; numbers in `hosts`, as those that follow.
    pub(super) peers: BTreeMap<String, usize>,
    /// One in each site, for looking at it, in the order of the plan.
    pub(super) probes: Vec<usize>,
    /// One for each program, in the order of the plan.
    pub(super) programs: Vec<usize>,
    /// That on the internet to which links are measured: with an address for each site, so that every port is free.
    pub(super) meter: usize,
    /// That of the STUN and TURN server.
    pub(super) server: usize,
    /// That of the signaling server, if programs that are not in this process need one.
    pub(super) signaling: Option<usize>,
}

/// A host of the model.
pub(super) struct ModelHost {
    /// Unique in the model.
    pub(super) name: String,
    pub(super) id: HostId,
    /// Each with the length of its network's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) mtu: u16,
}

impl Model {
    /// The networks of a plan.
    ///
    /// # Errors
    ///
    /// Addresses that run out, or contradict each other.
    pub(super) fn new(plan: &Plan, network: &NetworkPlan) -> Result<Self, Box<dyn Error>> {
        let world = World::new(derive_seed(plan.seed, "network"));
        let mut model = Self {
            world,
            hosts: Vec::new(),
            by_name: HashMap::new(),
            peers: BTreeMap::new(),
            probes: Vec::new(),
            programs: Vec::new(),
            meter: 0,
            server: 0,
            signaling: None,
        };
        for carrier in &network.carriers {
            model.world.add_carrier(carrier)?;
        }
        model.server = model.add_public_host("server", &SERVER)?;
        let meters = (1..).zip(&network.sites).map(|(number, _)| IpAddr::V4((METER.to_bits() + number).into()));
        model.meter = model.add_public_host("meter", &meters.collect::<Vec<_>>())?;
        if network.driver == NetworkDriver::Kernel {
            model.signaling = Some(model.add_public_host("signaling", &[SIGNALING])?);
        }
        let mut sites: BTreeMap<&str, Site<'_>> = BTreeMap::new();
        for spec in &network.sites {
            let id = model.world.add_site(&with_room_for_a_probe(spec))?;
            let mut site = Site { spec, id, hosts: 0 };
            let probe = model.add_host(&mut site, format!("{} probe", spec.name))?;
            model.probes.push(probe);
            sites.insert(&spec.name, site);
        }
        for call in &plan.calls {
            for role in [Role::Offerer, Role::Answerer] {
                model.add_peer(plan, network.driver, call, role, &mut sites)?;
            }
        }
        let mut public = u32::from(FIRST_PROGRAM)..;
        for program in &network.programs {
            // A name that no other host can have.
            let name = format!("program: {}", program.name);
            let number = match &program.site {
                Some(site) => model.add_host(find(&mut sites, site)?, name)?,
                None => {
                    let address = public.next().map(Ipv4Addr::from).ok_or("there are too many programs")?;
                    model.add_public_host(&name, &[address.into()])?
                }
            };
            model.programs.push(number);
        }
        Ok(model)
    }

    fn add_peer(
        &mut self,
        plan: &Plan,
        driver: NetworkDriver,
        call: &CallPlan,
        role: Role,
        sites: &mut BTreeMap<&str, Site<'_>>,
    ) -> Result<(), Box<dyn Error>> {
        let peer = match role {
            Role::Offerer => &call.offerer,
            Role::Answerer => &call.answerer,
        };
        let engine = plan.group(&peer.group).map(|group| group.engine);
        // A client that is not the harness's own is a program, which has its own host.
        let Some(name) = peer.site.as_ref().filter(|_| engine != Some(Engine::External)) else { return Ok(()) };
        let site = find(sites, name)?;
        let host = match driver {
            NetworkDriver::InProcess => peer.id.clone(),
            // A namespace is dear, and a browser more so: peers share them, unless they call each other.
            NetworkDriver::Kernel => {
                let engine = engine.map_or("", Engine::name);
                let second = role == Role::Answerer && call.offerer.site == call.answerer.site;
                format!("{name} {engine}{}", if second { " 2" } else { "" })
            }
        };
        let number = match self.by_name.get(&host) {
            Some(number) => *number,
            None => self.add_host(site, host)?,
        };
        self.peers.insert(peer.id.clone(), number);
        Ok(())
    }

    fn add_public_host(&mut self, name: &str, addresses: &[IpAddr]) -> Result<usize, Box<dyn Error>> {
        let id = self.world.add_public_host(addresses)?;
        let addresses = addresses.iter().map(|address| (*address, 32)).collect();
        Ok(self.push(ModelHost { name: name.to_owned(), id, addresses, mtu: MTU }))
    }

    fn add_host(&mut self, site: &mut Site<'_>, name: String) -> Result<usize, Box<dyn Error>> {
        let addresses = site.next_addresses()?;
        let bare: Vec<_> = addresses.iter().map(|(address, _)| *address).collect();
        let id = self.world.add_host(site.id, &bare)?;
        site.hosts += 1;
        Ok(self.push(ModelHost { name, id, addresses, mtu: MTU }))
    }

    fn push(&mut self, host: ModelHost) -> usize {
        self.by_name.insert(host.name.clone(), self.hosts.len());
        self.hosts.push(host);
        self.hosts.len() - 1
    }
}

struct Site<'a> {
    spec: &'a SiteSpec,
    id: SiteId,
    hosts: u32,
}

impl Site<'_> {
    fn next_addresses(&self) -> Result<Vec<(IpAddr, u8)>, Box<dyn Error>> {
        // Number 1 is the router.
        let number = self.hosts + 2;
        let full = || format!("the network {} has room for {} hosts only", self.spec.lan, self.hosts);
        let last = u32::MAX >> self.spec.lan.length();
        let address = self.spec.lan.address(number).filter(|_| number < last).ok_or_else(full)?;
        let mut addresses = vec![(IpAddr::V4(address), self.spec.lan.length())];
        if let Some(ipv6) = &self.spec.ipv6 {
            let address = ipv6.prefix.address(number).ok_or_else(full)?;
            addresses.push((IpAddr::V6(address), ipv6.prefix.length()));
        }
        Ok(addresses)
    }
}

fn find<'a, 'b>(sites: &'a mut BTreeMap<&str, Site<'b>>, name: &str) -> Result<&'a mut Site<'b>, String> {
    sites.get_mut(name).ok_or_else(|| format!("there is no site {name}"))
}

/// A one-to-one NAT has an outside address for each host, so for that which looks at the network too.
fn with_room_for_a_probe(spec: &SiteSpec) -> SiteSpec {
    let mut spec = spec.clone();
    for layer in &mut spec.layers {
        if let Layer::Nat(nat) = layer
            && nat.kind == NatKind::OneToOne
        {
            nat.addresses += 1;
        }
    }
    spec
}
