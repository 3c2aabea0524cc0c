//! A made-up run for the tests of reports and verdicts: three stacks, one failure, skips, absences, a busy second.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use harness::gate::Gate;
use harness::plan::*;
use harness::record::*;
use harness::signaling::Protocol;

/// The events of a run, to be changed by a test before they are folded.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
}

/// A run whose every gate holds: 12 native pairs, 3 native-chromium and 3 chromium-firefox calls.
pub(crate) fn good() -> Run {
    let mut run = Run { plan: plan(), events: Vec::new() };
    for index in 0..run.plan.calls.len() {
        run.call(index, 1.0 + index as f64 / 20.0);
    }
    run.at(
        9_100,
        EventKind::Skipped(Skip {
            what: "calls native-firefox".into(),
            reason: "geckodriver was not found on the path".into(),
            remedy: "apt-get install firefox-esr, or set browser.driver".into(),
            optional: true,
            calls: 2,
        }),
    );
    for second in 1..=9 {
        run.interval(second, 0.35, 1.5);
    }
    run.tallies();
    run.at(9_500, EventKind::RunEnded { outcome: Outcome::Completed });
    run
}

/// The same run with a call that failed, a required skip, and a gate that does not hold and one without data.
pub(crate) fn bad() -> Run {
    let mut run = good();
    run.plan.gates.push(gate(Metric::ConnectionTimeMs, None, "p95 < 1ms", "scenarios/lan.toml:41:10"));
    run.plan.gates.push(gate(Metric::FirstRelayMs, None, "p95 < 500ms", "scenarios/lan.toml:45:10"));
    let end = run.events.pop().unwrap();
    let (peer, call) = ("native/a4".to_owned(), "native-native/4".to_owned());
    run.events.retain(|event| {
        !matches!(&event.kind,
        EventKind::Mark { call: of, mark, .. } if *of == call && *mark >= Mark::IceConnected)
    });
    run.events.retain(|event| !matches!(&event.kind, EventKind::Sample { call: of, .. } if *of == call));
    run.at(
        6_200,
        EventKind::Failure(Failure {
            peer,
            call: call.clone(),
            phase: Phase::Ice,
            reason: "no candidate pair worked within 5 s; <check> that UDP is not blocked & ports are open".into(),
        }),
    );
    run.sample(6_200, Metric::SetupSuccessRatio, 0.0, &call, None);
    run.at(
        9_200,
        EventKind::Skipped(Skip {
            what: "calls chromium-chromium".into(),
            reason: "chromedriver 131 does not fit Chromium 142".into(),
            remedy: "install chromium-driver of the same version".into(),
            optional: false,
            calls: 4,
        }),
    );
    run.at(
        9_300,
        EventKind::Warning(Warning {
            text: "the IPv6 loopback is off".into(),
            advice: "set net.ipv6.conf.lo.disable_ipv6=0 to test IPv6".into(),
        }),
    );
    run.events.push(end);
    run
}

