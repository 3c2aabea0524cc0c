//! The dense stack: the `rtc` core of many peers on a few threads of our own, one for each CPU core.
//!
//! A peer lives on one `shard`, which owns its sockets, timers, media and channels as an `endpoint`; what the async
//! side of the peer wants of it goes there as a closure, and the answer comes back over a oneshot channel. Input is
//! followed by whatever it leads to at once, so that no phase waits for a timer that it does not need.
//!
//! | file | what is there |
//! |---|---|
//! | `shard` | the loop: sockets, timers, commands |
//! | `endpoint` | one peer: the core, fed and drained |
//! | `port` | a UDP socket of the kernel's or of a modelled network |
//! | `gather`, `turn` | what the core leaves to its user: candidates, and relays |
//! | `traffic` | tracks and channels |
//! | `bypass`, `fast` | media packets between native peers, past the core |

mod bypass;
mod endpoint;
pub mod fast;
mod gather;
mod port;
mod shard;
mod traffic;
mod turn;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCIceCandidateInit, RTCIceServer};
use rtc::shared::error::{Error, Result};
use rtc::statistics::StatsSelector;

pub(super) use self::bypass::Bypassed;
use self::endpoint::Endpoint;
use self::gather::Server;
use self::port::Port;
use self::shard::Seat;
pub use self::shard::Shards;
use super::connection::{Connection, Setup, Statistics};
use super::events::Events;
use super::fingerprints::for_the_stack;
use super::media::Media;
use super::observe::Observer;
use super::relays::Relays;
use crate::peer::network::PeerHost;

/// The async side of a peer's connection on a shard.
pub(super) struct DenseConnection {
    seat: Seat,
    relays: Arc<Relays>,
}

impl DenseConnection {
    /// Makes it, with its sockets, tracks and channels.
    pub(super) async fn new(
        shards: &Shards,
        setup: Setup,
        host: &PeerHost,
        observer: Observer,
        media: Arc<Media>,
        events: Events,
    ) -> Result<Self> {
        let relays = Arc::clone(&observer.relays);
        let seat = shards.seat().map_err(|error| Error::Other(error.to_string()))?;
        let mut ports = Vec::new();
        let mut last = io::Error::other("the host has no address");
        for address in &setup.addresses {
            // One that is gone again since the interfaces were listed is no loss as long as there is another.
            match Port::bind(host, *address, &seat, &relays) {
                Ok(port) => ports.push(port),
                Err(error) => last = error,
            }
        }
        if ports.is_empty() {
            return Err(Error::Other(format!("no UDP socket: {last}")));
        }
        seat.take(Endpoint::new(setup, ports, observer, media, events)?);
        Ok(Self { seat, relays })
    }

    /// Does something with the peer on its shard.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Endpoint, Instant) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.seat.with(work).await.unwrap_or(Err(Error::ErrConnectionClosed))
    }
}

#[async_trait]
impl Connection for DenseConnection {
    async fn create_offer(&self) -> Result<RTCSessionDescription> {
        self.with(|peer, _| peer.core().create_offer(None)).await
    }

    async fn create_answer(&self) -> Result<RTCSessionDescription> {
        self.with(|peer, _| peer.core().create_answer(None)).await
    }

    async fn set_local_description(&self, description: RTCSessionDescription) -> Result<()> {
        self.with(move |peer, now| {
            peer.core().set_local_description(now, description)?;
            peer.gather();
            Ok(())
        })
        .await?;
        let (seat, relays) = (self.seat.clone(), Arc::clone(&self.relays));
        tokio::spawn(async move { resolve(&seat, &relays).await });
        Ok(())
    }

    async fn set_remote_description(&self, description: RTCSessionDescription) -> Result<()> {
        let description = for_the_stack(description)?;
        self.with(move |peer, now| peer.core().set_remote_description(now, description)).await
    }

    async fn add_ice_candidate(&self, candidate: RTCIceCandidateInit) -> Result<()> {
        self.with(move |peer, _| peer.core().add_remote_candidate(candidate)).await
    }

    async fn stats(&self) -> Result<Statistics> {
        self.with(|peer, now| {
            let report = peer.core().get_stats(now, StatsSelector::None);
            Ok(Statistics { report, bypassed: peer.bypassed(), transports: peer.transports() })
        })
        .await
    }

    async fn start_media(&self) -> std::result::Result<(), String> {
        let started = self.seat.with(|peer, now| peer.start_media(now)).await;
        started.unwrap_or_else(|| Err(Error::ErrConnectionClosed.to_string()))
    }

    async fn close(&self) -> Result<()> {
        self.seat.leave().await;
        Ok(())
    }
}

impl Drop for DenseConnection {
    fn drop(&mut self) {
        self.seat.abandon();
    }
}

/// Resolves the names of the peer's servers, and has each asked as soon as it is known where it is.
async fn resolve(seat: &Seat, relays: &Relays) {
    for RTCIceServer { urls, username, credential } in relays.servers() {
        for url in urls {
            let Ok(server) = Server::new(&url, &username, &credential) else { continue };
            let lookup = async |host: String| Ok(tokio::net::lookup_host(host).await?.collect());
            match relays.resolve(&server.host_and_port(), lookup).await {
                Ok(addresses) => seat.tell(move |peer, now| peer.ask(&server, &addresses, now)),
                Err(error) => tracing::debug!(%error, url, "resolving a server"),
            }
        }
    }
    seat.tell(|peer, _| peer.all_asked());
}
