//! From a scenario to a plan: every peer, call and arrival spelled out. The same scenario always gives the same plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    BrowserPlan, BulkPlan, CallPlan, DataPlan, Deadlines, Engine, GroupPlan, HealthLimits, IcePlan, IceServer,
    MediaDirection, MediaPlan, NativeStack, PeerPlan, Plan, SignalingPlan, VideoPlan, arrivals, matrix, mcu, rooms,
    sfu,
};
use crate::gate::Gate;
use crate::record::Metric;
use crate::scenario::{Audio, Bulk, Calls, Health, Media, Peers, Scenario, SignalingProtocol, TopologyKind, codec};
use crate::signaling::Protocol;

/// Between two messages of a signaling peer, unless the scenario says otherwise.
const MESSAGE_INTERVAL_US: u64 = 1_000_000;
/// How long a run waits for its people, unless the scenario says otherwise.
const WAIT_US: u64 = 120_000_000;

/// Spells out a scenario that was checked and completed.
///
/// `file` is the scenario's path, which the paths in it are relative to; `gate_place` says where a gate was written.
pub(crate) fn expand(scenario: &Scenario, file: &str, digest: String, gate_place: &dyn Fn(usize) -> String) -> Plan {
    let base = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
    let network = matrix::network(scenario);
    let (members, calls) = match (&scenario.matrix, &network) {
        (Some(matrix), Some(network)) => {
            (Vec::new(), matrix::calls(scenario, &matrix.cells(scenario.ice.policy), network))
        }
        // A scenario whose rooms overflow does not pass its check.
        _ if scenario.topology.kind == TopologyKind::Rooms => rooms::rooms(scenario).unwrap_or_default(),
        _ if scenario.topology.kind == TopologyKind::Sfu => {
            (Vec::new(), sfu::calls(scenario, base).unwrap_or_default())
        }
        _ if scenario.topology.kind == TopologyKind::Mcu => (Vec::new(), mcu::calls(scenario)),
        _ => (Vec::new(), calls(scenario, base)),
    };
    Plan {
        plan: Plan::VERSION,
        name: scenario.name.clone(),
        scenario: file.into(),
        digest,
        seed: scenario.seed,
        signaling: SignalingPlan {
            url: scenario.signaling.url.clone(),
            protocol: protocol(scenario),
            listen: scenario.signaling.listen.clone().unwrap_or_else(|| "127.0.0.1:0".into()),
            ca: scenario.signaling.ca.as_deref().map(|ca| relative_to(base, ca)),
        },
        ice: ice(scenario, base),
        network,
        media: media(&scenario.media, base),
        deadlines: deadlines(scenario),
        health: health(&scenario.health),
        groups: scenario.peers.iter().map(|peers| group(peers, scenario.native.stack)).collect(),
        start_within_us: Some(scenario.load.start_within.us),
        members,
        calls,
        gates: gates(scenario, gate_place),
    }
}

/// What the server of a scenario speaks, with its settings.
pub(crate) fn protocol(scenario: &Scenario) -> Protocol {
    let signaling = &scenario.signaling;
    match signaling.protocol {
        SignalingProtocol::Harness => Protocol::Harness,
        SignalingProtocol::SocketIo => Protocol::SocketIo(signaling.socketio.clone().unwrap_or_default().into()),
        SignalingProtocol::Janus => Protocol::Janus(signaling.janus.clone().unwrap_or_default().into()),
        // The check wants the table.
        SignalingProtocol::Whip => signaling.whip.clone().map_or(Protocol::Harness, |whip| Protocol::Whip(whip.into())),
        SignalingProtocol::Mediasoup => Protocol::Mediasoup(signaling.mediasoup.clone().unwrap_or_default().into()),
        SignalingProtocol::Kurento => Protocol::Kurento,
        SignalingProtocol::LiveKit => Protocol::LiveKit(signaling.livekit.clone().unwrap_or_default().into()),
        SignalingProtocol::PeerJs => Protocol::PeerJs(signaling.peerjs.clone().unwrap_or_default()),
    }
}

