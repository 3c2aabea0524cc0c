//! What a plan needs of the machine at its peak: descriptors, ports and memory. Pure.

use std::collections::BTreeMap;

use super::{Engine, NetworkDriver, Plan};

/// A call begins before its media flows and ends after it: this much of its life is not in the plan, in microseconds.
const SET_UP_AND_HANG_UP_US: u64 = 5_000_000;

/// Descriptors that the process has without any peer: the runtime, the record, the server's socket, libraries.
const OWN_DESCRIPTORS: u64 = 64;
/// Memory that the process has without any peer, in bytes.
const OWN_BYTES: u64 = 32 << 20;
/// Measured: a native peer that sends and receives video, audio and data, with both ends of its signaling, takes 1 to 2 MB.
const NATIVE_PEER_BYTES: u64 = 2 << 20;
/// No native peer takes less, whatever it does. A run is only refused for what it surely cannot do without.
const LEAST_PEER_BYTES: u64 = 256 << 10;
/// Measured: a signaling peer (46 kB) and the bundled server's end of it (64 kB), rounded up.
const SIGNALING_PEER_BYTES: u64 = 128 << 10;
/// Measured: a browser with its driver takes 400 to 550 MB, whatever it does.
const BROWSER_BYTES: u64 = 450 << 20;
/// Pipes and sockets to a browser, its driver and the guard.
const BROWSER_DESCRIPTORS: u64 = 16;

/// What a plan needs at its peak.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    /// Native peers that exist at the same time.
    pub(crate) native_peers: u64,
    /// Peers of signaling alone that exist at the same time.
    pub(crate) signaling_peers: u64,
    /// Browsers that exist at the same time, those apart that the run may do without.
    pub(crate) browsers: u64,
    /// Open file descriptors of this process.
    pub(crate) descriptors: u64,
    /// Ports of this machine, of one address and protocol.
    pub(crate) ports: u64,
    /// Memory, in bytes, at the least.
    pub(crate) memory_bytes: u64,
}

/// What one native peer of a plan needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PeerNeeds {
    /// Open file descriptors of this process.
    pub(crate) descriptors: u64,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
}

impl PeerNeeds {
    /// A native peer with this many addresses, `streams` TURN servers over TCP or TLS, and the bundled signaling server in
    /// the same process or not: one UDP socket per address, a connection per stream, both ends of the signaling.
    pub(crate) fn new(addresses: u64, streams: u64, bundled: bool) -> Self {
        Self { descriptors: addresses.max(1) + streams + signaling_ends(bundled), memory_bytes: NATIVE_PEER_BYTES }
    }
}

impl Needs {
    /// The needs of a plan on a machine whose peers have this many addresses.
    pub(crate) fn of(plan: &Plan, addresses: u64) -> Self {
        let peak = peak(plan);
        let of = |wanted: &dyn Fn(Engine) -> bool| -> u64 {
            plan.groups
                .iter()
                .filter(|group| wanted(group.engine))
                .map(|group| peak.get(group.name.as_str()).copied().unwrap_or(0))
                .sum()
        };
        let native_peers = of(&|engine| engine == Engine::Native);
        let signaling_peers = of(&|engine| engine == Engine::Signaling);
        let browsers = plan.groups.iter().filter(|group| !group.optional).filter_map(|group| {
            let tabs = group.browser.as_ref()?.tabs_per_browser;
            // Those of a server that runs already are not on this machine, as far as anybody knows.
            let here = group.browser.as_ref().is_some_and(|browser| browser.webdriver_url.is_none());
            here.then(|| peak.get(group.name.as_str()).copied().unwrap_or(0).div_ceil(u64::from(tabs.max(1))))
        });
        let browsers = browsers.sum();
        let streams = plan.ice.servers.iter().flat_map(|server| &server.urls);
        let streams = streams.filter(|url| url.starts_with("turns:") || url.contains("transport=tcp")).count() as u64;
        let bundled = plan.signaling.url.is_none();
        let peer = PeerNeeds::new(addresses, streams, bundled);
        let tabs = of(&Engine::is_browser);
        let server_side = if bundled { tabs } else { 0 };
        // In a network namespace of its own a peer has all ports for itself.
        let shares_ports = plan.network.as_ref().is_none_or(|network| network.driver != NetworkDriver::Kernel);
        Self {
            native_peers,
            signaling_peers,
            browsers,
            descriptors: OWN_DESCRIPTORS
                + native_peers * peer.descriptors
                + signaling_peers * signaling_ends(bundled)
                + browsers * BROWSER_DESCRIPTORS
                + server_side,
            ports: if shares_ports { native_peers + signaling_peers + tabs } else { 0 },
            memory_bytes: OWN_BYTES
                + native_peers * LEAST_PEER_BYTES
                + signaling_peers * SIGNALING_PEER_BYTES
                + browsers * BROWSER_BYTES,
        }
    }
}

