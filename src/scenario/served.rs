//! Rooms of a server that passes media on, or mixes: what a scenario of them must say.

use super::format::{Peers, Scenario, SignalingProtocol, TopologyKind};
use super::report::Report;
use super::rooms::{fill_counts, overfull};
use super::topology::MOST_CALLS;
use crate::media::tone::TONES;
use crate::plan::{Engine, SERVER, size_of_mcu, size_of_sfu};
use crate::signaling::dialect::Plugin;

/// Checks the rooms, and adds the group that stands for the server.
pub(super) fn complete(scenario: &mut Scenario, report: &mut Report<'_>) {
    let mixes = scenario.topology.kind == TopologyKind::Mcu;
    a_server_is_named(scenario, mixes, report);
    if !scenario.topology.calls.is_empty() {
        let help = "remove [[topology.calls]], or use kind = \"pairs\"";
        report.wrong("topology.calls", "every call is one with the server: there are no other sets of calls", help);
    }
    if scenario.matrix.is_some() {
        report.wrong("topology.kind", "the matrix says who calls whom", "remove [matrix], or the server's rooms");
    }
    let timed = scenario.load.is_timed();
    if timed && mixes {
        let help = "remove `duration` and the stages of [load]";
        report.wrong("load", "everybody comes once into the rooms of a server that mixes", help);
        return;
    }
    if timed && scenario.topology.size.is_none() {
        let help = "add size = 4";
        report.wrong("topology.kind", "it is not said how many people a room has room for at a time", help);
        return;
    }
    for (index, group) in scenario.peers.iter().enumerate() {
        let path = format!("peers.{index}");
        if let Some((message, help)) = cannot_come(group.engine(), mixes) {
            report.wrong(&format!("{path}.engine"), message, help);
        }
        if group.name() == SERVER {
            let message = format!("`{SERVER}` stands for the server itself");
            report.wrong(&format!("{path}.name"), message, "give the group another name");
        }
    }
    if !timed {
        for group in &mut scenario.peers {
            group.count.get_or_insert(1);
        }
    }
    let Some(calls) = size(scenario, mixes, report) else { return };
    if calls > MOST_CALLS {
        let message = format!("{calls} calls with the server are more than one run can keep a record of");
        report.wrong("peers", message, format!("use fewer people: at most {MOST_CALLS} calls in all"));
    }
    if !scenario.peers.iter().any(|group| group.direction.sends()) {
        report.wrong("peers", "nobody sends anything", "let a group send: remove its `direction`");
    }
    let server = Peers {
        name: Some(SERVER.into()),
        engine: Some(Engine::External),
        count: u32::try_from(calls).ok(),
        ..Peers::default()
    };
    scenario.peers.push(server);
}

/// Why peers of an engine cannot come into such rooms, and what to do about it.
fn cannot_come(engine: Engine, mixes: bool) -> Option<(String, &'static str)> {
    let name = engine.name();
    match engine {
        Engine::Native => None,
        Engine::Chromium | Engine::Firefox if !mixes => None,
        Engine::Chromium | Engine::Firefox | Engine::Human if mixes => {
            let message = format!("the page of {name} peers cannot tell which speakers are in what a server mixes");
            Some((message, "use engine = \"native\""))
        }
        Engine::Human => {
            let message = "a person takes part in one call, and in such rooms everybody has one for each who sends";
            Some((message.to_owned(), "use engine = \"native\", \"chromium\" or \"firefox\""))
        }
        _ => {
            let message = format!("peers of the engine `{name}` do not speak to such a server");
            Some((message, "use engine = \"native\", \"chromium\" or \"firefox\""))
        }
    }
}

/// How many calls there are with the server, if people fit into the rooms.
fn size(scenario: &mut Scenario, mixes: bool, report: &mut Report<'_>) -> Option<u64> {
    if mixes {
        let (calls, speakers) = size_of_mcu(scenario);
        if speakers > TONES {
            let message = format!("{speakers} people of a room speak, and only {TONES} speakers can be told apart");
            let help =
                "use a lower `count`, let some only listen (direction = \"recvonly\"), or add rooms: topology.count";
            report.wrong("peers", message, help);
        }
        return Some(calls);
    }
    match size_of_sfu(scenario) {
        Ok((people, calls)) => {
            if let Some(people) = people {
                fill_counts(scenario, &people, report);
            }
            Some(calls)
        }
        Err(full) => {
            overfull(full, report);
            None
        }
    }
}

