//! What a plan needs of the machine at its peak: descriptors, ports and memory. Pure.

use std::collections::BTreeMap;

use super::{Engine, GroupPlan, NetworkDriver, PeerPlan, Plan};

/// Descriptors that the process has without any peer: the runtime, the record, the server's socket, libraries.
const OWN_DESCRIPTORS: u64 = 64;
/// Memory that the process has without any peer, in bytes.
const OWN_BYTES: u64 = 32 << 20;
/// Measured: a native peer on the async stack that sends and receives video, audio and data, with both ends of its signaling,
/// takes 1 to 2 MB; on the dense stack some 0.3 MB.
const NATIVE_PEER_BYTES: u64 = 2 << 20;
/// No native peer takes less, whatever it does: measured are 210 kB on the dense stack, with the client of its signaling. A
/// run is only refused for what it surely cannot do without.
const LEAST_PEER_BYTES: u64 = 128 << 10;
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
    /// Open file descriptors of this process, at the least: if the service answers at once.
    pub(crate) descriptors: u64,
    /// Open file descriptors of this process if every call waits for as long as its deadlines let it: a slow service must
    /// not look like a machine that has run out of them.
    pub(crate) descriptors_if_slow: u64,
    /// Ports of this machine, of one address and protocol, at the least.
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
        let deadlines = &plan.deadlines;
        let waits = [deadlines.start_us, deadlines.join_us, deadlines.connect_us, deadlines.first_media_us];
        let at_least = Peak::of(plan, 0);
        let if_slow = Peak::of(plan, waits.into_iter().fold(0, u64::saturating_add));
        let is = |wanted: Engine| move |engine| engine == wanted;
        let (native_peers, signaling_peers) =
            (at_least.of_kind(is(Engine::Native)), at_least.of_kind(is(Engine::Signaling)));
        let streams = plan.ice.servers.iter().flat_map(|server| &server.urls);
        let streams = streams.filter(|url| url.starts_with("turns:") || url.contains("transport=tcp")).count() as u64;
        let bundled = plan.signaling.foreign_url().is_none();
        let tabs = at_least.of_kind(Engine::is_browser);
        let browsers = at_least.browsers();
        let ends = signaling_ends(bundled);
        let with_browsers = browsers * BROWSER_DESCRIPTORS + tabs * tab_ends(plan, ends);
        // Sockets of modelled networks are none of the system's, and in a namespace of its own a peer has one address, and
        // all ports for itself.
        let (sockets, shares_ports) = match plan.network.as_ref().map(|network| network.driver) {
            None => (addresses.max(1) + streams, true),
            Some(NetworkDriver::InProcess) => (0, false),
            Some(NetworkDriver::Kernel) => (1 + streams, false),
        };
        let descriptors = |peak: &Peak<'_>| {
            let sockets = peak.of_kind(is(Engine::Native)) * sockets;
            OWN_DESCRIPTORS + sockets + peak.connections * ends + with_browsers
        };
        Self {
            native_peers,
            signaling_peers,
            browsers,
            descriptors: descriptors(&at_least),
            descriptors_if_slow: descriptors(&if_slow),
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

/// The same for a page: one if it comes from the bundled server, and if that is not the server under test, both ends of the
/// connection of what stands in for it there, and those of the peer's, which are `ends`.
fn tab_ends(plan: &Plan, ends: u64) -> u64 {
    let has_stand_in = plan.signaling.foreign_url().is_some() || !plan.signaling.protocol.is_own();
    match (plan.has_bundled_server(), has_stand_in) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 3 + ends,
    }
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

/// The most that exists at the same time.
struct Peak<'a> {
    plan: &'a Plan,
    /// Peers, by their group.
    peers: BTreeMap<&'a str, u64>,
    /// Signaling connections of simulated peers: one each, or one for all peers of a person in a room.
    connections: u64,
}

