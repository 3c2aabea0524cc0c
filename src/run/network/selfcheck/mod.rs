//! The look at the networks from inside, before any verdict is based on them.

mod chain;
mod links;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::model::MTU as HOST_MTU;
use crate::lab::discover::{Behaviour, Direction, Discovery, StunServer, discover};
use crate::lab::place::Place;
use crate::net::oracle::{End, RelayTransport};
use crate::net::spec::{Filtering, FirewallSpec, Layer, Mapping};
use crate::peer::network::PeerHost;
use crate::plan::{NetworkPlan, TurnPlan};
use crate::record::LabCheck;
use chain::{Chain, SMALL_BYTES};

/// For the absence of an answer, beyond the round-trip time.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sites whose links are measured at the same time: more would disturb each other.
const AT_ONCE: usize = 8;

/// Who looks at the networks.
pub(super) struct Lookout<'a> {
    /// A host in each site, in the order of the plan.
    pub(super) probes: &'a [PeerHost],
    /// A host on the internet, with an address for each site.
    pub(super) meter: &'a PeerHost,
    /// Where NATs are told apart, if there is such a server.
    pub(super) server: Option<StunServer>,
    /// When the networks came up.
    pub(super) since: Instant,
}

/// Looks at every site.
pub(super) async fn check(plan: &NetworkPlan, lookout: Lookout<'_>) -> Vec<LabCheck> {
    let Lookout { probes, meter, server, since } = lookout;
    let ends: Vec<End<'_>> = plan.sites.iter().filter_map(|site| plan.end(&site.name)).collect();
    let nats = join_all(ends.iter().zip(probes).map(async |(end, probe)| match server {
        Some(server) => check_nat(plan, *end, probe, server).await,
        None => Notes::new(*end),
    }));
    let nats = nats.await;
    // What sites are behind together, they would fill together.
    let carriers: BTreeMap<&str, Mutex<()>> =
        plan.carriers.iter().map(|carrier| (carrier.name.as_str(), Mutex::default())).collect();
    let places = Semaphore::new(AT_ONCE);
    let outside = meter.place();
    let links = join_all(ends.iter().zip(probes).zip(meter.addresses()).map(async |((end, probe), at)| {
        let carrier = end.carrier.and_then(|carrier| carriers.get(carrier.name.as_str()));
        let _alone = match carrier {
            Some(carrier) => Some(carrier.lock().await),
            None => None,
        };
        let _place = places.acquire().await;
        links::check(*end, (&*probe.place(), probe.addresses()[0]), (&*outside, *at), since).await
    }));
    nats.into_iter().zip(links.await).flat_map(|(nat, links)| nat.checks.into_iter().chain(links.checks)).collect()
}

/// What was found out about a site.
struct Notes {
    site: String,
    checks: Vec<LabCheck>,
}

impl Notes {
    fn new(end: End<'_>) -> Self {
        Self { site: end.site.name.clone(), checks: Vec::new() }
    }

    fn note(&mut self, what: &str, expected: String, measured: String, ok: bool) {
        self.checks.push(LabCheck { site: self.site.clone(), what: what.into(), expected, measured, ok });
    }

    /// What cannot be found out is said, and held against nobody.
    fn skip(&mut self, what: &str, reason: &str) {
        self.note(what, "as asked".into(), format!("not checked: {reason}"), true);
    }
}

async fn check_nat(plan: &NetworkPlan, end: End<'_>, probe: &PeerHost, server: StunServer) -> Notes {
    let mut notes = Notes::new(end);
    let patience = PATIENCE + chains(end).map(|chain| chain.longest(SMALL_BYTES)).sum::<Duration>() * 2;
    let place = &*probe.place();
    let from = probe.addresses()[0];
    let expected = expected(end, server.primary.port());
    match discover(place, from, server, patience).await {
        Ok(found) => notes.note("NAT", show(expected), show(found), found == expected),
        Err(error) => {
            notes.note("NAT", show(expected), format!("no socket: {error}"), false);
            return notes;
        }
    }
    if let Some(turn) = &plan.turn {
        for transport in [RelayTransport::Tcp, RelayTransport::Tls] {
            if turn.transports.contains(&transport) {
                check_tcp(end, place, server, transport, patience, &mut notes).await;
            }
        }
    }
    notes
}

/// Whether a TCP connection to the server's port is possible exactly where it should be.
async fn check_tcp(
    end: End<'_>,
    place: &dyn Place,
    server: StunServer,
    transport: RelayTransport,
    patience: Duration,
    notes: &mut Notes,
) {
    let leg = TurnPlan::leg(transport);
    let passes = !is_cut(end) && firewalls(end).all(|firewall| firewall.tcp.allows(leg.port));
    let address = SocketAddr::new(server.primary.ip(), leg.port);
    let connected = timeout(patience, place.connect_tcp(None, address)).await.is_ok_and(|it| it.is_ok());
    let word = |passes: bool| if passes { "passes" } else { "is blocked" }.to_owned();
    notes.note(&format!("TCP to port {}", leg.port), word(passes), word(connected), passes == connected);
}

/// What RFC 5780 must find: the reduced behaviour of all layers, and nothing where UDP does not reach the server.
fn expected(end: End<'_>, port: u16) -> Discovery {
    if is_cut(end) || firewalls(end).any(|firewall| !firewall.udp.allows(port)) {
        return Discovery::NoUdp;
    }
    let (mapping, filtering) = end.site.reduce(end.carrier);
    Discovery::Udp(Behaviour { mapping, filtering })
}

fn show(discovery: Discovery) -> String {
    let Discovery::Udp(Behaviour { mapping, filtering }) = discovery else { return "no UDP".into() };
    let mapping = match mapping {
        Mapping::EndpointIndependent => "EIM",
        Mapping::AddressDependent => "ADM",
        Mapping::AddressAndPortDependent => "APDM",
    };
    let filtering = match filtering {
        Filtering::EndpointIndependent => "EIF",
        Filtering::AddressDependent => "ADF",
        Filtering::AddressAndPortDependent => "APDF",
    };
    format!("{mapping}/{filtering}")
}

fn layers(end: End<'_>) -> impl Iterator<Item = &Layer> {
    end.site.layers.iter().chain(end.carrier.into_iter().flat_map(|carrier| &carrier.layers))
}

fn firewalls(end: End<'_>) -> impl Iterator<Item = &FirewallSpec> {
    layers(end).filter_map(|layer| match layer {
        Layer::Firewall(firewall) => Some(firewall),
        Layer::Nat(_) => None,
    })
}

fn chains(end: End<'_>) -> impl Iterator<Item = Chain<'_>> {
    [Direction::Up, Direction::Down].into_iter().map(move |direction| Chain::new(end, direction))
}

fn is_cut(end: End<'_>) -> bool {
    chains(end).any(|chain| chain.is_cut())
}
