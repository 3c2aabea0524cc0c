//! Hole punching through pairs of NATs: a connectivity check and what is learnt from it, without the rest of ICE.

use super::*;

/// One end: it sends a check to every remote candidate it knows every 50 ms, answers checks to where they came from, and
/// takes the source of a check for a candidate (RFC 8445, 7.3.1.3).
struct Agent {
    host: HostId,
    local: SocketAddr,
    remote: Vec<SocketAddr>,
    /// Whether an answer came from where a check was sent to (RFC 8445, 7.2.5.2.1).
    connected: bool,
}

impl Agent {
    fn new(bed: &mut Bed, layers: &[Layer], lan: u8) -> (Self, SocketAddr) {
        let mut spec = SiteSpec { layers: layers.to_vec(), ..site("open", lan) };
        let link = Conditions { delay_us: 5_000, ..Conditions::default() };
        (spec.up, spec.down) = (link.clone().into(), link.into());
        let (_, host) = bed.add(&spec);
        let local = at(&format!("192.168.{lan}.2:5000"));
        bed.send(host, &local.to_string(), STUN);
        bed.wait(20 * MS);
        let mapped = bed.received(bed.stun).pop().expect("STUN is reachable").source;
        (Self { host, local, remote: Vec::new(), connected: false }, mapped)
    }

    fn check(&self, bed: &mut Bed) {
        for (index, remote) in self.remote.iter().enumerate() {
            let check = Packet::udp(self.local, *remote, vec![b'?', index as u8]);
            bed.world.handle_input(bed.now, self.host, check);
        }
    }

    fn handle(&mut self, bed: &mut Bed, packet: &Packet) {
        let Transport::Udp(payload) = &packet.transport else { return };
        match payload[..] {
            [b'?', index] => {
                if !self.remote.contains(&packet.source) {
                    self.remote.push(packet.source);
                }
                let answer = Packet::udp(self.local, packet.source, vec![b'!', index]);
                bed.world.handle_input(bed.now, self.host, answer);
            }
            [b'!', index] => self.connected |= self.remote[usize::from(index)] == packet.source,
            _ => panic!("{packet:?}"),
        }
    }
}

/// Whether two ends connect when B starts 30 ms after A and both try for 600 ms.
fn connects(a: &str, b: &str) -> bool {
    connect(&site(a, 1).layers, &site(b, 2).layers)
}

fn connect(a: &[Layer], b: &[Layer]) -> bool {
    let mut bed = Bed::new();
    let (mut a, mapped_a) = Agent::new(&mut bed, a, 1);
    let (mut b, mapped_b) = Agent::new(&mut bed, b, 2);
    for ms in 0..600 {
        if ms == 0 {
            a.remote.push(mapped_b);
        }
        if ms == 30 && !b.remote.contains(&mapped_a) {
            b.remote.push(mapped_a);
        }
        if ms % 50 == 0 {
            a.check(&mut bed);
        }
        if ms >= 30 && (ms - 30) % 50 == 0 {
            b.check(&mut bed);
        }
        bed.wait(MS);
        while let Some((to, packet)) = bed.world.poll_output() {
            if to == a.host {
                a.handle(&mut bed, &packet);
            } else if to == b.host {
                b.handle(&mut bed, &packet);
            }
        }
    }
    a.connected && b.connected
}

const KINDS: [&str; 6] =
    ["full-cone", "address-restricted", "port-restricted", "naive-masquerade", "address-symmetric", "symmetric"];

#[test]
fn pairs_of_nats_connect_as_measured_over_real_ones() {
    // The table of a mini-ICE over kernel NATs: rows A, columns B, both in the order of the kinds. `D` connects directly,
    // `R` needs a relay.
    let measured = ["DDDDDD", "DDDDDD", "DDDRRR", "DDDRRR", "DDRRRR", "DDRRRR"];
    for (a, row) in KINDS.iter().zip(measured) {
        let seen: String = KINDS.iter().map(|b| if connects(a, b) { 'D' } else { 'R' }).collect();
        assert_eq!(seen, row, "{a} with {KINDS:?}");
    }
}

