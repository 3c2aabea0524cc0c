//! Signaling: protocol messages, the bundled HTTPS and secure WebSocket server, certificates, and the client.
//!
//! Knows nothing of media: descriptions and candidates pass through untouched.

mod address;
mod certificate;
pub mod client;
pub mod dialect;
pub mod protocol;
mod redact;
pub mod server;
pub(crate) mod trust;

use std::path::Path;

pub(crate) use address::outward_address;
pub use certificate::{CertificateError, Identity, KeyPem, hex};
pub use client::{Client, ClientError};
pub use dialect::Protocol;
pub(crate) use redact::redacted;
pub use server::{Limits, Page, Server, ServerConfig, ServerError};

use dialect::Meeting;

/// Where a signaling server is, and whom to trust there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `wss://…/ws`; for a server that speaks another protocol than ours, the root of that.
    pub url: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where its clients in this process find each other, if it does not tell them.
    pub meeting: Meeting,
    /// `https://…/` of the same server, where its page for browsers is.
    pub page_url: String,
    /// What native clients trust.
    pub tls: std::sync::Arc<rustls::ClientConfig>,
    /// SHA-256 of the server's leaf certificate (DER), for pins of Firefox; absent for a publicly trusted server.
    pub leaf_sha256: Option<[u8; 32]>,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo (DER), for pins of Chromium; absent for a publicly trusted server.
    pub spki_sha256: Option<[u8; 32]>,
}

/// A certificate by its digests, for browsers to trust where it is served.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pin {
    /// The DNS name or address of the server, as it stands in URLs.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// SHA-256 of the certificate (DER), for Firefox.
    pub leaf_sha256: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo (DER), for Chromium.
    pub spki_sha256: [u8; 32],
}

impl Endpoint {
    /// The same server, spoken to in this protocol; its URL is that of the bundled server.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        let root = self.url.strip_suffix("/ws").unwrap_or(&self.url);
        Self { url: format!("{root}{}", protocol.bundled_path()), protocol, ..self }
    }

    /// A server that somebody else runs, at a `wss://` URL. Clients trust the CA in the PEM file `ca`, or without it
    /// what this machine trusts. Its certificate is not known before the first connection, so there are no pins.
    ///
    /// # Errors
    ///
    /// A `ca` that cannot be read or holds no certificate; a machine that trusts no CA. The URL is judged when a client
    /// connects.
    pub fn remote(url: &str, ca: Option<&Path>, protocol: Protocol) -> Result<Self, CertificateError> {
        let roots = match ca {
            Some(path) => trust::roots_of_file(path)?,
            None => trust::roots_of_system()?,
        };
        let authority = url.strip_prefix("wss://").unwrap_or(url).split(['/', '?']).next().unwrap_or_default();
        Ok(Self {
            url: url.to_owned(),
            protocol,
            meeting: Meeting::default(),
            page_url: format!("https://{authority}/"),
            tls: trust::client_config(roots)?,
            leaf_sha256: None,
            spki_sha256: None,
        })
    }
}
