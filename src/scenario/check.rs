//! What types and ranges cannot say: names that refer, numbers that must agree, texts with a syntax of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use super::error::suggest;
use super::format::{Data, GateRule, Media, Peers, Scenario, TopologyKind, Video};
use super::report::Report;
use super::units::{Size, Time};
use super::{dialect, load, matrix, network, people, simulcast, topology};
use crate::gate::Expectation;
use crate::plan::{Engine, MCU_SET, ROOMS, SFU_SETS, VideoCodec};
use crate::turn::client::IceUrl;

/// Checks a scenario of the right shape, and fills in the names, counts and calls that follow from the rest.
pub(super) fn check(scenario: &mut Scenario, base: &Path, report: &mut Report<'_>) {
    identifier(report, "name", &scenario.name, 40);
    signaling(scenario, base, report);
    dialect::check(scenario, report);
    ice(scenario, base, report);
    media(&scenario.media, "media", base, report);
    for (index, calls) in scenario.topology.calls.iter().enumerate() {
        if let Some(own) = &calls.media {
            media(own, &format!("topology.calls.{index}.media"), base, report);
        }
    }
    matrix::complete(scenario, report);
    peers(scenario, report);
    network::check(scenario, report);
    let arrivals = load::check(scenario, report);
    topology::complete(scenario, arrivals, report);
    dialect::check_calls(scenario, report);
    people::check(scenario, report);
    simulcast::check(scenario, report);
    times(scenario, report);
    gates(scenario, report);
}

/// Names end up in paths, ids and rooms.
pub(super) fn identifier(report: &mut Report<'_>, path: &str, name: &str, most: usize) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > most || !name.chars().all(allowed) {
        let help = format!("use 1 to {most} letters, digits, `-` and `_`");
        report.wrong(path, format!("{name:?} cannot be a name"), help);
    }
}

fn signaling(scenario: &Scenario, base: &Path, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    match &signaling.url {
        Some(url) => {
            dialect::check_url(url, signaling.protocol, report);
            if report.is_written("signaling.listen") && !dialect::serves_pages(scenario) {
                let help = "remove `url` to start the bundled server, or `listen` to use the server at `url`";
                report.wrong("signaling.listen", "`listen` is for the bundled server, which `url` replaces", help);
            }
        }
        None if signaling.ca.is_some() && signaling.whip.is_none() => {
            let help = "remove it, or give the server's `url`";
            report.wrong("signaling.ca", "`ca` is for a server of your own; the bundled one brings its CA", help);
        }
        None => {}
    }
    if let Some(listen) = signaling.listen.as_deref().filter(|listen| listen.parse::<SocketAddr>().is_err()) {
        let port = listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u64>().ok());
        let message = match port.filter(|port| *port > u16::MAX.into()) {
            Some(port) => format!("port {port} does not exist: the highest is 65535"),
            None => format!("{listen:?} is not an address with a port"),
        };
        report.wrong("signaling.listen", message, "write address:port, such as 127.0.0.1:8443 or [::1]:0");
    }
    if let Some(ca) = signaling.ca.as_deref().filter(|ca| !(report.surroundings.has_file)(&base.join(ca))) {
        let help = "give a PEM file that exists; the path is relative to the scenario";
        report.wrong("signaling.ca", format!("there is no file {}", base.join(ca).display()), help);
    }
}

fn ice(scenario: &Scenario, base: &Path, report: &mut Report<'_>) {
    let ice = &scenario.ice;
    let native = scenario.peers.iter().any(|group| group.engine() == Engine::Native);
    if let Some(ca) = ice.ca.as_deref().filter(|ca| !(report.surroundings.has_file)(&base.join(ca))) {
        let help = "give a PEM file that exists; the path is relative to the scenario";
        report.wrong("ice.ca", format!("there is no file {}", base.join(ca).display()), help);
    }
    let mut has_turn = scenario.network.as_ref().is_some_and(|network| network.turn.is_some());
    for (index, server) in ice.servers.iter().enumerate() {
        let path = format!("ice.servers.{index}");
        let mut needs_login = false;
        for (number, url) in server.urls.iter().enumerate() {
            let path = format!("{path}.urls.{number}");
            let parsed = url.parse::<IceUrl>();
            if let Err(error) = parsed.and_then(|url| if native { url.check_for_native_peers() } else { Ok(()) }) {
                report.wrong(&path, error.to_string(), error.remedy);
            }
            needs_login |= url.starts_with("turn");
        }
        has_turn |= needs_login;
        if needs_login && (server.username.is_none() || server.credential.is_none()) {
            let help = "give `username`, and `credential = \"${VARIABLE}\"`";
            report.wrong(&path, "a TURN server needs a user name and a credential", help);
        }
        if let Some(credential) = &server.credential {
            check_credential(report, &format!("{path}.credential"), credential);
        }
    }
    if ice.policy == crate::plan::IceTransportPolicy::Relay && !has_turn {
        let help = match &scenario.network {
            Some(_) => "add [network.turn], or use policy = \"all\"",
            None => "add a TURN server as [[ice.servers]], or use policy = \"all\"",
        };
        report.wrong(
            "ice.policy",
            "no call can connect: only relayed candidates may be used, and no TURN server is given",
            help,
        );
    }
}

