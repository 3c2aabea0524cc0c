//! What is sent can be read by another implementation of the RTP payload formats, and what that one sends can be verified.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::media::Packet;
use harness::media::fixture::VideoFixture;
use harness::media::receive::VideoReceiver;
use harness::media::send::{RtpStream, VideoSender};
use harness::plan::VideoCodec;
use rtc::rtp::codec::h264::{H264Packet, H264Payloader};
use rtc::rtp::codec::vp8::{Vp8Packet, Vp8Payloader};
use rtc::rtp::header::Header;
use rtc::rtp::packetizer::{Depacketizer, Payloader};

const CODECS: [VideoCodec; 2] = [VideoCodec::Vp8, VideoCodec::H264];

#[test]
fn frames_survive_a_foreign_depacketizer() {
    for codec in CODECS {
        let fixture = VideoFixture::load(codec, None).unwrap();
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 3 };
        let mut sender = VideoSender::new(fixture.clone(), stream, NonZeroU32::new(30).unwrap(), Instant::now());
        for frame in fixture.frames() {
            let mut depacketizer: Box<dyn Depacketizer> = match codec {
                VideoCodec::Vp8 => Box::new(Vp8Packet::default()),
                VideoCodec::H264 => Box::new(H264Packet::default()),
            };
            let packets = sender.produce(sender.next_due()).unwrap().packets;
            assert!(depacketizer.is_partition_head(&packets[0].payload));
            let parts = packets.iter().map(|packet| depacketizer.depacketize(&packet.payload).unwrap());
            assert!(parts.flatten().eq(frame.data.iter().copied()), "{codec:?}");
        }
    }
}

#[test]
fn frames_of_a_foreign_packetizer_are_intact() {
    for codec in CODECS {
        let fixture = VideoFixture::load(codec, None).unwrap();
        let mut payloader: Box<dyn Payloader> = match codec {
            VideoCodec::Vp8 => Box::new(Vp8Payloader::default()),
            VideoCodec::H264 => Box::new(H264Payloader::default()),
        };
        let mut receiver = VideoReceiver::new(codec, Some(fixture.clone()));
        let (mut sequence_number, mut now) = (65_500u16, Instant::now());
        for index in 0..180u32 {
            let frame = &fixture.frames()[index as usize % fixture.frames().len()].data;
            let payloads = payloader.payload(1000, frame).unwrap();
            let last = payloads.len() - 1;
            for (part, payload) in payloads.into_iter().enumerate() {
                receiver.handle(&packet(sequence_number, index * 3000, part == last, payload), now);
                sequence_number = sequence_number.wrapping_add(1);
            }
            now += Duration::from_micros(33_333);
        }
        let report = receiver.report();
        assert_eq!((report.frames, report.intact, report.lost), (180, 180, 0), "{codec:?}");
    }
}

fn packet(sequence_number: u16, timestamp: u32, marker: bool, payload: Bytes) -> Packet {
    let header = Header { version: 2, sequence_number, timestamp, marker, payload_type: 96, ..Header::default() };
    Packet { header, payload }
}
