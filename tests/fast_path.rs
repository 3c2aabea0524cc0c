//! The fast path of the dense engine understands the core, and is understood by it.
//!
//! These tests fail if the core begins to derive the SRTP keys in another way or in another order; see
//! `peer/native/dense/fast/keys.rs`.

mod fast_path_support;

use std::num::NonZeroU32;
use std::time::Instant;

use bytes::BytesMut;
use fast_path_support::{CorePair, PAYLOAD_TYPE};
use harness::media::fixture::VideoFixture;
use harness::media::receive::VideoReceiver;
use harness::media::send::{RtpStream, VideoSender};
use harness::peer::native::dense::fast::Batch;
use harness::peer::native::dense::fast::receive::{FastReceiver, Handled, is_srtp};
use harness::peer::native::dense::fast::send::{FastSender, Source};
use harness::peer::native::dense::fast::srtp::Cipher;
use harness::plan::VideoCodec;
use rtc::peer_connection::message::RTCMessage;
use rtc::sansio::Protocol;

const FRAMES: u64 = 90;

fn video(ssrc: u32, start: Instant) -> VideoSender {
    let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
    let stream = RtpStream { ssrc, payload_type: PAYLOAD_TYPE, seed: 1 };
    VideoSender::new(fixture, stream, NonZeroU32::new(30).unwrap(), start)
}

fn receiver() -> VideoReceiver {
    VideoReceiver::new(VideoCodec::Vp8, Some(VideoFixture::load(VideoCodec::Vp8, None).unwrap()))
}

#[test]
fn the_keys_seen_open_what_the_core_sealed_in_both_directions() {
    let mut pair = CorePair::connect();
    let (offered, answered) = (pair.offerer.shelves.keys.take().unwrap(), pair.answerer.shelves.keys.take().unwrap());
    let (there, back) = (pair.offerer.ssrc, pair.answerer.ssrc);
    let now = pair.now;
    let ways = [(&mut pair.offerer, &answered.remote, there), (&mut pair.answerer, &offered.remote, back)];
    for (from, key, ssrc) in ways {
        let mut sender = video(ssrc, now);
        let mut fast = FastReceiver::new(key);
        fast.add(ssrc, receiver());
        for _ in 0..FRAMES {
            for packet in sender.produce(sender.next_due()).unwrap().packets {
                from.core.rtp_sender(from.sender).unwrap().write_rtp(now, packet).unwrap();
            }
            for mut datagram in from.datagrams() {
                assert!(!is_srtp(&datagram) || fast.handle(&mut datagram, now) == Handled::Taken);
            }
        }
        let report = fast.streams()[0].verifier().report();
        assert_eq!((report.intact, report.lost), (FRAMES, 0));
    }
}

#[test]
fn the_core_opens_what_was_sealed_with_the_keys_seen() {
    let mut pair = CorePair::connect();
    let keys = pair.offerer.shelves.keys.take().unwrap();
    let cipher = Cipher::new(&keys.local);
    let mut sender = FastSender::new(Source::Video(video(pair.offerer.ssrc, pair.now)));
    let (mut batch, mut received) = (Batch::default(), receiver());
    for _ in 0..FRAMES {
        batch.clear();
        sender.produce(sender.next_due(), &cipher, &mut batch).unwrap();
        for packet in batch.runs().flat_map(|run| run.packets()) {
            pair.answerer.handle(BytesMut::from(packet), pair.offerer.address, pair.now);
        }
        pair.step();
        while let Some(message) = pair.answerer.core.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                received.handle(&packet, pair.now);
            }
        }
    }
    assert_eq!((received.report().intact, received.report().lost), (FRAMES, 0));
}
