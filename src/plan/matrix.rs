//! The networks and the calls of a scenario with networks: where each peer is, and which path each pair must find.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::arrivals;
use super::expand::next_peer;
use super::network::{CellPlan, CredentialFault, NetworkPlan, TurnPlan};
use super::{CallPlan, NetworkDriver};
use crate::net::oracle::{self, Expectation, Route};
use crate::net::spec::Ipv4Prefix;
use crate::scenario::{Address, Cell, Credential, Network, Program, Scenario, Site, carrier_spec, site_spec, twin};

/// The networks that the scenario's peers are in.
pub(super) fn network(scenario: &Scenario) -> Option<NetworkPlan> {
    let network = scenario.network.as_ref()?;
    let mut sites = Vec::new();
    for (name, site, peers) in populated(scenario, network) {
        let number = u16::try_from(sites.len() + 1).unwrap_or(u16::MAX);
        let peers = u16::try_from(peers).unwrap_or(u16::MAX);
        // What cannot be converted was found wrong before.
        sites.extend(site_spec(site, &name, Address { lan: lan(network.driver, number), number, peers }).ok());
    }
    let carriers = network.carrier.iter().filter(|carrier| {
        sites.iter().any(|site: &crate::net::spec::SiteSpec| site.behind.as_ref() == Some(&carrier.name))
    });
    let turn = network.turn.as_ref().map(|turn| TurnPlan {
        server: turn.server,
        transports: turn.transports.clone(),
        misbehave: turn.misbehave.clone(),
        credential_fault: match turn.credential {
            Credential::Valid => None,
            Credential::Wrong => Some(CredentialFault::WrongPassword),
            Credential::Expired => Some(CredentialFault::Expired),
        },
    });
    Some(NetworkPlan {
        driver: network.driver,
        capture: network.capture,
        turn,
        carriers: carriers.filter_map(|carrier| carrier_spec(carrier).ok()).collect(),
        sites,
        programs: network.program.iter().map(Program::plan).collect(),
    })
}

/// The calls of a matrix, row by row; each cell's calls follow each other.
pub(super) fn calls(scenario: &Scenario, cells: &[Cell], network: &NetworkPlan) -> Vec<CallPlan> {
    let repeat = scenario.matrix.as_ref().map_or(1, |matrix| matrix.repeat);
    let mut starts = arrivals::counted(&scenario.load, scenario.seed, "");
    let mut used = BTreeMap::new();
    let mut calls = Vec::new();
    for cell in cells {
        let plan = cell_plan(cell, network);
        let [offerers, answerers] = cell.engines.map(|engine| {
            scenario
                .peers
                .iter()
                .find(|group| group.engine() == engine)
                .map_or_else(|| engine.name(), |group| group.name())
        });
        for number in 0..repeat {
            let mut offerer = next_peer(&mut used, offerers);
            let mut answerer = next_peer(&mut used, answerers);
            (offerer.site, answerer.site) = (Some(cell.first.clone()), Some(cell.second.clone()));
            let id = format!("{}/{number}", cell.name);
            calls.push(CallPlan {
                set: cell.name.clone(),
                room: format!("{}-{}-{number}", scenario.name, cell.name),
                offerer,
                answerer,
                start_us: starts.next().unwrap_or(u64::MAX),
                hold_us: arrivals::hold_us(&scenario.load, scenario.seed, &id),
                media: None,
                policy: cell.own_policy,
                cell: Some(plan.clone()),
                feed: None,
                mix: None,
                id,
            });
        }
    }
    calls
}

fn cell_plan(cell: &Cell, network: &NetworkPlan) -> CellPlan {
    let ends = (network.end(&cell.first), network.end(&cell.second));
    let Expectation { route, reason } = match ends {
        (Some(first), Some(second)) => oracle::expect(first, second, &network.means(cell.policy)),
        _ => Expectation { route: Route::None, reason: "one of the networks does not exist".into() },
    };
    // Another network of the same kind stands in the same column.
    let second = if cell.second == twin(&cell.first) { cell.first.clone() } else { cell.second.clone() };
    let reason = reason.replace(&twin(&cell.first), &format!("another {}", cell.first));
    let (first, engines, policy) = (cell.first.clone(), cell.engines, cell.policy);
    CellPlan { first, second, engines, policy, expected: route, reason }
}

/// The sites that have peers or programs, under the name that each has in the plan, and how many of them.
fn populated<'a>(scenario: &Scenario, network: &'a Network) -> Vec<(String, &'a Site, u64)> {
    let mut peers: BTreeMap<String, u64> = BTreeMap::new();
    match &scenario.matrix {
        Some(matrix) => {
            for cell in matrix.cells(scenario.ice.policy) {
                for site in [cell.first, cell.second] {
                    *peers.entry(site).or_default() += u64::from(matrix.repeat);
                }
            }
        }
        None => {
            for group in &scenario.peers {
                *peers.entry(group.site.clone().unwrap_or_default()).or_default() += group.count.unwrap_or(0) as u64;
            }
        }
    }
    for site in network.program.iter().filter_map(|program| program.site.clone()) {
        *peers.entry(site).or_default() += 1;
    }
    let named = network.site.iter().flat_map(|site| [(site.name.clone(), site), (twin(&site.name), site)]);
    named.filter_map(|(name, site)| peers.get(&name).map(|count| (name.clone(), site, *count))).collect()
}

/// The LAN of the site with this number, from 1. In-process peers need addresses that their sockets can be bound to, which
/// 127.0.0.0/8 has on every system that the driver runs on; 127.0.0.0/24 belongs to the machine itself.
fn lan(driver: NetworkDriver, number: u16) -> Ipv4Prefix {
    let [high, low] =
        [(number - 1) / 254 + 1, (number - 1) % 254 + 1].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
    let address = match driver {
        NetworkDriver::InProcess => Ipv4Addr::new(127, high, low, 0),
        NetworkDriver::Kernel => Ipv4Addr::new(192, 168, low, 0),
    };
    Ipv4Prefix::new(address, 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_has_a_lan_of_its_own() {
        let lans = |driver| [1, 2, 254, 255].map(|number| lan(driver, number).to_string());
        let expected = ["127.1.1.0/24", "127.1.2.0/24", "127.1.254.0/24", "127.2.1.0/24"];
        assert_eq!(lans(NetworkDriver::InProcess), expected);
        assert_eq!(lans(NetworkDriver::Kernel)[..3], ["192.168.1.0/24", "192.168.2.0/24", "192.168.254.0/24"]);
    }
}
