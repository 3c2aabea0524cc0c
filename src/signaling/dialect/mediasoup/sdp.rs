//! Session descriptions (RFC 8866) of the parameters of ORTC, and back.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ortc::{
    Codec, DtlsParameters, Encoding, Feedback, Fingerprint, HeaderExtension, Rtcp, RtpParameters, Rtx, Transport,
    written,
};

/// A peer's description, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) dtls: DtlsParameters,
    pub(super) sections: Vec<Section>,
}

/// A media section.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Section {
    /// `audio`, `video` or `application`.
    pub(super) kind: String,
    /// All that is offered.
    pub(super) rtp: RtpParameters,
}

/// A stream of the server, as it is offered to a peer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    pub(super) kind: String,
    pub(super) rtp: RtpParameters,
}

impl Description {
    /// # Errors
    ///
    /// It has no media section or no fingerprint, or a number in it is none.
    pub(super) fn parse(sdp: &str) -> Result<Self, String> {
        let mut lines = sdp.lines().map(str::trim_end).peekable();
        let mut common = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
            common.push(line);
        }
        let mut sections: Vec<Vec<&str>> = Vec::new();
        for line in lines {
            match sections.last_mut() {
                Some(section) if !line.starts_with("m=") => section.push(line),
                _ => sections.push(vec![line]),
            }
        }
        let first = sections.first().ok_or("it has no media section")?;
        // Of the bundle, as of the session: one transport is all there is.
        let dtls: Vec<&str> = common.iter().chain(first).copied().collect();
        let fingerprints: Vec<_> = values(&dtls, "fingerprint").filter_map(fingerprint).collect();
        if fingerprints.is_empty() {
            return Err("it has no a=fingerprint".into());
        }
        let role = match values(&dtls, "setup").last() {
            Some("passive") => "server",
            // mediasoup takes the other role; who leaves it open is told to connect by the answer.
            _ => "client",
        };
        let sections = sections.iter().map(|lines| section(lines)).collect::<Result<_, _>>()?;
        Ok(Self { dtls: DtlsParameters { role: role.into(), fingerprints }, sections })
    }
}

/// The server's answer to who publishes: it takes `accepted`, one for each section that was offered.
pub(super) fn answer(transport: &Transport, offered: &[Section], accepted: &[RtpParameters]) -> String {
    let sections: Vec<_> = offered.iter().zip(accepted).map(|(section, rtp)| (section.kind.as_str(), rtp)).collect();
    describe(transport, "passive", "recvonly", &sections)
}

/// The server's offer to who subscribes.
pub(super) fn offer(transport: &Transport, streams: &[Stream]) -> String {
    let sections: Vec<_> = streams.iter().map(|stream| (stream.kind.as_str(), &stream.rtp)).collect();
    describe(transport, "actpass", "sendonly", &sections)
}

fn describe(transport: &Transport, setup: &str, direction: &str, sections: &[(&str, &RtpParameters)]) -> String {
    let mid = |index: usize| sections[index].1.mid.clone().unwrap_or_else(|| index.to_string());
    let mids: Vec<_> = (0..sections.len()).map(mid).collect();
    let mut lines = vec!["v=0".to_owned(), "o=mediasoup 1 1 IN IP4 0.0.0.0".into(), "s=-".into(), "t=0 0".into()];
    if transport.ice_parameters.ice_lite {
        lines.push("a=ice-lite".into());
    }
    lines.push(format!("a=group:BUNDLE {}", mids.join(" ")));
    lines.push("a=msid-semantic:WMS *".into());
    for (index, ((kind, rtp), mid)) in sections.iter().zip(&mids).enumerate() {
        let types: Vec<_> = rtp.codecs.iter().map(|codec| codec.payload_type.to_string()).collect();
        lines.push(format!("m={kind} 9 UDP/TLS/RTP/SAVPF {}", types.join(" ")));
        lines.push("c=IN IP4 0.0.0.0".into());
        lines.push(format!("a=mid:{mid}"));
        lines.push(format!("a=ice-ufrag:{}", transport.ice_parameters.username_fragment));
        lines.push(format!("a=ice-pwd:{}", transport.ice_parameters.password));
        lines.extend(strongest(&transport.dtls_parameters.fingerprints));
        lines.push(format!("a=setup:{setup}"));
        lines.push(format!("a={direction}"));
        lines.push("a=rtcp-mux".into());
        if rtp.rtcp.reduced_size {
            lines.push("a=rtcp-rsize".into());
        }
        rtp.codecs.iter().for_each(|codec| describe_codec(codec, &mut lines));
        lines.extend(rtp.header_extensions.iter().map(|it| format!("a=extmap:{} {}", it.id, it.uri)));
        if direction == "sendonly" {
            describe_stream(kind, rtp, &mut lines);
        }
        if index == 0 {
            candidates(transport, &mut lines);
        }
    }
    lines.join("\r\n") + "\r\n"
}

