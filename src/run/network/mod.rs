//! The networks of a run while it lasts: the model with hosts for the peers, the STUN and TURN server on its internet,
//! and the look at all of it from inside, without which there is no verdict.

mod capture;
mod coturn;
mod lab;
mod model;
mod program;
mod selfcheck;
mod turn;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::lab::pcap;
use crate::net::HostId;
use crate::peer::network::{PeerHost, PeerNetwork};
use crate::plan::{Engine, NetworkDriver, NetworkPlan, Plan};
use crate::record::{EventKind, LabCheck, Recorder, RunDirectory};
use crate::signaling::{Endpoint, Server};
pub use capture::PeerPackets;
use lab::Lab;
use model::{Model, SIGNALING, SIGNALING_PORT};
use program::Programs;
use selfcheck::Lookout;
use turn::{Servers, TurnServer};

/// Why there are no networks.
pub(super) enum StartError {
    /// The machine lacks something.
    Missing {
        /// What, or why it cannot be had.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// Something broke.
    Broken(String),
}

impl From<String> for StartError {
    fn from(reason: String) -> Self {
        Self::Broken(reason)
    }
}

/// The networks of a run.
pub(super) struct Network {
    lab: Lab,
    plan: NetworkPlan,
    /// By the ids of the peers that live there.
    peers: BTreeMap<String, PeerNetwork>,
    /// One in each site, for looking at it, in the order of the plan.
    probes: Vec<PeerHost>,
    /// Where the programs of the plan run, in its order.
    places: Vec<PeerNetwork>,
    programs: Programs,
    /// On the internet, for looking at it from there.
    meter: PeerHost,
    turn: Option<TurnServer>,
    /// The start, as both clocks tell it.
    clock: (Instant, SystemTime),
    /// The hosts of peers in the model, by the peers' ids.
    hosts_of_peers: BTreeMap<String, HostId>,
    /// How many packets are kept of each peer.
    per_host: usize,
}

impl Network {
    /// Sets up the networks of a plan.
    ///
    /// # Errors
    ///
    /// A driver or a program that this machine does not have; addresses that run out; a server that does not start.
    pub(super) async fn start(
        plan: &Plan,
        network: &NetworkPlan,
        directory: &RunDirectory,
        server: Option<&Server>,
        machine: &PeerNetwork,
    ) -> Result<Self, StartError> {
        let mut model = Model::new(plan, network).map_err(|error| format!("the networks cannot be made: {error}"))?;
        if network.capture {
            model.world.enable_capture();
        }
        let per_host = capture::per_host(model.peers.len());
        model.world.keep_packets(per_host);
        let hosts_of_peers = model.peers.iter().map(|(peer, number)| (peer.clone(), model.hosts[*number].id)).collect();
        let clock = (Instant::now(), SystemTime::now());
        let world = std::mem::replace(&mut model.world, crate::net::World::new(0));
        let (lab, hosts) = Lab::start(network.driver, world, &model).await?;
        let inner = match model.signaling.map(|number| &hosts[number]).zip(server) {
            Some((host, server)) => Arc::new(serve_inside(server, host)?),
            // Only peers of this process take part then.
            None => Arc::clone(&machine.pages),
        };
        let (turn, servers) = match &network.turn {
            None => (None, Servers::default()),
            Some(turn) => {
                let (turn, servers) = TurnServer::start(turn, &hosts[model.server], directory).await?;
                (Some(turn), servers)
            }
        };
        let Servers { by_address, by_name } = servers;
        let engines: BTreeMap<&str, Engine> = plan
            .calls
            .iter()
            .flat_map(|call| [&call.offerer, &call.answerer])
            .filter_map(|peer| Some((peer.id.as_str(), plan.group(&peer.group)?.engine)))
            .collect();
        let place = |(peer, number): (String, usize)| {
            let engine = engines.get(peer.as_str());
            let ice = if engine == Some(&Engine::Firefox) { &by_name } else { &by_address };
            // For this process there is no other way to the signaling server than out of the networks.
            let by_itself = engine != Some(&Engine::Native) && machine.stand_in.is_none();
            let signaling = if by_itself { &inner } else { &machine.signaling };
            let host = hosts[number].clone();
            let (ice, signaling, pages) = (Arc::clone(ice), Arc::clone(signaling), Arc::clone(&inner));
            (peer, PeerNetwork { host, ice, signaling, pages, stand_in: machine.stand_in.clone() })
        };
        let for_program = |number: &usize| PeerNetwork {
            host: hosts[*number].clone(),
            ice: Arc::clone(&by_address),
            signaling: Arc::clone(&inner),
            pages: Arc::clone(&inner),
            stand_in: None,
        };
        Ok(Self {
            lab,
            places: model.programs.iter().map(for_program).collect(),
            programs: Programs::default(),
            plan: network.clone(),
            peers: model.peers.into_iter().map(place).collect(),
            probes: model.probes.iter().map(|number| hosts[*number].clone()).collect(),
            meter: hosts[model.meter].clone(),
            turn,
            clock,
            hosts_of_peers,
            per_host,
        })
    }

