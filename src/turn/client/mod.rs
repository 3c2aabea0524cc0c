//! A TURN client over UDP, TCP and TLS (RFC 8656), which tells each step's time and each error's code.
//!
//! The prober uses all of it. Native peers have the stack's client, which knows UDP only; they use the stream of
//! `connection` under it.
//!
//! Not over `turn-client-proto`: its events hold no error code, no lifetime and no count of refusals, which are what a
//! prober is about.

mod allocation;
mod connection;
mod error;
mod exchange;
mod request;
mod tls;
mod url;

pub use allocation::{Allocation, Binding, Client};
pub(crate) use connection::{FrameReader, connect_stream};
pub use connection::{Steps, resolve};
pub use error::{ClientError, Refusal, TlsFault};
pub use tls::{Certificate, Shown, Trust};
pub use url::{IceUrl, Scheme, Transport, UrlError};