fn ice(scenario: &Scenario, base: &Path) -> IcePlan {
    let servers = scenario.ice.servers.iter().map(|server| IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let ca = scenario.ice.ca.as_deref().map(|ca| relative_to(base, ca));
    IcePlan { servers: servers.collect(), policy: scenario.ice.policy, ca }
}

pub(super) fn media(media: &Media, base: &Path) -> MediaPlan {
    let bulk = |reliable| BulkPlan { reliable, message_bytes: bytes(media.data.message_size.bytes) };
    MediaPlan {
        video: codec(media.video).map(|codec| VideoPlan {
            codec,
            frame_rate: media.frame_rate,
            fixtures: media.fixtures.as_deref().map(|fixtures| relative_to(base, fixtures)),
            simulcast: media.simulcast,
        }),
        audio: media.audio == Audio::Opus,
        data: media.data.enabled.then(|| DataPlan {
            echo_interval_us: media.data.echo_interval.us,
            echo_bytes: bytes(media.data.echo_size.bytes),
            bulk: match media.data.bulk {
                Bulk::None => None,
                Bulk::Reliable => Some(bulk(true)),
                Bulk::Unreliable => Some(bulk(false)),
            },
        }),
    }
}

fn deadlines(scenario: &Scenario) -> Deadlines {
    let deadlines = &scenario.deadlines;
    Deadlines {
        start_us: deadlines.start.us,
        join_us: deadlines.join.us,
        connect_us: deadlines.connect.us,
        first_media_us: deadlines.first_media.us,
    }
}

pub(super) fn health(health: &Health) -> HealthLimits {
    HealthLimits {
        machine_cpu_ratio: health.machine_cpu.ratio(),
        scheduling_lag_p99_ms: health.scheduling_lag_p99.as_millis(),
        send_lateness_p99_ms: health.send_lateness_p99.as_millis(),
        steal_ratio: health.steal.ratio(),
        throttled_ratio: health.throttled.ratio(),
        udp_receive_buffer_errors: health.udp_receive_buffer_errors,
        udp_send_buffer_errors: health.udp_send_buffer_errors,
        open_files_ratio: health.open_files.ratio(),
        memory_ratio: health.memory.ratio(),
        memory_growth_ratio: health.memory_growth.ratio(),
        open_files_growth_ratio: health.open_files_growth.ratio(),
        tasks_growth_ratio: health.tasks_growth.ratio(),
        start_lateness_p99_ms: health.start_lateness_p99.as_millis(),
        arrivals_dropped: health.arrivals_dropped,
    }
}

fn group(peers: &Peers, stack: NativeStack) -> GroupPlan {
    let browser = || BrowserPlan {
        webdriver_url: peers.webdriver_url.clone(),
        driver: peers.driver.clone(),
        binary: peers.binary.clone(),
        source: peers.source.unwrap_or_default(),
        tabs_per_browser: peers.tabs_per_browser.unwrap_or(4),
    };
    GroupPlan {
        name: peers.name().into(),
        engine: peers.engine(),
        optional: peers.optional,
        direction: peers.direction,
        stack: (peers.engine() == Engine::Native).then(|| peers.stack.unwrap_or(stack)),
        browser: peers.engine().is_browser().then(browser),
        message_interval_us: (peers.engine() == Engine::Signaling)
            .then(|| peers.message_interval.map_or(MESSAGE_INTERVAL_US, |interval| interval.us)),
        wait_us: (peers.engine() == Engine::Human).then(|| peers.wait.map_or(WAIT_US, |wait| wait.us)),
        layers: peers.layers.clone(),
    }
}

fn calls(scenario: &Scenario, base: &Path) -> Vec<CallPlan> {
    let (load, seed) = (&scenario.load, scenario.seed);
    let sets = &scenario.topology.calls;
    let medias: Vec<Option<MediaPlan>> =
        sets.iter().map(|set| set.media.as_ref().map(|own| media(own, base))).collect();
    let mut used: BTreeMap<&str, u32> = BTreeMap::new();
    let mut calls = Vec::new();
    let mut add = |index: usize, number: u32, start_us: u64| {
        let set = &sets[index];
        let id = format!("{}/{number}", set.name());
        calls.push(CallPlan {
            set: set.name(),
            room: room(&scenario.name, set, number),
            offerer: placed(scenario, next_peer(&mut used, &set.offerer)),
            answerer: placed(scenario, next_peer(&mut used, &set.answerer)),
            start_us,
            hold_us: arrivals::hold_us(load, seed, &id),
            policy: None,
            media: medias[index].clone(),
            cell: None,
            feed: None,
            mix: None,
            id,
        });
    };
    if load.is_timed() {
        // The sets take turns.
        for (arrival, start_us) in arrivals::timed(load, seed).into_iter().enumerate() {
            let number = u32::try_from(arrival / sets.len()).unwrap_or(u32::MAX);
            add(arrival % sets.len(), number, start_us);
        }
        return calls;
    }
    let mut in_turn = arrivals::counted(load, seed, "");
    for (index, set) in sets.iter().enumerate() {
        let mut own = set.start.map(|start| (start.us, arrivals::counted(load, seed, &set.name())));
        for number in 0..set.count {
            let start_us = match &mut own {
                Some((start, own)) => own.next().map(|offset| start.saturating_add(offset)),
                None => in_turn.next(),
            };
            add(index, number, start_us.unwrap_or(u64::MAX));
        }
    }
    calls.sort_by_key(|call| call.start_us);
    calls
}

/// The next peer of a group that no call has yet.
pub(super) fn next_peer<'a>(used: &mut BTreeMap<&'a str, u32>, group: &'a str) -> PeerPlan {
    let next = used.entry(group).or_default();
    let peer =
        PeerPlan { id: format!("{group}/{next}"), group: group.into(), person: None, site: None, direction: None };
    *next += 1;
    peer
}

