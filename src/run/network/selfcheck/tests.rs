//! A network is as it was asked for, and one that is not is found out.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::lab::in_process::InProcessLab;
use crate::net::spec::{
    CarrierSpec, Change, Conditions, FirewallSpec, LinkSpec, Loss, Mtu, NatSpec, PortRule, Refusal, Reorder, SiteSpec,
};
use crate::net::{HostId, World};
use crate::plan::NetworkDriver;

const INSIDE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(10, 7, 7, 2))];
const OUTSIDE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(11, 0, 1, 1))];

/// A network, with a host in it and one on the internet.
fn model(made: &SiteSpec, carriers: &[CarrierSpec]) -> (World, HostId, HostId) {
    let mut world = World::new(7);
    for carrier in carriers {
        world.add_carrier(carrier).unwrap();
    }
    let site = world.add_site(made).unwrap();
    let (probe, meter) = (world.add_host(site, &INSIDE).unwrap(), world.add_public_host(&OUTSIDE).unwrap());
    (world, probe, meter)
}

fn plan(asked: &SiteSpec, carriers: &[CarrierSpec]) -> NetworkPlan {
    NetworkPlan {
        driver: NetworkDriver::InProcess,
        capture: false,
        programs: Vec::new(),
        turn: None,
        carriers: carriers.to_vec(),
        sites: vec![asked.clone()],
    }
}

/// What is found out about a network that is made like `made`, and was asked for like `asked`.
async fn look(asked: &SiteSpec, made: &SiteSpec, carriers: &[CarrierSpec]) -> Vec<LabCheck> {
    let (world, probe, meter) = model(made, carriers);
    let lab = InProcessLab::start(world);
    let (probe, meter) = (lab.host(probe, INSIDE), lab.host(meter, OUTSIDE));
    let plan = plan(asked, carriers);
    let probes = [PeerHost::Modelled(probe)];
    let meter = PeerHost::Modelled(meter);
    check(&plan, Lookout { probes: &probes, meter: &meter, server: None, since: Instant::now() }).await
}

/// The same of its links, in simulated time.
async fn simulate(asked: &SiteSpec, made: &SiteSpec) -> Vec<LabCheck> {
    let (world, probe, meter) = model(made, &[]);
    let plan = plan(asked, &[]);
    let (inside, outside) = (SocketAddr::new(INSIDE[0], 49_152), SocketAddr::new(OUTSIDE[0], 443));
    simulation::look(plan.end("home").unwrap(), world, (probe, inside), (meter, outside)).await.checks
}

fn site(up: Conditions, down: Conditions) -> SiteSpec {
    let layers = vec![Layer::Nat(NatSpec::default())];
    let mut site = SiteSpec::new("home", "10.7.7.0/24".parse().unwrap(), layers);
    (site.up, site.down) = (up.into(), down.into());
    site
}

/// A link with everything that can be asked of one.
fn bad() -> Conditions {
    Conditions {
        rate_bps: Some(2_000_000),
        delay_us: 20_000,
        jitter_us: 10_000,
        loss: Loss::Random { ratio: 0.05 },
        reorder: Some(Reorder { ratio: 0.1, by_us: 60_000 }),
        duplicate_ratio: 0.1,
        corrupt_ratio: 0.1,
        mtu: Some(Mtu { bytes: 1300, black_hole: false }),
        ..Conditions::default()
    }
}

/// What does not match, by name.
fn wrong(checks: &[LabCheck]) -> Vec<&str> {
    checks.iter().filter(|check| !check.ok).map(|check| check.what.as_str()).collect()
}

#[tokio::test]
async fn a_link_does_what_was_asked_of_it() {
    let site = site(bad(), Conditions { rate_bps: Some(300_000), delay_us: 5_000, ..Conditions::default() });
    let checks = look(&site, &site, &[]).await;
    assert!(wrong(&checks).is_empty(), "{checks:#?}");
    let whats: Vec<_> = checks.iter().map(|check| check.what.as_str()).collect();
    let up =
        ["delay up", "jitter up", "loss up", "duplicates up", "corruption up", "reordering up", "rate up", "MTU up"];
    assert_eq!(whats, [&up[..], &["delay down", "loss down", "rate down"]].concat());
}

