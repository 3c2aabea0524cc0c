//! The scenario format: TOML to plan, with every error at its place.
//!
//! A file is parsed into values that know where they were written; values of the command line and the environment take
//! their place; the result is checked against the JSON Schema of the format, then for what a schema cannot say; and what
//! is right is expanded to a [`Plan`]. A `plan.toml` of an earlier run takes the same way. Nothing here touches the
//! network or a clock; only [`load_file`] reads files and the environment.

mod check;
mod dialect;
mod error;
mod explain;
mod format;
mod load;
mod mapping;
mod matrix;
mod network;
mod people;
mod report;
mod rooms;
mod served;
mod set;
mod shape;
mod simulcast;
mod size;
mod source;
mod topology;
mod tree;
mod units;

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Value;

pub use error::{ScenarioError, ScenarioErrors};
pub use explain::Setting;
pub use format::{
    Audio, Bulk, Calls, Data, DeadlineTable, GateRule, Health, Ice, Media, Native, Peers, Repeat, Scenario, Server,
    Signaling, SignalingProtocol, Topology, TopologyKind, Video, Where,
};
pub use load::{Hold, HoldDistribution, HoldTable, Load, Spacing, Stage};
pub use matrix::Matrix;
pub use network::{
    Carrier, Credential, FirewallTable, Ipv6, LinkChange, LinkName, LinkTable, NamedOr, NatTable, Network, Program,
    Site, SiteKind, Turn,
};
pub use set::Overrides;
pub use size::{FixedSize, Sizing};
pub use source::{Place, Source};
pub use units::{BitRate, Rate, Share, Size, Time, UnitError};

pub(crate) use check::{check_credential, codec};
pub(crate) use dialect::check_secrets;
pub(crate) use matrix::{Cell, twin};
pub(crate) use network::{Address, carrier_spec, check_programs, site_spec};
pub(crate) use report::{Report, Surroundings};

use crate::plan::{self, Plan};
use crate::signaling::dialect::secrets;
use tree::Tree;

/// A scenario that is right in every respect.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What a run will do.
    pub plan: Plan,
    /// Every value of the scenario, given or defaulted, and where it comes from.
    pub settings: Vec<Setting>,
    /// How often it is to run, if it says so.
    pub repeat: Option<u32>,
    /// How its load can be changed, for a search of the capacity; or why it cannot.
    pub sizing: Result<Sizing, FixedSize>,
}

/// Reads a scenario or plan file, and checks it against this machine's files and environment too.
///
/// # Errors
///
/// The file cannot be read, or something in it is wrong.
pub fn load_file(path: &Path, overrides: &Overrides) -> Result<Loaded, ScenarioErrors> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path, or write a first scenario with `harness init`",
            std::io::ErrorKind::InvalidData => "a scenario is a UTF-8 text",
            _ => "check that it is a file that you may read",
        };
        let message = format!("cannot read {name}: {error}");
        ScenarioErrors(vec![ScenarioError { message, place: None, help: Some(help.into()) }])
    })?;
    let has_variable = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let surroundings = Surroundings { has_variable: &has_variable, has_file: &|path| path.is_file() };
    load_within(&name, &text, overrides, surroundings)
}

/// Reads a scenario or plan from its text; `path` is what errors call it. Whether the files and variables that it names
/// exist is not looked at.
///
/// # Errors
///
/// Something in it is wrong; everything that can be found in one pass is reported.
pub fn load(path: &str, text: &str, overrides: &Overrides) -> Result<Loaded, ScenarioErrors> {
    load_within(path, text, overrides, Surroundings { has_variable: &|_| true, has_file: &|_| true })
}

