//! How calls came to their relay, or to nothing: every way that was tried, in the order of preference, with what came of
//! it, and what the time went to.

use std::collections::HashMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::number;
use super::svg::Drawing;
use crate::net::oracle::{Leg, Means, RelayTransport};
use crate::plan::{CallPlan, IceTransportPolicy, PeerPlan, Role};
use crate::record::{Checks, Mark, Marks, PathSearch, Record, RelayTried, Unit, Wait, WaitFor};
use crate::turn::client::IceUrl;

/// How one end of a call came to a relay of its own, or to nothing.
#[derive(JsonSchema, Serialize)]
pub(super) struct Fallback<'a> {
    pub(super) call: &'a str,
    pub(super) set: &'a str,
    pub(super) peer: &'a str,
    /// The peer's network.
    pub(super) site: Option<&'a str>,
    pub(super) role: Role,
    /// How the peer reaches the relay that its path goes through; absent if it has no path.
    pub(super) relay: Option<RelayTransport>,
    /// From `setLocalDescription` to the nomination of a pair, in milliseconds.
    pub(super) total_ms: Option<f64>,
    /// What that time went to.
    pub(super) waits: Vec<Wait>,
    /// Every way to the other end, the preferred one first.
    pub(super) ways: Vec<Way>,
    /// The instants and counts behind them.
    pub(super) search: &'a PathSearch,
}

/// A way to the other end.
#[derive(JsonSchema, Serialize)]
pub(super) struct Way {
    /// `direct`, `the other end's relay`, or `TURN over UDP`, `TCP` or `TLS`.
    pub(super) way: String,
    /// Whether the path goes this way.
    pub(super) taken: bool,
    /// What came of it.
    pub(super) detail: String,
}

/// What peers with relays of one kind waited for: medians in milliseconds, those that nobody tells absent.
pub(super) struct Summary {
    transport: RelayTransport,
    pub(super) count: usize,
    pub(super) waits: Vec<Option<f64>>,
    pub(super) total: Option<f64>,
    pub(super) longest: Option<f64>,
}

impl Summary {
    /// The name of the kind of relay.
    pub(super) fn leg(&self) -> String {
        leg_name(self.transport)
    }
}

/// Every end of a call that has a path through a relay of its own, and both ends of every call that has none.
pub(super) fn fallbacks(record: &Record) -> Vec<Fallback<'_>> {
    // The last path that each end reported counts: ICE may have moved.
    let mut relays = HashMap::new();
    for path in record.paths() {
        let relay = path.relay_protocol.as_deref().and_then(RelayTransport::from_name);
        relays.insert((path.call.as_str(), path.peer.as_str()), relay);
    }
    let relay = |search: &PathSearch| relays.get(&(search.call.as_str(), search.peer.as_str())).copied().flatten();
    record.searches().iter().filter_map(|search| Fallback::new(record, search, relay(search))).collect()
}

