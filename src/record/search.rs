//! How one end of a call looked for its path: the servers that it asked, the checks that it sent, and what came of them.
//!
//! Peers report instants and counts, as with marks; what was waited for is derived from them here, and only here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mark, Marks};
use crate::net::oracle::RelayTransport;

/// How one end of a call looked for its path. Instants are microseconds since the start of the run; what a stack does not
/// tell is absent.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PathSearch {
    /// The end that looked.
    pub peer: String,
    /// The call.
    pub call: String,
    /// When it first asked a STUN server for its outside address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stun_asked_us: Option<u64>,
    /// When a STUN server first answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stun_answered_us: Option<u64>,
    /// Checks in which no relay takes part.
    pub direct: Checks,
    /// Checks without a relay of its own, to relays of the other end.
    pub to_relay: Checks,
    /// Each TURN server, in the order in which the peer was given them.
    pub relays: Vec<RelayTried>,
}

/// What came of one TURN server.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RelayTried {
    /// The server's URL.
    pub url: String,
    /// How the peer was to reach it.
    pub transport: RelayTransport,
    /// When it was first asked for a relay: Allocate was sent, or handed to the connection that was to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_us: Option<u64>,
    /// When the TCP or TLS connection to it was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_us: Option<u64>,
    /// When it gave a relay (RFC 8656, section 7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_us: Option<u64>,
    /// When it was first asked to let the other end in (RFC 8656, section 9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_asked_us: Option<u64>,
    /// When it first did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permitted_us: Option<u64>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What ICMP said of what was sent to it over UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<String>,
    /// When the fault was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_us: Option<u64>,
    /// Checks through the relay that it gave.
    pub checks: Checks,
}

/// Connectivity checks that went one way (RFC 8445, section 7).
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Checks {
    /// How many addresses of the other end were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u32>,
    /// Requests sent.
    pub sent: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Requests of the other end that came this way.
    pub received: u64,
    /// When the first was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_us: Option<u64>,
    /// What ICMP said of them, such as `administratively prohibited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<String>,
    /// When the first was answered: a pair works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_us: Option<u64>,
}

/// What a peer waits for on the way to a path through a relay of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// The relay's address: connecting to the server, and Allocate with its round trips.
    Gathering,
    /// The other end's description.
    Signaling,
    /// The check's turn: the order and the interval of checks, and relays that are given precedence.
    Pacing,
    /// The server's permission for the other end.
    Permission,
    /// The first answer to a check through the relay.
    Checks,
    /// The policy of the end that nominates, and its last check.
    Nomination,
}

/// How long something was waited for.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Wait {
    /// For what; several where the peer does not tell them apart.
    pub r#for: Vec<WaitFor>,
    /// How long, in milliseconds.
    pub ms: f64,
}

impl PathSearch {
    /// The relay of the peer's own that is reached so, if it was given one.
    pub fn relay(&self, transport: RelayTransport) -> Option<&RelayTried> {
        let of_transport = || self.relays.iter().filter(|relay| relay.transport == transport);
        of_transport().find(|relay| relay.allocated_us.is_some()).or_else(|| of_transport().next())
    }

    /// When the first check of all was sent.
    pub fn first_check_us(&self) -> Option<u64> {
        let ways = [&self.direct, &self.to_relay].into_iter().chain(self.relays.iter().map(|relay| &relay.checks));
        ways.filter_map(|checks| checks.first_us).min()
    }

    /// From the first check to the first pair that worked through a relay of the peer's own, in milliseconds.
    pub fn time_to_fallback_ms(&self) -> Option<f64> {
        let worked = self.relays.iter().filter_map(|relay| relay.checks.worked_us).min()?;
        Some(between(self.first_check_us()?, worked))
    }

    /// From the first check to the nomination of a pair, in milliseconds.
    pub fn time_to_nomination_ms(&self, marks: &Marks) -> Option<f64> {
        Some(between(self.first_check_us()?, marks.get(Mark::IceNominated)?))
    }
}

impl RelayTried {
    /// A server of which nothing is known yet.
    pub fn new(url: String, transport: RelayTransport) -> Self {
        Self {
            url,
            transport,
            asked_us: None,
            reached_us: None,
            allocated_us: None,
            permission_asked_us: None,
            permitted_us: None,
            fault: None,
            icmp: None,
            fault_us: None,
            checks: Checks::default(),
        }
    }

