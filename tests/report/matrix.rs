//! The matrix of networks: what a record says of each pair, how it is judged, and how it is shown.

use crate::support::Run;
use harness::gate::{CellOutcome, Judgement, Verdict, judge, matrix};
use harness::net::oracle::{RelayTransport, Route};
use harness::plan::{CallPlan, CredentialFault, IceTransportPolicy, Plan};
use harness::record::*;
use harness::report::{Format, json_schema};
use harness::scenario::{Overrides, load};

const NETWORKS: &str = r#"
name = "networks"
seed = 7
[network]
[network.turn]
[[network.site]]
name = "full-cone"
nat = "full-cone"
[[network.site]]
name = "port-restricted"
nat = "port-restricted"
[[network.site]]
name = "symmetric"
nat = "symmetric"
[[network.site]]
name = "cgn"
preset = "cgn"
[[network.site]]
name = "udp-blocked"
firewall = "udp-blocked"
[[network.site]]
name = "tls-443-only"
firewall = "tls-443-only"
[matrix]
[media]
video = "none"
"#;

/// A run in which every call finds the path that it must, with values set as on the command line.
fn networks(set: &[&str]) -> Run {
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    let plan = load("scenarios/networks.toml", NETWORKS, &overrides).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let mut run = Run { plan, events: Vec::new() };
    for site in run.plan.network.clone().unwrap().sites {
        run.at(500, check(&site.name, "NAT mapping", "endpoint-independent", "endpoint-independent"));
    }
    for call in run.plan.calls.clone() {
        match call.cell.as_ref().unwrap().expected {
            Route::None => fail(&mut run, &call, "no candidate pair worked within 30 s"),
            route => connect(&mut run, &call, route),
        }
    }
    run.interval(1, 0.3, 1.0);
    run.at(3_000, EventKind::RunEnded { outcome: Outcome::Completed });
    run
}

fn check(site: &str, what: &str, expected: &str, measured: &str) -> EventKind {
    let ok = expected == measured;
    let [site, what, expected, measured] = [site, what, expected, measured].map(str::to_owned);
    EventKind::LabCheck(LabCheck { site, what, expected, measured, ok })
}

/// A call that takes a route. An end that can send UDP uses no relay of its own where the other end has one.
fn connect(run: &mut Run, call: &CallPlan, route: Route) {
    forget(run, call);
    let marks = [(Mark::JoinStarted, 1), (Mark::Joined, 9), (Mark::OfferSent, 12), (Mark::AnswerReceived, 15)];
    let marks = marks.into_iter().chain([(Mark::IceConnected, 60), (Mark::Connected, 90), (Mark::FirstMedia, 120)]);
    for (mark, at) in marks {
        for peer in [&call.offerer.id, &call.answerer.id] {
            run.at(1_000 + at, EventKind::Mark { peer: peer.clone(), call: call.id.clone(), mark });
        }
    }
    let udp = Some(RelayTransport::Udp);
    let (first, second) = match route {
        Route::Relayed { first, second } if first == udp && second.is_some() => (None, second),
        Route::Relayed { first, second } if second == udp && first.is_some() => (first, None),
        Route::Relayed { first, second } => (first, second),
        _ => (None, None),
    };
    path(run, call, &call.offerer.id.clone(), first, second.is_some());
    path(run, call, &call.answerer.id.clone(), second, first.is_some());
    run.sample(1_200, Metric::SetupSuccessRatio, 1.0, &call.id, None);
    run.sample(1_200, Metric::ConnectionTimeMs, if route == Route::Direct { 90.0 } else { 240.0 }, &call.id, None);
    if route != Route::Direct {
        run.sample(1_200, Metric::TimeToFallbackMs, 150.0, &call.id, None);
    }
    for peer in [&call.offerer.id, &call.answerer.id] {
        run.sample(1_200, Metric::MediaVerifiedRatio, 1.0, &call.id, Some(peer));
    }
}

fn path(run: &mut Run, call: &CallPlan, peer: &str, own: Option<RelayTransport>, to_relay: bool) {
    let candidate = |relay: bool| Candidate {
        candidate_type: if relay { "relay" } else { "srflx" }.into(),
        address: Some("11.128.0.1".into()),
        port: Some(4_000),
    };
    let path = Path {
        call: call.id.clone(),
        peer: peer.into(),
        local: candidate(own.is_some()),
        remote: candidate(to_relay),
        protocol: "udp".into(),
        relay_protocol: own.map(|own| own.name().to_owned()),
        family: Some("ipv4".into()),
    };
    run.at(1_150, EventKind::Path(Box::new(path)));
}

