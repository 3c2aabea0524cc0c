//! A host as a place for sockets: they are opened in its namespace, and used from anywhere.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::{HostHandle, LabError};
use crate::lab::place::{Datagrams, Listener, Place, Stream, from_std_listener, from_std_udp};

impl HostHandle {
    /// Drives a future on the host's thread, so that whatever it opens itself, rather than in tasks that it spawns, is in
    /// the host. Nothing else happens in the host meanwhile. Must be called within a tokio runtime, which it uses.
    ///
    /// # Errors
    ///
    /// When the lab has been stopped.
    pub async fn run<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let runtime = tokio::runtime::Handle::current();
        let (done, result) = oneshot::channel();
        self.begin(move || {
            // Nobody may be waiting any more.
            let _ = done.send(runtime.block_on(make()));
        })?;
        result.await.map_err(|_| LabError::NoHost(self.name().to_owned()))
    }

    async fn connected(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let open = move || if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        // Connecting takes time, and needs the namespace no more.
        let socket = self.enter(open)??;
        if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(to).await?;
        // What such streams carry is datagrams in a hurry.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Place for HostHandle {
    fn bind_udp(&self, local: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        from_std_udp(Self::bind_udp(self, local)?)
    }

    fn listen_tcp(&self, local: SocketAddr) -> io::Result<Box<dyn Listener>> {
        from_std_listener(Self::listen_tcp(self, local)?)
    }

    async fn connect_tcp(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        self.connected(from, to).await
    }
}

impl From<LabError> for io::Error {
    fn from(error: LabError) -> Self {
        match error {
            // What is done about it depends on its kind.
            LabError::System { source, .. } => source,
            error => Self::other(error),
        }
    }
}
