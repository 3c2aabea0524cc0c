//! STUN and ChannelData messages out of a stream of bytes (RFC 8656, section 12.5; RFC 8489, section 6.2.2).

use bytes::{Buf, Bytes, BytesMut};

use super::message::{HEADER_BYTES, MAGIC_COOKIE};

/// Cuts a stream into messages. Holds no more than the longest possible message and what was pushed last.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
}

/// The stream carries something else; where the next message begins is unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct FramingError;

impl Framer {
    /// Takes what was received. [`pull`](Self::pull) must be called until it has nothing left.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message without its padding, once it is complete.
    pub fn pull(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(&[high, low, length_high, length_low]) = self.buffer.first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let frame = match high >> 6 {
            0b00 => {
                let cookie = &self.buffer[4..self.buffer.len().min(8)];
                if length % 4 != 0 || !MAGIC_COOKIE.to_be_bytes().starts_with(cookie) {
                    return Err(FramingError);
                }
                HEADER_BYTES + length
            }
            0b01 if u16::from_be_bytes([high, low]) < 0x7FFF => 4 + length,
            _ => return Err(FramingError),
        };
        let padded = frame.next_multiple_of(4);
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let message = self.buffer.split_to(frame).freeze();
        self.buffer.advance(padded - frame);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::message::{Builder, Class, Method, TransactionId, channel_data};

    fn messages() -> Vec<Vec<u8>> {
        let request = Builder::new(Class::Request, Method::BINDING, TransactionId([7; 12])).finish();
        vec![request.clone(), channel_data(0x4000, b"hello", true).unwrap(), request]
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let stream = messages().concat();
        for size in 1..=stream.len() {
            let mut framer = Framer::default();
            let mut pulled = Vec::new();
            for piece in stream.chunks(size) {
                framer.push(piece);
                while let Some(message) = framer.pull().unwrap() {
                    pulled.push(message);
                }
            }
            assert_eq!(pulled.len(), 3, "in pieces of {size}");
            assert_eq!(&pulled[1][4..], b"hello");
            assert!(framer.buffer.is_empty());
        }
    }

    #[test]
    fn another_protocol_is_noticed_with_its_first_bytes() {
        for (bytes, fails) in [
            (&b"GET / HTTP/1.1\r\n"[..], false),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], true),
            (&[0x00, 0x01, 0x00, 0x00, 0x21, 0x12][..], false),
            (&[0x00, 0x01, 0x00, 0x03][..], true),
            (&[0xC0, 0, 0, 0][..], true),
            (&[0x80, 0, 0, 0][..], true),
        ] {
            let mut framer = Framer::default();
            framer.push(bytes);
            assert_eq!(framer.pull().is_err(), fails, "{bytes:?}");
        }
    }
}
