//! What a network's tables cannot say by their shape: names that refer, keys that exclude each other.

use std::collections::BTreeSet;

use super::convert::{Address, Fault};
use super::{Network, Program, Site, carrier_spec, check_programs, site_spec};
use crate::net::spec::Ipv4Prefix;
use crate::plan::{Engine, NetworkDriver, TurnServer};
use crate::scenario::check::identifier;
use crate::scenario::error::suggest;
use crate::scenario::format::{Peers, Scenario, SignalingProtocol};
use crate::scenario::report::Report;

/// Names of sites make up those of cells, which must be short enough for a room.
const SITE_NAME: usize = 24;

/// Checks the networks and who is in them.
pub(in crate::scenario) fn check(scenario: &Scenario, report: &mut Report<'_>) {
    let Some(network) = &scenario.network else {
        for (index, group) in scenario.peers.iter().enumerate().filter(|(_, group)| group.site.is_some()) {
            let message = format!("`{}` is to be in a network, but the scenario has none", group.name());
            report.wrong(&format!("peers.{index}.site"), message, "add [network] with [[network.site]], or remove it");
        }
        return;
    };
    sites(network, report);
    carriers(network, report);
    turn(network, report);
    let programs: Vec<_> = network.program.iter().map(Program::plan).collect();
    let names: Vec<&str> = network.site.iter().map(|site| site.name.as_str()).collect();
    check_programs(report, "network.program", &programs, network.driver, &names);
    if scenario.matrix.is_none() {
        peers(network, &scenario.peers, report);
    }
    if network.driver == NetworkDriver::Kernel {
        outside(scenario, report);
    }
    if !scenario.ice.servers.is_empty() {
        let help = "remove them; with [network.turn] the peers are given the URLs of the server there";
        report.wrong("ice.servers", "the servers of [ice] cannot be reached from within [network]", help);
    }
}

/// Programs in the networks reach nothing outside of them, and nothing outside is brought into them.
fn outside(scenario: &Scenario, report: &mut Report<'_>) {
    let native = |engine: Engine| engine == Engine::Native;
    let all_native = match &scenario.matrix {
        Some(matrix) => matrix.engines.iter().flatten().copied().all(native),
        None => scenario.peers.iter().map(Peers::engine).all(native),
    };
    let programs = scenario.network.as_ref().is_some_and(|network| !network.program.is_empty());
    // Pages of browsers come from the bundled server if they do not speak the protocol, and this process speaks it for them.
    let speaks_for_all = matches!(scenario.signaling.protocol, SignalingProtocol::SocketIo | SignalingProtocol::PeerJs);
    if scenario.signaling.url.is_some() && (programs || !all_native && !speaks_for_all) {
        let help = "remove it: the bundled server is reached from within the networks";
        report.wrong("signaling.url", "programs behind networks cannot reach a server outside of them", help);
    }
    for (index, _) in scenario.peers.iter().enumerate().filter(|(_, group)| group.webdriver_url.is_some()) {
        let help = "remove it: the harness starts the driver within the network";
        let message = "a browser that runs elsewhere cannot be put behind a network";
        report.wrong(&format!("peers.{index}.webdriver_url"), message, help);
    }
}

fn sites(network: &Network, report: &mut Report<'_>) {
    let mut names = BTreeSet::new();
    let carriers: Vec<&str> = network.carrier.iter().map(|carrier| carrier.name.as_str()).collect();
    for (index, site) in network.site.iter().enumerate() {
        let path = format!("network.site.{index}");
        name(report, &path, &site.name, &mut names);
        if site.preset.is_some() {
            for (key, given) in [("nat", site.nat.is_some()), ("firewall", site.firewall.is_some())] {
                if given {
                    let message = format!("`preset` is the whole network, so that there is no room for `{key}`");
                    report.wrong(&format!("{path}.{key}"), message, format!("remove `{key}`, or `preset`"));
                }
            }
        } else if site.nat.is_none() && site.firewall.is_none() {
            let help = "add nat = \"port-restricted\", firewall = \"udp-blocked\", or preset = \"open\" for the internet itself";
            let message = format!("nothing is said about what stands between `{}` and the internet", site.name);
            report.wrong(&path, message, help);
        }
        if let Some(carrier) = site.behind.as_deref().filter(|carrier| !carriers.contains(carrier)) {
            let help = suggest("carriers", carrier, carriers.iter().copied());
            report.wrong(&format!("{path}.behind"), format!("there is no carrier `{carrier}`"), help);
        }
        if network.driver == NetworkDriver::InProcess && site.ipv6 != super::Ipv6::None {
            let help = "use driver = \"kernel\", or remove `ipv6`";
            let message = "peers of the in-process driver have addresses of the loopback, which are IPv4 only";
            report.wrong(&format!("{path}.ipv6"), message, help);
        }
        let address = Address { lan: Ipv4Prefix::new([192, 168, 1, 0].into(), 24), number: 1, peers: 1 };
        if let Err(fault) = site_spec(site, &site.name, address) {
            tell(report, &path, &fault);
        }
    }
}