fn describe_codec(codec: &Codec, lines: &mut Vec<String>) {
    let Codec { payload_type, clock_rate, .. } = codec;
    let name = codec.mime_type.split_once('/').map_or(codec.mime_type.as_str(), |(_, name)| name);
    let channels = codec.channels.filter(|channels| *channels > 1).map_or(String::new(), |it| format!("/{it}"));
    lines.push(format!("a=rtpmap:{payload_type} {name}/{clock_rate}{channels}"));
    if !codec.parameters.is_empty() {
        let parameters: Vec<_> =
            codec.parameters.iter().map(|(name, value)| format!("{name}={}", written(value))).collect();
        lines.push(format!("a=fmtp:{payload_type} {}", parameters.join(";")));
    }
    for Feedback { kind, parameter } in &codec.rtcp_feedback {
        lines.push(format!("a=rtcp-fb:{payload_type} {kind} {parameter}").trim_end().to_owned());
    }
}

/// RFC 5576 and RFC 8830.
fn describe_stream(kind: &str, rtp: &RtpParameters, lines: &mut Vec<String>) {
    let cname = rtp.rtcp.cname.as_deref().unwrap_or("mediasoup");
    lines.push(format!("a=msid:{cname} {kind}"));
    for encoding in &rtp.encodings {
        let Some(ssrc) = encoding.ssrc else { continue };
        lines.push(format!("a=ssrc:{ssrc} cname:{cname}"));
        if let Some(Rtx { ssrc: repair }) = encoding.rtx {
            lines.push(format!("a=ssrc:{repair} cname:{cname}"));
            lines.push(format!("a=ssrc-group:FID {ssrc} {repair}"));
        }
    }
}

/// RFC 8839, section 5.1.
fn candidates(transport: &Transport, lines: &mut Vec<String>) {
    for candidate in &transport.ice_candidates {
        let address = candidate.address.as_ref().or(candidate.ip.as_ref());
        let Some(address) = address else { continue };
        let (foundation, protocol) = (&candidate.foundation, &candidate.protocol);
        let (priority, port, kind) = (candidate.priority, candidate.port, &candidate.kind);
        let tcp = candidate.tcp_type.as_ref().map_or(String::new(), |it| format!(" tcptype {it}"));
        lines.push(format!("a=candidate:{foundation} 1 {protocol} {priority} {address} {port} typ {kind}{tcp}"));
    }
    lines.push("a=end-of-candidates".into());
}

/// Of several of one certificate (RFC 8122, section 5), the one that every client knows.
fn strongest(fingerprints: &[Fingerprint]) -> Option<String> {
    let best = fingerprints.iter().find(|it| it.algorithm == "sha-256").or_else(|| fingerprints.first())?;
    Some(format!("a=fingerprint:{} {}", best.algorithm, best.value))
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (algorithm, value) = value.split_once(' ')?;
    Some(Fingerprint { algorithm: algorithm.to_ascii_lowercase(), value: value.trim().to_ascii_uppercase() })
}

