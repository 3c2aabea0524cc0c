//! `[[network.program]]`: what runs behind the networks beside the peers.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{NetworkDriver, ProgramPlan};
use crate::scenario::check::identifier;
use crate::scenario::error::suggest;
use crate::scenario::report::Report;

/// The name makes that of a file.
const NAME: usize = 40;

/// Files of these names are those of the harness's own programs.
const TAKEN: [&str; 1] = ["coturn"];

/// A program that runs behind the networks while the calls do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Name of the program: letters, digits, `-` and `_`, at most 40. What it says goes to `NAME.log` of the run.
    pub name: String,
    /// The network that it is in. Default: the internet itself, with a public address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The program and its arguments; no shell reads them.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
}

impl Program {
    /// The program of a plan; there is nothing to resolve.
    pub(crate) fn plan(&self) -> ProgramPlan {
        let Self { name, site, command } = self.clone();
        ProgramPlan { name, site, command }
    }
}

/// Checks the programs of a scenario or a plan, which stand at `path` as an array, against the names of its networks.
pub(crate) fn check_programs(
    report: &mut Report<'_>,
    path: &str,
    programs: &[ProgramPlan],
    driver: NetworkDriver,
    sites: &[&str],
) {
    let mut names = BTreeSet::new();
    for (index, ProgramPlan { name, site, command }) in programs.iter().enumerate() {
        let path = format!("{path}.{index}");
        if driver == NetworkDriver::InProcess {
            let message = format!("only the kernel driver can put the program `{name}` behind the networks");
            report.wrong(&path, message, "use driver = \"kernel\" in [network]");
        }
        identifier(report, &format!("{path}.name"), name, NAME);
        if TAKEN.contains(&name.as_str()) {
            let message = format!("`{name}.log` is a file that the harness may write itself");
            report.wrong(&format!("{path}.name"), message, "give it another name");
        }
        if !names.insert(name) {
            let message = format!("there is a program named `{name}` already");
            report.wrong(&format!("{path}.name"), message, "give it another name");
        }
        if let Some(site) = site.as_deref().filter(|site| !sites.contains(site)) {
            let help = suggest("networks", site, sites.iter().copied());
            report.wrong(&format!("{path}.site"), format!("there is no network `{site}`"), help);
        }
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            let help = "give the program and its arguments, each as a text: command = [\"python3\", \"client.py\"]";
            report.wrong(&format!("{path}.command"), format!("the program `{name}` has no command"), help);
        }
    }
}