    /// A peer's place, and its servers, if it lives here.
    pub(super) fn of_peer(&self, peer: &str) -> Option<&PeerNetwork> {
        self.peers.get(peer)
    }

    /// Looks at every site from inside: does it do what was asked of it?
    pub(super) async fn check(&self) -> Vec<LabCheck> {
        let server = self.turn.as_ref().map(TurnServer::stun);
        let (probes, meter, since) = (&self.probes, &self.meter, self.clock.0);
        selfcheck::check(&self.plan, Lookout { probes, meter, server, since }).await
    }

    /// Starts the programs of the plan, which run until the networks end.
    ///
    /// # Errors
    ///
    /// One that does not start.
    pub(super) fn start_programs(
        &mut self,
        plan: &Plan,
        directory: &RunDirectory,
        recorder: &Recorder,
    ) -> Result<(), StartError> {
        for (program, place) in self.plan.programs.iter().zip(&self.places) {
            self.programs.start(program, place, plan, directory, recorder)?;
        }
        Ok(())
    }

    /// Ends the networks, records whether the driver did its part, and returns what was kept of the packets of the peers.
    /// What the model saw goes to `network.pcap` if the plan asks for it.
    pub(super) async fn stop(self, directory: &RunDirectory, recorder: &Recorder) -> Result<PeerPackets, String> {
        self.programs.stop().await;
        if let Some(turn) = self.turn {
            turn.stop().await;
        }
        // The namespaces last as long as somebody has a hold on them.
        drop((self.peers, self.probes, self.meter, self.places));
        let ended = self.lab.stop(self.hosts_of_peers).await?;
        for check in ended.checks {
            recorder.record(EventKind::LabCheck(check));
        }
        if self.plan.capture {
            let bytes = pcap(&ended.captured, self.clock);
            directory.write("network.pcap", bytes).map_err(|error| error.to_string())?;
        }
        let (peers, uncaptured) = (ended.kept, ended.uncaptured);
        Ok(PeerPackets { peers, clock: self.clock, per_host: self.per_host, uncaptured })
    }
}

/// The address under which the bundled signaling server is reached from inside of the networks, for its certificate.
pub(super) fn signaling_address(network: &NetworkPlan) -> Option<IpAddr> {
    (network.driver == NetworkDriver::Kernel).then_some(SIGNALING)
}

/// Lets the signaling server listen inside of the networks as well.
fn serve_inside(server: &Server, host: &PeerHost) -> Result<Endpoint, String> {
    let failed = |error: std::io::Error| format!("the signaling server cannot listen inside the networks: {error}");
    let listener = lab::listen(host, SocketAddr::new(SIGNALING, SIGNALING_PORT)).map_err(failed)?;
    server.also_listen(listener).map_err(failed)
}