#[tokio::test]
async fn each_thing_that_is_not_as_asked_is_found_out() {
    let none = Conditions::default;
    let reorder = Some(Reorder { ratio: 0.4, by_us: 60_000 });
    // So late that jitter does not look like it.
    let jitter = Some(Reorder { ratio: 0.1, by_us: 200_000 });
    let jittery = Conditions { delay_us: 40_000, jitter_us: 30_000, reorder: jitter, ..bad() };
    let cases = [
        ("delay", bad(), Conditions { delay_us: 35_000, ..bad() }),
        ("jitter", jittery.clone(), Conditions { jitter_us: 0, ..jittery }),
        ("loss", bad(), Conditions { loss: Loss::Random { ratio: 0.2 }, ..bad() }),
        ("duplicates", bad(), Conditions { duplicate_ratio: 0.0, ..bad() }),
        ("corruption", bad(), Conditions { corrupt_ratio: 0.0, ..bad() }),
        ("reordering", bad(), Conditions { reorder, ..bad() }),
        ("rate", bad(), Conditions { rate_bps: Some(3_000_000), ..bad() }),
        ("MTU", bad(), Conditions { mtu: Some(Mtu { bytes: 1301, black_hole: true }), ..bad() }),
    ];
    for (what, asked, made) in cases {
        let up = simulate(&site(asked.clone(), none()), &site(made.clone(), none())).await;
        let down = simulate(&site(none(), asked), &site(none(), made)).await;
        assert_eq!(wrong(&up), [format!("{what} up")], "{up:#?}");
        assert_eq!(wrong(&down), [format!("{what} down")], "{down:#?}");
    }
}

#[tokio::test]
async fn rates_are_found_out_whichever_way_they_are_wrong() {
    let of = |rate: u64| Conditions { rate_bps: Some(rate), ..Conditions::default() };
    for (asked, made) in [(32_000, 45_000), (1_600_000, 1_200_000), (50_000_000, 30_000_000)] {
        let right = simulate(&site(of(asked), of(asked)), &site(of(asked), of(asked))).await;
        assert!(wrong(&right).is_empty(), "{right:#?}");
        let checks = simulate(&site(of(asked), of(asked)), &site(of(asked), of(made))).await;
        assert!(wrong(&checks).contains(&"rate down") && !wrong(&checks).contains(&"rate up"), "{checks:#?}");
    }
}

#[tokio::test]
async fn a_carrier_takes_its_share() {
    let up = Conditions { rate_bps: Some(500_000), delay_us: 10_000, ..Conditions::default() }.into();
    let layers = vec![Layer::Nat(NatSpec::default())];
    let carrier = CarrierSpec { name: "carrier".into(), layers, up, down: LinkSpec::default() };
    let fast = Conditions { rate_bps: Some(5_000_000), delay_us: 10_000, ..Conditions::default() };
    let mut site = site(fast.clone(), fast);
    site.behind = Some("carrier".into());
    let checks = look(&site, &site, &[carrier]).await;
    assert!(wrong(&checks).is_empty(), "{checks:#?}");
    let rate = checks.iter().find(|check| check.what == "rate up").unwrap();
    assert_eq!(rate.expected, "500.0 kbit/s");
}

#[tokio::test]
async fn where_udp_is_blocked_tcp_tells_the_delay_and_the_rest_is_named() {
    let slow = |delay_us| Conditions { delay_us, ..Conditions::default() };
    let blocked = |delay_us| {
        let udp = PortRule::none(Refusal::Drop);
        let mut site = site(slow(delay_us), slow(10_000));
        site.layers.push(Layer::Firewall(FirewallSpec { udp, ..FirewallSpec::default() }));
        site
    };
    let checks = look(&blocked(10_000), &blocked(10_000), &[]).await;
    assert!(wrong(&checks).is_empty(), "{checks:#?}");
    assert!(checks[0].measured.starts_with("not checked: no UDP"), "{checks:#?}");
    let checks = look(&blocked(10_000), &blocked(40_000), &[]).await;
    assert_eq!(wrong(&checks), ["round trip of TCP"], "{checks:#?}");
}

#[tokio::test]
async fn a_link_that_is_cut_or_changes_soon_is_no_fault() {
    let cut = site(Conditions { cut: true, ..Conditions::default() }, Conditions::default());
    let checks = look(&cut, &cut, &[]).await;
    assert!(wrong(&checks).is_empty() && checks[0].measured == "cut", "{checks:#?}");
    let open = site(Conditions::default(), Conditions::default());
    assert_eq!(wrong(&look(&cut, &open, &[]).await), ["link up"]);

    let mut changing = site(Conditions { delay_us: 1_000, ..Conditions::default() }, Conditions::default());
    let change = Conditions { delay_us: 90_000, ..Conditions::default() };
    changing.up.schedule.push(Change { at_us: 100_000, conditions: change });
    let checks = look(&changing, &changing, &[]).await;
    assert!(checks.len() == 1 && checks[0].ok && checks[0].measured.starts_with("not checked"), "{checks:#?}");
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_measured() {
    let perfect = site(Conditions::default(), Conditions::default());
    assert_eq!(look(&perfect, &perfect, &[]).await, []);
}
