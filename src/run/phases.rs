//! From the marks of a call's two ends to its phase metrics: the one place where a duration is defined. Pure.
//!
//! At the offerer the phases follow each other without a gap, so that they add up:
//! `signaling_exchange_ms` + `ice_connect_ms` + `dtls_handshake_ms` = `connection_time_ms`.

use crate::plan::{CallPlan, Engine, Plan, Role};
use crate::record::{Absence, Mark, Marks, Metric};

/// The phase metrics of one call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Phases {
    /// Values, with the peer that each was measured at.
    pub(super) samples: Vec<(Metric, Option<String>, f64)>,
    /// What is missing, and why.
    pub(super) absences: Vec<Absence>,
}

/// Derives the phase metrics of a call whose ends both got first media, or that failed on the way.
///
/// What is missing in a call that failed is not absent but unmeasured: the failure tells why.
pub(super) fn derive(plan: &Plan, call: &CallPlan, offerer: &Marks, answerer: &Marks, failed: bool) -> Phases {
    let mut phases = Phases::default();
    let mut put = |metric: Metric, role: Role, value: Option<f64>| {
        let peer = match role {
            Role::Offerer => &call.offerer,
            Role::Answerer => &call.answerer,
        };
        match value {
            Some(value) => phases.samples.push((metric, Some(peer.id.clone()), value)),
            None if failed => {}
            None => phases.absences.push(Absence {
                metric,
                peer: peer.id.clone(),
                call: call.id.clone(),
                reason: why_absent(plan, call, role, metric).to_owned(),
            }),
        }
    };
    for (role, marks) in [(Role::Offerer, offerer), (Role::Answerer, answerer)] {
        let local = if role == Role::Offerer { Mark::SetLocalOffer } else { Mark::SetLocalAnswer };
        for (metric, from, to) in [
            (Metric::SignalingConnectMs, Mark::JoinStarted, Mark::SignalingConnected),
            (Metric::IceGatheringMs, local, Mark::GatheringComplete),
            (Metric::FirstHostMs, local, Mark::FirstHost),
            (Metric::FirstSrflxMs, local, Mark::FirstSrflx),
            (Metric::FirstRelayMs, local, Mark::FirstRelay),
            (Metric::TimeToFirstRtpMs, Mark::Connected, Mark::FirstRtp),
            (Metric::TimeToFirstFrameMs, Mark::Connected, Mark::FirstFrame),
        ] {
            put(metric, role, marks.between_ms(from, to));
        }
    }
    for (metric, from, to) in [
        (Metric::OfferCreateMs, Mark::CreateOffer, Mark::OfferCreated),
        (Metric::ConnectionTimeMs, Mark::SetLocalOffer, Mark::Connected),
        (Metric::IceConnectMs, Mark::AnswerReceived, Mark::IceConnected),
        (Metric::IceNominationMs, Mark::AnswerReceived, Mark::IceNominated),
        (Metric::DtlsHandshakeMs, Mark::IceConnected, Mark::Connected),
        (Metric::DataChannelOpenMs, Mark::SetLocalOffer, Mark::DataChannelOpen),
    ] {
        put(metric, Role::Offerer, offerer.between_ms(from, to));
    }
    let offered = if engine_of(plan, call, Role::Offerer) == Some(Engine::Signaling) {
        Mark::OfferSent
    } else {
        Mark::SetLocalOffer
    };
    put(Metric::SignalingExchangeMs, Role::Offerer, offerer.between_ms(offered, Mark::AnswerReceived));
    put(Metric::AnswerCreateMs, Role::Answerer, answerer.between_ms(Mark::CreateAnswer, Mark::AnswerCreated));

    let first = [offerer, answerer].into_iter().filter_map(|marks| marks.get(Mark::Intended)).min();
    let is_server =
        |role| plan.signaling.protocol.ends_calls() && engine_of(plan, call, role) == Some(Engine::External);
    let (at_offerer, at_answerer) = (offerer.get(Mark::FirstMedia), answerer.get(Mark::FirstMedia));
    // A server that is the other end of the call tells nothing: what its client gets is what counts.
    let last = match (is_server(Role::Offerer), is_server(Role::Answerer)) {
        (true, _) => at_answerer,
        (_, true) => at_offerer,
        _ => at_offerer.zip(at_answerer).map(|(a, b)| a.max(b)),
    };
    match first.zip(last) {
        Some((first, last)) => {
            phases.samples.push((Metric::CallSetupMs, None, last.saturating_sub(first) as f64 / 1e3));
        }
        None if failed => {}
        None => phases.absences.push(Absence {
            metric: Metric::CallSetupMs,
            peer: call.answerer.id.clone(),
            call: call.id.clone(),
            reason: "one end cannot tell when its first media arrived".into(),
        }),
    }
    phases
}

