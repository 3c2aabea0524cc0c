//! What the network model costs per packet, next to a lookup and a copy of the same packet on the same machine.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::net::spec::{Conditions, Ipv4Prefix, LinkSpec, Loss, SiteSpec};
use harness::net::{Packet, World, presets};

const ROUNDS: usize = 5;
const PACKETS: u32 = 1_000_000;
const BYTES: usize = 1_200;
/// Between two packets: 100,000 per second.
const PACE: Duration = Duration::from_micros(10);

fn main() {
    let delayed = Conditions { delay_us: 20_000, ..Conditions::default() };
    let impaired = Conditions {
        rate_bps: Some(2_000_000_000),
        jitter_us: 5_000,
        loss: Loss::Burst { ratio: 0.01, mean_burst: 3.0 },
        ..delayed.clone()
    };
    let cases = [
        ("port-restricted, links that do nothing", "port-restricted", Conditions::default()),
        ("port-restricted, 20 ms", "port-restricted", delayed.clone()),
        ("port-restricted, rate, 20 ± 5 ms, bursts of loss", "port-restricted", impaired),
        ("full-cone, 20 ms", "full-cone", delayed.clone()),
        ("cgn: two NATs at each end, 20 ms", "cgn", delayed.clone()),
        ("stateful-public: firewall and NAT at each end, 20 ms", "stateful-public", delayed),
    ];
    for _ in 0..ROUNDS {
        eprintln!("yardstick: a lookup and a copy of {BYTES} bytes: {:.0} ns", yardstick());
        for (name, kind, link) in &cases {
            eprintln!("    NAT, link, link, NAT ({name}): {:.0} ns per packet", forward(kind, link));
        }
    }
}

/// Nanoseconds for one lookup among 1024 flows and a copy of one packet.
fn yardstick() -> f64 {
    let flows: HashMap<u64, u64> = (0..1_024).map(|flow| (flow, flow)).collect();
    let (from, mut to) = (vec![1u8; BYTES], vec![0u8; BYTES]);
    let start = Instant::now();
    for index in 0..u64::from(PACKETS) {
        black_box(flows.get(&black_box(index % 1_024)));
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
    }
    start.elapsed().as_nanos() as f64 / f64::from(PACKETS)
}

/// Nanoseconds for one packet from a host of one site to a host of another, by turns in both directions.
fn forward(kind: &str, link: &Conditions) -> f64 {
    let mut world = World::new(1);
    let mut now = Instant::now();
    let observer = world.add_public_host(&[IpAddr::from([11, 0, 0, 1])]).expect("a public address");
    let ends = ["192.168.1.0/24", "192.168.2.0/24"].map(|lan| {
        let lan: Ipv4Prefix = lan.parse().expect("a prefix");
        let site = presets::site(kind, lan.to_string(), lan).expect("a kind of site");
        let link = LinkSpec::from(link.clone());
        let site = SiteSpec { up: link.clone(), down: link, ..site };
        let id = world.add_site(&site).expect("a site");
        let address = IpAddr::V4(lan.address(2).expect("an address"));
        (world.add_host(id, &[address]).expect("a host"), SocketAddr::new(address, 5_000))
    });
    let mapped = ends.map(|(host, local)| {
        world.handle_input(now, host, Packet::udp(local, SocketAddr::from(([11, 0, 0, 1], 3_478)), &b"who am I"[..]));
        now += Duration::from_secs(1);
        world.handle_timeout(now);
        let (to, packet) = world.poll_output().expect("the packet arrives");
        assert_eq!(to, observer);
        packet.source
    });
    let payload = Bytes::from(vec![1; BYTES - 28]);
    let packet = |end: usize| Packet::udp(ends[end].1, mapped[1 - end], payload.clone());
    let pass = |world: &mut World, now: Instant, end: usize| -> u32 {
        world.handle_input(now, ends[end].0, packet(end));
        std::iter::from_fn(|| black_box(world.poll_output())).count() as u32
    };
    // Both ends have sent before the clock runs.
    for end in [0, 1, 0] {
        now += Duration::from_secs(1);
        pass(&mut world, now, end);
    }
    now += Duration::from_secs(1);
    world.handle_timeout(now);
    while world.poll_output().is_some() {}

    let start = Instant::now();
    let mut arrived = 0;
    for index in 0..PACKETS {
        now += PACE;
        arrived += pass(&mut world, now, (index % 2) as usize);
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / f64::from(PACKETS);
    assert!(arrived > PACKETS / 10 * 9, "only {arrived} packets arrived");
    nanoseconds
}
