//! How a peer words what it says on the data channel whose messages come back to it. Sans-IO.

use bytes::BytesMut;

use super::janus::textroom::{Heard, LABEL, TextRoom};
use super::peerjs::serialization::Serialization;

/// How messages are written on the channel, and read.
#[derive(Debug)]
pub(crate) enum Wording {
    /// As they are.
    Plain,
    /// As PeerJS serialises them.
    Packed(Serialization),
    /// In the words of Janus's textroom.
    Room(Box<TextRoom>),
}

/// What goes over the channel.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) is_text: bool,
    pub(crate) content: BytesMut,
}

impl Said {
    fn text(text: &str) -> Self {
        Self { is_text: true, content: text.as_bytes().into() }
    }

    fn binary(content: &[u8]) -> Self {
        Self { is_text: false, content: content.into() }
    }
}

impl Wording {
    /// The label of the server's own channel. The peer opens it, whoever offers.
    pub(crate) fn channel_of_server(&self) -> Option<&'static str> {
        matches!(self, Self::Room(_)).then_some(LABEL)
    }

    /// Whether messages may be said; before, the server wants to hear something else.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Room(room) => room.is_joined(),
            Self::Plain | Self::Packed(_) => true,
        }
    }

    /// Whether the server wants to hear something now.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self, Self::Room(room) if room.has_more())
    }

    /// What the server wants to hear.
    pub(crate) fn poll(&mut self) -> Option<Said> {
        match self {
            Self::Room(room) => room.poll().as_deref().map(Said::text),
            Self::Plain | Self::Packed(_) => None,
        }
    }

    /// A message as it is written.
    pub(crate) fn say(&self, message: &[u8]) -> Said {
        match self {
            Self::Plain => Said::binary(message),
            Self::Packed(how) => Said::binary(&how.pack(message)),
            Self::Room(room) => Said::text(&room.message(message)),
        }
    }

    /// What has come, read.
    pub(crate) fn hear(&mut self, content: &[u8]) -> Heard {
        match self {
            Self::Plain => Heard::Own(content.to_vec()),
            Self::Packed(how) => Heard::Own(how.unpack(content)),
            Self::Room(room) => match room.handle(content) {
                Heard::Refused(why) => Heard::Refused(format!("the textroom: {why}")),
                heard => heard,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::Protocol;
    use crate::signaling::dialect::{Janus, PeerJs, Plugin};

    #[test]
    fn each_protocol_has_its_own_words() {
        let peerjs = Protocol::PeerJs(PeerJs { serialization: Serialization::Json, ..PeerJs::default() });
        let room = Protocol::Janus(Janus { plugin: Plugin::TextRoom, ..Janus::default() }.into());
        for (protocol, said, is_text) in
            [(Protocol::Harness, &b"\x01\x02"[..], false), (peerjs, b"\"AQI=\"", false), (room, b"AQI=", true)]
        {
            let mut wording = protocol.wording("r", "bot/0");
            let written = wording.say(b"\x01\x02");
            assert_eq!(written.is_text, is_text, "{protocol:?}");
            assert!(written.content.windows(said.len()).any(|part| part == said), "{protocol:?}: {written:?}");
            let is_server = wording.channel_of_server().is_some();
            assert_eq!((wording.has_more(), wording.is_ready(), is_server), (is_text, !is_text, is_text));
            assert_eq!(wording.poll().is_some(), is_text, "who is let in says who it is");
            if !is_text {
                assert_eq!(wording.hear(&written.content), Heard::Own(b"\x01\x02".to_vec()));
            }
        }
    }
}
