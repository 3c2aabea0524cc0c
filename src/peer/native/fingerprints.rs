//! Whether the certificate of the other end is the one that its description names.
//!
//! A description may have several `a=fingerprint` lines: of several hash functions, or of several certificates. One that
//! matches is enough, without any there must be no connection (RFC 8122, section 5.1). The stack compares the first line
//! only, and only if it is of SHA-256; it takes lines that differ between sections for a contradiction; and where nothing
//! matches, the handshake waits for its deadline without a word. So the stack is told to compare nothing, is given one
//! line, and the comparison is made here, as soon as the handshake is complete and before the call counts as connected.

use std::fmt::Write as _;

use rtc::peer_connection::sdp::{RTCSdpType, RTCSessionDescription};
use rtc::shared::error::Result;
use rtc::statistics::report::{RTCStatsReport, RTCStatsReportEntry};
use sha2::{Digest, Sha256, Sha384, Sha512};

const ATTRIBUTE: &str = "a=fingerprint:";

/// Characters of a fingerprint that an error shows: four bytes.
const SHOWN: usize = 11;

/// The fingerprints of the other end's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprints(Vec<Fingerprint>);

#[derive(Clone, Debug)]
struct Fingerprint {
    hash: String,
    value: String,
}

impl Fingerprints {
    /// Those of the first section that has some: all sections are bundled over one transport. The session's are for
    /// sections without (RFC 8122, section 5).
    pub(super) fn of(sdp: &str) -> Self {
        let mut sections = vec![Vec::new()];
        for line in sdp.lines() {
            if line.starts_with("m=") {
                sections.push(Vec::new());
            }
            if let (Some(fingerprint), Some(section)) = (Fingerprint::read(line), sections.last_mut()) {
                section.push(fingerprint);
            }
        }
        let session = sections.remove(0);
        Self(sections.into_iter().find(|section| !section.is_empty()).unwrap_or(session))
    }

    /// Compares the certificate of a connection whose handshake is complete.
    ///
    /// # Errors
    ///
    /// None of the fingerprints is that of the certificate, or there is no certificate.
    pub(super) fn check(&self, report: &RTCStatsReport) -> std::result::Result<(), String> {
        let certificate = remote_certificate(report).ok_or("the other end has shown no certificate")?;
        if self.0.iter().any(|fingerprint| fingerprint.is_of(&certificate)) {
            return Ok(());
        }
        let own = Fingerprint { hash: "sha-256".into(), value: hexadecimal(&Sha256::digest(&certificate)) };
        let named: Vec<String> = self.0.iter().map(Fingerprint::shown).collect();
        Err(format!(
            "the certificate of the other end ({}) has none of the fingerprints in its description ({}): somebody else \
             answers, or signaling changed the description",
            own.shown(),
            named.join(", ")
        ))
    }
}

impl Fingerprint {
    fn read(line: &str) -> Option<Self> {
        let (hash, value) = line.strip_prefix(ATTRIBUTE)?.trim().split_once(' ')?;
        Some(Self { hash: hash.to_ascii_lowercase(), value: value.trim().to_owned() })
    }

    fn is_of(&self, certificate: &[u8]) -> bool {
        let value = match self.hash.as_str() {
            "sha-256" => hexadecimal(&Sha256::digest(certificate)),
            "sha-384" => hexadecimal(&Sha384::digest(certificate)),
            "sha-512" => hexadecimal(&Sha512::digest(certificate)),
            _ => return false,
        };
        value.eq_ignore_ascii_case(&self.value)
    }

    fn shown(&self) -> String {
        format!("{} {}…", self.hash, self.value.get(..SHOWN).unwrap_or(&self.value))
    }
}

/// The description with as many fingerprints as the stack can take: the first.
pub(super) fn for_the_stack(description: RTCSessionDescription) -> Result<RTCSessionDescription> {
    let mut lines = description.sdp.lines().filter(|line| line.starts_with(ATTRIBUTE));
    let first = lines.next();
    if lines.all(|line| Some(line) == first) {
        return Ok(description);
    }
    let mut has_one = false;
    let is_left = |line: &&str| !line.starts_with(ATTRIBUTE) || !std::mem::replace(&mut has_one, true);
    let sdp: String = description.sdp.split_inclusive('\n').filter(is_left).collect();
    match description.sdp_type {
        RTCSdpType::Answer => RTCSessionDescription::answer(sdp),
        _ => RTCSessionDescription::offer(sdp),
    }
}

/// The certificate in DER. The stack's `base64Certificate` is in hexadecimal.
fn remote_certificate(report: &RTCStatsReport) -> Option<Vec<u8>> {
    let RTCStatsReportEntry::Certificate(certificate) = report.get(&report.transport()?.remote_certificate_id)? else {
        return None;
    };
    let digits = certificate.base64_certificate.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

/// As a fingerprint is written (RFC 8122, section 5).
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = b"certificate";

    fn line(hash: &str, value: &str) -> String {
        format!("{ATTRIBUTE}{hash} {value}\r\n")
    }

    fn own() -> [String; 3] {
        [
            line("sha-256", &hexadecimal(&Sha256::digest(CERTIFICATE))),
            line("SHA-384", &hexadecimal(&Sha384::digest(CERTIFICATE)).to_lowercase()),
            line("sha-512", &hexadecimal(&Sha512::digest(CERTIFICATE))),
        ]
    }

    fn matches(sdp: &str) -> bool {
        Fingerprints::of(sdp).0.iter().any(|fingerprint| fingerprint.is_of(CERTIFICATE))
    }

    #[test]
    fn one_line_of_any_hash_is_enough() {
        let other = line("sha-256", &hexadecimal(&Sha256::digest(b"another")));
        for own in own() {
            assert!(matches(&format!("v=0\r\n{other}{own}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n")), "{own}");
            assert!(matches(&format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{own}{other}")), "{own}");
        }
        assert!(!matches(&format!("v=0\r\n{other}")));
        assert!(!matches("v=0\r\n"));
    }

    #[test]
    fn a_hash_that_is_broken_or_unknown_does_not_count() {
        let [own, ..] = own();
        assert!(!matches(&own.replace("sha-256", "md5")));
        assert!(!matches(&own.replace("sha-256", "sha-512")));
    }

    #[test]
    fn a_sections_own_lines_take_the_place_of_the_sessions() {
        let other = line("sha-256", &hexadecimal(&Sha256::digest(b"another")));
        let [own, ..] = own();
        assert!(!matches(&format!("v=0\r\n{own}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{other}")));
        assert!(matches(&format!("v=0\r\n{other}m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nm=video 9 UDP 96\r\n{own}")));
    }

    #[test]
    fn the_stack_gets_the_first_of_lines_that_differ() {
        let session = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        let [first, second, third] = own();
        let differ = format!("{session}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{first}{second}{third}a=mid:0\r\n");
        let given = for_the_stack(RTCSessionDescription::offer(differ).unwrap()).unwrap();
        assert_eq!(given.sdp, format!("{session}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{first}a=mid:0\r\n"));
        let section = format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{first}");
        let alike = format!("{session}{section}{section}");
        assert_eq!(for_the_stack(RTCSessionDescription::answer(alike.clone()).unwrap()).unwrap().sdp, alike);
    }
}