impl<'a> Peak<'a> {
    /// That of a plan whose calls last this much longer than their media.
    fn of(plan: &'a Plan, longer_us: u64) -> Self {
        let until = |leaves_us: u64| leaves_us.saturating_add(longer_us);
        let ends = || {
            plan.calls.iter().flat_map(|call| {
                let leaves_us = call.start_us.saturating_add(call.hold_us);
                [&call.offerer, &call.answerer].map(|peer| (peer, call.start_us, until(leaves_us)))
            })
        };
        let simulated = |peer: &PeerPlan| {
            plan.group(&peer.group).is_some_and(|it| matches!(it.engine, Engine::Native | Engine::Signaling))
        };
        let alone = ends().filter(|(peer, ..)| peer.person.is_none() && simulated(peer));
        let people = plan.members.iter().map(|member| ((), member.join_us, until(member.leave_us)));
        let connections = most(alone.map(|(_, from, until)| ((), from, until)).chain(people));
        Self {
            plan,
            peers: most(ends().map(|(peer, from, until)| (peer.group.as_str(), from, until))),
            connections: connections.into_values().sum(),
        }
    }

    fn of_group(&self, group: &GroupPlan) -> u64 {
        self.peers.get(group.name.as_str()).copied().unwrap_or(0)
    }

    /// Peers of these kinds.
    fn of_kind(&self, wanted: impl Fn(Engine) -> bool) -> u64 {
        self.plan.groups.iter().filter(|group| wanted(group.engine)).map(|group| self.of_group(group)).sum()
    }

    /// Browsers that the run cannot do without.
    fn browsers(&self) -> u64 {
        let needed = self.plan.groups.iter().filter(|group| !group.optional).filter_map(|group| {
            let browser = group.browser.as_ref()?;
            // Those of a server that runs already are not on this machine, as far as anybody knows.
            browser
                .webdriver_url
                .is_none()
                .then(|| self.of_group(group).div_ceil(u64::from(browser.tabs_per_browser.max(1))))
        });
        needed.sum()
    }
}

/// The most of each kind that exist at the same time, of what is there from one instant until another.
fn most<K: Copy + Ord>(stays: impl Iterator<Item = (K, u64, u64)>) -> BTreeMap<K, u64> {
    let mut changes: Vec<(u64, i64, K)> =
        stays.flat_map(|(kind, from, until)| [(from, 1, kind), (until, -1, kind)]).collect();
    // Who leaves at an instant makes room for who comes.
    changes.sort_unstable();
    let mut now: BTreeMap<K, (i64, i64)> = BTreeMap::new();
    for (_, change, kind) in changes {
        let (count, most) = now.entry(kind).or_default();
        *count += change;
        *most = (*most).max(*count);
    }
    now.into_iter().map(|(kind, (_, most))| (kind, u64::try_from(most).unwrap_or(0))).collect()
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
        assert_eq!(in_turn.native_peers, 10, "5 s of one call per second");
        let waiting = 2 * (5 + 10 + 10 + 30 + 60);
        assert_eq!(in_turn.descriptors_if_slow, OWN_DESCRIPTORS + waiting * 3, "all wait for their deadlines");
    }

    #[test]
    fn people_in_rooms_have_one_signaling_connection_each_and_modelled_sockets_are_none_of_the_systems() {
        let rooms = Needs::of(&plan("[topology]\nkind = \"rooms\"\nsize = 4\ncount = 100\n[[peers]]\n"), 1);
        assert_eq!(rooms.native_peers, 1_200);
        assert_eq!(rooms.descriptors, OWN_DESCRIPTORS + 1_200 + 2 * 400);
        let modelled = "[network]\ndriver = \"in-process\"\n[[network.site]]\nname = \"a\"\npreset = \"open\"\n\
                        [[peers]]\nsite = \"a\"\ncount = 10\n";
        let modelled = Needs::of(&plan(modelled), 3);
        assert_eq!((modelled.descriptors, modelled.ports), (OWN_DESCRIPTORS + 10 * 2, 0));
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
