//! The parameters of ORTC, as mediasoup uses them in place of session descriptions, and what two ends have in common.
//!
//! Names and meaning are those of mediasoup's documentation ("RTP Parameters and Capabilities"), which follows the W3C's ORTC.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What an end can do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Capabilities {
    #[serde(default)]
    pub(super) codecs: Vec<CodecCapability>,
    #[serde(default)]
    pub(super) header_extensions: Vec<ExtensionCapability>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodecCapability {
    pub(super) kind: String,
    /// Such as `video/VP8`.
    pub(super) mime_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preferred_payload_type: Option<u8>,
    pub(super) clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) channels: Option<u32>,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
    #[serde(default)]
    pub(super) rtcp_feedback: Vec<Feedback>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtensionCapability {
    pub(super) kind: String,
    pub(super) uri: String,
    pub(super) preferred_id: u8,
    /// Absent: both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<String>,
}

/// What is sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RtpParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mid: Option<String>,
    pub(super) codecs: Vec<Codec>,
    #[serde(default)]
    pub(super) header_extensions: Vec<HeaderExtension>,
    #[serde(default)]
    pub(super) encodings: Vec<Encoding>,
    #[serde(default)]
    pub(super) rtcp: Rtcp,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Codec {
    pub(super) mime_type: String,
    pub(super) payload_type: u8,
    pub(super) clock_rate: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) channels: Option<u32>,
    /// Of `a=fmtp`.
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
    #[serde(default)]
    pub(super) rtcp_feedback: Vec<Feedback>,
}

/// Such as `nack` with the parameter `pli` (RFC 4585, section 4.2).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Feedback {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) parameter: String,
}

/// RFC 8285.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct HeaderExtension {
    pub(super) uri: String,
    pub(super) id: u8,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Encoding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ssrc: Option<u32>,
    /// The stream of retransmissions (RFC 4588).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rtx: Option<Rtx>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Rtx {
    pub(super) ssrc: u32,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rtcp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cname: Option<String>,
    #[serde(default)]
    pub(super) reduced_size: bool,
}

