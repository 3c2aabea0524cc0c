//! Signaling: protocol messages, the bundled HTTPS and secure WebSocket server, certificates, and the client.
//!
//! Knows nothing of media: descriptions and candidates pass through untouched.

/// Where a signaling server is, and whom to trust there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `wss://…/ws`.
    pub url: String,
    /// `https://…/` of the same server, where its page for browsers is.
    pub page_url: String,
    /// What native clients trust.
    pub tls: std::sync::Arc<rustls::ClientConfig>,
    /// SHA-256 of the server's leaf certificate (DER), for pins of Firefox; absent for a publicly trusted server.
    pub leaf_sha256: Option<[u8; 32]>,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo (DER), for pins of Chromium; absent for a publicly trusted server.
    pub spki_sha256: Option<[u8; 32]>,
}