/// The waits of all, by how the relay is reached.
pub(super) fn summaries(fallbacks: &[Fallback<'_>]) -> Vec<Summary> {
    let of = |transport| {
        let relayed: Vec<_> = fallbacks.iter().filter(|fallback| fallback.relay == Some(transport)).collect();
        let alone = |what: WaitFor| {
            let waits = relayed.iter().flat_map(|fallback| &fallback.waits);
            median(waits.filter(|wait| wait.r#for == [what]).map(|wait| wait.ms).collect())
        };
        let totals: Vec<f64> = relayed.iter().filter_map(|fallback| fallback.total_ms).collect();
        Summary {
            transport,
            count: relayed.len(),
            waits: WaitFor::ALL.map(alone).into(),
            longest: totals.iter().copied().reduce(f64::max),
            total: median(totals),
        }
    };
    [RelayTransport::Udp, RelayTransport::Tcp, RelayTransport::Tls]
        .map(of)
        .into_iter()
        .filter(|summary| summary.count > 0)
        .collect()
}

/// `gathering 152 ms, permission 21 ms`; what took no time is left out.
pub(super) fn waits_text(waits: &[Wait]) -> String {
    let told = waits.iter().filter(|wait| wait.ms >= 0.05);
    let told = told.map(|wait| format!("{} {}", names(wait), number::value(wait.ms, Unit::Milliseconds)));
    told.collect::<Vec<_>>().join(", ")
}

/// The words for what one wait was for.
pub(super) fn names(wait: &Wait) -> String {
    wait.r#for.iter().map(|what| what.name()).collect::<Vec<_>>().join(" and ")
}

/// The class of a wait in the style sheet: the last that it was for.
pub(super) fn class(wait: &Wait) -> &'static str {
    match wait.r#for.last() {
        Some(WaitFor::Gathering) => "signaling",
        Some(WaitFor::Permission) => "sdp",
        Some(WaitFor::Checks) => "ice",
        Some(WaitFor::Nomination) => "dtls",
        Some(WaitFor::Pacing) => "late",
        Some(WaitFor::Signaling) | None => "wait",
    }
}

impl<'a> Fallback<'a> {
    fn new(record: &'a Record, search: &'a PathSearch, relay: Option<RelayTransport>) -> Option<Self> {
        let (plan, call) = record.call(&search.call)?;
        let role = if plan.offerer.id == search.peer { Role::Offerer } else { Role::Answerer };
        let peer = if role == Role::Offerer { &plan.offerer } else { &plan.answerer };
        let marks = call.end(role);
        let looked = [Mark::SetLocalOffer, Mark::SetLocalAnswer].iter().any(|mark| marks.get(*mark).is_some());
        let found_none = call.failed.is_some() && marks.get(Mark::Connected).is_none();
        // Without a relay of its own, a path needs no explanation.
        if !looked || (relay.is_none() && !found_none) {
            return None;
        }
        let taken = relay.and_then(|transport| search.relay(transport));
        let waits = taken.map_or_else(Vec::new, |relay| relay.waits(marks));
        let total = (!waits.is_empty()).then(|| waits.iter().map(|wait| wait.ms).sum());
        let teller = Teller { record, plan, peer, role, marks, search, taken };
        Some(Self {
            call: &plan.id,
            set: &plan.set,
            peer: &peer.id,
            site: site(plan, peer, role),
            role,
            relay,
            total_ms: total,
            waits,
            ways: teller.ways(),
            search,
        })
    }

    /// The waits side by side, over a width that stands for `longest_ms`.
    pub(super) fn bar(&self, longest_ms: f64) -> String {
        let mut drawing = Drawing::new(1000.0, 12.0);
        let mut at = 0.0;
        for wait in &self.waits {
            let width = wait.ms / longest_ms.max(1e-3) * 1000.0;
            let title = format!("{}: {}", names(wait), number::value(wait.ms, Unit::Milliseconds));
            drawing.rect(class(wait), at, 1.0, width, 10.0, &title);
            at += width;
        }
        drawing.finish("fall", &format!("waits of {}", self.peer))
    }

    /// Who it is, in the words of people.
    pub(super) fn who(&self) -> String {
        let site = self.site.map_or_else(String::new, |site| format!(" in {site}"));
        format!("{}{site}", self.peer)
    }

    /// What became of it: `TURN over TLS in 720 ms (gathering 152 ms, …)`.
    pub(super) fn outcome(&self) -> String {
        let Some(relay) = self.relay else { return "found no path".into() };
        let took =
            self.total_ms.map_or_else(String::new, |ms| format!(" in {}", number::value(ms, Unit::Milliseconds)));
        let waits = waits_text(&self.waits);
        let waits = if waits.is_empty() { waits } else { format!(" ({waits})") };
        format!("{}{took}{waits}", leg_name(relay))
    }
}

/// Puts the search of one peer into words.
struct Teller<'a> {
    record: &'a Record,
    plan: &'a CallPlan,
    peer: &'a PeerPlan,
    role: Role,
    marks: &'a Marks,
    search: &'a PathSearch,
    taken: Option<&'a RelayTried>,
}

