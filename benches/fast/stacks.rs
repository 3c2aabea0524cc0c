//! The fast path and the plain core, with a real connection of the core for each pair.

use std::num::NonZeroU32;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use harness::media::receive::VideoReceiver;
use harness::media::send::{RtpStream, VideoSender};
use harness::peer::native::dense::fast::Batch;
use harness::peer::native::dense::fast::path::FastPath;
use harness::peer::native::dense::fast::receive::{Handled, is_srtp};
use harness::peer::native::dense::fast::send::{FastSender, Source};
use harness::peer::native::dense::fast::srtp::{Cipher, ReceiveIndex, TAG};
use harness::plan::VideoCodec;
use rtc::peer_connection::message::RTCMessage;
use rtc::sansio::Protocol;

use super::Contender;
use super::fast_path_support::{CorePair, CorePeer, PAYLOAD_TYPE};
use super::link::{DATAGRAMS, Link};

fn video(ssrc: u32, start: Instant) -> VideoSender {
    let stream = RtpStream { ssrc, payload_type: PAYLOAD_TYPE, seed: 1 };
    VideoSender::new(super::fixture(), stream, NonZeroU32::new(30).expect("not zero"), start)
}

fn receiver() -> VideoReceiver {
    VideoReceiver::new(VideoCodec::Vp8, Some(super::fixture()))
}

/// What every loop around the core does once in a while: timers, events, and what it wants to send.
fn serve(peer: &mut CorePeer, now: Instant, batch: &mut Batch) {
    if peer.core.poll_timeout().is_some_and(|due| due <= now) {
        peer.core.handle_timeout(now).expect("time passes");
    }
    while peer.core.poll_event().is_some() {}
    while let Some(datagram) = peer.core.poll_write() {
        batch.packet(datagram.message.len()).copy_from_slice(&datagram.message);
    }
}

/// The core on a loop of its own, with offload.
pub(super) struct Core {
    pairs: Vec<CoreMedia>,
    batch: Batch,
    buffer: Vec<u8>,
}

struct CoreMedia {
    core: CorePair,
    link: Link,
    sender: VideoSender,
    receiver: VideoReceiver,
}

impl Core {
    pub(super) fn new(pairs: usize) -> Self {
        let pair = |_| {
            let core = CorePair::connect(true);
            let sender = video(core.offerer.ssrc, core.now);
            CoreMedia { core, link: Link::new(), sender, receiver: receiver() }
        };
        Self { pairs: (0..pairs).map(pair).collect(), batch: Batch::default(), buffer: vec![0; DATAGRAMS] }
    }
}

impl Contender for Core {
    fn round(&mut self) -> u64 {
        let Self { pairs, batch, buffer } = self;
        for CoreMedia { core, link, sender, .. } in &mut *pairs {
            batch.clear();
            core.now = sender.next_due();
            let (peer, now) = (&mut core.offerer, core.now);
            for packet in sender.produce(now).expect("it is due").packets {
                peer.core.rtp_sender(peer.sender).expect("it sends").write_rtp(now, packet).expect("it is sent");
            }
            serve(peer, now, batch);
            link.there(batch);
        }
        let mut packets = 0;
        for CoreMedia { core, link, sender, receiver } in &mut *pairs {
            batch.clear();
            let CorePair { offerer, answerer, now } = core;
            link.to.receive(buffer, |datagram| answerer.handle(BytesMut::from(&*datagram), offerer.address, *now));
            serve(answerer, *now, batch);
            while let Some(message) = answerer.core.poll_read() {
                if let RTCMessage::RtpPacket(_, packet) = message.message {
                    receiver.handle(&packet, *now);
                    packets += 1;
                }
            }
            link.back(batch);
            link.from.receive(buffer, |datagram| offerer.handle(BytesMut::from(&*datagram), answerer.address, *now));
            while offerer.core.poll_read().is_some() {}
            assert_eq!(receiver.report().intact, sender.counters().frames);
        }
        packets
    }
}

/// The fast path, beside a connection of the core that keeps ICE and RTCP going.
pub(super) struct Fast {
    pairs: Vec<FastMedia>,
    batch: Batch,
    buffer: Vec<u8>,
}

struct FastMedia {
    core: CorePair,
    link: Link,
    sending: FastEnd,
    receiving: FastEnd,
}

struct FastEnd {
    path: FastPath<VideoReceiver>,
    /// When the core has something to do, as it said when it was asked last.
    due: Instant,
}

