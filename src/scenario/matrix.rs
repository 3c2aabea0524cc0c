//! `[matrix]`: every network calls every other, and each pair must find the path that it can.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::suggest;
use super::format::{Peers, Scenario};
use super::report::Report;
use crate::plan::{Engine, IceTransportPolicy, NetworkDriver};

/// Every network calls every other, and each pair must find the path that it can.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matrix {
    /// The networks whose peers offer. Default: all.
    #[schemars(length(max = 100))]
    pub sites: Vec<String>,
    /// The networks whose peers answer. Default: `sites`.
    #[schemars(length(max = 100))]
    pub against: Vec<String>,
    /// Pairs of engines, the offerer's first.
    #[schemars(length(min = 1, max = 16))]
    pub engines: Vec<[Engine; 2]>,
    /// The ICE policies that calls are made with and judged by. Default: they are made with the policy of `[ice]`, and
    /// judged as if all candidates were allowed, so that needless relaying fails.
    #[schemars(length(max = 2))]
    pub policies: Vec<IceTransportPolicy>,
    /// How many calls each pair makes, 1 to 100; one that does not always end alike is flaky.
    #[schemars(range(min = 1, max = 100))]
    pub repeat: u32,
}

impl Default for Matrix {
    fn default() -> Self {
        Self {
            sites: Vec::new(),
            against: Vec::new(),
            engines: vec![[Engine::Native; 2]],
            policies: Vec::new(),
            repeat: 1,
        }
    }
}

/// One cell of a matrix: like calls between two networks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cell {
    /// Unique in the scenario, such as `home--symmetric`.
    pub(crate) name: String,
    /// The site of the offerers.
    pub(crate) first: String,
    /// The site of the answerers; for a network against itself, another one of the same kind.
    pub(crate) second: String,
    /// The kinds of the offerers and of the answerers.
    pub(crate) engines: [Engine; 2],
    /// What the calls are judged by.
    pub(crate) policy: IceTransportPolicy,
    /// What the calls are made with, where it differs from the scenario's policy.
    pub(crate) own_policy: Option<IceTransportPolicy>,
}

impl Matrix {
    /// Every cell, row by row.
    pub(crate) fn cells(&self, ice: IceTransportPolicy) -> Vec<Cell> {
        let judged = if self.policies.is_empty() { &[IceTransportPolicy::All][..] } else { &self.policies[..] };
        let mut cells = Vec::new();
        for engines in &self.engines {
            for &policy in judged {
                let own_policy = (!self.policies.is_empty() && policy != ice).then_some(policy);
                for first in &self.sites {
                    for second in &self.against {
                        let mut name = format!("{first}--{second}");
                        if self.engines.len() > 1 {
                            name += &format!("--{}-{}", engines[0].name(), engines[1].name());
                        }
                        if judged.len() > 1 && policy == IceTransportPolicy::Relay {
                            name += "--relay";
                        }
                        let second = if first == second { twin(second) } else { second.clone() };
                        cells.push(Cell { name, first: first.clone(), second, engines: *engines, policy, own_policy });
                    }
                }
            }
        }
        cells
    }
}

/// The name of another network of the same kind. No network of a scenario can have it.
pub(crate) fn twin(site: &str) -> String {
    format!("{site}--2")
}

/// Fills in the networks and groups that the matrix leaves open, and how many peers each group needs.
pub(super) fn complete(scenario: &mut Scenario, report: &mut Report<'_>) {
    let Some(matrix) = &mut scenario.matrix else { return };
    let Some(network) = &scenario.network else {
        let help = "add [network] with a [[network.site]] for each";
        report.wrong("matrix", "a matrix is about networks, and the scenario has none", help);
        return;
    };
    let sites: Vec<&str> = network.site.iter().map(|site| site.name.as_str()).collect();
    names(report, "matrix.sites", &matrix.sites, &sites);
    names(report, "matrix.against", &matrix.against, &sites);
    if matrix.sites.is_empty() {
        matrix.sites = sites.iter().map(|&site| site.to_owned()).collect();
    }
    if matrix.against.is_empty() {
        matrix.against.clone_from(&matrix.sites);
    }
    distinct(report, "matrix.engines", matrix.engines.iter());
    distinct(report, "matrix.policies", matrix.policies.iter().map(|policy| *policy as u8));
    engines(matrix, network.driver, report);
    excluded(scenario, report);
    groups(scenario, report);
}

fn names(report: &mut Report<'_>, path: &str, names: &[String], known: &[&str]) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("{path}.{index}");
        if !known.contains(&name.as_str()) {
            let help = suggest("networks", name, known.iter().copied());
            report.wrong(&path, format!("there is no network `{name}`"), help);
        } else if !seen.insert(name) {
            report.wrong(&path, format!("`{name}` is there already"), "remove it, or raise `repeat`");
        }
    }
}

fn distinct<T: Ord>(report: &mut Report<'_>, path: &str, values: impl Iterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for (index, value) in values.enumerate() {
        if !seen.insert(value) {
            report.wrong(&format!("{path}.{index}"), "this is there already", "remove it, or raise `repeat`");
        }
    }
}

