//! The protocol of `docs/signaling.md`: what is said is what is sent.

use std::io;
use std::time::Instant;

use tokio_tungstenite::tungstenite::Message;

use super::{Dialect, Waiting};
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, PROTOCOL, ServerMessage};

#[derive(Debug, Default)]
pub(super) struct Own {
    waiting: Waiting,
    greeted: bool,
}

impl Dialect for Own {
    fn handle_frame(&mut self, frame: Message, _now: Instant) -> Result<(), ClientError> {
        match frame {
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(message) => self.hear(message),
                Err(error) => Err(ClientError::Protocol { detail: error.to_string(), quote: excerpt(&text) }),
            },
            Message::Binary(data) => {
                let detail = "messages are text frames".to_owned();
                Err(ClientError::Protocol { detail, quote: format!("{} bytes of binary", data.len()) })
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        self.waiting.text(serde_json::to_string(message).map_err(|error| ClientError::Io(io::Error::from(error)))?);
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }
}

impl Own {
    fn hear(&mut self, message: ServerMessage) -> Result<(), ClientError> {
        let is_greeting = matches!(message, ServerMessage::Welcome { protocol: PROTOCOL, .. });
        if !self.greeted && !is_greeting {
            return Err(ClientError::Protocol {
                detail: format!("the first message must be a welcome of protocol {PROTOCOL}"),
                quote: excerpt(&format!("{message:?}")),
            });
        }
        self.greeted = true;
        if message != ServerMessage::Unknown {
            self.waiting.messages.push_back(message);
        }
        Ok(())
    }
}