fn fail(run: &mut Run, call: &CallPlan, reason: &str) {
    forget(run, call);
    for (mark, at) in [(Mark::JoinStarted, 1), (Mark::Joined, 9), (Mark::OfferSent, 12), (Mark::AnswerReceived, 15)] {
        run.at(1_000 + at, EventKind::Mark { peer: call.offerer.id.clone(), call: call.id.clone(), mark });
    }
    let (peer, call_id) = (call.offerer.id.clone(), call.id.clone());
    let failure = Failure { peer, call: call_id, phase: Phase::Ice, reason: reason.into() };
    run.at(2_000, EventKind::Failure(failure));
    run.sample(2_000, Metric::SetupSuccessRatio, 0.0, &call.id, None);
}

/// What the offerer of a call tried: UDP and TCP got no answer; TLS gave a relay, or refused.
fn looked(run: &mut Run, call: &CallPlan, tls_fault: Option<&str>) {
    let ms = |ms: u64| Some((1_000 + ms) * 1_000);
    for (mark, at) in [(Mark::SetLocalOffer, 11), (Mark::IceNominated, 80)] {
        if mark == Mark::SetLocalOffer || tls_fault.is_none() {
            run.at(1_000 + at, EventKind::Mark { peer: call.offerer.id.clone(), call: call.id.clone(), mark });
        }
    }
    let server = |url: &str, transport| RelayTried { asked_us: ms(12), ..RelayTried::new(url.into(), transport) };
    let mut tls = server("turns:11.0.0.1:443?transport=tcp", RelayTransport::Tls);
    match tls_fault {
        Some(fault) => (tls.fault, tls.fault_us) = (Some(fault.into()), ms(14)),
        None => {
            (tls.reached_us, tls.allocated_us) = (ms(14), ms(16));
            (tls.permission_asked_us, tls.permitted_us) = (ms(20), ms(21));
            tls.checks =
                Checks { sent: 4, answered: 2, received: 1, first_us: ms(55), worked_us: ms(60), ..Checks::default() };
        }
    }
    let search = PathSearch {
        peer: call.offerer.id.clone(),
        call: call.id.clone(),
        stun_asked_us: ms(12),
        direct: Checks { pairs: Some(2), sent: 9, first_us: ms(17), ..Checks::default() },
        relays: vec![
            server("turn:11.0.0.1:3478?transport=udp", RelayTransport::Udp),
            server("turn:11.0.0.1:3478?transport=tcp", RelayTransport::Tcp),
            tls,
        ],
        ..PathSearch::default()
    };
    run.at(2_100, EventKind::Search(Box::new(search)));
}

/// Takes back what was said of a call.
fn forget(run: &mut Run, call: &CallPlan) {
    run.events.retain(|event| match &event.kind {
        EventKind::Mark { call: of, .. } | EventKind::Sample { call: of, .. } => *of != call.id,
        EventKind::Path(path) => path.call != call.id,
        EventKind::Failure(failure) => failure.call != call.id,
        EventKind::Search(search) => search.call != call.id,
        _ => true,
    });
}

fn call(plan: &Plan, set: &str) -> CallPlan {
    plan.calls.iter().find(|call| call.set == set).unwrap_or_else(|| panic!("no {set}")).clone()
}

/// Changes what one pair did.
fn change(run: &mut Run, set: &str, route: Route) {
    let call = call(&run.plan, set);
    connect(run, &call, route);
    end(run);
}

/// The end of the run is the last event.
fn end(run: &mut Run) {
    run.events.sort_by_key(|event| event.at_us);
}

const fn relay(first: Option<RelayTransport>, second: Option<RelayTransport>) -> Route {
    Route::Relayed { first, second }
}

fn outcome(run: &Run, set: &str) -> (CellOutcome, Judgement) {
    let record = run.record();
    let found = matrix(&record).unwrap().cells.into_iter().find(|cell| cell.name == set).unwrap();
    (found.outcome, judge(&record))
}