/// A credential must refer to a variable of the environment that is set.
pub(crate) fn check_credential(report: &mut Report<'_>, path: &str, credential: &str) {
    match variable(credential) {
        None => {
            let key = path.rsplit('.').next().unwrap_or("credential");
            let help = format!("put it into an environment variable and write {key} = \"${{NAME_OF_THE_VARIABLE}}\"");
            report.wrong(path, "the credential is a literal: a secret must not be in a file", help);
        }
        Some(name) if !(report.surroundings.has_variable)(name) => {
            let message = format!("the environment variable {name} is not set");
            report.wrong(path, message, format!("set it before the run: export {name}=…"));
        }
        Some(_) => {}
    }
}

/// The name in `${NAME}`.
pub(crate) fn variable(credential: &str) -> Option<&str> {
    let name = credential.strip_prefix("${")?.strip_suffix('}')?;
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    (name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())).then_some(name)
}

fn media(media: &Media, path: &str, base: &Path, report: &mut Report<'_>) {
    if let (Some(directory), Some(codec)) = (&media.fixtures, codec(media.video)) {
        let files = codec.fixture_files(media.simulcast).into_iter().map(|name| base.join(directory).join(name));
        for file in files.filter(|file| !(report.surroundings.has_file)(file)) {
            let help = "put the file there, or remove `fixtures` to use the built-in video; the path is relative to the scenario";
            report.wrong(&format!("{path}.fixtures"), format!("the fixture {} is missing", file.display()), help);
        }
    }
    let Data { echo_interval, echo_size, message_size, .. } = media.data;
    let (shortest, longest) = (Time::from_millis(1), Time::from_millis(60_000));
    bounds(report, &format!("{path}.data.echo_interval"), echo_interval, shortest, longest);
    bounds(report, &format!("{path}.data.echo_size"), echo_size, Size { bytes: 16 }, Size { bytes: 16 << 10 });
    bounds(report, &format!("{path}.data.message_size"), message_size, Size { bytes: 16 }, Size { bytes: 256 << 10 });
}

/// The codec that video is sent with, if it is.
pub(crate) fn codec(video: Video) -> Option<VideoCodec> {
    match video {
        Video::Vp8 => Some(VideoCodec::Vp8),
        Video::H264 => Some(VideoCodec::H264),
        Video::None => None,
    }
}

fn peers(scenario: &Scenario, report: &mut Report<'_>) {
    if scenario.peers.is_empty() && scenario.matrix.is_none() {
        let fault = if report.is_written("peers") { "`peers` is empty" } else { "the key `peers` is missing" };
        report.wrong("peers", fault, "give at least one group of peers as [[peers]]");
    }
    let mut names = BTreeSet::new();
    for (index, group) in scenario.peers.iter().enumerate() {
        let path = format!("peers.{index}");
        identifier(report, &format!("{path}.name"), group.name(), 40);
        if !names.insert(group.name()) {
            let message = format!("there is a group named `{}` already", group.name());
            let help =
                if group.name.is_some() { "give it another name" } else { "give it a name of its own: name = \"…\"" };
            report.wrong(&if group.name.is_some() { format!("{path}.name") } else { path.clone() }, message, help);
        }
        if !group.engine().is_browser() {
            for key in ["webdriver_url", "driver", "binary", "source", "tabs_per_browser"] {
                let path = format!("{path}.{key}");
                if report.is_written(&path) {
                    let message =
                        format!("`{key}` is for browsers, and the engine here is `{}`", group.engine().name());
                    report.wrong(&path, message, "remove it, or use engine = \"chromium\" or \"firefox\"");
                }
            }
        }
        signaling_peers(group, &path, report);
        if group.engine() != Engine::Native && group.stack.is_some() {
            let message = format!("`stack` is for simulated peers, and the engine here is `{}`", group.engine().name());
            report.wrong(&format!("{path}.stack"), message, "remove it, or use engine = \"native\"");
        }
        if group.engine() == Engine::External && group.optional {
            let help = "remove `optional`";
            report.wrong(&format!("{path}.optional"), "an external client cannot be missing on this machine", help);
        }
        let url = group.webdriver_url.as_deref();
        if let Some(url) = url.filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            let help = "write http://host:port or https://host:port";
            report.wrong(
                &format!("{path}.webdriver_url"),
                format!("{url:?} is not the URL of a WebDriver server"),
                help,
            );
        }
        if group.webdriver_url.is_some() && group.driver.is_some() {
            let help = "remove `driver` to use the server at `webdriver_url`, or the other way round";
            report.wrong(&format!("{path}.driver"), "`webdriver_url` replaces the driver's program", help);
        }
    }
}

