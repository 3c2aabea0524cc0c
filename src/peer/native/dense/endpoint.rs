//! One peer on its shard: the core, fed with what comes in and drained of what it makes of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{self, RTCCryptoProvider};
use rtc::peer_connection::configuration::RTCIceTransportPolicy;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::state::{RTCIceGatheringState, RTCPeerConnectionState};
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::sansio::Protocol;
use rtc::shared::TaggedBytesMut;
use rtc::shared::error::{Error, Result};

use super::super::connection::{Setup, Transports};
use super::super::events::Events;
use super::super::media::Media;
use super::super::observe::Observer;
use super::super::wire::{is_rtp, unwrapped};
use super::bypass::Bypassed;
use super::fast::Batch;
use super::fast::keys::KeyWatch;
use super::gather::{Gatherer, Server, host};
use super::port::{Port, Received, batch_limit};
use super::traffic::Traffic;
use super::turn::{Told, Turn, tagged};
use crate::turn::client::Scheme;

/// How often a socket is read before the shard's other peers get their turn.
const READS: usize = 16;

/// How often what the core makes is taken from it before the shard's other peers get their turn.
const ROUNDS: usize = 64;

/// How long to wait for room in a socket's buffer.
const BLOCKED: Duration = Duration::from_millis(1);

/// What the peers of a shard share, as one of them is attended to at a time.
pub(super) struct Scratch {
    read: Vec<u8>,
    batch: Vec<u8>,
    out: Vec<TaggedBytesMut>,
    /// Media that goes past the core.
    media: Batch,
}

impl Default for Scratch {
    fn default() -> Self {
        // As much as one read can give: a burst of datagrams that the kernel has coalesced (GRO).
        Self { read: vec![0; 1 << 16], batch: Vec::new(), out: Vec::new(), media: Batch::default() }
    }
}

/// A peer.
pub(super) struct Endpoint {
    core: RTCPeerConnection,
    crypto: Arc<dyn RTCCryptoProvider>,
    ports: Vec<Port>,
    observer: Observer,
    events: Events,
    traffic: Traffic,
    gatherer: Gatherer,
    turn: Turn,
    gathering: Gathering,
    connected: bool,
    /// What the last input can have led to.
    led_to: LedTo,
    /// The core's next timer, as of when it was last asked.
    core_due: Option<Instant>,
    /// There is more to do than the peer may do at a time.
    busy: bool,
    /// The addresses between which the core sends what is no connectivity check, and so media goes.
    route: Option<(SocketAddr, SocketAddr)>,
}

/// What input can lead to. The core is asked for no more, as each question goes through all of its layers.
#[derive(Clone, Copy, Default, Eq, Ord, PartialEq, PartialOrd)]
enum LedTo {
    /// Nothing of the core's: all media goes past it.
    Nothing,
    /// Packets for the receivers: nothing but media of known tracks came in.
    Media,
    /// Packets for the wire: nothing but media is sent.
    Packets,
    #[default]
    Anything,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Gathering {
    New,
    /// Not all servers have been asked.
    Asking,
    Asked,
    Complete,
}

impl Endpoint {
    /// A peer with these sockets, and its tracks and channels.
    pub(super) fn new(
        setup: Setup,
        ports: Vec<Port>,
        observer: Observer,
        media: Arc<Media>,
        events: Events,
    ) -> Result<Self> {
        let Setup { media_engine, registry, settings, configuration, bypass, .. } = setup;
        let crypto = crypto::default_provider().map_err(|error| Error::Crypto(error.to_string()))?;
        let crypto: Arc<dyn RTCCryptoProvider> = match &bypass {
            Some(shelves) => Arc::new(KeyWatch::new(crypto, shelves.keys.clone())),
            None => crypto,
        };
        let mut core = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(media_engine)
            .with_setting_engine(settings.with_crypto_provider(Arc::clone(&crypto)).build())
            .with_interceptor_registry(registry)
            .build(Instant::now())?;
        let traffic = Traffic::new(&mut core, media, bypass)?;
        Ok(Self {
            core,
            crypto,
            ports,
            observer,
            events,
            traffic,
            gatherer: Gatherer::default(),
            turn: Turn::default(),
            gathering: Gathering::New,
            connected: false,
            led_to: LedTo::default(),
            core_due: None,
            busy: false,
            route: None,
        })
    }

    /// What went past the core.
    pub(super) fn bypassed(&mut self) -> Option<Bypassed> {
        self.traffic.bypass().and_then(|bypass| bypass.bypassed())
    }

