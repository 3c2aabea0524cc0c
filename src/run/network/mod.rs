//! The networks of a run while it lasts: the model with a host for every peer, the STUN and TURN server on its internet,
//! and the look at all of it from inside, without which there is no verdict.

mod capture;
mod selfcheck;
mod turn;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::lab::in_process::{Host, InProcessLab};
use crate::lab::pcap;
use crate::net::spec::{Layer, NatKind, SiteSpec};
use crate::net::{HostId, SiteId, World};
use crate::peer::network::{IceServers, PeerHost, PeerNetwork};
use crate::plan::{NetworkDriver, NetworkPlan, Plan, derive_seed};
use crate::record::{LabCheck, RunDirectory};
pub use capture::PeerPackets;
use turn::TurnServer;

/// The addresses of the STUN and TURN server; two, so that NATs can be told apart (RFC 5780).
const SERVER: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(11, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(11, 0, 0, 2))];

/// The networks of a run.
pub(super) struct Network {
    lab: InProcessLab,
    plan: NetworkPlan,
    /// By the ids of the peers that live there.
    hosts: BTreeMap<String, Host>,
    /// One in each site, for looking at it, in the order of the plan.
    probes: Vec<Host>,
    turn: Option<TurnServer>,
    ice: Arc<IceServers>,
    /// The start, as both clocks tell it.
    clock: (Instant, SystemTime),
    /// How many packets are kept of each peer.
    per_host: usize,
}

impl Network {
    /// Sets up the networks of a plan.
    ///
    /// # Errors
    ///
    /// A driver that this program lacks; addresses that run out; a server that does not start.
    pub(super) async fn start(plan: &Plan, network: &NetworkPlan, directory: &RunDirectory) -> Result<Self, String> {
        if network.driver == NetworkDriver::Kernel {
            return Err("driver = \"kernel\" cannot be used yet; use \"in-process\"".into());
        }
        let mut model = Model::new(plan, network).map_err(|error| format!("the networks cannot be made: {error}"))?;
        if network.capture {
            model.world.enable_capture();
        }
        let per_host = capture::per_host(model.peers.len());
        model.world.keep_packets(per_host);
        let lab = InProcessLab::start(model.world);
        let host = |(id, addresses): (HostId, Vec<IpAddr>)| lab.host(id, addresses);
        let hosts = model.peers.into_iter().map(|(peer, at)| (peer, host(at))).collect();
        let probes = model.probes.into_iter().map(host).collect();
        let server = lab.host(model.server, SERVER);
        let own = IceServers::of_plan(&plan.ice)?;
        let (turn, ice) = match &network.turn {
            None => (None, own),
            Some(turn) => {
                let (turn, ice) = TurnServer::start(turn, server, directory)?;
                // Servers that the scenario names itself come first, as it wrote them.
                let servers = own.servers.into_iter().chain(ice.servers).collect();
                (Some(turn), IceServers::new(servers, ice.ca))
            }
        };
        Ok(Self {
            lab,
            plan: network.clone(),
            hosts,
            probes,
            turn,
            ice: Arc::new(ice),
            clock: (Instant::now(), SystemTime::now()),
            per_host,
        })
    }

    /// A peer's place, and its servers.
    pub(super) fn of_peer(&self, peer: &str) -> PeerNetwork {
        let host = self.hosts.get(peer).cloned().map_or(PeerHost::Machine, PeerHost::Modelled);
        PeerNetwork { host, ice: Arc::clone(&self.ice) }
    }

    /// Looks at every site from inside: does it do what was asked of it?
    pub(super) async fn check(&self) -> Vec<LabCheck> {
        let Some(turn) = &self.turn else { return Vec::new() };
        selfcheck::check(&self.plan, &self.probes, turn.stun()).await
    }

    /// Ends the networks, and returns what was kept of the packets of the peers; what the model saw goes to `network.pcap`
    /// if the plan asks for it.
    pub(super) async fn stop(self, directory: &RunDirectory) -> Result<PeerPackets, String> {
        if let Some(turn) = self.turn {
            turn.stop().await;
        }
        if self.plan.capture {
            let bytes = pcap(&self.lab.captured(), self.clock);
            directory.write("network.pcap", bytes).map_err(|error| error.to_string())?;
        }
        let uncaptured = self.lab.uncaptured();
        let peers = self.hosts.into_iter().map(|(peer, host)| (peer, host.take_kept_packets())).collect();
        Ok(PeerPackets { peers, clock: self.clock, per_host: self.per_host, uncaptured })
    }
}

/// The model, and who is where in it.
struct Model {
    world: World,
    peers: BTreeMap<String, (HostId, Vec<IpAddr>)>,
    probes: Vec<(HostId, Vec<IpAddr>)>,
    server: HostId,
}

impl Model {
    fn new(plan: &Plan, network: &NetworkPlan) -> Result<Self, Box<dyn std::error::Error>> {
        let mut world = World::new(derive_seed(plan.seed, "network"));
        for carrier in &network.carriers {
            world.add_carrier(carrier)?;
        }
        let server = world.add_public_host(&SERVER)?;
        let mut sites: BTreeMap<&str, Site<'_>> = BTreeMap::new();
        let mut probes = Vec::new();
        for spec in &network.sites {
            let id = world.add_site(&with_room_for_a_probe(spec))?;
            let mut site = Site { spec, id, hosts: 0 };
            probes.push(site.add_host(&mut world)?);
            sites.insert(&spec.name, site);
        }
        let mut peers = BTreeMap::new();
        for peer in plan.calls.iter().flat_map(|call| [&call.offerer, &call.answerer]) {
            let Some(name) = &peer.site else { continue };
            let site = sites.get_mut(name.as_str()).ok_or_else(|| format!("there is no site {name}"))?;
            peers.insert(peer.id.clone(), site.add_host(&mut world)?);
        }
        Ok(Self { world, peers, probes, server })
    }
}

struct Site<'a> {
    spec: &'a SiteSpec,
    id: SiteId,
    hosts: u32,
}

impl Site<'_> {
    fn add_host(&mut self, world: &mut World) -> Result<(HostId, Vec<IpAddr>), Box<dyn std::error::Error>> {
        // Number 1 is the router.
        let number = self.hosts + 2;
        let full = || format!("the network {} has room for {} hosts only", self.spec.lan, self.hosts);
        let last = u32::MAX >> self.spec.lan.length();
        let address = self.spec.lan.address(number).filter(|_| number < last).ok_or_else(full)?;
        let addresses = vec![IpAddr::V4(address)];
        let id = world.add_host(self.id, &addresses)?;
        self.hosts += 1;
        Ok((id, addresses))
    }
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

/// The file with the CA of the TURN server.
fn ca_file(directory: &RunDirectory) -> PathBuf {
    directory.path().join(turn::CA_FILE)
}
