//! How messages of a data connection are written, as PeerJS 1.5 writes them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most bytes of a message that no serialisation makes so large that PeerJS cuts it into pieces, or refuses it (16,300 bytes).
pub(crate) const LONGEST: u64 = 12_000;

/// A length of 16 bits follows, and so many bytes (BinaryPack).
const RAW_16: u8 = 0xda;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Serialization {
    /// As they are.
    #[default]
    Raw,
    /// As bytes in BinaryPack, the default of PeerJS.
    Binary,
    /// As Base64 in a text of JSON.
    Json,
}

impl Serialization {
    /// The word in an offer.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Binary => "binary",
            Self::Json => "json",
        }
    }

    /// A message as it is sent.
    pub(crate) fn pack(self, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => content.to_vec(),
            Self::Binary => {
                let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
                let length = length.to_be_bytes();
                [&[RAW_16], &length[..], content].concat()
            }
            Self::Json => format!("\"{}\"", BASE64_STANDARD.encode(content)).into_bytes(),
        }
    }

    /// The content of a message that came back; empty if it is not written so.
    pub(crate) fn unpack(self, message: &[u8]) -> Vec<u8> {
        let content = match self {
            Self::Raw => Some(message.to_vec()),
            Self::Binary => match message {
                [RAW_16, high, low, content @ ..] => {
                    (usize::from(u16::from_be_bytes([*high, *low])) == content.len()).then(|| content.to_vec())
                }
                _ => None,
            },
            Self::Json => {
                let text = serde_json::from_slice::<String>(message).ok();
                text.and_then(|text| BASE64_STANDARD.decode(text).ok())
            }
        };
        content.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_peerjs_packs() {
        // pack(new Uint8Array(20)) of peerjs-js-binarypack 2.1, and JSON.stringify of a text.
        assert_eq!(Serialization::Binary.pack(&[7; 20]), [&[0xda, 0, 20][..], &[7; 20]].concat());
        assert_eq!(Serialization::Json.pack(b"abc"), b"\"YWJj\"");
        assert_eq!(Serialization::Raw.pack(b"abc"), b"abc");
    }

    #[test]
    fn what_comes_back_is_read_and_nothing_else() {
        let content = [9; 300];
        for how in [Serialization::Raw, Serialization::Binary, Serialization::Json] {
            assert_eq!(how.unpack(&how.pack(&content)), content, "{how:?}");
        }
        for (how, junk) in [
            (Serialization::Binary, &b"\xda\x00\x05abc"[..]),
            (Serialization::Binary, b""),
            (Serialization::Json, b"abc"),
            (Serialization::Json, b"\"?\""),
        ] {
            assert!(how.unpack(junk).is_empty(), "{how:?}: {junk:?}");
        }
    }

    #[test]
    fn the_longest_message_fits_into_a_piece() {
        for how in [Serialization::Raw, Serialization::Binary, Serialization::Json] {
            assert!(how.pack(&vec![0; LONGEST as usize]).len() <= 16_300, "{how:?}");
        }
    }
}