fn load_within(
    path: &str,
    text: &str,
    overrides: &Overrides,
    surroundings: Surroundings<'_>,
) -> Result<Loaded, ScenarioErrors> {
    let mut tree = Tree::parse(path, text).map_err(|error| ScenarioErrors(vec![error]))?;
    nothing_wrong(overrides.apply(&mut tree))?;
    hide_secrets(&mut tree);
    if tree.get("plan").is_some() {
        return load_plan(&tree, surroundings);
    }
    let mut scenario: Scenario = decode(&tree, &Scenario::json_schema())?;
    let mut report = Report::new(&tree, surroundings);
    let base = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
    check::check(&mut scenario, base, &mut report);
    nothing_wrong(report.errors())?;
    let gate_place = |index: usize| tree.key_place(&format!("gate.{index}")).to_string();
    let digest = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let plan = plan::expand(&scenario, path, digest, &gate_place);
    let repeat = scenario.repeat.as_ref().map(|repeat| repeat.runs);
    Ok(Loaded { plan, settings: explain::settings(&scenario, &tree), repeat, sizing: Sizing::of(&scenario, &tree) })
}

fn load_plan(tree: &Tree, surroundings: Surroundings<'_>) -> Result<Loaded, ScenarioErrors> {
    let plan: Plan = decode(tree, &schemars::schema_for!(Plan).to_value())?;
    let mut report = Report::new(tree, surroundings);
    plan::check(&plan, &mut report);
    nothing_wrong(report.errors())?;
    Ok(Loaded { settings: explain::settings(&plan, tree), plan, repeat: None, sizing: Sizing::of_plan() })
}

/// The values as `T`, whose schema it is.
fn decode<T: for<'de> Deserialize<'de>>(tree: &Tree, schema: &serde_json::Value) -> Result<T, ScenarioErrors> {
    nothing_wrong(shape::check(schema, tree))?;
    T::deserialize(Value::Table(tree.table.clone())).map_err(|error| {
        let message = error.message().to_owned();
        ScenarioErrors(vec![ScenarioError { message, place: Some(tree.key_place("")), help: None }])
    })
}

/// A secret that is written out must not show in the excerpt of an error.
fn hide_secrets(tree: &mut Tree) {
    const OF_SIGNALING: [&str; 4] = ["janus.apisecret", "janus.token", "whip.token", "livekit.secret"];
    let servers = tree.get("ice.servers").and_then(Value::as_array).map_or(0, Vec::len);
    let of_servers = (0..servers).map(|index| format!("ice.servers.{index}.credential"));
    // A plan has them one table deeper.
    let of_signaling =
        OF_SIGNALING.iter().flat_map(|key| ["signaling", "signaling.protocol"].map(|table| format!("{table}.{key}")));
    // A token in the query of a URL, or a password before its host.
    let urls = ["signaling.url"]
        .into_iter()
        .filter(|path| tree.get(path).and_then(Value::as_str).is_some_and(|url| url.contains(['@', '?'])));
    let hidden: Vec<_> = urls.map(str::to_owned).chain(of_events(tree)).collect();
    hidden.iter().for_each(|path| tree.hide(path));
    for path in of_servers.chain(of_signaling) {
        let is_literal = |secret: &Value| secret.as_str().is_none_or(|text| check::variable(text).is_none());
        if tree.get(&path).is_some_and(is_literal) {
            tree.hide(&path);
        }
    }
}

/// Where a mapping of socket.io has secrets that are written out.
fn of_events(tree: &Tree) -> Vec<String> {
    let tables = ["signaling", "signaling.protocol"]
        .into_iter()
        .flat_map(|table| ["auth", "query", "join.args"].map(|key| format!("{table}.socketio.{key}")));
    let literals = tables.flat_map(|table| {
        let template = tree.get(&table).and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default();
        secrets(&table, &template)
    });
    literals.filter(|(_, secret)| check::variable(secret).is_none()).map(|(path, _)| path).collect()
}

fn nothing_wrong(mut errors: Vec<ScenarioError>) -> Result<(), ScenarioErrors> {
    if errors.is_empty() {
        return Ok(());
    }
    errors.sort_by_key(|error| error.place.as_ref().map(|place| place.span.start));
    Err(ScenarioErrors(errors))
}