/// The ends of a peer's signaling connection that are in this process.
fn signaling_ends(bundled: bool) -> u64 {
    if bundled { 2 } else { 1 }
}

/// How many native peers fit into what is there; absent where nothing limits them.
pub(crate) fn peers_that_fit(available: Option<u64>, own: u64, each: u64) -> Option<u64> {
    Some(available?.saturating_sub(own) / each.max(1))
}

/// How many native peers these descriptors suffice for.
pub(crate) fn peers_of_descriptors(descriptors: Option<u64>, peer: PeerNeeds) -> Option<u64> {
    peers_that_fit(descriptors, OWN_DESCRIPTORS, peer.descriptors)
}

/// How many native peers this memory suffices for.
pub(crate) fn peers_of_memory(bytes: Option<u64>, peer: PeerNeeds) -> Option<u64> {
    peers_that_fit(bytes, OWN_BYTES, peer.memory_bytes)
}

/// The most peers of each group that exist at the same time.
fn peak(plan: &Plan) -> BTreeMap<&str, u64> {
    let mut changes: Vec<(u64, &str, i64)> = Vec::new();
    for call in &plan.calls {
        let ends = call.start_us.saturating_add(call.hold_us).saturating_add(SET_UP_AND_HANG_UP_US);
        for peer in [&call.offerer, &call.answerer] {
            changes.extend([(call.start_us, peer.group.as_str(), 1), (ends, peer.group.as_str(), -1)]);
        }
    }
    // Who leaves at an instant makes room for who comes.
    changes.sort_unstable_by_key(|(at, _, change)| (*at, *change));
    let mut now: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (_, group, change) in changes {
        let (count, most) = now.entry(group).or_default();
        *count += change;
        *most = (*most).max(*count);
    }
    now.into_iter().map(|(group, (_, most))| (group, u64::try_from(most).unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, load};

    fn plan(more: &str) -> Plan {
        let text = format!("name = \"a\"\n{more}");
        load("a.toml", &text, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}")).plan
    }

    #[test]
    fn calls_at_once_add_up_and_calls_in_turn_do_not() {
        let at_once = Needs::of(&plan("[[peers]]\ncount = 600\n"), 1);
        assert_eq!((at_once.native_peers, at_once.ports), (600, 600));
        assert_eq!(at_once.descriptors, OWN_DESCRIPTORS + 600 * 3, "a socket, and both ends of the signaling");
        assert_eq!(at_once.memory_bytes, OWN_BYTES + 600 * LEAST_PEER_BYTES);
        let in_turn = Needs::of(&plan("[[peers]]\ncount = 600\n[load]\narrivals = \"1/s\"\nhold = \"5s\"\n"), 1);
        assert_eq!(in_turn.native_peers, 20, "10 s of one call per second");
    }

    #[test]
    fn peers_of_signaling_alone_have_no_socket_for_media() {
        let needs = Needs::of(&plan("[[peers]]\nengine = \"signaling\"\ncount = 600\n"), 3);
        assert_eq!((needs.native_peers, needs.signaling_peers, needs.ports), (0, 600, 600));
        assert_eq!(needs.descriptors, OWN_DESCRIPTORS + 600 * 2);
    }

    #[test]
    fn addresses_servers_over_streams_and_a_server_elsewhere_count() {
        let more = "[signaling]\nurl = \"wss://example.org/ws\"\n[ice]\nservers = [{ urls = [\"turn:a:3478\", \
                    \"turn:a:3478?transport=tcp\", \"turns:a:5349\"], username = \"a\", credential = \"${A}\" }]\n[[peers]]\ncount = 2\n";
        let needs = Needs::of(&plan(more), 3);
        assert_eq!(needs.descriptors, OWN_DESCRIPTORS + 2 * (3 + 2 + 1));
    }

    #[test]
    fn browsers_that_the_run_may_do_without_do_not_keep_it_from_running() {
        let group = |optional| plan(&format!("[[peers]]\nengine = \"chromium\"\ncount = 10\noptional = {optional}\n"));
        assert_eq!(Needs::of(&group(false), 1).browsers, 3, "four tabs each");
        assert_eq!(Needs::of(&group(true), 1).browsers, 0);
    }
}