/// What only signaling peers have, and what they cannot have.
fn signaling_peers(group: &Peers, path: &str, report: &mut Report<'_>) {
    if group.engine() != Engine::Signaling {
        if group.message_interval.is_some() {
            let message = format!(
                "`message_interval` is for signaling peers, and the engine here is `{}`",
                group.engine().name()
            );
            report.wrong(&format!("{path}.message_interval"), message, "remove it, or use engine = \"signaling\"");
        }
        return;
    }
    if let Some(interval) = group.message_interval {
        let (shortest, longest) = (Time::from_millis(1), Time::from_millis(60_000));
        bounds(report, &format!("{path}.message_interval"), interval, shortest, longest);
    }
    let direction = format!("{path}.direction");
    if report.is_written(&direction) {
        report.wrong(&direction, "a signaling peer carries no media that could have a direction", "remove it");
    }
}

fn times(scenario: &Scenario, report: &mut Report<'_>) {
    let day = Time { us: 86_400_000_000 };
    let deadlines = &scenario.deadlines;
    for (key, value) in [
        ("start", deadlines.start),
        ("join", deadlines.join),
        ("connect", deadlines.connect),
        ("first_media", deadlines.first_media),
    ] {
        bounds(report, &format!("deadlines.{key}"), value, Time::from_millis(1), day);
    }
}

fn gates(scenario: &Scenario, report: &mut Report<'_>) {
    let groups: Vec<&str> = scenario.peers.iter().map(Peers::name).collect();
    let sets: Vec<String> = match &scenario.matrix {
        Some(matrix) => matrix.cells(scenario.ice.policy).into_iter().map(|cell| cell.name).collect(),
        None if scenario.topology.kind == TopologyKind::Rooms => vec![ROOMS.to_owned()],
        None if scenario.topology.kind == TopologyKind::Sfu => SFU_SETS.map(str::to_owned).to_vec(),
        None if scenario.topology.kind == TopologyKind::Mcu => vec![MCU_SET.to_owned()],
        None => scenario.topology.calls.iter().map(super::format::Calls::name).collect(),
    };
    for (index, GateRule { metric, scope, expect, .. }) in scenario.gate.iter().enumerate() {
        let path = format!("gate.{index}");
        if let Err(error) = Expectation::parse(expect, *metric) {
            let part = error.column..error.column + error.length;
            report.wrong_within(&format!("{path}.expect"), part, error.to_string(), error.help);
        }
        if let Some(group) = scope.group.as_deref().filter(|group| !groups.contains(group)) {
            let help = suggest("groups", group, groups.iter().copied());
            report.wrong(&format!("{path}.where.group"), format!("there is no group `{group}`"), help);
        }
        if let Some(set) = scope.calls.as_ref().filter(|set| !sets.contains(*set)) {
            let help = suggest("sets of calls", set, sets.iter().map(String::as_str));
            report.wrong(&format!("{path}.where.calls"), format!("there is no set of calls `{set}`"), help);
        }
    }
}

pub(super) fn bounds<T: PartialOrd + std::fmt::Display>(
    report: &mut Report<'_>,
    path: &str,
    value: T,
    least: T,
    most: T,
) {
    if value < least || value > most {
        let key = path.rsplit('.').next().unwrap_or(path);
        report.wrong(path, format!("`{key}` cannot be {value}"), format!("{least} to {most} is accepted"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_refer_to_variables() {
        assert_eq!(variable("${TURN_SECRET}"), Some("TURN_SECRET"));
        for literal in ["hunter2", "$TURN", "${}", "${1A}", "${A} ", "${A-B}", "x${A}"] {
            assert_eq!(variable(literal), None, "{literal}");
        }
    }
}
