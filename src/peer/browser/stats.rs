//! Reads what `getStats()` returns (W3C webrtc-stats). Pure. A member that a browser does not provide is absent, never 0.

use serde_json::Value;

use crate::record::{Candidate, Path};

/// The statistics of one connection at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats(pub(super) Vec<Value>);

/// A candidate pair with its candidates.
pub(super) struct Pair<'a> {
    pub(super) stats: &'a Value,
    pub(super) local: &'a Value,
    pub(super) remote: &'a Value,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// RTP bits sent per second, headers included.
    pub(super) send_bps: Option<f64>,
    /// RTP bits received per second, headers included.
    pub(super) recv_bps: Option<f64>,
    /// RTP payload bits received per second, without retransmissions.
    pub(super) goodput_bps: Option<f64>,
}

impl Stats {
    /// The dictionaries of a type, such as `inbound-rtp`.
    fn of_type<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |stat| stat["type"] == name)
    }

    /// The RTP stream of a kind, in a direction: `inbound-rtp` or `outbound-rtp`, `audio` or `video`.
    pub(super) fn rtp<'a>(&'a self, direction: &'a str, kind: &'a str) -> Option<&'a Value> {
        self.of_type(direction).find(|stat| stat["kind"] == kind)
    }

    fn by_id(&self, id: &Value) -> Option<&Value> {
        self.0.iter().find(|stat| id.is_string() && stat["id"] == *id)
    }

    /// The sum of members over all dictionaries of a type; absent if none has them all.
    pub(super) fn sum(&self, name: &str, members: &[&str]) -> Option<u64> {
        let totals = self.of_type(name).filter_map(|stat| members.iter().map(|member| stat[member].as_u64()).sum());
        totals.fold(None, |sum, total: u64| Some(sum.unwrap_or(0) + total))
    }

    /// RTP bytes sent, headers included.
    pub(super) fn bytes_sent(&self) -> Option<u64> {
        self.sum("outbound-rtp", &["bytesSent", "headerBytesSent"])
    }

    /// RTP bytes received, headers included.
    pub(super) fn bytes_received(&self) -> Option<u64> {
        self.sum("inbound-rtp", &["bytesReceived", "headerBytesReceived"])
    }

    /// RTP payload bytes received, without retransmissions. Absent where the browser does not count those of video;
    /// audio has none, for no retransmission is negotiated for it.
    fn payload_received(&self) -> Option<u64> {
        let mut payload = None;
        for stat in self.of_type("inbound-rtp") {
            let again = match stat["retransmittedBytesReceived"].as_u64() {
                Some(bytes) => bytes,
                None if stat["kind"] == "audio" => 0,
                None => return None,
            };
            payload = Some(payload.unwrap_or(0) + stat["bytesReceived"].as_u64()?.saturating_sub(again));
        }
        payload
    }

    /// The packets received of a kind, and the time of the reading in milliseconds since the epoch.
    pub(super) fn received(&self, kind: &str) -> Option<(u64, f64)> {
        let streams = self.of_type("inbound-rtp").filter(|stat| stat["kind"] == kind);
        let read = streams.filter_map(|stat| Some((stat["packetsReceived"].as_u64()?, stat["timestamp"].as_f64()?)));
        read.reduce(|(packets, at), (more, other)| (packets + more, at.max(other)))
    }

    /// Milliseconds since the epoch at which the dictionaries of a type were filled.
    fn timestamp(&self, name: &str) -> Option<f64> {
        self.of_type(name).filter_map(|stat| stat["timestamp"].as_f64()).reduce(f64::max)
    }

    /// What happened since an earlier reading; absent over less than 100 ms, where rounding would show.
    pub(super) fn rates_since(&self, before: &Self) -> Rates {
        let rate = |name, counter: fn(&Self) -> Option<u64>| {
            let seconds = (self.timestamp(name)? - before.timestamp(name)?) / 1e3;
            let bytes = counter(self)?.checked_sub(counter(before)?)?;
            (seconds >= 0.1).then(|| bytes as f64 * 8.0 / seconds)
        };
        Rates {
            send_bps: rate("outbound-rtp", Self::bytes_sent),
            recv_bps: rate("inbound-rtp", Self::bytes_received),
            goodput_bps: rate("inbound-rtp", Self::payload_received),
        }
    }

    /// Video frames sent per second since an earlier reading; absent over less than half a second.
    pub(super) fn frame_rate_since(&self, before: &Self) -> Option<f64> {
        let (now, then) = (self.rtp("outbound-rtp", "video")?, before.rtp("outbound-rtp", "video")?);
        let seconds = (now["timestamp"].as_f64()? - then["timestamp"].as_f64()?) / 1e3;
        let frames = now["framesSent"].as_u64()?.checked_sub(then["framesSent"].as_u64()?)?;
        (seconds >= 0.5).then(|| frames as f64 / seconds)
    }

    /// Interarrival jitter of each received stream, in milliseconds.
    pub(super) fn jitters_ms(&self) -> Vec<f64> {
        self.of_type("inbound-rtp").filter_map(|stat| Some(stat["jitter"].as_f64()? * 1e3)).collect()
    }

    /// Round-trip time of the selected pair, in milliseconds.
    pub(super) fn rtt_ms(&self) -> Option<f64> {
        Some(self.selected_pair()?["currentRoundTripTime"].as_f64()? * 1e3)
    }

    /// Packets lost over packets expected, over all received streams.
    pub(super) fn loss_ratio(&self) -> Option<f64> {
        let received = self.sum("inbound-rtp", &["packetsReceived"])? as f64;
        // Duplicates can make a stream's count negative (RFC 3550, section 6.4.1).
        let lost: i64 = self.of_type("inbound-rtp").filter_map(|stat| stat["packetsLost"].as_i64()).sum();
        let lost = lost.max(0) as f64;
        (received + lost > 0.0).then(|| lost / (received + lost))
    }

    /// The MIME type of an RTP stream's codec.
    pub(super) fn codec(&self, stream: &Value) -> Option<&str> {
        self.by_id(&stream["codecId"])?["mimeType"].as_str()
    }

    /// Every candidate pair whose candidates are known.
    pub(super) fn candidate_pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.of_type("candidate-pair").filter_map(|stats| {
            let local = self.by_id(&stats["localCandidateId"])?;
            Some(Pair { stats, local, remote: self.by_id(&stats["remoteCandidateId"])? })
        })
    }

    fn selected_pair(&self) -> Option<&Value> {
        let told = self.of_type("transport").find_map(|stat| self.by_id(&stat["selectedCandidatePairId"]));
        told.or_else(|| self.of_type("candidate-pair").find(|stat| stat["selected"] == true))
    }

    /// The path that the media takes.
    pub(super) fn path(&self, call: &str, peer: &str) -> Option<Path> {
        let pair = self.selected_pair()?;
        let local = self.by_id(&pair["localCandidateId"])?;
        let remote = self.by_id(&pair["remoteCandidateId"])?;
        let address = |stat: &Value| {
            let text = stat["address"].as_str().or_else(|| stat["ip"].as_str())?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let candidate = |stat: &Value| Candidate {
            candidate_type: stat["candidateType"].as_str().unwrap_or_default().to_owned(),
            address: address(stat),
            port: stat["port"].as_u64().and_then(|port| port.try_into().ok()),
        };
        // An mDNS name has no family.
        let family = [local, remote].iter().find_map(|stat| match address(stat)?.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => Some("ipv4".to_owned()),
            Ok(std::net::IpAddr::V6(_)) => Some("ipv6".to_owned()),
            Err(_) => None,
        });
        Some(Path {
            call: call.to_owned(),
            peer: peer.to_owned(),
            local: candidate(local),
            remote: candidate(remote),
            protocol: local["protocol"].as_str()?.to_owned(),
            relay_protocol: local["relayProtocol"].as_str().map(str::to_owned),
            family,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(at: f64, bytes: u64) -> Stats {
        Stats(vec![
            json!({"id": "i", "type": "inbound-rtp", "kind": "video", "timestamp": at, "bytesReceived": bytes,
                   "headerBytesReceived": 0, "retransmittedBytesReceived": bytes / 2, "packetsReceived": 90,
                   "packetsLost": 10, "codecId": "c", "jitter": 0.002}),
            json!({"id": "c", "type": "codec", "mimeType": "video/VP8"}),
        ])
    }

    #[test]
    fn rates_count_between_two_readings() {
        let rates = reading(2000.0, 3000).rates_since(&reading(1000.0, 1000));
        assert_eq!(rates, Rates { send_bps: None, recv_bps: Some(16_000.0), goodput_bps: Some(8_000.0) });
        assert_eq!(reading(1050.0, 3000).rates_since(&reading(1000.0, 1000)).recv_bps, None);
    }

    #[test]
    fn what_a_browser_does_not_count_is_absent() {
        let mut stats = reading(0.0, 1000);
        stats.0[0].as_object_mut().unwrap().remove("retransmittedBytesReceived");
        assert_eq!(stats.payload_received(), None);
        assert_eq!(stats.bytes_received(), Some(1000));
        assert_eq!(stats.bytes_sent(), None);
        assert_eq!(stats.rtt_ms(), None);
    }

    #[test]
    fn loss_and_codec_and_jitter() {
        let stats = reading(0.0, 1000);
        assert_eq!(stats.loss_ratio(), Some(0.1));
        assert_eq!(stats.codec(&stats.0[0]), Some("video/VP8"));
        assert_eq!(stats.jitters_ms(), [2.0]);
    }

    #[test]
    fn the_path_is_that_of_the_selected_pair() {
        let stats = Stats(vec![
            json!({"id": "t", "type": "transport", "selectedCandidatePairId": "p2"}),
            json!({"id": "p1", "type": "candidate-pair", "localCandidateId": "x", "remoteCandidateId": "r"}),
            json!({"id": "p2", "type": "candidate-pair", "localCandidateId": "l", "remoteCandidateId": "r",
                   "currentRoundTripTime": 0.004}),
            json!({"id": "l", "type": "local-candidate", "candidateType": "relay", "protocol": "udp",
                   "relayProtocol": "tls", "address": "2001:db8::1", "port": 5}),
            json!({"id": "r", "type": "remote-candidate", "candidateType": "prflx", "protocol": "udp", "address": ""}),
        ]);
        let path = stats.path("c", "p").unwrap();
        assert_eq!((path.local.candidate_type.as_str(), path.remote.address.as_deref()), ("relay", None));
        assert_eq!((path.relay_protocol.as_deref(), path.family.as_deref()), (Some("tls"), Some("ipv6")));
        assert_eq!(stats.rtt_ms(), Some(4.0));
    }
}
