//! The look at the networks from inside, before any verdict is based on them.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::lab::discover::{Behaviour, Discovery, LinkMeasurement, StunServer, discover, measure_link};
use crate::lab::place::Place;
use crate::net::oracle::{End, RelayTransport};
use crate::net::spec::{Conditions, Filtering, Layer, Mapping};
use crate::peer::network::PeerHost;
use crate::plan::{NetworkPlan, TurnPlan};
use crate::record::LabCheck;

/// For the absence of an answer, beyond the round-trip time.
const PATIENCE: Duration = Duration::from_millis(500);

/// Packets that a link is measured with, one every [`INTERVAL`].
const PACKETS: u32 = 400;
const INTERVAL: Duration = Duration::from_millis(2);

/// How much later than asked for the median packet may be: what the machine adds.
const TOLERANCE: Duration = Duration::from_millis(4);

/// Looks at every site, all at once.
pub(super) async fn check(plan: &NetworkPlan, probes: &[PeerHost], server: StunServer) -> Vec<LabCheck> {
    let ends = plan.sites.iter().filter_map(|site| plan.end(&site.name));
    let checks = ends.zip(probes).map(|(end, probe)| check_site(plan, end, probe, server));
    join_all(checks).await.into_iter().flatten().collect()
}

async fn check_site(plan: &NetworkPlan, end: End<'_>, probe: &PeerHost, server: StunServer) -> Vec<LabCheck> {
    let site = &end.site.name;
    let note = |what: &str, expected: String, measured: String, ok: bool| LabCheck {
        site: site.clone(),
        what: what.into(),
        expected,
        measured,
        ok,
    };
    let patience = PATIENCE + round_trip(end) * 2;
    let place = &*probe.place();
    let from = probe.addresses()[0];
    let expected = expected(end, server.primary.port());
    let found = match discover(place, from, server, patience).await {
        Ok(found) => found,
        Err(error) => return vec![note("NAT", show(expected), format!("no socket: {error}"), false)],
    };
    let mut checks = vec![note("NAT", show(expected), show(found), found == expected)];
    if let Some(turn) = &plan.turn {
        for transport in [RelayTransport::Tcp, RelayTransport::Tls] {
            if turn.transports.contains(&transport) {
                checks.push(check_tcp(end, place, server, transport, patience, &note).await);
            }
        }
    }
    if found != Discovery::NoUdp && is_impaired(end) {
        let measured = measure_link(place, from, server.primary, PACKETS, INTERVAL, patience).await;
        match measured {
            Ok(link) => checks.extend(check_link(end, &link, &note)),
            Err(error) => checks.push(note("link", "packets".into(), format!("no socket: {error}"), false)),
        }
    }
    checks
}

/// Whether a TCP connection to the server's port is possible exactly where it should be.
async fn check_tcp(
    end: End<'_>,
    place: &dyn Place,
    server: StunServer,
    transport: RelayTransport,
    patience: Duration,
    note: &impl Fn(&str, String, String, bool) -> LabCheck,
) -> LabCheck {
    let leg = TurnPlan::leg(transport);
    let passes = firewalls(end).all(|firewall| firewall.tcp.allows(leg.port));
    let address = SocketAddr::new(server.primary.ip(), leg.port);
    let connected = timeout(patience, place.connect_tcp(None, address)).await.is_ok_and(|it| it.is_ok());
    let word = |passes: bool| if passes { "passes" } else { "is blocked" }.to_owned();
    note(&format!("TCP to port {}", leg.port), word(passes), word(connected), passes == connected)
}

fn check_link(
    end: End<'_>,
    link: &LinkMeasurement,
    note: &impl Fn(&str, String, String, bool) -> LabCheck,
) -> Vec<LabCheck> {
    let mut checks = Vec::new();
    let (expected, measured) = (round_trip(end), link.median());
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let close = measured.is_some_and(|measured| measured.abs_diff(expected) <= TOLERANCE + spread(end));
    let shown = measured.map_or_else(|| "no answer".into(), milliseconds);
    checks.push(note("round trip", milliseconds(expected), shown, close));
    let loss = 1.0 - conditions(end).map(|conditions| 1.0 - conditions.loss.ratio()).product::<f64>();
    // Four standard deviations of what chance does, wider where losses come in bursts.
    let burst = conditions(end).filter_map(|it| it.loss.mean_lengths()).map(|(_, bad)| bad).fold(1.0, f64::max);
    let deviation = (loss * (1.0 - loss) * (2.0 * burst - 1.0) / f64::from(link.sent)).sqrt();
    let off = (link.loss() - loss).abs();
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    checks.push(note("loss both ways", percent(loss), percent(link.loss()), off <= 4.0 * deviation + 0.005));
    checks
}

/// What RFC 5780 must find: the reduced behaviour of all layers, and nothing where UDP does not reach the server.
fn expected(end: End<'_>, port: u16) -> Discovery {
    if firewalls(end).any(|firewall| !firewall.udp.allows(port)) {
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

fn firewalls(end: End<'_>) -> impl Iterator<Item = &crate::net::spec::FirewallSpec> {
    layers(end).filter_map(|layer| match layer {
        Layer::Firewall(firewall) => Some(firewall),
        Layer::Nat(_) => None,
    })
}

/// Of all links on the way, both directions, as they begin.
fn conditions(end: End<'_>) -> impl Iterator<Item = &Conditions> {
    let site = [&end.site.up, &end.site.down];
    let carrier = end.carrier.into_iter().flat_map(|carrier| [&carrier.up, &carrier.down]);
    site.into_iter().chain(carrier).map(|link| &link.conditions)
}

fn is_impaired(end: End<'_>) -> bool {
    conditions(end).any(|conditions| *conditions != Conditions::default())
}

fn round_trip(end: End<'_>) -> Duration {
    conditions(end).map(|conditions| Duration::from_micros(conditions.delay_us)).sum()
}

/// How far jitter may move the median.
fn spread(end: End<'_>) -> Duration {
    conditions(end).map(|conditions| Duration::from_micros(conditions.jitter_us)).sum()
}
