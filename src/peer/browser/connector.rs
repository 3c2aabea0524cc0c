//! Connections to drivers, of which some listen in a network namespace only.

use std::io;
#[cfg(target_os = "linux")]
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::peer::network::PeerHost;

/// Connects to drivers as a host does.
#[derive(Clone)]
pub(super) struct Connector {
    host: PeerHost,
    http: HttpConnector,
}

impl Connector {
    /// From this host.
    pub(super) fn new(host: &PeerHost) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        Self { host: host.clone(), http }
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.http.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        #[cfg(target_os = "linux")]
        if let PeerHost::Namespace(host) = &self.host {
            let host = host.clone();
            return Box::pin(async move {
                // A driver in a namespace is always one that was started there, on its loopback interface.
                let port = uri.port_u16().ok_or(io::ErrorKind::InvalidInput)?;
                let stream = host.connect_tcp((Ipv4Addr::LOCALHOST, port).into()).await?;
                stream.set_nodelay(true)?;
                Ok(TokioIo::new(stream))
            });
        }
        let connecting = self.http.call(uri);
        Box::pin(async move { connecting.await.map_err(io::Error::other) })
    }
}