fn engine_of(plan: &Plan, call: &CallPlan, role: Role) -> Option<Engine> {
    let peer = match role {
        Role::Offerer => &call.offerer,
        Role::Answerer => &call.answerer,
    };
    plan.group(&peer.group).map(|group| group.engine)
}

fn why_absent(plan: &Plan, call: &CallPlan, role: Role, metric: Metric) -> &'static str {
    let (own, other) = match role {
        Role::Offerer => (&call.offerer, &call.answerer),
        Role::Answerer => (&call.answerer, &call.offerer),
    };
    let (shares_signaling, direction) = (own.person.is_some(), own.direction);
    let (Some(own), Some(other)) = (plan.group(&own.group), plan.group(&other.group)) else {
        return "the peer's group is not in the plan";
    };
    match own.engine {
        Engine::External => return "an external peer reports nothing",
        Engine::Signaling => return "a signaling peer makes no connection",
        Engine::Native | Engine::Chromium | Engine::Firefox | Engine::Human => {}
    }
    let media = plan.media_of(call);
    let receives = direction.unwrap_or(own.direction).receives() && other.direction.sends();
    let has_server = |schemes: &[&str]| {
        plan.ice
            .servers
            .iter()
            .flat_map(|server| &server.urls)
            .any(|url| schemes.iter().any(|scheme| url.starts_with(scheme)))
    };
    match metric {
        Metric::SignalingConnectMs if shares_signaling => {
            "the person's signaling connection was opened before this call, or another call on it tells how, or the person makes \
             no offer"
        }
        Metric::FirstSrflxMs if !has_server(&["stun:", "turn:", "turns:"]) => "no STUN server is configured",
        Metric::FirstRelayMs if !has_server(&["turn:", "turns:"]) => "no TURN server is configured",
        Metric::FirstSrflxMs => "no server-reflexive candidate was gathered",
        Metric::FirstRelayMs => "no relayed candidate was gathered",
        Metric::DataChannelOpenMs if media.data.is_none() => "the call has no data channel",
        Metric::TimeToFirstRtpMs if !receives || (media.video.is_none() && !media.audio) => "the peer receives no RTP",
        Metric::TimeToFirstFrameMs if !receives || media.video.is_none() => "the peer receives no video",
        Metric::IceNominationMs if own.engine.is_browser() || own.engine == Engine::Human => {
            "browsers do not tell when a pair is nominated, only when one is selected"
        }
        _ => "the peer did not report it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::testing::{marks, plan_of_one_call};

    #[test]
    fn the_phases_of_the_offerer_add_up_to_the_connection_time() {
        let plan = plan_of_one_call();
        let offerer = marks(&[
            (Mark::SetLocalOffer, 1_000),
            (Mark::AnswerReceived, 4_200),
            (Mark::IceConnected, 9_700),
            (Mark::Connected, 15_000),
        ]);
        let phases = derive(&plan, &plan.calls[0], &offerer, &Marks::default(), false);
        let value = |wanted: Metric| {
            phases.samples.iter().find(|(metric, ..)| *metric == wanted).map(|(_, _, value)| *value).unwrap()
        };
        let sum = value(Metric::SignalingExchangeMs) + value(Metric::IceConnectMs) + value(Metric::DtlsHandshakeMs);
        assert!((sum - value(Metric::ConnectionTimeMs)).abs() < 1e-9);
        assert_eq!(value(Metric::ConnectionTimeMs), 14.0);
    }

    #[test]
    fn call_setup_counts_from_the_intended_start_of_the_first_end_to_media_at_the_last() {
        let plan = plan_of_one_call();
        let offerer = marks(&[(Mark::Intended, 10_000), (Mark::JoinStarted, 90_000), (Mark::FirstMedia, 150_000)]);
        let answerer = marks(&[(Mark::Intended, 10_000), (Mark::FirstMedia, 160_000)]);
        let phases = derive(&plan, &plan.calls[0], &offerer, &answerer, false);
        assert!(phases.samples.contains(&(Metric::CallSetupMs, None, 150.0)));
    }

    #[test]
    fn what_is_missing_says_why_unless_the_call_failed() {
        let plan = plan_of_one_call();
        let none = Marks::default();
        let absences = derive(&plan, &plan.calls[0], &none, &none, false).absences;
        let reason = |wanted: Metric| {
            absences.iter().find(|absence| absence.metric == wanted).map(|absence| absence.reason.as_str()).unwrap()
        };
        assert_eq!(reason(Metric::FirstSrflxMs), "no STUN server is configured");
        assert_eq!(reason(Metric::FirstRelayMs), "no TURN server is configured");
        assert_eq!(derive(&plan, &plan.calls[0], &none, &none, true), Phases::default());
    }
}
