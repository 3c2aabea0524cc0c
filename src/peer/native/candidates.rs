//! Which transport a local candidate belongs to: the stack does not say, and others ask (`upstream.rs` watches whether it
//! does by now).

use crate::signaling::protocol::IceCandidate;

/// The transport that all media sections share (RFC 9143), as the local description has it.
#[derive(Debug, Default)]
pub(super) struct LocalTransport {
    mid: Option<String>,
    username_fragment: Option<String>,
}

impl LocalTransport {
    pub(super) fn of(sdp: &str) -> Self {
        let first =
            |attribute: &str| Some(sdp.lines().find_map(|line| line.strip_prefix(attribute))?.trim().to_owned());
        Self { mid: first("a=mid:"), username_fragment: first("a=ice-ufrag:") }
    }

    /// The candidate with the section's identification tag and the user name fragment, as browsers tell it: who takes
    /// candidates without a description finds out by them what they are for (RFC 8840, section 4.2; RFC 9725, section 4.3).
    pub(super) fn complete(&self, candidate: IceCandidate) -> IceCandidate {
        let sdp_mid = candidate.sdp_mid.filter(|mid| !mid.is_empty()).or_else(|| self.mid.clone());
        let username_fragment = candidate.username_fragment.or_else(|| self.username_fragment.clone());
        IceCandidate { sdp_mid, username_fragment, ..candidate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_belongs_to_the_first_section() {
        let sdp = "v=0\r\na=group:BUNDLE v d\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=ice-ufrag:Qx3f\r\n\
                   m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=ice-ufrag:Qx3f\r\n";
        let known =
            IceCandidate { candidate: "candidate:1".into(), sdp_mid: Some(String::new()), ..Default::default() };
        let complete = LocalTransport::of(sdp).complete(known);
        assert_eq!(complete.candidate, "candidate:1");
        assert_eq!((complete.sdp_mid.as_deref(), complete.username_fragment.as_deref()), (Some("v"), Some("Qx3f")));
    }

    #[test]
    fn what_a_candidate_says_of_itself_counts() {
        let said =
            IceCandidate { sdp_mid: Some("d".into()), username_fragment: Some("new".into()), ..Default::default() };
        assert_eq!(LocalTransport::of("a=mid:v\r\na=ice-ufrag:old\r\n").complete(said.clone()), said);
    }
}