fn carriers(network: &Network, report: &mut Report<'_>) {
    let mut names: BTreeSet<&str> = network.site.iter().map(|site| site.name.as_str()).collect();
    for (index, carrier) in network.carrier.iter().enumerate() {
        let path = format!("network.carrier.{index}");
        name(report, &path, &carrier.name, &mut names);
        if network.site.iter().all(|site| site.behind.as_ref() != Some(&carrier.name)) {
            let help = format!("add behind = \"{}\" to a [[network.site]], or remove it", carrier.name);
            report.wrong(&path, format!("no network is behind the carrier `{}`", carrier.name), help);
        }
        if let Err(fault) = carrier_spec(carrier) {
            tell(report, &path, &fault);
        }
    }
}

fn turn(network: &Network, report: &mut Report<'_>) {
    let Some(turn) = &network.turn else { return };
    if turn.server == TurnServer::Coturn {
        if network.driver == NetworkDriver::InProcess {
            let help = "use driver = \"kernel\", or server = \"bundled\"";
            let message = "coturn is a program of its own, and only the kernel driver can put it behind the networks";
            report.wrong("network.turn.server", message, help);
        }
        if !turn.misbehave.is_empty() {
            let help = "remove it, or use server = \"bundled\"";
            report.wrong("network.turn.misbehave", "only the bundled server can be told to misbehave", help);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, transport) in turn.transports.iter().enumerate() {
        if !seen.insert(transport) {
            let message = format!("`{}` is there already", transport.name());
            report.wrong(&format!("network.turn.transports.{index}"), message, "remove it");
        }
    }
}

/// Without a matrix, every group says where it is.
fn peers(network: &Network, peers: &[Peers], report: &mut Report<'_>) {
    let sites: Vec<&str> = network.site.iter().map(|site| site.name.as_str()).collect();
    let programs: Vec<Option<&String>> = network.program.iter().map(|program| program.site.as_ref()).collect();
    for (index, group) in peers.iter().enumerate() {
        let path = format!("peers.{index}");
        match group.site.as_deref() {
            None => {
                let help = "add site = \"…\", such as one with preset = \"open\" for the internet itself";
                report.wrong(&path, format!("the group `{}` is in no network", group.name()), help);
            }
            Some(site) if !sites.contains(&site) => {
                let help = suggest("networks", site, sites.iter().copied());
                report.wrong(&format!("{path}.site"), format!("there is no network `{site}`"), help);
            }
            Some(_) => {}
        }
        if group.engine() == Engine::Signaling {
            let help = "remove [network], or use engine = \"native\"";
            let message = "a signaling peer sends no packet that could cross a network";
            report.wrong(&format!("{path}.engine"), message, help);
        } else if network.driver == NetworkDriver::InProcess
            && !matches!(group.engine(), Engine::Native | Engine::Human)
        {
            let help = "use driver = \"kernel\" in [network], or engine = \"native\"";
            let message = format!(
                "`{}` is a program of its own, and only the kernel driver can put it behind a network",
                group.engine().name()
            );
            report.wrong(&format!("{path}.engine"), message, help);
        } else if group.engine() == Engine::External && !programs.contains(&group.site.as_ref()) {
            let message = format!("nobody can be the client `{}`: no program is in its network", group.name());
            let site = group.site.as_deref().unwrap_or("…");
            let help = format!("add a [[network.program]] with site = \"{site}\"");
            report.wrong(&format!("{path}.engine"), message, help);
        }
    }
    let unused = |site: &Site| {
        let used = |place: Option<&String>| place == Some(&site.name);
        !peers.iter().any(|group| used(group.site.as_ref())) && !programs.iter().any(|place| used(*place))
    };
    for (index, site) in network.site.iter().enumerate().filter(|(_, site)| unused(site)) {
        let help = format!("put a group of peers into it with site = \"{}\", or remove it", site.name);
        report.wrong(&format!("network.site.{index}"), format!("nobody is in the network `{}`", site.name), help);
    }
}

fn name<'a>(report: &mut Report<'_>, path: &str, name: &'a str, names: &mut BTreeSet<&'a str>) {
    let path = format!("{path}.name");
    identifier(report, &path, name, SITE_NAME);
    if name.contains("--") {
        report.wrong(&path, format!("{name:?} cannot be the name of a network"), "`--` joins the names of a pair");
    }
    if !names.insert(name) {
        report.wrong(&path, format!("there is a network or carrier named `{name}` already"), "give it another name");
    }
}

fn tell(report: &mut Report<'_>, path: &str, fault: &Fault) {
    let path = if fault.key.is_empty() { path.to_owned() } else { format!("{path}.{}", fault.key) };
    report.wrong(&path, fault.message.clone(), "see [network] in docs/scenario.md");
}
