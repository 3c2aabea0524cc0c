//! The stack's statistics under their W3C webrtc-stats names.
//!
//! The stack's structures have every member of the specification, but it fills only some of them; the others are 0.
//! Only what it fills is passed on, so that a value that was not measured stays absent.

use std::net::IpAddr;

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::statistics::report::{RTCStatsReport, RTCStatsReportEntry};
use rtc::statistics::stats::ice_candidate::RTCIceCandidateStats;
use rtc::statistics::stats::ice_candidate_pair::RTCIceCandidatePairStats;
use serde_json::{Value, json};

use super::relays::Relays;
use crate::peer::PeerContext;
use crate::record::{Candidate, Path};
use crate::turn::client::IceUrl;

/// The round-trip time of the selected pair in seconds, from STUN. The stack's RTCP round-trip time is always 0.
pub(super) fn round_trip_time(report: &RTCStatsReport) -> Option<f64> {
    selected(report).map(|pair| pair.current_round_trip_time).filter(|rtt| *rtt > 0.0)
}

/// The path over which media flows.
pub(super) fn path(report: &RTCStatsReport, context: &PeerContext, relays: &Relays) -> Option<Path> {
    let pair = selected(report)?;
    let candidate = |id: &str| match report.get(id) {
        Some(RTCStatsReportEntry::LocalCandidate(stats) | RTCStatsReportEntry::RemoteCandidate(stats)) => Some(stats),
        _ => None,
    };
    let local = candidate(&local_id(pair))?;
    // The stack lists the candidates that signaling told of; another one is peer-reflexive.
    let unlisted = || Candidate { candidate_type: "prflx".into(), address: None, port: None };
    let remote = candidate(&remote_id(pair)).map_or_else(unlisted, end);
    let family = local.address.as_deref().and_then(|address| address.parse().ok()).map(|ip| match ip {
        IpAddr::V4(_) => "ipv4".to_owned(),
        IpAddr::V6(_) => "ipv6".to_owned(),
    });
    Some(Path {
        call: context.recorder.call().to_owned(),
        peer: context.recorder.peer().to_owned(),
        local: end(local),
        remote,
        protocol: local.protocol.to_lowercase(),
        relay_protocol: server(local, relays).map(|url| url.transport.word().to_owned()),
        family,
    })
}

/// Every dictionary with the members that the stack fills.
pub(super) fn to_w3c(report: &RTCStatsReport, relays: &Relays) -> Vec<Value> {
    report.iter().filter_map(|it| entry(it, relays)).collect()
}

fn selected(report: &RTCStatsReport) -> Option<&RTCIceCandidatePairStats> {
    report.candidate_pairs().find(|pair| pair.nominated)
}

/// The id of the pair's local candidate in the report. The stack's pairs name candidates without the prefix that the ids
/// of its report have.
fn local_id(pair: &RTCIceCandidatePairStats) -> String {
    format!("RTCLocalIceCandidate_{}", pair.local_candidate_id)
}

/// The id of the pair's remote candidate in the report.
pub(super) fn remote_id(pair: &RTCIceCandidatePairStats) -> String {
    format!("RTCRemoteIceCandidate_{}", pair.remote_candidate_id)
}

fn end(stats: &RTCIceCandidateStats) -> Candidate {
    Candidate {
        candidate_type: stats.candidate_type.to_string(),
        address: stats.address.clone(),
        port: Some(stats.port),
    }
}

fn entry(entry: &RTCStatsReportEntry, relays: &Relays) -> Option<Value> {
    Some(match entry {
        RTCStatsReportEntry::IceCandidatePair(s) => json!({
            "type": "candidate-pair", "id": s.stats.id, "transportId": s.transport_id,
            "localCandidateId": local_id(s), "remoteCandidateId": remote_id(s),
            "state": s.state, "nominated": s.nominated,
            "packetsSent": s.packets_sent, "packetsReceived": s.packets_received,
            "bytesSent": s.bytes_sent, "bytesReceived": s.bytes_received,
            "requestsSent": s.requests_sent, "requestsReceived": s.requests_received,
            "responsesSent": s.responses_sent, "responsesReceived": s.responses_received,
            "consentRequestsSent": s.consent_requests_sent,
            "currentRoundTripTime": s.current_round_trip_time, "totalRoundTripTime": s.total_round_trip_time,
        }),
        RTCStatsReportEntry::LocalCandidate(s) => {
            let mut candidate = candidate("local-candidate", s);
            if let Some(url) = server(s, relays) {
                candidate["url"] = json!(url.to_string());
                candidate["relayProtocol"] = json!(url.transport.word());
            }
            candidate
        }
        RTCStatsReportEntry::RemoteCandidate(s) => candidate("remote-candidate", s),
        RTCStatsReportEntry::Transport(s) => json!({
            "type": "transport", "id": s.stats.id,
            "packetsSent": s.packets_sent, "packetsReceived": s.packets_received,
            "bytesSent": s.bytes_sent, "bytesReceived": s.bytes_received,
        }),
        RTCStatsReportEntry::DataChannel(s) => json!({
            "type": "data-channel", "id": s.stats.id, "label": s.label,
            "messagesSent": s.messages_sent, "bytesSent": s.bytes_sent,
            "messagesReceived": s.messages_received, "bytesReceived": s.bytes_received,
        }),
        RTCStatsReportEntry::InboundRtp(s) => {
            let received = &s.received_rtp_stream_stats;
            json!({
                "type": "inbound-rtp", "id": received.rtp_stream_stats.stats.id,
                "ssrc": received.rtp_stream_stats.ssrc, "kind": kind(received.rtp_stream_stats.kind),
                "packetsReceived": received.packets_received, "packetsLost": received.packets_lost,
                "bytesReceived": s.bytes_received, "headerBytesReceived": s.header_bytes_received,
                "nackCount": s.nack_count, "pliCount": s.pli_count, "firCount": s.fir_count,
            })
        }
        RTCStatsReportEntry::OutboundRtp(s) => {
            let sent = &s.sent_rtp_stream_stats;
            json!({
                "type": "outbound-rtp", "id": sent.rtp_stream_stats.stats.id,
                "ssrc": sent.rtp_stream_stats.ssrc, "kind": kind(sent.rtp_stream_stats.kind),
                "packetsSent": sent.packets_sent, "bytesSent": sent.bytes_sent,
                "headerBytesSent": s.header_bytes_sent,
                "nackCount": s.nack_count, "pliCount": s.pli_count, "firCount": s.fir_count,
            })
        }
        _ => return None,
    })
}

/// The TURN server that a relayed candidate comes from. The stack's own `relayProtocol` knows UDP only.
fn server<'a>(stats: &RTCIceCandidateStats, relays: &'a Relays) -> Option<&'a IceUrl> {
    (stats.candidate_type.to_string() == "relay").then(|| relays.origin(&stats.url)).flatten()
}

fn candidate(kind: &str, stats: &RTCIceCandidateStats) -> Value {
    json!({
        "type": kind, "id": stats.stats.id, "candidateType": stats.candidate_type.to_string(),
        "address": stats.address, "port": stats.port, "protocol": stats.protocol.to_lowercase(),
    })
}

fn kind(kind: RtpCodecKind) -> &'static str {
    match kind {
        RtpCodecKind::Audio => "audio",
        RtpCodecKind::Video => "video",
        _ => "unspecified",
    }
}