impl Run {
    /// The record of the run.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::default();
        self.started().iter().chain(&self.events).for_each(|event| record.apply(event));
        record
    }

    /// The run as `events.ndjson`.
    pub(crate) fn ndjson(&self) -> String {
        let lines = self.started().into_iter().chain(self.events.iter().cloned());
        lines.map(|event| serde_json::to_string(&event).unwrap() + "\n").collect()
    }

    pub(crate) fn at(&mut self, at_ms: u64, kind: EventKind) {
        self.events.push(Event { at_us: at_ms * 1000, kind });
    }

    pub(crate) fn sample(&mut self, at_ms: u64, metric: Metric, value: f64, call: &str, peer: Option<&str>) {
        self.at(at_ms, EventKind::Sample { metric, value, call: call.into(), peer: peer.map(Into::into) });
    }

    pub(crate) fn interval(&mut self, second: u64, machine: f64, lag_ms: f64) {
        let mut lag = Distribution::new(Unit::Milliseconds);
        (0..100).for_each(|value| lag.record(lag_ms * f64::from(value) / 100.0));
        let health = [
            (reading::MACHINE_CPU_RATIO, machine),
            (reading::OTHERS_CPU_RATIO, machine / 3.0),
            (reading::STEAL_RATIO, 0.001),
            (reading::PROCESS_CPU_CORES, machine * 1.2),
            (reading::UDP_RECEIVE_BUFFER_ERRORS, 0.0),
            (reading::RESIDENT_BYTES, 48e6 + second as f64 * 1e6),
            (reading::SCHEDULING_LAG_P99_MS, lag_ms),
        ];
        let interval = Interval {
            peers: BTreeMap::from([(Phase::Signaling, 2), (Phase::Media, 34)]),
            send_bps: 12e6 + second as f64 * 1e5,
            recv_bps: 11.9e6 + second as f64 * 1e5,
            health: health.map(|(name, value)| (name.to_owned(), value)).into(),
            health_histograms: [(reading::SCHEDULING_LAG_P99_MS.to_owned(), lag.encode())].into(),
            ..Interval::default()
        };
        self.at(second * 1000, EventKind::Interval(Box::new(interval)));
    }

    fn started(&self) -> Option<Event> {
        let kind = EventKind::RunStarted(Box::new(RunStarted {
            schema_version: RunStarted::SCHEMA_VERSION,
            started_at: "2026-11-21T12:00:00Z".into(),
            plan: self.plan.clone(),
            environment: [("harness", "0.1.0"), ("os", "Linux 6.12, x86_64, 2 cores"), ("chromium", "142.0.7444.59")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            command: ["harness", "run", "scenarios/lan.toml", "--set", "media.video.codec=H264 baseline"]
                .map(String::from)
                .into(),
        }));
        Some(Event { at_us: 0, kind })
    }

    fn tallies(&mut self) {
        for (group, set) in [("native", "native-native"), ("chromium", "native-chromium")] {
            let mut values = Distribution::new(Unit::Milliseconds);
            (0..400).for_each(|value| values.record(0.05 + f64::from(value % 37) / 10.0));
            let report = TallyReport {
                metric: Metric::JitterMs,
                group: group.into(),
                set: set.into(),
                sum: values.sum(),
                min: values.min().unwrap(),
                max: values.max().unwrap(),
                histogram: values.encode(),
            };
            self.at(9_400, EventKind::Tally(Box::new(report)));
        }
    }

    /// A call that works; everything takes `slow` times its usual time, and 8 times that with a browser.
    fn call(&mut self, index: usize, slow: f64) {
        let call = self.plan.calls[index].clone();
        let slow = if call.set == "native-native" { slow } else { slow * 8.0 };
        let start = call.start_us as f64 / 1e3;
        let steps = [
            (Mark::Intended, 0.0),
            (Mark::JoinStarted, 0.4),
            (Mark::SignalingConnected, 4.0),
            (Mark::Joined, 5.0),
            (Mark::CreateOffer, 6.0),
            (Mark::SetLocalOffer, 6.8),
            (Mark::OfferSent, 7.4),
            (Mark::OfferReceived, 8.1),
            (Mark::AnswerSent, 9.9),
            (Mark::AnswerReceived, 10.4),
            (Mark::IceConnected, 19.0),
            (Mark::Connected, 31.0),
            (Mark::DataChannelOpen, 33.0),
            (Mark::FirstMedia, 58.0),
        ];
        for (role, peer) in [(Role::Offerer, &call.offerer), (Role::Answerer, &call.answerer)] {
            for (mark, after) in steps {
                let offers =
                    matches!(mark, Mark::CreateOffer | Mark::SetLocalOffer | Mark::OfferSent | Mark::AnswerReceived);
                let answers = matches!(mark, Mark::OfferReceived | Mark::AnswerSent);
                if (role == Role::Offerer && !answers) || (role == Role::Answerer && !offers) {
                    let at_us = ((start + after * slow) * 1e3) as u64;
                    self.events.push(Event {
                        at_us,
                        kind: EventKind::Mark { peer: peer.id.clone(), call: call.id.clone(), mark },
                    });
                }
            }
        }
        let at = (start + 60.0 * slow) as u64;
        let (offerer, answerer) = (Some(call.offerer.id.as_str()), Some(call.answerer.id.as_str()));
        self.sample(at, Metric::SetupSuccessRatio, 1.0, &call.id, None);
        self.sample(at, Metric::CallSetupMs, 58.0 * slow, &call.id, None);
        self.sample(at, Metric::ConnectionTimeMs, 24.2 * slow, &call.id, offerer);
        self.sample(at, Metric::DtlsHandshakeMs, 12.0 * slow, &call.id, offerer);
        for peer in [offerer, answerer] {
            self.sample(at, Metric::SignalingConnectMs, 3.6 * slow, &call.id, peer);
            self.sample(at, Metric::FrameIntegrityRatio, 1.0, &call.id, peer);
            self.sample(at, Metric::RecvBitrateBps, 600_000.0 * slow, &call.id, peer);
        }
        for peer in [&call.offerer, &call.answerer] {
            let (id, call) = (peer.id.clone(), call.id.clone());
            self.at(
                at,
                EventKind::Absent(Absence {
                    metric: Metric::FirstSrflxMs,
                    peer: id.clone(),
                    call: call.clone(),
                    reason: "no STUN server configured".into(),
                }),
            );
            let host =
                Candidate { candidate_type: "host".into(), address: Some("127.0.0.1".into()), port: Some(40_000) };
            self.at(
                at,
                EventKind::Path(Box::new(Path {
                    call: call.clone(),
                    peer: id.clone(),
                    local: host.clone(),
                    remote: host,
                    protocol: "udp".into(),
                    relay_protocol: None,
                    family: Some("ipv4".into()),
                })),
            );
            self.at(
                at,
                EventKind::Media(MediaReport {
                    peer: id,
                    call,
                    kind: MediaKind::Video,
                    codec: "video/VP8".into(),
                    verified: true,
                    detail: "every frame is byte for byte the fixture's".into(),
                    packets: 420,
                    packets_lost: Some(0),
                    frames: 90,
                    frames_intact: 90,
                    frames_sent: Some(90),
                    width: Some(320),
                    height: Some(240),
                    rate: Some(29.97),
                    pli_count: Some(1),
                    nack_count: None,
                }),
            );
        }
    }
}

