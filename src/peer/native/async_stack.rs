//! The async stack: a native peer's connection on `webrtc` 0.21.1, behind our own
//! [`Runtime`](webrtc::runtime::Runtime).

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use rtc::peer_connection::event::RTCPeerConnectionIceEvent;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::shared::error::{Error, Result};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceConnectionState, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, RTCSignalingState, StatsSelector,
};

use super::connection::{Connection, DATA_SEND_BUFFER, Setup, Statistics, Transports};
use super::events::Events;
use super::fingerprints::for_the_stack;
use super::first_media::FirstMedia;
use super::interceptor::Watched;
use super::media::Media;
use super::relays::Relays;
use super::runtime::HarnessRuntime;
use super::tracks::LocalTrack;
use super::{channels, tracks};

/// A connection, its tracks and its channels.
pub(super) struct AsyncConnection {
    connection: Arc<dyn PeerConnection>,
    tracks: Vec<LocalTrack>,
    media: Arc<Media>,
    started: AtomicBool,
}

impl AsyncConnection {
    /// Makes it, with its sockets, tracks and channels.
    pub(super) async fn new(
        setup: Setup,
        runtime: HarnessRuntime,
        relays: &Arc<Relays>,
        media: Arc<Media>,
        events: Events,
    ) -> Result<Self> {
        let handler = Arc::new(Handler { events, media: Arc::clone(&media) });
        let connection = connect(setup, runtime, relays, handler).await?;
        let tracks = tracks::add(&connection, &media).await?;
        channels::open(&connection, &media).await?;
        Ok(Self { connection, tracks, media, started: AtomicBool::new(false) })
    }

    async fn transports(&self) -> Result<Transports> {
        let sctp = self.connection.sctp().await;
        // All run over one (BUNDLE).
        let dtls = match (&sctp, self.connection.get_senders().await.first()) {
            (Some(sctp), _) => Some(sctp.transport()),
            (None, Some(sender)) => sender.transport().await?,
            (None, None) => match self.connection.get_receivers().await.first() {
                Some(receiver) => receiver.transport().await?,
                None => None,
            },
        };
        Ok(Transports {
            dtls: match dtls {
                Some(dtls) => Some(dtls.state().await?),
                None => None,
            },
            sctp: match sctp {
                Some(sctp) => Some(sctp.state().await?),
                None => None,
            },
        })
    }
}

/// A connection of the stack that listens where it is told to and reports to `handler`.
pub(super) async fn connect(
    setup: Setup,
    runtime: HarnessRuntime,
    relays: &Arc<Relays>,
    handler: Arc<dyn PeerConnectionEventHandler>,
) -> Result<Arc<dyn PeerConnection>> {
    let Setup { media_engine, registry, settings, configuration, addresses, bypass: _ } = setup;
    let registry = match relays.is_empty() {
        true => registry,
        false => registry.with(FirstMedia::SLOT, Watched::new(FirstMedia::new(Arc::clone(relays)))),
    };
    let connection = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media_engine)
        .with_setting_engine(settings.build())
        .with_interceptor_registry(registry)
        .with_runtime(Arc::new(runtime))
        .with_handler(handler)
        .with_udp_addrs(addresses.clone())
        .with_data_channel_send_buffer_limit(DATA_SEND_BUFFER)
        .build()
        .await
        .map_err(|error| with_cause(error, &addresses))?;
    Ok(Arc::new(connection))
}

/// The error with the reason why no socket can be opened, which the stack keeps to itself.
fn with_cause(error: Error, addresses: &[SocketAddr]) -> Error {
    let refused = addresses.iter().find_map(|address| UdpSocket::bind(address).err());
    // The addresses of a network namespace are none of this thread's.
    match refused.filter(|cause| cause.kind() != ErrorKind::AddrNotAvailable) {
        Some(cause) => Error::Other(format!("{error}: {cause}")),
        None => error,
    }
}

#[async_trait]
impl Connection for AsyncConnection {
    async fn create_offer(&self) -> Result<RTCSessionDescription> {
        self.connection.create_offer(None).await
    }

    async fn create_answer(&self) -> Result<RTCSessionDescription> {
        self.connection.create_answer(None).await
    }

    async fn set_local_description(&self, description: RTCSessionDescription) -> Result<()> {
        self.connection.set_local_description(description).await
    }

    async fn set_remote_description(&self, description: RTCSessionDescription) -> Result<()> {
        self.connection.set_remote_description(for_the_stack(description)?).await
    }

    async fn add_ice_candidate(&self, candidate: RTCIceCandidateInit) -> Result<()> {
        self.connection.add_ice_candidate(candidate).await
    }

    async fn stats(&self) -> Result<Statistics> {
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None).await;
        Ok(Statistics { report, bypassed: None, transports: self.transports().await? })
    }

    async fn start_media(&self) -> std::result::Result<(), String> {
        if self.started.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for track in &self.tracks {
            tracks::start(track, &self.media).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.connection.close().await
    }
}

/// Passes the stack's callbacks on. They run on its driver: nothing is awaited there.
pub(super) struct Handler {
    pub(super) events: Events,
    pub(super) media: Arc<Media>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        self.events.candidate(&event);
    }

    async fn on_signaling_state_change(&self, state: RTCSignalingState) {
        self.events.signaling(state);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.events.gathering(state);
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        self.events.ice(state);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.events.connection(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(channels::accept(channel, Arc::clone(&self.media)));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(tracks::accept(track, Arc::clone(&self.media)));
    }
}
