//! What signaling peers say to each other: the words of real browsers, and messages that tell what became of them.

use crate::plan::Role;
use crate::signaling::protocol::IceCandidate;

/// The offer of Chromium for audio, video and a data channel, before candidates.
const OFFER: &str = include_str!("../../../fixtures/signaling/offer.sdp");
/// The answer to it.
const ANSWER: &str = include_str!("../../../fixtures/signaling/answer.sdp");
/// A host, a server-reflexive and a relayed candidate (RFC 8839, section 5.1), on addresses for documentation.
const CANDIDATES: [&str; 3] = [
    "candidate:1467250027 1 udp 2122260223 192.0.2.17 46243 typ host generation 0 ufrag rQQn network-id 1 network-cost 10",
    "candidate:842163049 1 udp 1677729535 198.51.100.7 46243 typ srflx raddr 192.0.2.17 rport 46243 generation 0 \
     ufrag rQQn network-id 1 network-cost 10",
    "candidate:3366847913 1 udp 41885439 203.0.113.30 61530 typ relay raddr 198.51.100.7 rport 46243 generation 0 \
     ufrag rQQn network-id 1 network-cost 10",
];

/// The description of this end of a call.
pub(super) fn description(role: Role) -> &'static str {
    match role {
        Role::Offerer => OFFER,
        Role::Answerer => ANSWER,
    }
}

/// The candidates of an end, in the order in which they are found.
pub(super) fn candidates() -> impl Iterator<Item = IceCandidate> {
    CANDIDATES.iter().map(|text| candidate(text, "rQQn".into()))
}

/// A message of a call that has been made: its number from 0, and when it was to leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Note {
    pub(super) number: u64,
    /// Microseconds on the run's clock.
    pub(super) due_us: u64,
}

impl Note {
    /// The message: a candidate as the protocol wants it, with the note where a server has nothing to look for.
    pub(super) fn write(self) -> IceCandidate {
        candidate(CANDIDATES[1], format!("{}.{}", self.number, self.due_us))
    }

    /// The note in a message, if nothing of the message has been altered.
    pub(super) fn read(message: &IceCandidate) -> Option<Self> {
        let (number, due_us) = message.username_fragment.as_deref()?.split_once('.')?;
        let note = Self { number: number.parse().ok()?, due_us: due_us.parse().ok()? };
        (note.write() == *message).then_some(note)
    }
}

fn candidate(text: &str, username_fragment: String) -> IceCandidate {
    IceCandidate {
        candidate: text.to_owned(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(username_fragment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_the_way_and_an_altered_one_does_not() {
        let note = Note { number: 7, due_us: 1_234_567 };
        assert_eq!(Note::read(&note.write()), Some(note));
        let mut altered = note.write();
        altered.candidate.push(' ');
        assert_eq!(Note::read(&altered), None);
        assert_eq!(Note::read(&candidates().next().unwrap()), None, "a candidate of the exchange is no note");
    }

    #[test]
    fn descriptions_are_those_of_a_browser() {
        for role in [Role::Offerer, Role::Answerer] {
            let text = description(role);
            assert!(text.starts_with("v=0\r\n") && text.len() > 4_000, "{role:?}: {} bytes", text.len());
        }
    }
}