impl FastEnd {
    fn new(peer: &CorePeer, now: Instant) -> Self {
        let path = FastPath::open(&peer.shelves, now, SystemTime::now(), peer.ssrc);
        Self { path: path.expect("the handshake is over"), due: now }
    }

    /// Sends what is due, and asks the core only if it may have something to say.
    fn attend(&mut self, peer: &mut CorePeer, now: Instant, stirred: bool, batch: &mut Batch) {
        self.path.produce(now, batch, |_, _| {});
        let compounds = self.path.poll_rtcp(now);
        if stirred || !compounds.is_empty() || self.due <= now {
            for compound in compounds {
                peer.core.rtp_sender(peer.sender).expect("it sends").write_rtcp(now, compound).expect("it is sent");
            }
            serve(peer, now, batch);
            while peer.core.poll_read().is_some() {}
            self.path.listen(now, batch);
            self.due = peer.core.poll_timeout().unwrap_or(now);
        }
    }
}

impl Fast {
    pub(super) fn new(pairs: usize) -> Self {
        let pair = |_| {
            let core = CorePair::connect(false);
            let (mut sending, mut receiving) =
                (FastEnd::new(&core.offerer, core.now), FastEnd::new(&core.answerer, core.now));
            sending.path.send(Source::Video(video(core.offerer.ssrc, core.now)));
            receiving.path.receive(core.offerer.ssrc, receiver());
            FastMedia { core, link: Link::new(), sending, receiving }
        };
        Self { pairs: (0..pairs).map(pair).collect(), batch: Batch::default(), buffer: vec![0; DATAGRAMS] }
    }
}

impl Contender for Fast {
    fn round(&mut self) -> u64 {
        let Self { pairs, batch, buffer } = self;
        for FastMedia { core, link, sending, .. } in &mut *pairs {
            batch.clear();
            core.now = sending.path.senders()[0].next_due();
            sending.attend(&mut core.offerer, core.now, false, batch);
            link.there(batch);
        }
        let mut packets = 0;
        for FastMedia { core, link, sending, receiving } in &mut *pairs {
            batch.clear();
            let CorePair { offerer, answerer, now } = core;
            let mut stirred = false;
            link.to.receive(buffer, |datagram| {
                if is_srtp(datagram) && receiving.path.handle(datagram, *now) == Handled::Taken {
                    packets += 1;
                } else {
                    answerer.handle(BytesMut::from(&*datagram), offerer.address, *now);
                    stirred = true;
                }
            });
            receiving.attend(answerer, *now, stirred, batch);
            link.back(batch);
            if !batch.is_empty() {
                link.from.receive(buffer, |datagram| {
                    offerer.handle(BytesMut::from(&*datagram), answerer.address, *now);
                });
                batch.clear();
                sending.attend(offerer, *now, true, batch);
                link.there(batch);
            }
            let intact = receiving.path.streams()[0].verifier().report().intact;
            assert_eq!(intact, sending.path.senders()[0].made().frames);
        }
        packets
    }
}

/// What the parts of the fast path take, without the operating system.
pub(super) fn parts() {
    let core = CorePair::connect(false);
    let keys = core.offerer.shelves.keys.take().expect("the handshake is over");
    let theirs = core.answerer.shelves.keys.take().expect("the handshake is over");
    let (seal, open) = (Cipher::new(&keys.local), Cipher::new(&theirs.remote));
    let (mut indices, mut number) = (ReceiveIndex::default(), 0);
    let mut packet = [0x80; 12 + 1200 + TAG];
    super::time("seal and open a packet of 1,200 bytes", || {
        number += 1;
        seal.seal(1, number, 12, &mut packet);
        indices.open(&open, 1, number as u16, 12, &mut packet).expect("it opens");
        1
    });

    let mut sender = FastSender::new(Source::Video(video(1, core.now)));
    let mut batch = Batch::default();
    super::time("make and seal, per packet", || {
        batch.clear();
        let before = sender.counters().packets;
        sender.produce(sender.next_due(), &seal, &mut batch);
        sender.counters().packets - before
    });

    let (mut slow, mut verify) = (video(1, core.now), receiver());
    let mut packets = Vec::new();
    for _ in 0..600 {
        let due = slow.next_due();
        packets.extend(slow.produce(due).expect("it is due").packets.into_iter().map(|packet| (packet, due)));
    }
    super::time("count and verify, per packet", || {
        verify = receiver();
        packets.iter().for_each(|(packet, at)| verify.handle(packet, *at));
        packets.len() as u64
    });
    assert_eq!(verify.report().intact, 600);
}
