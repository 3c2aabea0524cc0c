//! What a media stream costs the generator: CPU time per frame and per bulk message, on one core.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use harness::media::data::{BulkReceiver, BulkSender};
use harness::media::fixture::VideoFixture;
use harness::media::receive::VideoReceiver;
use harness::media::send::{RtpStream, VideoSender};
use harness::plan::VideoCodec;

const FRAMES: u32 = 60_000;
const MESSAGES: u64 = 100_000;
const MESSAGE_BYTES: usize = 16 * 1024;

fn main() {
    for codec in [VideoCodec::Vp8, VideoCodec::H264] {
        let fixture = VideoFixture::load(codec, None).expect("the built-in fixture");
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 1 };
        let rate = NonZeroU32::new(30).expect("not zero");
        let start = Instant::now();
        let mut sender = VideoSender::new(fixture.clone(), stream, rate, start);
        for _ in 0..FRAMES {
            black_box(sender.produce(sender.next_due()));
        }
        let sent = start.elapsed();

        let mut sender = VideoSender::new(fixture.clone(), stream, rate, start);
        let mut receiver = VideoReceiver::new(codec, Some(fixture));
        let start = Instant::now();
        for _ in 0..FRAMES {
            let due = sender.next_due();
            for packet in sender.produce(due).into_iter().flat_map(|produced| produced.packets) {
                receiver.handle(&packet, due);
            }
        }
        let both = start.elapsed();
        assert_eq!(receiver.report().intact, u64::from(FRAMES));
        eprintln!(
            "{}: send {:?} per frame, receive and verify {:?} per frame",
            codec.mime_type(),
            sent / FRAMES,
            both.saturating_sub(sent) / FRAMES
        );
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