/// A run with one cell of each kind that is not as it must be.
fn troubled() -> Run {
    let mut run = networks(&["matrix.repeat=2"]);
    let (udp, tls) = (Some(RelayTransport::Udp), Some(RelayTransport::Tls));
    let calls =
        |run: &Run, set: &str| run.plan.calls.iter().filter(|call| call.set == set).cloned().collect::<Vec<_>>();
    for call in calls(&run, "full-cone--cgn") {
        connect(&mut run, &call, relay(udp, None));
    }
    for call in calls(&run, "udp-blocked--symmetric") {
        connect(&mut run, &call, relay(tls, None));
        looked(&mut run, &call, None);
    }
    for call in calls(&run, "tls-443-only--tls-443-only") {
        fail(
            &mut run,
            &call,
            "no candidate pair worked within 30 s; TURN over TLS: the certificate is for <turn.example>",
        );
        looked(&mut run, &call, Some("the certificate is for <turn.example>"));
    }
    let flaky = &calls(&run, "symmetric--udp-blocked")[1];
    fail(&mut run, flaky, "no candidate pair worked within 30 s");
    run.at(2_500, EventKind::PacketsKept { per_host: 400 });
    end(&mut run);
    run
}

#[test]
fn a_run_in_which_every_pair_finds_its_path_passes() {
    let run = networks(&[]);
    let record = run.record();
    let result = matrix(&record).unwrap();
    assert_eq!((result.rows.len(), result.columns.len(), result.cells.len()), (6, 6, 36));
    assert_eq!(result.counts(), [(CellOutcome::Ok, 36)]);
    assert!(result.hints.is_empty(), "{:?}", result.hints);
    let cell = &result.cells[5];
    assert_eq!((cell.name.as_str(), cell.observed.as_deref()), ("full-cone--tls-443-only", Some("relay tls")));
    assert_eq!((cell.connection_time_ms, cell.time_to_fallback_ms), (Some(240.0), Some(150.0)));
    assert_eq!(judge(&record).verdict, Verdict::Pass, "{:?}", judge(&record).reasons);
}

#[test]
fn each_kind_of_wrong_path_has_its_name() {
    let (udp, tcp, tls) = (Some(RelayTransport::Udp), Some(RelayTransport::Tcp), Some(RelayTransport::Tls));
    for (set, route, wanted, verdict) in [
        ("full-cone--cgn", relay(udp, None), CellOutcome::OverRelayed, Verdict::Fail),
        ("udp-blocked--symmetric", relay(tls, None), CellOutcome::WrongTransport, Verdict::Fail),
        // The relay of either end may be used, but an end that lets no UDP out has to use its own.
        ("port-restricted--symmetric", relay(None, udp), CellOutcome::Ok, Verdict::Pass),
        ("port-restricted--symmetric", relay(udp, None), CellOutcome::Ok, Verdict::Pass),
        ("udp-blocked--symmetric", relay(None, udp), CellOutcome::LabLies, Verdict::Invalid),
        ("symmetric--symmetric", Route::Direct, CellOutcome::LabLies, Verdict::Invalid),
        ("tls-443-only--full-cone", relay(tcp, None), CellOutcome::LabLies, Verdict::Invalid),
    ] {
        let mut run = networks(&[]);
        change(&mut run, set, route);
        let (found, judgement) = outcome(&run, set);
        assert_eq!((found, judgement.verdict), (wanted, verdict), "{set}: {:?}", judgement.reasons);
    }
}

#[test]
fn a_relayed_remote_candidate_is_the_relay_of_the_other_end() {
    let mut run = networks(&[]);
    // The answerer calls the offerer's relay peer-reflexive, as browsers do; only the offerer's local candidate counts.
    change(&mut run, "symmetric--port-restricted", relay(Some(RelayTransport::Udp), None));
    for event in &mut run.events {
        if let EventKind::Path(path) = &mut event.kind
            && path.remote.candidate_type == "relay"
        {
            path.remote.candidate_type = "prflx".into();
        }
    }
    assert_eq!(outcome(&run, "symmetric--port-restricted").0, CellOutcome::Ok);
    // An end that says only that its relay is there leaves open how it is reached.
    for event in &mut run.events {
        if let EventKind::Path(path) = &mut event.kind {
            path.relay_protocol = None;
        }
    }
    let (found, judgement) = outcome(&run, "symmetric--port-restricted");
    assert_eq!((found, judgement.verdict), (CellOutcome::Unjudged, Verdict::Invalid));
}

