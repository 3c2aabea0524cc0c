//! What a media stream costs the generator: CPU time per frame and per bulk message, on one core.

use std::num::NonZeroU32;
use std::time::Instant;

use harness::media::data::{BulkReceiver, BulkSender};
use harness::media::fixture::VideoFixture;
use harness::media::receive::VideoReceiver;
use harness::media::send::{RtpStream, VideoSender};
use harness::plan::VideoCodec;

const FRAMES: u32 = 6_000;
const MESSAGES: u64 = 100_000;
const MESSAGE_BYTES: usize = 16 * 1024;

fn main() {
    for codec in [VideoCodec::Vp8, VideoCodec::H264] {
        let fixture = VideoFixture::load(codec, None).expect("the built-in fixture");
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 1 };
        let rate = NonZeroU32::new(30).expect("not zero");
        let start = Instant::now();
        let mut sender = VideoSender::new(fixture.clone(), stream, rate, start);
        let mut packets = Vec::new();
        for _ in 0..FRAMES {
            let due = sender.next_due();
            let produced = sender.produce(due).expect("a frame is due");
            packets.extend(produced.packets.into_iter().map(|packet| (packet, due)));
        }
        let sent = start.elapsed() / FRAMES;

        let mut receiver = VideoReceiver::new(codec, Some(fixture));
        let start = Instant::now();
        for (packet, at) in &packets {
            receiver.handle(packet, *at);
        }
        let verified = start.elapsed() / FRAMES;
        assert_eq!(receiver.report().intact, u64::from(FRAMES));
        eprintln!("{}: make {sent:?} per frame, receive and verify {verified:?} per frame", codec.mime_type());
    }

    let (sender, mut receiver, start) = (BulkSender::new(MESSAGE_BYTES), BulkReceiver::new(), Instant::now());
    for index in 0..MESSAGES {
        receiver.handle(&sender.message(index), Instant::now());
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(receiver.report().messages, MESSAGES);
    let bits = (MESSAGES * MESSAGE_BYTES as u64 * 8) as f64;
    eprintln!("bulk, {MESSAGE_BYTES} bytes: make and verify at {:.1} Gbit/s", bits / seconds / 1e9);
}