/// A gate.
pub(crate) fn gate(metric: Metric, set: Option<&str>, expect: &str, place: &str) -> Gate {
    let (set, group) = (set.map(Into::into), None);
    Gate { metric, group, set, expect: expect.into(), min_samples: 1, abort: false, place: place.into() }
}

fn plan() -> Plan {
    let group = |name: &str, engine, optional| GroupPlan {
        name: name.into(),
        engine,
        optional,
        direction: MediaDirection::SendRecv,
        stack: None,
        browser: None,
        message_interval_us: None,
        wait_us: None,
        layers: Vec::new(),
    };
    let sets = [
        ("native-native", "native", "native", 12),
        ("native-chromium", "native", "chromium", 3),
        ("chromium-firefox", "chromium", "firefox", 3),
    ];
    let mut calls = Vec::new();
    for (set, offerer, answerer, count) in sets {
        for index in 0..count {
            let id = format!("{set}/{index}");
            let peer = |group: &str, end: &str| PeerPlan {
                id: if set == "native-native" {
                    format!("{group}/{end}{index}")
                } else {
                    format!("{group}/{set}-{end}{index}")
                },
                group: group.into(),
                person: None,
                site: None,
                direction: None,
            };
            calls.push(CallPlan {
                room: id.clone(),
                set: set.into(),
                offerer: peer(offerer, "o"),
                answerer: peer(answerer, "a"),
                start_us: 20_000 * index,
                hold_us: 5_000_000,
                policy: None,
                media: None,
                cell: None,
                feed: None,
                mix: None,
                id,
            });
        }
    }
    Plan {
        plan: Plan::VERSION,
        name: "lan".into(),
        scenario: "scenarios/lan.toml".into(),
        digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        seed: 7,
        signaling: SignalingPlan { url: None, protocol: Protocol::Harness, listen: "127.0.0.1:0".into(), ca: None },
        ice: IcePlan::default(),
        network: None,
        media: MediaPlan {
            video: Some(VideoPlan { codec: VideoCodec::Vp8, frame_rate: 30, fixtures: None, simulcast: false }),
            audio: false,
            data: None,
        },
        deadlines: Deadlines {
            start_us: 30_000_000,
            join_us: 5_000_000,
            connect_us: 5_000_000,
            first_media_us: 5_000_000,
        },
        health: HealthLimits {
            machine_cpu_ratio: 0.9,
            scheduling_lag_p99_ms: 20.0,
            send_lateness_p99_ms: 20.0,
            steal_ratio: 0.1,
            udp_receive_buffer_errors: 0,
            ..HealthLimits::default()
        },
        groups: vec![
            group("native", Engine::Native, false),
            group("chromium", Engine::Chromium, true),
            group("firefox", Engine::Firefox, true),
        ],
        start_within_us: Some(2_000_000),
        members: Vec::new(),
        calls,
        gates: vec![
            gate(Metric::SetupSuccessRatio, None, "mean >= 1", "default"),
            gate(Metric::ConnectionTimeMs, Some("native-native"), "p95 < 400ms", "scenarios/lan.toml:37:10"),
        ],
    }
}