impl Teller<'_> {
    fn ways(&self) -> Vec<Way> {
        let way = |way: &str, detail| Way { way: way.into(), taken: false, detail };
        let mut ways = vec![way("direct", self.direct())];
        if self.search.to_relay.sent > 0 {
            ways.push(way("the other end's relay", self.checks(&self.search.to_relay)));
        }
        let mut relays: Vec<&RelayTried> = self.search.relays.iter().collect();
        relays.sort_by_key(|relay| relay.transport);
        ways.extend(relays.into_iter().map(|relay| {
            let taken = self.taken.is_some_and(|taken| std::ptr::eq(taken, relay));
            let detail = if taken { self.taken(relay) } else { self.not_taken(relay) };
            Way { way: leg_name(relay.transport), taken, detail }
        }));
        ways
    }

    fn direct(&self) -> String {
        let policy = self.record.plan().map(|plan| plan.policy_of(self.plan));
        if policy == Some(IceTransportPolicy::Relay) {
            return "not tried: only relayed candidates are allowed".into();
        }
        let reflexive = match (self.search.stun_asked_us, self.search.stun_answered_us) {
            (Some(asked), Some(answered)) => format!("outside address after {}", ms(asked, answered)),
            (Some(asked), None) => format!("no outside address: STUN gave no answer in {}", self.until_end(asked)),
            (None, _) => String::new(),
        };
        let parts = [self.checks(&self.search.direct), reflexive];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// What came of checks that did not lead to the path.
    fn checks(&self, checks: &Checks) -> String {
        let sent = number::count(checks.sent, "check");
        let sent = match checks.pairs {
            Some(pairs) => format!("{sent} to {}", addresses(pairs)),
            None => sent,
        };
        let icmp = icmp(checks.icmp.as_deref());
        match (checks.sent, checks.answered, checks.received) {
            (0, _, 0) => "no check was sent, and none came".into(),
            (0, _, received) => format!("no check was sent, {received} came from the other end"),
            (_, 0, 0) => format!("{sent}, no answer{icmp}, and none of the other end's arrived"),
            (_, 0, received) => format!("{sent}, no answer{icmp}, although {received} of the other end's arrived"),
            (_, answered, _) => format!("{sent}, {answered} answered, but another path was chosen"),
        }
    }

    fn taken(&self, relay: &RelayTried) -> String {
        let mut parts = vec![allocated(relay)];
        if let (Some(first), Some(worked)) = (self.search.first_check_us(), relay.checks.worked_us) {
            parts.push(format!("works {} after the first check", ms(first, worked)));
            if let Some(nominated) = self.marks.get(Mark::IceNominated) {
                parts.push(format!("nominated {} later", ms(worked, nominated)));
            }
        }
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() { "carries the call".into() } else { parts.join(", ") }
    }

    fn not_taken(&self, relay: &RelayTried) -> String {
        let fault = relay.fault.as_ref().filter(|_| relay.fault_us.is_none_or(|at| at <= self.end()));
        let detail = match (fault, relay.asked_us) {
            (Some(fault), asked) => {
                let after = asked.zip(relay.fault_us).map(|(asked, at)| format!(", after {}", ms(asked, at)));
                format!("{fault}{}", after.unwrap_or_default())
            }
            (None, None) => "not asked".into(),
            (None, Some(_)) if relay.allocated_us.is_some_and(|at| at <= self.end()) => {
                return format!("{}; {}", allocated(relay), self.unused(relay));
            }
            (None, Some(asked)) => {
                let stream = relay.transport != RelayTransport::Udp;
                let missing = if stream && relay.reached_us.is_none() { "connection" } else { "answer to Allocate" };
                format!("no {missing} in {}{}", self.until_end(asked), icmp(relay.icmp.as_deref()))
            }
        };
        match self.blocked(relay) {
            Some(site) => format!("{detail}; {site} does not let it through"),
            None => detail,
        }
    }

    /// Why a relay that is there is not used.
    fn unused(&self, relay: &RelayTried) -> String {
        match (&relay.checks, self.taken) {
            (Checks { sent: 0, received: 0, .. }, Some(_)) => "another was chosen before it was tried".into(),
            (Checks { sent: 0, received: 0, .. }, None) => "no check went through it".into(),
            (checks, _) => match relay.permission_asked_us.zip(Some(relay.permitted_us)) {
                Some((asked, None)) if checks.answered == 0 => {
                    format!("no permission for the other end in {}", self.until_end(asked))
                }
                _ => self.checks(checks),
            },
        }
    }

    /// The name of the peer's network, if that is what keeps it from the server.
    fn blocked(&self, relay: &RelayTried) -> Option<&str> {
        let site = self.peer.site.as_deref()?;
        let end = self.record.plan()?.network.as_ref()?.end(site)?;
        let url: IceUrl = relay.url.parse().ok()?;
        // Only the servers of the lab are known to be beyond the network's firewall.
        url.host.parse::<IpAddr>().ok()?;
        let legs = vec![Leg { transport: relay.transport, port: url.port }];
        let blocked = end.leg(&Means { legs, ..Means::default() }).is_none();
        if blocked { self::site(self.plan, self.peer, self.role) } else { None }
    }

    /// When the search was over: a pair was nominated, or the call had failed.
    fn end(&self) -> u64 {
        let failed = self.record.failures().iter().filter(|failure| failure.what.call == self.plan.id);
        let end = self.marks.get(Mark::IceNominated).or_else(|| failed.map(|failure| failure.at_us).min());
        end.or_else(|| self.marks.get(Mark::Left)).unwrap_or(u64::MAX)
    }

    fn until_end(&self, from: u64) -> String {
        ms(from, self.end())
    }
}

/// The network of a peer under the name that people gave it: a cell of a network with itself has two of the kind.
fn site<'a>(call: &'a CallPlan, peer: &'a PeerPlan, role: Role) -> Option<&'a str> {
    match (&call.cell, role) {
        (Some(cell), Role::Offerer) => Some(&cell.first),
        (Some(cell), Role::Answerer) => Some(&cell.second),
        (None, _) => peer.site.as_deref(),
    }
}

fn allocated(relay: &RelayTried) -> String {
    let took = relay.asked_us.zip(relay.allocated_us).map(|(asked, at)| format!("relay after {}", ms(asked, at)));
    took.unwrap_or_default()
}

fn icmp(said: Option<&str>) -> String {
    said.map_or_else(String::new, |said| format!(" (ICMP: {said})"))
}

fn addresses(count: u32) -> String {
    if count == 1 { "1 address".into() } else { format!("{count} addresses") }
}

fn ms(from: u64, to: u64) -> String {
    number::value(to.saturating_sub(from) as f64 / 1e3, Unit::Milliseconds)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The name of a kind of relay.
pub(super) fn leg_name(transport: RelayTransport) -> String {
    format!("TURN over {}", transport.name().to_uppercase())
}