fn section(lines: &[&str]) -> Result<Section, String> {
    let mut words = lines[0].trim_start_matches("m=").split(' ');
    let kind = words.next().unwrap_or_default().to_owned();
    if kind == "application" {
        return Ok(Section { kind, rtp: RtpParameters::default() });
    }
    let types: Vec<&str> = words.skip(2).collect();
    let codecs = types.iter().filter_map(|id| codec(&kind, id, lines).transpose()).collect::<Result<_, _>>()?;
    let header_extensions = values(lines, "extmap").map(extension).collect::<Result<_, _>>()?;
    let rtp = RtpParameters {
        mid: values(lines, "mid").next().map(str::to_owned),
        codecs,
        header_extensions,
        encodings: encodings(lines)?,
        rtcp: Rtcp {
            cname: values(lines, "ssrc")
                .find_map(|value| value.split_once(" cname:"))
                .map(|(_, cname)| cname.to_owned()),
            reduced_size: lines.contains(&"a=rtcp-rsize"),
        },
    };
    Ok(Section { kind, rtp })
}

/// The codec of a payload type; none if it is not described.
fn codec(kind: &str, id: &str, lines: &[&str]) -> Result<Option<Codec>, String> {
    let of = |name| values(lines, name).filter_map(move |value| value.split_once(' ')).filter(move |(of, _)| *of == id);
    let Some((_, map)) = of("rtpmap").next() else { return Ok(None) };
    let mut parts = map.split('/');
    let name = parts.next().unwrap_or_default();
    let clock_rate = parts.next().and_then(|rate| rate.parse().ok()).ok_or_else(|| format!("a=rtpmap:{id} {map}"))?;
    // Without it a codec for sound has one channel (RFC 8866, section 6.6), and one for pictures none.
    let channels = parts.next().and_then(|channels| channels.parse().ok()).or_else(|| (kind == "audio").then_some(1));
    let parameters = of("fmtp").flat_map(|(_, parameters)| parameters.split(';')).filter_map(parameter).collect();
    let rtcp_feedback = of("rtcp-fb").map(|(_, feedback)| {
        let (kind, parameter) = feedback.split_once(' ').unwrap_or((feedback, ""));
        Feedback { kind: kind.into(), parameter: parameter.into() }
    });
    Ok(Some(Codec {
        mime_type: format!("{kind}/{name}"),
        payload_type: number(id)?,
        clock_rate,
        channels,
        parameters,
        rtcp_feedback: rtcp_feedback.collect(),
    }))
}

/// mediasoup compares numbers as such.
fn parameter(text: &str) -> Option<(String, Value)> {
    let (name, value) = text.trim().split_once('=')?;
    // A profile is no number, though some are written with digits only.
    let number = value.parse::<u32>().ok().filter(|_| name != "profile-level-id");
    Some((name.to_owned(), number.map_or_else(|| value.into(), Value::from)))
}

fn extension(value: &str) -> Result<HeaderExtension, String> {
    let (id, uri) = value.split_once(' ').ok_or_else(|| format!("a=extmap:{value}"))?;
    let id = number(id.split_once('/').map_or(id, |(id, _)| id))?;
    let uri = uri.split(' ').next().unwrap_or_default().to_owned();
    Ok(HeaderExtension { uri, id })
}

/// One for each stream that is no other's repair flow.
fn encodings(lines: &[&str]) -> Result<Vec<Encoding>, String> {
    let mut repairs = BTreeMap::new();
    for group in values(lines, "ssrc-group").filter_map(|value| value.strip_prefix("FID ")) {
        if let Some((stream, repair)) = group.split_once(' ') {
            repairs.insert(number::<u32>(stream)?, number::<u32>(repair)?);
        }
    }
    let mut encodings: Vec<Encoding> = Vec::new();
    for value in values(lines, "ssrc") {
        let ssrc = number(value.split(' ').next().unwrap_or_default())?;
        let is_known = encodings.iter().any(|encoding| encoding.ssrc == Some(ssrc));
        if !is_known && !repairs.values().any(|repair| *repair == ssrc) {
            encodings.push(Encoding { ssrc: Some(ssrc), rtx: repairs.get(&ssrc).map(|ssrc| Rtx { ssrc: *ssrc }) });
        }
    }
    Ok(encodings)
}

/// The values of an attribute.
fn values<'a>(lines: &[&'a str], name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let found: Vec<&'a str> =
        lines.iter().filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')).collect();
    found.into_iter()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests;