fn a_server_is_named(scenario: &Scenario, mixes: bool, report: &mut Report<'_>) {
    let signaling = &scenario.signaling;
    let plugin = signaling.janus.as_ref().map(|janus| janus.plugin);
    let (fits, what, help) = match (mixes, signaling.protocol) {
        (false, protocol) => {
            let fits = match protocol {
                SignalingProtocol::Janus => plugin == Some(Plugin::VideoRoom),
                SignalingProtocol::Whip | SignalingProtocol::Mediasoup | SignalingProtocol::LiveKit => true,
                _ => false,
            };
            let help = "add protocol = \"janus\" and janus = { plugin = \"videoroom\" } to [signaling], or protocol = \"whip\", \
                    protocol = \"mediasoup\" or protocol = \"livekit\"";
            (fits, "passes media on", help)
        }
        (true, protocol) => {
            let fits = protocol == SignalingProtocol::Janus && plugin == Some(Plugin::AudioBridge);
            let help = "add protocol = \"janus\" and janus = { plugin = \"audiobridge\" } to [signaling]";
            (fits, "mixes", help)
        }
    };
    if !fits {
        report.wrong("topology.kind", format!("no server that {what} is named"), help);
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Overrides, load};

    fn refused(text: &str) -> String {
        let text = format!(
            "name = \"s\"\n[signaling]\nprotocol = \"janus\"\nurl = \"wss://127.0.0.1:8989\"\njanus = {{ plugin = \"videoroom\" }}\n\
             [topology]\nkind = \"sfu\"\n{text}"
        );
        load("s.toml", &text, &Overrides::default()).expect_err("an error").to_string()
    }

    #[test]
    fn browsers_come_where_media_is_passed_on_and_not_where_it_is_mixed() {
        let rooms = |plugin: &str, kind: &str, engine: &str| {
            let text = format!(
                "name = \"s\"\n[signaling]\nprotocol = \"janus\"\nurl = \"wss://127.0.0.1:8989\"\njanus = {{ plugin = \"{plugin}\" }}\n\
                 [media]\nvideo = \"none\"\n[topology]\nkind = \"{kind}\"\n[[peers]]\ncount = 3\nengine = \"{engine}\"\n"
            );
            load("s.toml", &text, &Overrides::default()).map(|_| ()).map_err(|errors| errors.to_string())
        };
        for engine in ["chromium", "firefox"] {
            rooms("videoroom", "sfu", engine).unwrap();
            let mixed = rooms("audiobridge", "mcu", engine).unwrap_err();
            assert!(mixed.contains("cannot tell which speakers are in what a server mixes"), "{mixed}");
        }
        let person = rooms("videoroom", "sfu", "human").unwrap_err();
        assert!(person.contains("a person takes part in one call"), "{person}");
        let external = rooms("videoroom", "sfu", "external").unwrap_err();
        assert!(external.contains("peers of the engine `external` do not speak to such a server"), "{external}");
    }

    #[test]
    fn people_who_come_over_time_need_seats() {
        let load = "[load]\narrivals = \"1/s\"\nduration = \"20s\"\nhold = \"10s\"\n[[peers]]\n";
        let unsaid = refused(load);
        assert!(unsaid.contains("how many people a room has room for at a time"), "{unsaid}");
        let full = refused(&format!("size = 4\n{load}"));
        assert!(full.contains("4.000 s after the start somebody finds all 4 seats of the rooms taken"), "{full}");
        let idle = refused("size = 4\n[[peers]]\n");
        assert!(idle.contains("`size` is for rooms into which people come over time"), "{idle}");
        let counted = refused(&format!("size = 12\n{load}count = 3\n"));
        assert!(counted.contains("3 `native` people are given, and 20 needed: that many arrive"), "{counted}");
    }
}