    /// The states of its transports.
    pub(super) fn transports(&mut self) -> Transports {
        let (sender, receiver) = (self.core.get_senders().next(), self.core.get_receivers().next());
        if let Some(sctp) = self.core.sctp() {
            return Transports { dtls: Some(sctp.transport().state()), sctp: Some(sctp.state()) };
        }
        // All run over one (BUNDLE).
        let sender = sender.and_then(|id| self.core.rtp_sender(id)?.transport().map(|dtls| dtls.state()));
        let dtls = sender.or_else(|| self.core.rtp_receiver(receiver?)?.transport().map(|dtls| dtls.state()));
        Transports { dtls, sctp: None }
    }

    /// The core, for whatever makes no packets of its own accord.
    pub(super) fn core(&mut self) -> &mut RTCPeerConnection {
        &mut self.core
    }

    /// Starts to send media.
    pub(super) fn start_media(&mut self, now: Instant) -> std::result::Result<(), String> {
        self.traffic.start(&mut self.core, now)
    }

    /// Begins to gather candidates: those of the sockets. The servers are asked as they become known.
    pub(super) fn gather(&mut self) {
        if self.gathering != Gathering::New {
            return;
        }
        self.gathering = Gathering::Asking;
        self.events.gathering(RTCIceGatheringState::Gathering);
        if self.core.get_configuration().ice_transport_policy() == RTCIceTransportPolicy::Relay {
            return;
        }
        for port in &self.ports {
            let added = host(port.local()).and_then(|candidate| self.core.add_local_candidate(candidate));
            if let Err(error) = added {
                tracing::debug!(%error, address = %port.local(), "a socket is no candidate");
            }
        }
    }

    /// Asks a server, from every socket of the same address family.
    pub(super) fn ask(&mut self, server: &Server, addresses: &[SocketAddr], now: Instant) {
        for port in &self.ports {
            let local = port.local();
            let Some(address) = addresses.iter().find(|address| address.is_ipv4() == local.is_ipv4()) else { continue };
            match server.scheme {
                Scheme::Turn => {
                    let crypto = Arc::clone(&self.crypto);
                    if let Err(error) = self.turn.allocate(server, local, *address, crypto, now) {
                        tracing::debug!(%error, server = server.told, "no relay is asked for");
                    }
                }
                Scheme::Stun => {
                    if self.core.get_configuration().ice_transport_policy() != RTCIceTransportPolicy::Relay {
                        self.gatherer.ask(local, *address, now);
                    }
                }
            }
        }
    }

    /// There are no more servers.
    pub(super) fn all_asked(&mut self) {
        if self.gathering == Gathering::Asking {
            self.gathering = Gathering::Asked;
        }
    }

    /// Reads the sockets. True if there may be more.
    pub(super) fn receive(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        let mut more = false;
        self.led_to = LedTo::Nothing;
        let mut buffer = std::mem::take(&mut scratch.read);
        for index in 0..self.ports.len() {
            let mut reads = 0;
            while let Some(received) = self.ports[index].receive(&mut buffer, &self.observer) {
                self.handle_received(index, &mut buffer, &received, scratch, now);
                reads += 1;
                if reads == READS {
                    more = true;
                    break;
                }
            }
        }
        scratch.read = buffer;
        more
    }

    fn handle_received(
        &mut self,
        port: usize,
        buffer: &mut [u8],
        received: &Received,
        scratch: &mut Scratch,
        now: Instant,
    ) {
        let local = self.ports[port].local();
        for datagram in buffer[..received.length].chunks_mut(received.stride) {
            if self.bypassed_packet(datagram, now) {
                continue;
            }
            let datagram = &*datagram;
            if is_rtp(datagram) && !self.observer.wire.is_connecting() {
                self.led_to = self.led_to.max(LedTo::Media);
                self.feed(tagged(local, received.source, datagram, now));
                continue;
            }
            self.led_to = LedTo::Anything;
            if !self.observer.may_be_heard(received.source, datagram) || self.observer.is_repeat(datagram) {
                continue;
            }
            self.observer.received(received.source, datagram, unwrapped(datagram));
            if self.turn.handle_read(received.source, local, datagram, now) {
                self.take_from_relays(now);
            } else if let Some(candidate) = self.gatherer.handle(datagram) {
                candidate.into_iter().for_each(|candidate| self.add_local(candidate));
            } else {
                self.feed(tagged(local, received.source, datagram, now));
            }
            // What follows in the same burst may need what this datagram leads to: media behind the last record of a
            // handshake needs its keys.
            if !self.connected {
                self.proceed(scratch, now);
            }
        }
    }

    /// Takes a media packet past the core. The first ones go through it: it tells which track has begun, and they are
    /// observed.
    fn bypassed_packet(&mut self, datagram: &mut [u8], now: Instant) -> bool {
        !self.observer.wire.is_connecting() && self.traffic.bypass().is_some_and(|bypass| bypass.handle(datagram, now))
    }

