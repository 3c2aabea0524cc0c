//! Where a URL leads, and the TCP connection there.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;

use super::ClientError;

/// Where a URL leads.
pub(super) struct Target {
    pub(super) host: String,
    port: u16,
    pub(super) name: ServerName<'static>,
    /// Whether it is spoken to over TLS.
    pub(super) is_secure: bool,
    /// Host and port, as they stand in the URL.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

impl Target {
    /// Of a secure WebSocket.
    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        Self::of(url, &[("wss", 443)])
    }

    /// Of a resource, secure or not.
    pub(super) fn of_http(url: &str) -> Result<Self, ClientError> {
        Self::of(url, &[("https", 443), ("http", 80)])
    }

    fn of(url: &str, schemes: &[(&str, u16)]) -> Result<Self, ClientError> {
        let fault = |detail: &str| ClientError::from_url(url, detail);
        let uri: Uri = url.parse().map_err(|error| fault(&format!("{error}")))?;
        let scheme = schemes.iter().find(|(scheme, _)| uri.scheme_str() == Some(scheme));
        let names: Vec<_> = schemes.iter().map(|(scheme, _)| *scheme).collect();
        let (scheme, port) = scheme.ok_or_else(|| fault(&format!("its scheme is not {}", names.join(" or "))))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| fault("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host.clone()).map_err(|_| fault("its host is neither a name nor an address"))?;
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(*port),
            name,
            is_secure: *scheme != "http",
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            path: uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
        })
    }

    /// Why there is no WebSocket; some servers (Engine.IO's) answer at a path that is not theirs by closing the connection.
    pub(super) fn not_upgraded(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Closed { code: None, reason } if reason.is_empty() => {
                let path = self.path.split('?').next().unwrap_or_default();
                ClientError::Closed { code: None, reason: format!("during the upgrade at {path}: is that its path?") }
            }
            error => error,
        }
    }

    /// Tries the host's addresses in turn; the error is that of the last one.
    pub(super) async fn connect(&self) -> Result<TcpStream, ClientError> {
        let mut last = None;
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let at = |error| ClientError::from_tcp(address.to_string(), error);
                    stream.set_nodelay(true).map_err(at)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(ClientError::from_tcp(address.to_string(), error)),
            }
        }
        let nothing = || io::Error::other("the resolver gives no address");
        Err(last.unwrap_or_else(|| ClientError::Dns { host: self.host.clone(), source: nothing() }))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        // Without the blocking pool of the resolver for the common case of a run on this machine.
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(source) => Err(ClientError::Dns { host: self.host.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_and_port() {
        let target = Target::parse("wss://[::1]:8443/ws").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        let target = Target::parse("wss://example.com/ws").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.com", 443));
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("ws://example.com/ws", "scheme"),
            ("https://example.com/ws", "scheme"),
            ("wss:///ws", ""),
            ("example.com", "scheme"),
            ("wss://exa mple/ws", ""),
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(error.contains(reason) && error.contains(url), "{error}");
        }
    }
}