fn engines(matrix: &Matrix, driver: NetworkDriver, report: &mut Report<'_>) {
    for (index, pair) in matrix.engines.iter().enumerate() {
        let path = format!("matrix.engines.{index}");
        if pair.contains(&Engine::Signaling) {
            let message = "a signaling peer sends no packet that could cross the networks of a matrix";
            report.wrong(&path, message, "use native, chromium or firefox");
        } else if pair.contains(&Engine::External) || pair.contains(&Engine::Human) {
            let message = "a client that somebody else starts cannot be put behind the networks of a matrix";
            report.wrong(&path, message, "use native, chromium or firefox");
        } else if let Some(browser) =
            pair.iter().find(|engine| engine.is_browser() && driver == NetworkDriver::InProcess)
        {
            let (name, help) = (browser.name(), "use driver = \"kernel\" in [network], or native peers");
            let message =
                format!("`{name}` is a program of its own, and only the kernel driver can put it behind a network");
            report.wrong(&path, message, help);
        }
    }
}

/// The matrix says who calls whom, and from where.
fn excluded(scenario: &Scenario, report: &mut Report<'_>) {
    if report.is_written("topology") {
        let help = "remove one of both";
        report.wrong("topology", "[matrix] says who calls whom already, so that there is no room for [topology]", help);
    }
    for (index, group) in scenario.peers.iter().enumerate() {
        if group.site.is_some() {
            let help = "remove it: the matrix puts peers into every network";
            report.wrong(&format!("peers.{index}.site"), "`site` has no meaning in a matrix", help);
        }
    }
}

/// One group for each engine, given or implied.
fn groups(scenario: &mut Scenario, report: &mut Report<'_>) {
    let Some(matrix) = &scenario.matrix else { return };
    let cells = matrix.sites.len() as u64 * matrix.against.len() as u64 * matrix.policies.len().max(1) as u64;
    let each = cells * u64::from(matrix.repeat);
    let needed = |engine: Engine| each * matrix.engines.iter().flatten().filter(|used| **used == engine).count() as u64;
    for engine in [Engine::Native, Engine::Chromium, Engine::Firefox] {
        let mut groups = scenario.peers.iter_mut().enumerate().filter(|(_, group)| group.engine() == engine);
        let first = groups.next();
        if let Some((index, group)) = groups.next() {
            let message = format!("the matrix uses one group of each engine, and `{}` is a second one", group.name());
            report.wrong(&format!("peers.{index}"), message, "remove it");
        }
        let needed = needed(engine);
        match first {
            None if needed > 0 => {
                let count = u32::try_from(needed).ok();
                scenario.peers.push(Peers { engine: Some(engine), count, ..Peers::default() });
            }
            None => {}
            Some((index, _)) if needed == 0 => {
                let help = "remove the group, or name its engine in `engines` of [matrix]";
                let message = format!("no pair of the matrix has the engine `{}`", engine.name());
                report.wrong(&format!("peers.{index}"), message, help);
            }
            Some((index, group)) => match group.count.map(u64::from) {
                Some(count) if count != needed => {
                    let message = format!("the matrix takes {needed} peers of `{}`, not {count}", group.name());
                    report.wrong(&format!("peers.{index}.count"), message, "leave it out");
                }
                _ => group.count = u32::try_from(needed).ok(),
            },
        }
    }
    for (index, group) in scenario.peers.iter().enumerate().filter(|(_, group)| group.engine() == Engine::External) {
        let message = format!("`{}` cannot be put behind the networks of a matrix", group.name());
        report.wrong(&format!("peers.{index}"), message, "remove it");
    }
    if each * matrix.engines.len() as u64 > super::topology::MOST_CALLS {
        let message = format!("{} calls are more than one machine can make", each * matrix.engines.len() as u64);
        report.wrong("matrix", message, format!("use at most {}", super::topology::MOST_CALLS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_cells_apart() {
        let matrix = Matrix {
            sites: vec!["a".into(), "b".into()],
            against: vec!["a".into()],
            engines: vec![[Engine::Native, Engine::Native], [Engine::Chromium, Engine::Firefox]],
            policies: vec![IceTransportPolicy::All, IceTransportPolicy::Relay],
            repeat: 1,
        };
        let cells = matrix.cells(IceTransportPolicy::All);
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(
            names[..4],
            ["a--a--native-native", "b--a--native-native", "a--a--native-native--relay", "b--a--native-native--relay"]
        );
        assert_eq!((names.len(), names[4]), (8, "a--a--chromium-firefox"));
        assert_eq!((cells[0].second.as_str(), cells[1].second.as_str()), ("a--2", "a"));
        assert_eq!((cells[0].own_policy, cells[2].own_policy), (None, Some(IceTransportPolicy::Relay)));
    }

    #[test]
    fn without_policies_calls_are_made_as_ice_says_and_judged_as_if_all_were_allowed() {
        let matrix = Matrix { sites: vec!["a".into()], against: vec!["a".into()], ..Matrix::default() };
        let [cell] = &matrix.cells(IceTransportPolicy::Relay)[..] else { panic!("one cell") };
        assert_eq!((cell.policy, cell.own_policy), (IceTransportPolicy::All, None));
    }
}