    fn feed(&mut self, message: TaggedBytesMut) {
        if let Err(error) = self.core.handle_read(message) {
            tracing::debug!(%error, "a datagram that the core does not take");
        }
    }

    fn add_local(&mut self, candidate: RTCIceCandidateInit) {
        if let Err(error) = self.core.add_local_candidate(candidate) {
            tracing::debug!(%error, "a candidate that the core does not take");
        }
    }

    fn take_from_relays(&mut self, now: Instant) {
        while let Some(told) = self.turn.poll_event(now) {
            match told {
                Told::Candidate(candidate) => self.add_local(candidate),
                // A stranger that is heard through an own relay first is one for the direct pairs as well.
                Told::Datagram(mut message) => {
                    if self.bypassed_packet(&mut message.message, now) {
                        continue;
                    }
                    let (source, datagram) = (message.transport.peer_addr, &message.message);
                    if self.observer.may_be_heard(source, datagram) && !self.observer.is_repeat(datagram) {
                        self.feed(message);
                    }
                }
            }
        }
    }

    /// Handles the timers that are due.
    pub(super) fn handle_timeout(&mut self, scratch: &mut Scratch, now: Instant) {
        let others = [self.core_due, self.turn.poll_timeout(), self.gatherer.poll_timeout()];
        let only_media = !self.busy && !others.into_iter().flatten().any(|due| due <= now);
        if only_media && !self.observer.wire.is_connecting() {
            let bypassed = self.traffic.bypass().is_some();
            self.led_to = if bypassed { LedTo::Nothing } else { LedTo::Packets };
        } else {
            self.turn.handle_timeout(now);
            self.take_from_relays(now);
            if self.core.poll_timeout().is_some_and(|due| due <= now) {
                self.handle_core_timeout(now);
            }
        }
        if self.traffic.handle_timeout(&mut self.core, now, &mut scratch.media) {
            self.led_to = LedTo::Anything;
        }
        if self.send_media(scratch, now) {
            self.led_to = self.led_to.max(LedTo::Packets);
        }
    }

    fn handle_core_timeout(&mut self, now: Instant) {
        if let Err(error) = self.core.handle_timeout(now) {
            tracing::debug!(%error, "a timer of the core");
        }
    }

    /// When to look after the peer again.
    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.busy {
            return Some(now);
        }
        let blocked = self.ports.iter().any(Port::is_blocked).then(|| now + BLOCKED);
        let timers = [
            self.core_due,
            self.turn.poll_timeout(),
            self.gatherer.poll_timeout(),
            self.traffic.poll_timeout(),
            blocked,
        ];
        timers.into_iter().flatten().min()
    }

    /// Does whatever input has led to, until the core has nothing more to say.
    pub(super) fn proceed(&mut self, scratch: &mut Scratch, now: Instant) {
        match std::mem::take(&mut self.led_to) {
            LedTo::Nothing => self.ports.iter_mut().for_each(Port::resend),
            LedTo::Media if !self.handle_media(now) => {}
            LedTo::Packets => self.flush(scratch, now),
            _ => {
                self.proceed_with_anything(scratch, now);
                self.core_due = self.core.poll_timeout();
                if let Some(bypass) = self.traffic.bypass() {
                    bypass.listen(now, &mut scratch.media);
                    if self.send_media(scratch, now) {
                        self.flush(scratch, now);
                    }
                }
            }
        }
    }

    /// Sends the media that goes past the core. True if relays have wrapped it, and it is still to be sent.
    fn send_media(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        let mut wrapped = false;
        if let Some((local, to)) = self.route {
            for run in scratch.media.runs() {
                if self.turn.has(local) {
                    run.packets().for_each(|packet| self.turn.handle_write(tagged(local, to, packet, now)));
                    wrapped = true;
                } else if let Some(port) = self.ports.iter_mut().find(|port| port.local() == local) {
                    for contents in run.contents.chunks(run.segment * port.segments().max(1)) {
                        port.send(to, contents, run.segment, &self.observer);
                    }
                }
            }
        }
        scratch.media.clear();
        wrapped
    }

    fn proceed_with_anything(&mut self, scratch: &mut Scratch, now: Instant) {
        self.busy = self.traffic.send_bulk(&mut self.core, now);
        for _ in 0..ROUNDS {
            if self.gathering == Gathering::Asked && self.gatherer.is_done() && self.turn.is_done() {
                self.gathering = Gathering::Complete;
                self.add_local(RTCIceCandidateInit::default());
            }
            let handled = self.handle_events(now) | self.handle_messages(now);
            // What the core begins of its own accord while it connects, as the first flight of DTLS, it gives away with its
            // timers only.
            if handled && self.observer.wire.is_connecting() {
                self.handle_core_timeout(now);
            }
            self.flush(scratch, now);
            if !handled {
                return;
            }
        }
        self.busy = true;
    }

