//! The physical floor: the same packets, sealed, carried by the operating system, and opened.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use harness::media::send::{RtpStream, VideoSender};
use harness::peer::native::dense::fast::Batch;

use super::Contender;
use super::link::{DATAGRAMS, Link};

const HEADER: usize = 12;
const TAG: usize = 16;

pub(super) struct Floor {
    links: Vec<Link>,
    key: LessSafeKey,
    /// The payload lengths of each frame.
    frames: Vec<Vec<usize>>,
    next: usize,
    sealed: u64,
    batch: Batch,
    buffer: Vec<u8>,
}

impl Floor {
    pub(super) fn new(pairs: usize) -> Self {
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 1 };
        let rate = std::num::NonZeroU32::new(30).expect("not zero");
        let mut sender = VideoSender::new(super::fixture(), stream, rate, std::time::Instant::now());
        let frames = (0..super::fixture().frames().len()).map(|_| {
            let packets = sender.produce(sender.next_due()).expect("it is due").packets;
            packets.iter().map(|packet| packet.payload.len()).collect()
        });
        Self {
            links: (0..pairs).map(|_| Link::new()).collect(),
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 bytes")),
            frames: frames.collect(),
            next: 0,
            sealed: 0,
            batch: Batch::default(),
            buffer: vec![0; DATAGRAMS],
        }
    }
}

impl Contender for Floor {
    fn round(&mut self) -> u64 {
        let Self { links, key, frames, next, sealed, batch, buffer } = self;
        let frame = &frames[*next];
        *next = (*next + 1) % frames.len();
        let (first, mut packets) = (*sealed, 0);
        for link in &*links {
            batch.clear();
            for payload in frame {
                let packet = batch.packet(HEADER + payload + TAG);
                let (head, rest) = packet.split_at_mut(HEADER);
                let (payload, tag) = rest.split_at_mut(*payload);
                let made = key.seal_in_place_separate_tag(nonce(*sealed), Aad::from(head), payload).expect("sealed");
                tag.copy_from_slice(made.as_ref());
                *sealed += 1;
            }
            link.there(batch);
        }
        for link in &*links {
            link.to.receive(buffer, |datagram| {
                let (head, payload) = datagram.split_at_mut(HEADER);
                key.open_in_place(nonce(first + packets), Aad::from(head), payload).expect("nothing is lost");
                packets += 1;
            });
        }
        packets
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