    /// What was waited for from `setLocalDescription` to the nomination of a pair through this relay. The waits follow each
    /// other, so that they add up. Empty if no pair was nominated.
    pub fn waits(&self, marks: &Marks) -> Vec<Wait> {
        use WaitFor::{Checks, Gathering, Nomination, Pacing, Permission, Signaling};
        let local = marks.get(Mark::SetLocalOffer).or_else(|| marks.get(Mark::SetLocalAnswer));
        let remote = marks.get(Mark::AnswerReceived).or_else(|| marks.get(Mark::OfferReceived));
        let (Some(mut last), Some(nominated)) = (local, marks.get(Mark::IceNominated)) else { return Vec::new() };
        let mut waits: Vec<Wait> = Vec::new();
        let mut together = Vec::new();
        for (what, until) in [
            (Gathering, self.allocated_us),
            (Signaling, remote),
            (Pacing, self.permission_asked_us),
            (Permission, self.permitted_us),
            (Pacing, self.checks.first_us),
            (Checks, self.checks.worked_us),
            (Nomination, Some(nominated)),
        ] {
            if !together.contains(&what) {
                together.push(what);
            }
            let Some(until) = until else { continue };
            let (r#for, ms) = (std::mem::take(&mut together), between(last, until.min(nominated)));
            last = last.max(until.min(nominated));
            match waits.iter_mut().find(|wait| wait.r#for == r#for) {
                Some(wait) => wait.ms += ms,
                None => waits.push(Wait { r#for, ms }),
            }
        }
        waits
    }
}

impl WaitFor {
    /// Everything that is waited for, in the order in which it first is.
    pub const ALL: [Self; 6] =
        [Self::Gathering, Self::Signaling, Self::Pacing, Self::Permission, Self::Checks, Self::Nomination];

    /// The word in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gathering => "gathering",
            Self::Signaling => "signaling",
            Self::Pacing => "pacing",
            Self::Permission => "permission",
            Self::Checks => "checks",
            Self::Nomination => "nomination",
        }
    }
}

fn between(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(transport: RelayTransport) -> RelayTried {
        RelayTried::new("turn:a".into(), transport)
    }

    fn nominated() -> Marks {
        let mut marks = Marks::default();
        for (mark, at) in [(Mark::SetLocalOffer, 1_000), (Mark::AnswerReceived, 5_000), (Mark::IceNominated, 700_000)] {
            marks.set(mark, at);
        }
        marks
    }

    #[test]
    fn the_waits_follow_each_other_and_add_up() {
        let tls = RelayTried {
            allocated_us: Some(151_000),
            permission_asked_us: Some(160_000),
            permitted_us: Some(181_000),
            checks: Checks { first_us: Some(182_000), worked_us: Some(202_000), ..Checks::default() },
            ..relay(RelayTransport::Tls)
        };
        let waits = tls.waits(&nominated());
        let said: Vec<_> = waits.iter().map(|wait| (wait.r#for.as_slice(), wait.ms)).collect();
        use WaitFor::{Checks as C, Gathering, Nomination, Pacing, Permission, Signaling};
        let wanted: [(&[WaitFor], f64); 6] = [
            (&[Gathering], 150.0),
            (&[Signaling], 0.0),
            (&[Pacing], 10.0),
            (&[Permission], 21.0),
            (&[C], 20.0),
            (&[Nomination], 498.0),
        ];
        assert_eq!(said, wanted);
        assert_eq!(waits.iter().map(|wait| wait.ms).sum::<f64>(), 699.0);
    }

    #[test]
    fn what_a_stack_does_not_tell_apart_is_told_together() {
        let told = RelayTried { allocated_us: Some(3_000), ..relay(RelayTransport::Udp) };
        let waits = told.waits(&nominated());
        let last = waits.last().unwrap();
        assert_eq!(last.r#for, [WaitFor::Pacing, WaitFor::Permission, WaitFor::Checks, WaitFor::Nomination]);
        assert_eq!(last.ms, 695.0);
        assert!(told.waits(&Marks::default()).is_empty(), "without a nomination nothing is told");
    }

    #[test]
    fn the_fallback_counts_from_the_first_check_of_all() {
        let mut search = PathSearch { relays: vec![relay(RelayTransport::Udp)], ..PathSearch::default() };
        assert_eq!(search.time_to_fallback_ms(), None);
        search.direct.first_us = Some(10_000);
        search.relays[0].checks = Checks { first_us: Some(50_000), worked_us: Some(90_000), ..Checks::default() };
        assert_eq!(search.time_to_fallback_ms(), Some(80.0));
        assert_eq!(search.time_to_nomination_ms(&nominated()), Some(690.0));
    }
}