    fn handle_events(&mut self, now: Instant) -> bool {
        let mut handled = false;
        while let Some(event) = self.core.poll_event() {
            handled = true;
            match event {
                RTCPeerConnectionEvent::OnIceCandidateEvent(event) => self.events.candidate(&event),
                RTCPeerConnectionEvent::OnSignalingStateChangeEvent(state) => self.events.signaling(state),
                RTCPeerConnectionEvent::OnIceGatheringStateChangeEvent(state) => self.events.gathering(state),
                RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => self.events.ice(state),
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => {
                    self.connected = state == RTCPeerConnectionState::Connected;
                    if self.connected {
                        self.traffic.connected(now);
                    }
                    self.events.connection(state);
                }
                RTCPeerConnectionEvent::OnDataChannel(event) => self.traffic.on_channel(&mut self.core, event),
                RTCPeerConnectionEvent::OnTrack(event) => self.traffic.on_track(&mut self.core, event),
                _ => {}
            }
        }
        handled
    }

    /// Hands media to its receivers. True if that leads to more.
    fn handle_media(&mut self, now: Instant) -> bool {
        let mut more = false;
        while let Some(message) = self.core.poll_media_read() {
            more |= self.handle_message(message, now);
        }
        more
    }

    fn handle_messages(&mut self, now: Instant) -> bool {
        self.handle_media(now);
        let mut handled = false;
        // The core holds back data while there is some that nobody has taken.
        while let Some(message) = self.core.poll_data_read() {
            handled = true;
            self.handle_message(message, now);
        }
        if handled && let Some(message) = self.core.poll_read() {
            self.handle_message(message, now);
        }
        handled
    }

    /// True if the message leads to more than what the peer makes of it itself.
    fn handle_message(&mut self, message: TaggedRTCMessage, now: Instant) -> bool {
        match message.message {
            RTCMessage::RtpPacket(track, packet) => self.traffic.on_rtp(&mut self.core, &track, &packet, now),
            RTCMessage::DataChannelMessage(id, message) => {
                self.traffic.on_message(&mut self.core, id, message, now);
                true
            }
            // RTCP is for the interceptors.
            _ => false,
        }
    }

    /// Sends what is to be sent, as few times as possible.
    fn flush(&mut self, scratch: &mut Scratch, now: Instant) {
        self.ports.iter_mut().for_each(Port::resend);
        let Scratch { out, batch, .. } = scratch;
        out.clear();
        while let Some(message) = self.core.poll_write() {
            if !is_stun(&message.message) {
                self.route = Some((message.transport.local_addr, message.transport.peer_addr));
            }
            if self.turn.has(message.transport.local_addr) {
                self.turn.handle_write(message);
            } else {
                out.push(message);
            }
        }
        while let Some(message) = self.turn.poll_write() {
            out.push(message);
        }
        while let Some((local, server, message)) = self.gatherer.poll_write(now) {
            out.push(tagged(local, server, &message, now));
        }
        let mut rest = &out[..];
        while let [first, ..] = rest {
            let (local, to) = (first.transport.local_addr, first.transport.peer_addr);
            let Some(port) = self.ports.iter_mut().find(|port| port.local() == local) else {
                rest = &rest[1..];
                continue;
            };
            let count = run(rest, port.segments());
            if let [only] = &rest[..count] {
                port.send(to, &only.message, only.message.len(), &self.observer);
            } else {
                batch.clear();
                rest[..count].iter().for_each(|message| batch.extend_from_slice(&message.message));
                port.send(to, batch, first.message.len(), &self.observer);
            }
            rest = &rest[count..];
        }
    }

    /// Says good-bye.
    pub(super) fn close(&mut self, scratch: &mut Scratch, now: Instant) {
        if let Err(error) = self.core.close() {
            tracing::debug!(%error, "closing the core");
        }
        self.flush(scratch, now);
        self.turn.close(now);
        self.flush(scratch, now);
    }

    /// The peer cannot go on.
    pub(super) fn broken(self) {
        self.events.connection(RTCPeerConnectionState::Failed);
    }
}

/// Whether a datagram is STUN (RFC 7983, section 7).
fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, ..])
}

/// How many of these datagrams one send can carry: to one address, of one length but for the last.
fn run(messages: &[TaggedBytesMut], segments: usize) -> usize {
    let [first, rest @ ..] = messages else { return 0 };
    let segment = first.message.len();
    let limit = batch_limit(segment, segments);
    let (mut count, mut total, mut last) = (1, segment, segment);
    for message in rest {
        let length = message.message.len();
        let fits = last == segment && length > 0 && length <= segment && total + length <= limit;
        if !fits || message.transport != first.transport {
            break;
        }
        (count, total, last) = (count + 1, total + length, length);
    }
    count.min(segments.max(1))
}