#[test]
fn pairs_of_honest_nats_connect_as_the_rule_says() {
    let kinds = [
        "open",
        "stateful-public",
        "full-cone",
        "address-restricted",
        "port-restricted",
        "address-symmetric",
        "symmetric",
        "symmetric-sequential",
        "cgn",
        "cgn-symmetric",
        "one-to-one",
        "no-hairpin",
    ];
    for a in kinds {
        for b in kinds {
            let class = |kind: &str| {
                let (mapping, filtering) = site(kind, 1).reduce(None);
                (mapping == Mapping::EndpointIndependent, filtering)
            };
            let ((eim_a, filter_a), (eim_b, filter_b)) = (class(a), class(b));
            let expected = match (eim_a, eim_b) {
                (true, true) => true,
                (true, false) => filter_a != Filtering::AddressAndPortDependent,
                (false, true) => filter_b != Filtering::AddressAndPortDependent,
                (false, false) => false,
            };
            assert_eq!(connects(a, b), expected, "{a} with {b}");
        }
    }
}

#[test]
fn pairs_of_all_classes_connect_as_reasoned() {
    use Filtering::{AddressAndPortDependent as Apdf, AddressDependent as Adf, EndpointIndependent as Eif};
    use Mapping::{AddressAndPortDependent as Apdm, AddressDependent as Adm, EndpointIndependent as Eim};
    let classes: Vec<_> =
        [Eim, Adm, Apdm].into_iter().flat_map(|mapping| [Eif, Adf, Apdf].map(|filter| (mapping, filter))).collect();
    let layers = |(mapping, filtering)| {
        [Layer::Nat(NatSpec { mapping, filtering, ports: PortAllocation::Random, ..NatSpec::default() })]
    };
    for a in &classes {
        for b in &classes {
            let ((mapping_a, filter_a), (mapping_b, filter_b)) = (*a, *b);
            let expected = match (mapping_a == Eim, mapping_b == Eim) {
                (true, true) => true,
                (true, false) => filter_a != Apdf,
                (false, true) => filter_b != Apdf,
                // A check gets through to the announced endpoint if that filters nothing, and one back to where it came
                // from if that filters by address. One of the two ends must then answer from where it was asked, which it
                // does if it maps by address.
                (false, false) => {
                    (mapping_a == Adm || mapping_b == Adm)
                        && filter_a.min(filter_b) == Eif
                        && filter_a.max(filter_b) != Apdf
                }
            };
            assert_eq!(connect(&layers(*a), &layers(*b)), expected, "{a:?} with {b:?}");
        }
    }
}

#[test]
fn a_carrier_that_pools_arbitrarily_defeats_a_filter_by_address() {
    for (other, expected) in [("full-cone", true), ("address-restricted", false), ("port-restricted", false)] {
        assert_eq!(connects("cgn-arbitrary-pooling", other), expected, "{other}");
        assert_eq!(connects(other, "cgn-arbitrary-pooling"), expected, "{other}");
    }
}

#[test]
fn no_pair_connects_without_udp() {
    for firewall in ["udp-3478-443-only"] {
        for other in ["open", "full-cone", firewall] {
            assert!(!connects(firewall, other) && !connects(other, firewall), "{firewall} with {other}");
        }
    }
}

#[test]
fn two_ends_behind_one_nat_need_hairpinning() {
    for (hairpin, expected) in [(Hairpin::External, true), (Hairpin::None, false)] {
        let mut bed = Bed::new();
        let nat = NatSpec { hairpin, ports: PortAllocation::Random, ..NatSpec::default() };
        let spec = SiteSpec { isolated: true, layers: vec![Layer::Nat(nat)], ..site("open", 1) };
        let (site, host_a) = bed.add(&spec);
        let host_b = bed.world.add_host(site, &[ip("192.168.1.3")]).unwrap();
        let (mapped_a, mapped_b) = (bed.mapped(host_a, "192.168.1.2:5000"), bed.mapped(host_b, "192.168.1.3:5000"));
        bed.send(host_a, "192.168.1.2:5000", mapped_b);
        bed.send(host_b, "192.168.1.3:5000", mapped_a);
        assert_eq!(bed.received(host_a).first().map(|packet| packet.source == mapped_b), expected.then_some(true));
    }
}