#[test]
fn a_pair_that_no_path_can_join_fails_and_says_what_is_missing() {
    let run = networks(&["network.turn.transports=[\"udp\", \"tcp\"]"]);
    let (found, judgement) = outcome(&run, "tls-443-only--cgn");
    assert_eq!((found, judgement.verdict), (CellOutcome::Failed, Verdict::Fail));
    let said = judgement.reasons.join("\n");
    assert!(
        said.contains("11 of 36 pairs of networks did not connect (full-cone--tls-443-only and 10 more)"),
        "{said}"
    );
    let hint = "no TLS leg: 1 of 6 networks cannot connect (tls-443-only; 11 pairs); offer TURN over TLS on port 443";
    assert!(said.contains(hint), "{said}");
    let cells = matrix(&run.record()).unwrap();
    assert_eq!(cells.with(CellOutcome::Failed).count(), 11);

    let mut run = run;
    change(&mut run, "tls-443-only--cgn", Route::Direct);
    assert_eq!(outcome(&run, "tls-443-only--cgn").0, CellOutcome::LabLies, "nothing can join them");
}

#[test]
fn the_second_network_of_a_kind_goes_by_the_name_of_the_kind() {
    let mut run = networks(&[]);
    let call = call(&run.plan, "udp-blocked--udp-blocked");
    assert_ne!(call.offerer.site, call.answerer.site);
    forget(&mut run, &call);
    fail(&mut run, &call, "no candidate pair worked within 30 s");
    let (peer, id) = (call.answerer.id.clone(), call.id.clone());
    run.at(1_011, EventKind::Mark { peer: peer.clone(), call: id.clone(), mark: Mark::SetLocalAnswer });
    let udp = RelayTried::new("turn:11.0.0.1:3478?transport=udp".into(), RelayTransport::Udp);
    let relays = vec![RelayTried { asked_us: Some(1_012_000), ..udp }];
    let search = PathSearch { peer: peer.clone(), call: id, relays, ..PathSearch::default() };
    run.at(2_100, EventKind::Search(Box::new(search)));
    let record = run.record();
    let json = Format::Json.render(&record, &judge(&record)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let fallback = report["fallbacks"].as_array().unwrap().iter().find(|fallback| fallback["peer"] == peer).unwrap();
    assert_eq!(fallback["site"], "udp-blocked");
    let blocked = "udp-blocked does not let it through";
    assert!(fallback["ways"][1]["detail"].as_str().unwrap().ends_with(blocked), "{fallback}");
}

#[test]
fn a_wrong_credential_fails_every_pair_that_needs_a_relay_and_no_other() {
    let mut run = networks(&["network.turn.credential=wrong"]);
    for call in run.plan.calls.clone() {
        if call.cell.as_ref().unwrap().expected != Route::Direct {
            fail(&mut run, &call, "TURN: 401 Unauthorized");
        }
    }
    end(&mut run);
    assert_eq!(
        run.plan.network.as_ref().unwrap().turn.as_ref().unwrap().credential_fault,
        Some(CredentialFault::WrongPassword)
    );
    let result = matrix(&run.record()).unwrap();
    for cell in &result.cells {
        let wanted = if cell.cell.expected == Route::Direct { CellOutcome::Ok } else { CellOutcome::Failed };
        assert_eq!(cell.outcome, wanted, "{}", cell.name);
    }
    let [hint] = &result.hints[..] else { panic!("{:?}", result.hints) };
    assert!(
        hint.starts_with("every pair that needs a relay failed (") && hint.contains("a wrong TURN password"),
        "{hint}"
    );
}

#[test]
fn clients_that_are_told_to_relay_always_fail_where_a_direct_path_is_there() {
    let mut run = networks(&["ice.policy=relay"]);
    for call in run.plan.calls.clone() {
        assert_eq!(run.plan.policy_of(&call), IceTransportPolicy::Relay);
        if call.cell.as_ref().unwrap().expected == Route::Direct {
            connect(&mut run, &call, relay(Some(RelayTransport::Udp), None));
        }
    }
    end(&mut run);
    let result = matrix(&run.record()).unwrap();
    let over = result.with(CellOutcome::OverRelayed).count();
    assert_eq!(over, result.cells.iter().filter(|cell| cell.cell.expected == Route::Direct).count());
    assert!(result.hints.iter().any(|hint| hint.contains("set the ICE policy to \"all\"")), "{:?}", result.hints);
}

#[test]
fn networks_that_are_not_what_was_asked_for_prove_nothing() {
    let mut run = networks(&[]);
    run.events.retain(|event| !matches!(event.kind, EventKind::LabCheck(_)));
    let judgement = judge(&run.record());
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert!(judgement.reasons[0].starts_with("12 networks were never checked"), "{:?}", judgement.reasons);

    let mut run = networks(&[]);
    run.at(600, check("cgn", "NAT filtering", "address-and-port-dependent", "endpoint-independent"));
    change(&mut run, "full-cone--cgn", relay(Some(RelayTransport::Udp), None));
    let judgement = judge(&run.record());
    assert_eq!(judgement.verdict, Verdict::Invalid, "what such a network does is no fault of the service");
    let said = "the network cgn is not what was asked for: NAT filtering is endpoint-independent instead of address-and-port-dependent";
    assert_eq!(judgement.reasons[0], said);
}

#[test]
fn calls_of_a_pair_that_end_differently_are_flaky() {
    let result = matrix(&troubled().record()).unwrap();
    let cell = result.cells.iter().find(|cell| cell.name == "symmetric--udp-blocked").unwrap();
    assert_eq!((cell.outcome, cell.ok, cell.of), (CellOutcome::Flaky, 1, 2));
    assert!(cell.detail.starts_with("1 of 2 calls ended as expected; another failed in phase Ice"), "{}", cell.detail);
    assert_eq!(cell.failures.len(), 1);
}

#[test]
fn a_pair_whose_browser_is_missing_is_not_judged() {
    let mut run = networks(&[]);
    let missing = call(&run.plan, "cgn--cgn");
    forget(&mut run, &missing);
    assert_eq!(outcome(&run, "cgn--cgn").1.verdict, Verdict::Invalid);
    let (what, reason, remedy) = ("chromium".into(), "not found".into(), "install it".into());
    run.events.insert(
        0,
        Event { at_us: 0, kind: EventKind::Skipped(Skip { what, reason, remedy, optional: true, calls: 1 }) },
    );
    let (found, judgement) = outcome(&run, "cgn--cgn");
    assert_eq!((found, judgement.verdict), (CellOutcome::Unjudged, Verdict::Pass));
}

#[test]
fn every_format_shows_the_matrix() {
    let record = troubled().record();
    let judgement = judge(&record);
    let render = |format: Format| format.render(&record, &judgement).unwrap();
    for (name, format) in [("junit", Format::Junit), ("markdown", Format::Md), ("terminal", Format::Terminal)] {
        insta::assert_snapshot!(format!("troubled_{name}"), render(format));
    }
    let page = render(Format::Html);
    if let Some(path) = std::env::var_os("SHOW_MATRIX") {
        std::fs::write(path, &page).unwrap();
    }
    for word in [
        "<td class=\"direct\" title=\"full-cone → full-cone: ok, went direct, as it must; connected in 90 ms\">direct</td>",
        "<a href=\"#cell-full-cone--cgn\">over udp</a>",
        "id=\"cell-full-cone--cgn\"",
        "<dt>what to do</dt>",
        "seed 7",
        "All 12 checks of the networks hold.",
        "the certificate is for &#60;turn.example&#62;",
        "<details class=\"bad\" id=\"cell-tls-443-only--tls-443-only\" open>",
        "<a href=\"cells/full-cone--cgn.pcap\">",
        "<h2 id=\"relays\">Falling back to relays</h2>",
        "no answer to Allocate in 68 ms; udp-blocked does not let it through",
        "relay after 4 ms, works 43 ms after the first check, nominated 20 ms later",
        "<td>TURN over TLS: permission given</td>",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("<script") && !page.contains("http"));
    assert!(page.matches("class=\"dists\"").count() < 20 && page.len() < 400_000, "{} bytes", page.len());

    let report: serde_json::Value = serde_json::from_str(&render(Format::Json)).unwrap();
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(report["matrix"]["cells"][3]["outcome"], "over-relayed");
    assert_eq!(report["matrix"]["cells"][3]["expected"], "direct");
    assert_eq!(report["lab"]["checks"][0]["ok"], true);
    assert_eq!(report["matrix"]["cells"][3]["packets"], "cells/full-cone--cgn.pcap");
    assert!(report["matrix"]["cells"][0]["packets"].is_null(), "a cell that is ok needs no packets");
    let fallbacks = report["fallbacks"].as_array().unwrap();
    let relayed = fallbacks.iter().find(|fallback| fallback["set"] == "udp-blocked--symmetric").unwrap();
    assert_eq!((&relayed["relay"], &relayed["total_ms"]), (&"tls".into(), &69.0.into()));
    let waits = serde_json::json!([
        {"for": ["gathering"], "ms": 5.0}, {"for": ["signaling"], "ms": 0.0}, {"for": ["pacing"], "ms": 38.0},
        {"for": ["permission"], "ms": 1.0}, {"for": ["checks"], "ms": 5.0}, {"for": ["nomination"], "ms": 20.0},
    ]);
    assert_eq!(relayed["waits"], waits);
    assert_eq!(relayed["ways"][3]["taken"], true);
}