/// The peer in the network of its group.
fn placed(scenario: &Scenario, peer: PeerPlan) -> PeerPlan {
    let group = scenario.peers.iter().find(|group| group.name() == peer.group);
    PeerPlan { site: group.and_then(|group| group.site.clone()), ..peer }
}

/// Only the name of the room: a run on a server that others use as well makes it its own.
pub(crate) fn room(scenario: &str, set: &Calls, number: u32) -> String {
    match &set.room {
        Some(room) if set.count == 1 => room.clone(),
        Some(room) => format!("{room}-{number}"),
        None => format!("{scenario}-{}-{number}", set.name()),
    }
}

/// Those of the scenario, then what every scenario means without saying it: calls connect, and what they carry arrives.
fn gates(scenario: &Scenario, place: &dyn Fn(usize) -> String) -> Vec<Gate> {
    let mut gates: Vec<Gate> = Vec::new();
    for (index, rule) in scenario.gate.iter().enumerate() {
        gates.push(Gate {
            metric: rule.metric,
            group: rule.scope.group.clone(),
            set: rule.scope.calls.clone(),
            expect: rule.expect.trim().into(),
            min_samples: rule.min_samples,
            abort: rule.abort,
            place: place(index),
        });
    }
    let (media, signaling): (Vec<Engine>, Vec<Engine>) =
        scenario.peers.iter().map(Peers::engine).partition(|engine| engine.carries_media());
    // A matrix names its engines itself, and all of them carry media.
    let media = (scenario.matrix.is_some() || (!media.is_empty() && !only_publishes(scenario)))
        .then_some(Metric::MediaVerifiedRatio);
    let signaling = (!signaling.is_empty()).then_some(Metric::SignalingDeliveryRatio);
    for metric in [Some(Metric::SetupSuccessRatio), media, signaling].into_iter().flatten() {
        if gates.iter().all(|gate| gate.metric != metric) {
            gates.push(Gate {
                metric,
                group: None,
                set: None,
                expect: "mean >= 100%".into(),
                min_samples: 1,
                abort: false,
                place: "default".into(),
            });
        }
    }
    gates
}

/// Whether nothing comes back to anybody who could verify it.
fn only_publishes(scenario: &Scenario) -> bool {
    let mut measuring = scenario.peers.iter().filter(|group| group.engine() != Engine::External).peekable();
    let of_calls = scenario.topology.calls.iter().filter_map(|calls| calls.media.as_ref());
    let has_data = scenario.topology.kind != TopologyKind::Sfu
        && std::iter::once(&scenario.media).chain(of_calls).any(|media| media.data.enabled);
    measuring.peek().is_some() && measuring.all(|group| group.direction == MediaDirection::SendOnly) && !has_data
}

/// A path that means the same from the working directory.
fn relative_to(base: &Path, path: &str) -> String {
    base.join(path).display().to_string()
}

/// The format's sizes end far below 4 GiB.
fn bytes(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
