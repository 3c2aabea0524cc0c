//! The bundled STUN and TURN server in a modelled network, and what it shows of NATs.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::lab::discover::{Behaviour, Direction, Discovery, Sent, StunServer, Way, discover};
use crate::net::spec::{
    Conditions, Filtering, FirewallSpec, Ipv4Prefix, Layer, Loss, Mapping, NatKind, NatSpec, PortAllocation, PortRule,
    Refusal, SiteSpec,
};
use crate::turn::credentials::Credentials;
use crate::turn::server::{Config, RunningServer, Settings, start_at};

/// For the absence of answers; links in these tests take no time.
const PATIENCE: Duration = Duration::from_millis(350);

struct Network {
    _lab: InProcessLab,
    _server: RunningServer,
    client: Host,
    outside: Host,
    stun: StunServer,
}

impl Network {
    fn new(layers: Vec<Layer>) -> Self {
        Self::of(&SiteSpec::new("home", "127.7.7.0/24".parse::<Ipv4Prefix>().expect("a prefix"), layers))
    }

    fn of(site: &SiteSpec) -> Self {
        let address = |text: &str| IpAddr::V4(text.parse::<Ipv4Addr>().expect("an address"));
        let (inside, outside) = ([address("127.7.7.2")], [address("11.0.0.1"), address("11.0.0.2")]);
        let mut world = World::new(7);
        let home = world.add_site(site).expect("the site is valid");
        let client = world.add_host(home, &inside).expect("a host");
        let server = world.add_public_host(&outside).expect("a server");
        let lab = InProcessLab::start(world);
        let (client, server) = (lab.host(client, inside), lab.host(server, outside));
        let config = Config::new("lab", Credentials::none(), outside[0]);
        let settings = Settings {
            addresses: outside.to_vec(),
            udp_ports: vec![3478, 3479],
            tcp_ports: vec![3478],
            ..Settings::new(outside[0], config)
        };
        let running = start_at(settings, Arc::new(server.clone())).expect("the server starts");
        let stun =
            StunServer { primary: SocketAddr::new(outside[0], 3478), alternate: SocketAddr::new(outside[1], 3479) };
        Self { _lab: lab, _server: running, client, outside: server, stun }
    }

    async fn discover(&self) -> Discovery {
        discover(&self.client, self.client.addresses()[0], self.stun, PATIENCE).await.expect("a socket")
    }
}

#[tokio::test]
async fn every_nat_is_what_was_asked_for() {
    use Filtering as F;
    use Mapping as M;
    let mappings = [M::EndpointIndependent, M::AddressDependent, M::AddressAndPortDependent];
    let filterings = [F::EndpointIndependent, F::AddressDependent, F::AddressAndPortDependent];
    for mapping in mappings {
        for filtering in filterings {
            let nat = NatSpec { mapping, filtering, ports: PortAllocation::Random, ..NatSpec::default() };
            let found = Network::new(vec![Layer::Nat(nat)]).discover().await;
            assert_eq!(found, Discovery::Udp(Behaviour { mapping, filtering }));
        }
    }
}

#[tokio::test]
async fn a_nat_that_lies_is_found_out() {
    let nat = NatSpec { kind: NatKind::Naive, ..NatSpec::default() };
    let found = Network::new(vec![Layer::Nat(nat)]).discover().await;
    let Discovery::Udp(behaviour) = found else { panic!("{found:?}") };
    assert_ne!(behaviour.mapping, Mapping::EndpointIndependent, "an early packet changes the mapping");
}

#[tokio::test]
async fn a_stateful_firewall_makes_any_nat_port_restricted() {
    let firewall = Layer::Firewall(FirewallSpec::default());
    let nat = Layer::Nat(NatSpec { filtering: Filtering::EndpointIndependent, ..NatSpec::default() });
    let found = Network::new(vec![nat, firewall]).discover().await;
    let stateful = Behaviour { mapping: Mapping::EndpointIndependent, filtering: Filtering::AddressAndPortDependent };
    assert_eq!(found, Discovery::Udp(stateful));
}

#[tokio::test]
async fn blocked_udp_shows_as_no_answer() {
    let firewall = FirewallSpec { udp: PortRule::none(Refusal::Drop), ..FirewallSpec::default() };
    let found = Network::new(vec![Layer::Nat(NatSpec::default()), Layer::Firewall(firewall)]).discover().await;
    assert_eq!(found, Discovery::NoUdp);
}

#[tokio::test]
async fn a_link_is_measured_as_it_was_asked_for() {
    let mut site = SiteSpec::new(
        "home",
        "127.7.7.0/24".parse::<Ipv4Prefix>().expect("a prefix"),
        vec![Layer::Nat(NatSpec::default())],
    );
    site.up = Conditions { delay_us: 20_000, loss: Loss::Random { ratio: 0.2 }, ..Conditions::default() }.into();
    let network = Network::of(&site);
    let (from, at) = (network.client.addresses()[0], SocketAddr::new(network.stun.primary.ip(), 7));
    let way = Way::open(&network.client, from, &network.outside, at, PATIENCE).await.expect("a socket").expect("a way");
    let packets: Vec<_> = (0..500).map(|number| Sent { due: Duration::from_millis(2) * number, bytes: 100 }).collect();
    let up = way.fly(Direction::Up, &packets, packets.len(), PATIENCE).await.expect("a socket");
    assert!(up.delays()[0] >= Duration::from_millis(20), "{:?}", up.delays());
    // Four standard deviations.
    assert!((up.loss() - 0.2).abs() < 0.072, "{}", up.loss());
    let down = way.fly(Direction::Down, &packets[..50], 50, PATIENCE).await.expect("a socket");
    assert_eq!(down.arrivals.len(), 50);
    assert!(down.delays()[25] < Duration::from_millis(20), "{:?}", down.delays());
}