/// The server's end of ICE and DTLS. mediasoup is an ICE lite agent (RFC 8445, section 2.5): it gives its candidates at once,
/// and wants none.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transport {
    pub(super) id: String,
    pub(super) ice_parameters: IceParameters,
    pub(super) ice_candidates: Vec<Candidate>,
    pub(super) dtls_parameters: DtlsParameters,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct IceParameters {
    pub(super) username_fragment: String,
    pub(super) password: String,
    #[serde(default)]
    pub(super) ice_lite: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) foundation: String,
    pub(super) priority: u32,
    /// Called `ip` before mediasoup 3.14, which has both.
    #[serde(default)]
    pub(super) address: Option<String>,
    #[serde(default)]
    pub(super) ip: Option<String>,
    pub(super) protocol: String,
    pub(super) port: u16,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) tcp_type: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct DtlsParameters {
    /// `client`, `server`, or `auto` while it is open.
    pub(super) role: String,
    pub(super) fingerprints: Vec<Fingerprint>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Fingerprint {
    pub(super) algorithm: String,
    pub(super) value: String,
}

impl Capabilities {
    /// What a simulated peer can receive of what the router can send.
    ///
    /// A consumer is made before its peer has described anything: only what every simulated peer knows counts. That is no
    /// header extension and no feedback on bandwidth, which the `dense` stack does not give.
    pub(super) fn receivable(&self) -> Self {
        let feedback = |codec: &CodecCapability| {
            let known = [("nack", ""), ("nack", "pli"), ("ccm", "fir")];
            let is_known = |it: &&Feedback| known.contains(&(it.kind.as_str(), it.parameter.as_str()));
            codec.rtcp_feedback.iter().filter(is_known).cloned().collect()
        };
        let known = ["audio/opus", "video/vp8", "video/h264"];
        let codecs = self.codecs.iter().filter(|codec| known.contains(&codec.mime_type.to_ascii_lowercase().as_str()));
        let codecs = codecs.map(|codec| CodecCapability { rtcp_feedback: feedback(codec), ..codec.clone() }).collect();
        Self { codecs, header_extensions: Vec::new() }
    }

    /// What is sent of what a peer offers to send: the first codec that the router has too, with its retransmissions.
    ///
    /// # Errors
    ///
    /// The two have no codec in common.
    pub(super) fn sendable(&self, kind: &str, offered: &RtpParameters) -> Result<RtpParameters, String> {
        let common = |codec: &Codec| self.codecs.iter().find(|it| it.kind == kind && it.is_like(codec));
        let Some((codec, capability)) = offered.codecs.iter().find_map(|codec| Some((codec, common(codec)?))) else {
            let ours: Vec<_> = offered.codecs.iter().map(|codec| codec.mime_type.as_str()).collect();
            let theirs = self.codecs.iter().filter(|codec| codec.kind == kind).map(|codec| codec.mime_type.as_str());
            let theirs: Vec<_> = theirs.filter(|name| !name.ends_with("/rtx")).collect();
            let (ours, theirs) = (ours.join(", "), if theirs.is_empty() { "none".into() } else { theirs.join(", ") });
            return Err(format!("the router has no codec for the {kind} that is offered ({ours}): it has {theirs}"));
        };
        let mut codecs = vec![codec.with_feedback_of(capability)];
        codecs.extend(
            offered.codecs.iter().filter(|rtx| rtx.repairs(codec.payload_type) && common(rtx).is_some()).cloned(),
        );
        let knows = |extension: &&HeaderExtension| {
            let mut known = self.header_extensions.iter().filter(|it| it.kind == kind && it.uri == extension.uri);
            // Of the server, to which a publisher sends.
            known.any(|it| it.direction.as_deref().is_none_or(|way| way == "sendrecv" || way == "recvonly"))
        };
        let header_extensions = offered.header_extensions.iter().filter(knows).cloned().collect();
        let mut encodings = offered.encodings.clone();
        if codecs.len() == 1 {
            encodings.iter_mut().for_each(|encoding| encoding.rtx = None);
        }
        Ok(RtpParameters { codecs, header_extensions, encodings, ..offered.clone() })
    }
}

impl CodecCapability {
    fn is_like(&self, codec: &Codec) -> bool {
        let number = |of: &Map<String, Value>, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or(0);
        // The profile without its level, and the way in which frames are packetized (RFC 6184, section 8.2.2).
        let profile = |of: &Map<String, Value>| {
            let id = of.get("profile-level-id").map_or_else(|| "42e01f".into(), written);
            id.get(..4).unwrap_or_default().to_ascii_lowercase()
        };
        let h264 = |of: &Map<String, Value>| (number(of, "packetization-mode"), profile(of));
        let same_name = self.mime_type.eq_ignore_ascii_case(&codec.mime_type);
        same_name
            && self.clock_rate == codec.clock_rate
            && self.channels.unwrap_or(1) == codec.channels.unwrap_or(1)
            && (!codec.mime_type.eq_ignore_ascii_case("video/h264")
                || h264(&self.parameters) == h264(&codec.parameters))
    }
}

impl Codec {
    fn with_feedback_of(&self, capability: &CodecCapability) -> Self {
        let feedback = self.rtcp_feedback.iter().filter(|feedback| capability.rtcp_feedback.contains(feedback));
        Self { rtcp_feedback: feedback.cloned().collect(), ..self.clone() }
    }

    /// Whether it retransmits what is sent with that payload type.
    fn repairs(&self, payload_type: u8) -> bool {
        self.mime_type.to_ascii_lowercase().ends_with("/rtx")
            && self.parameters.get("apt") == Some(&json!(payload_type))
    }
}

/// A parameter, as in `a=fmtp`.
pub(super) fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Capabilities {
        serde_json::from_value(json!({
            "codecs": [
                {"kind": "audio", "mimeType": "audio/opus", "clockRate": 48000, "channels": 2, "preferredPayloadType": 100,
                 "parameters": {}, "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "transport-cc", "parameter": ""}]},
                {"kind": "video", "mimeType": "video/H264", "clockRate": 90000, "preferredPayloadType": 103,
                 "parameters": {"packetization-mode": 1, "profile-level-id": "42e01f"},
                 "rtcpFeedback": [{"type": "nack"}, {"type": "nack", "parameter": "pli"}, {"type": "goog-remb"}]},
                {"kind": "video", "mimeType": "video/rtx", "clockRate": 90000, "preferredPayloadType": 104,
                 "parameters": {"apt": 103}, "rtcpFeedback": []}
            ],
            "headerExtensions": [
                {"kind": "video", "uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "preferredId": 1, "preferredEncrypt": false,
                 "direction": "sendrecv"},
                {"kind": "video", "uri": "urn:3gpp:video-orientation", "preferredId": 11, "direction": "sendonly"}
            ]
        }))
        .unwrap()
    }

    fn offered(codecs: Value) -> RtpParameters {
        serde_json::from_value(json!({
            "mid": "0", "codecs": codecs,
            "headerExtensions": [
                {"uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 4},
                {"uri": "urn:3gpp:video-orientation", "id": 13},
                {"uri": "urn:ietf:params:rtp-hdrext:toffset", "id": 14}
            ],
            "encodings": [{"ssrc": 7, "rtx": {"ssrc": 8}}], "rtcp": {"cname": "c", "reducedSize": true}
        }))
        .unwrap()
    }

    fn h264(payload_type: u8, parameters: Value) -> Value {
        json!({"mimeType": "video/H264", "payloadType": payload_type, "clockRate": 90000, "parameters": parameters,
               "rtcpFeedback": [{"type": "nack", "parameter": "pli"}, {"type": "transport-cc"}]})
    }

    #[test]
    fn what_is_sent_is_what_both_know() {
        let codecs = json!([
            {"mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000},
            h264(102, json!({"packetization-mode": 0, "profile-level-id": "42e01f"})),
            h264(104, json!({"packetization-mode": 1, "profile-level-id": "42E034"})),
            {"mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": {"apt": 96}},
            {"mimeType": "video/rtx", "payloadType": 105, "clockRate": 90000, "parameters": {"apt": 104}}
        ]);
        let sent = router().sendable("video", &offered(codecs)).unwrap();
        let types: Vec<_> = sent.codecs.iter().map(|codec| codec.payload_type).collect();
        assert_eq!(types, [104, 105], "another packetization and another repair flow are left out");
        assert_eq!(sent.codecs[0].rtcp_feedback, [Feedback { kind: "nack".into(), parameter: "pli".into() }]);
        let extensions: Vec<_> = sent.header_extensions.iter().map(|it| it.id).collect();
        assert_eq!(extensions, [4], "the router only sends the orientation");
        assert_eq!(sent.encodings[0].rtx, Some(Rtx { ssrc: 8 }));
    }

    #[test]
    fn no_repair_flow_without_its_codec() {
        let codecs = json!([h264(102, json!({"packetization-mode": 1}))]);
        let sent = router().sendable("video", &offered(codecs)).unwrap();
        assert_eq!(sent.encodings, [Encoding { ssrc: Some(7), rtx: None }]);
    }

    #[test]
    fn without_a_common_codec_both_sides_are_named() {
        let error = router()
            .sendable("video", &offered(json!([{"mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000}])));
        let error = error.unwrap_err();
        assert!(error.contains("(video/VP8): it has video/H264"), "{error}");
    }

    #[test]
    fn a_simulated_peer_receives_codecs_without_what_it_does_not_know() {
        let known = router().receivable();
        let names: Vec<_> = known.codecs.iter().map(|codec| codec.mime_type.as_str()).collect();
        assert_eq!((names, known.header_extensions.len()), (vec!["audio/opus", "video/H264"], 0));
        assert!(known.codecs.iter().flat_map(|codec| &codec.rtcp_feedback).all(|feedback| feedback.kind == "nack"));
    }
}
