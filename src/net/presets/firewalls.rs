//! Firewalls by name.

use super::{Name, Preset};
use crate::net::spec::{FirewallSpec, PortRule, Refusal};

pub(super) const PRESETS: &[Preset<FirewallSpec>] = &[
    Preset {
        name: Name {
            name: "stateful-public",
            aliases: &["stateful", "rfc6092"],
            about: "everything out, only answers in",
        },
        make: FirewallSpec::default,
    },
    Preset {
        name: Name { name: "udp-blocked", aliases: &["udpblock", "udp-dropped"], about: "UDP vanishes" },
        make: || FirewallSpec { udp: PortRule::none(Refusal::Drop), ..FirewallSpec::default() },
    },
    Preset {
        name: Name {
            name: "udp-rejected",
            aliases: &["udp-prohibited"],
            about: "ICMP tells that UDP is administratively prohibited",
        },
        make: || FirewallSpec { udp: PortRule::none(Refusal::Prohibited), ..FirewallSpec::default() },
    },
    Preset {
        name: Name {
            name: "udp-3478-443-only",
            aliases: &["turn-ports-only"],
            about: "UDP only to ports 3478 and 443, so that no peer and no foreign relay can be reached",
        },
        make: || FirewallSpec { udp: PortRule::only([3478, 443]), ..FirewallSpec::default() },
    },
    Preset {
        name: Name { name: "tcp-80-443-only", aliases: &["web-only"], about: "nothing but TCP to ports 80 and 443" },
        make: || only_tcp([80, 443].into()),
    },
    Preset {
        name: Name {
            name: "tls-443-only",
            aliases: &["tls443", "https-only"],
            about: "nothing but TCP to port 443 that begins as TLS",
        },
        make: || FirewallSpec { tls_only: true, ..only_tcp([443].into()) },
    },
];

fn only_tcp(ports: Vec<u16>) -> FirewallSpec {
    FirewallSpec { udp: PortRule::none(Refusal::Drop), tcp: PortRule::only(ports), ..FirewallSpec::default() }
}
