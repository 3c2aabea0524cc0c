//! The fast path of one connection: all that its loop has to call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rtc::interceptor::{Interceptor, Packet as Intercepted, Slot, TaggedPacket};

use super::batch::Batch;
use super::keys::KeyShelf;
use super::receive::{FastReceiver, Handled, Stream, Verifier};
use super::rtcp::{Compound, Feedback, Reporter, RtcpCounters};
use super::send::{FastSender, Source};
use super::srtp::Cipher;
use crate::media::Packet;
use crate::media::send::Produced;
use crate::peer::native::interceptor::{Watch, Watched};

/// What the other end has told by RTCP since it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct FeedbackShelf(Arc<Mutex<Feedback>>);

impl FeedbackShelf {
    /// Where among the interceptors of a connection [`interceptor`](Self::interceptor) belongs: furthest from the wire.
    pub const SLOT: Slot = Slot::Custom(usize::MAX - 1);

    /// The interceptor that puts things on the shelf: the only one about RTP and RTCP that a connection on the fast path
    /// has.
    pub fn interceptor(&self) -> impl Interceptor + 'static {
        Watched::new(FeedbackWatch(self.clone()))
    }

    fn take(&self) -> Feedback {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a connection on the fast path is made with, and what comes to lie there.
#[derive(Clone, Default)]
pub struct Shelves {
    /// For its cryptography.
    pub keys: KeyShelf,
    /// For its interceptors.
    pub told: FeedbackShelf,
}

struct FeedbackWatch(FeedbackShelf);

impl Watch for FeedbackWatch {
    fn incoming(&mut self, message: &TaggedPacket) {
        if let Intercepted::Rtcp(packets) = &message.message.packet {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).read(packets);
        }
    }
}

/// The media of one connection.
pub struct FastPath<V> {
    cipher: Cipher,
    senders: Vec<FastSender>,
    receiver: FastReceiver<V>,
    reporter: Reporter,
    told: FeedbackShelf,
    heard: Feedback,
    sending: bool,
}

impl<V: Verifier> FastPath<V> {
    /// The fast path of a connection, once its handshake is over; `None` before that, and if AEAD_AES_128_GCM was not
    /// negotiated. `wall` is the time on the wall now, `ssrc` a random number.
    pub fn open(shelves: &Shelves, now: Instant, wall: SystemTime, ssrc: u32) -> Option<Self> {
        let keys = shelves.keys.take()?;
        Some(Self {
            cipher: Cipher::new(&keys.local),
            senders: Vec::new(),
            receiver: FastReceiver::new(&keys.remote),
            reporter: Reporter::new(now, wall, ssrc),
            told: shelves.told.clone(),
            heard: Feedback::default(),
            sending: true,
        })
    }

    /// Sends this media from now on.
    pub fn send(&mut self, source: Source) {
        self.senders.push(FastSender::new(source));
    }

    /// Makes no more media. What was sent can still be sent again.
    pub fn stop(&mut self) {
        self.sending = false;
    }

    /// Takes over a stream of the other end: the core has said that its track is open.
    pub fn receive(&mut self, ssrc: u32, verifier: V) {
        self.receiver.add(ssrc, verifier);
    }

    /// Takes an SRTP datagram; see [`FastReceiver::handle`].
    pub fn handle(&mut self, datagram: &mut [u8], now: Instant) -> Handled {
        self.receiver.handle(datagram, now)
    }

    /// Takes a packet that came through the core; see [`FastReceiver::handle_opened`].
    pub fn handle_opened(&mut self, packet: &Packet, now: Instant) -> bool {
        self.receiver.handle_opened(packet, now)
    }

    /// When there is something to send next.
    pub fn poll_timeout(&self) -> Instant {
        let senders = if self.sending { &self.senders[..] } else { &[] };
        let asks_again = self.receiver.streams().iter().any(|stream| stream.verifier().asks_again());
        senders.iter().map(FastSender::next_due).fold(self.reporter.next_due(asks_again), Instant::min)
    }

    /// Adds the media that is due to the batch, and tells of each frame what it was made of.
    pub fn produce(&mut self, now: Instant, batch: &mut Batch, mut tell: impl FnMut(&FastSender, &Produced)) {
        for sender in self.senders.iter_mut().filter(|_| self.sending) {
            while let Some(produced) = sender.produce(now, &self.cipher, batch) {
                tell(sender, &produced);
            }
        }
    }

    /// Does what the other end has asked for: adds what it misses to the batch, and has key frames sent. To be called
    /// whenever the core has taken a datagram.
    pub fn listen(&mut self, now: Instant, batch: &mut Batch) {
        let told = self.told.take();
        self.reporter.heard(&told, now);
        for &(ssrc, number) in &told.missing {
            if let Some(sender) = self.senders.iter_mut().find(|sender| sender.stream().ssrc == ssrc) {
                sender.send_again(number, &self.cipher, batch);
            }
        }
        if told.plis + told.firs > 0 {
            self.senders.iter_mut().for_each(FastSender::request_key_frame);
        }
        self.heard.count(&told);
    }

    /// RTCP that is due, for the core to seal and send.
    pub fn poll_rtcp(&mut self, now: Instant) -> Vec<Compound> {
        self.reporter.poll(now, &self.senders, &mut self.receiver)
    }

    /// The streams that are sent.
    pub fn senders(&self) -> &[FastSender] {
        &self.senders
    }

    /// The streams that arrive.
    pub fn streams(&self) -> &[Stream<V>] {
        self.receiver.streams()
    }

    /// The streams that arrive.
    pub fn streams_mut(&mut self) -> &mut [Stream<V>] {
        self.receiver.streams_mut()
    }

    /// What the other end has asked for so far: only the counts.
    pub fn heard(&self) -> &Feedback {
        &self.heard
    }

    /// What was asked of the other end so far.
    pub fn asked(&self) -> RtcpCounters {
        self.reporter.counters()
    }
}
