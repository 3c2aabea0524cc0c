use std::num::NonZeroU32;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::media::send::{RtpStream, VideoSender};

const CODECS: [VideoCodec; 2] = [VideoCodec::Vp8, VideoCodec::H264];

type Arrivals = Vec<(Packet, Instant)>;

/// The packets of the first `frames` frames at 30 frames/s, each arriving when it was due; and of how many each frame is.
fn sent(codec: VideoCodec, frames: usize, seed: u64) -> (Arrivals, Vec<usize>) {
    let fixture = VideoFixture::load(codec, None).unwrap();
    let stream = RtpStream { ssrc: 1, payload_type: 96, seed };
    let mut sender = VideoSender::new(fixture, stream, NonZeroU32::new(30).unwrap(), Instant::now());
    let (mut arrivals, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..frames {
        let due = sender.next_due();
        let packets = sender.produce(due).unwrap().packets;
        counts.push(packets.len());
        arrivals.extend(packets.into_iter().map(|packet| (packet, due)));
    }
    (arrivals, counts)
}

fn receiver(codec: VideoCodec) -> VideoReceiver {
    VideoReceiver::new(codec, Some(VideoFixture::load(codec, None).unwrap()))
}

fn received(mut receiver: VideoReceiver, arrivals: &Arrivals) -> VideoReport {
    for (packet, at) in arrivals {
        receiver.handle(packet, *at);
    }
    receiver.finish(arrivals.last().unwrap().1);
    receiver.report()
}

/// Where the packets of this frame start.
fn at(counts: &[usize], frame: usize) -> usize {
    counts[..frame].iter().sum()
}

fn flip(packet: &mut Packet, byte: usize) {
    let mut payload = packet.payload.to_vec();
    payload[byte] ^= 1;
    packet.payload = payload.into();
}

#[test]
fn a_whole_stream_is_intact_with_and_without_the_fixture() {
    for codec in CODECS {
        let (arrivals, _) = sent(codec, 200, 1);
        for receiver in [receiver(codec), VideoReceiver::new(codec, None)] {
            let first = arrivals[0].1;
            let report = received(receiver, &arrivals);
            assert_eq!((report.frames, report.intact, report.key_frames), (200, 200, 4), "{codec:?}");
            assert_eq!((report.width, report.height), (Some(640), Some(360)));
            assert_eq!((report.packets, report.lost, report.duplicates), (arrivals.len() as u64, 0, 0));
            assert!((report.rate.unwrap() - 30.0).abs() < 1e-6);
            assert!(report.jitter_ms.unwrap() < 0.02, "rounding of timestamps only");
            assert_eq!((report.freezes, report.key_frames_requested), (0, 0));
            assert!(first <= arrivals[1].1);
        }
    }
}

#[test]
fn what_stops_before_the_end_is_frozen_from_then_on_and_lacks_the_frames_of_that_time() {
    let (arrivals, _) = sent(VideoCodec::Vp8, 46, 1);
    let last = arrivals.last().unwrap().1;
    for (silence_ms, frozen_ms, missing) in [(33, 0, 0), (180, 0, 0), (190, 190, 5), (6500, 6500, 195)] {
        let mut receiver = receiver(VideoCodec::Vp8);
        arrivals.iter().for_each(|(packet, at)| receiver.handle(packet, *at));
        receiver.finish(last + Duration::from_millis(silence_ms));
        let report = receiver.report();
        assert_eq!(report.freeze_time, Duration::from_millis(frozen_ms), "after {silence_ms} ms");
        assert_eq!((report.intact, report.missing), (46, missing), "after {silence_ms} ms");
    }
}

#[test]
fn frames_that_cannot_be_decoded_are_no_silence() {
    let (mut arrivals, counts) = sent(VideoCodec::Vp8, 49, 1);
    let lost = at(&counts, 15);
    arrivals.remove(lost);
    let end = arrivals.last().unwrap().1;
    let mut receiver = receiver(VideoCodec::Vp8);
    arrivals.iter().for_each(|(packet, at)| receiver.handle(packet, *at));
    receiver.finish(end);
    let report = receiver.report();
    assert_eq!(report.missing, 0, "{report:?}");
    assert!(
        report.freeze_time > Duration::from_secs(1),
        "the picture stands still until the next key frame: {report:?}"
    );
}

#[test]
fn sequence_numbers_may_wrap() {
    let (mut arrivals, _) = sent(VideoCodec::Vp8, 100, 1);
    for (index, (packet, _)) in arrivals.iter_mut().enumerate() {
        packet.header.sequence_number = 65_400u16.wrapping_add(index as u16);
        packet.header.timestamp = packet.header.timestamp.wrapping_add(u32::MAX - 90_000);
    }
    let report = received(receiver(VideoCodec::Vp8), &arrivals);
    assert_eq!((report.intact, report.lost), (100, 0));
}

#[test]
fn a_flipped_bit_is_a_foreign_frame() {
    for codec in CODECS {
        let (mut arrivals, counts) = sent(codec, 60, 1);
        let last = arrivals[at(&counts, 31) - 1].0.payload.len() - 1;
        flip(&mut arrivals[at(&counts, 31) - 1].0, last);
        let report = received(receiver(codec), &arrivals);
        assert_eq!((report.intact, report.foreign, report.damaged), (59, 1, 0), "{codec:?}");
    }
}

#[test]
fn a_missing_packet_damages_one_frame_and_stops_the_picture_until_the_next_key_frame() {
    for codec in CODECS {
        for within in 0..3 {
            let (mut arrivals, counts) = sent(codec, 90, 1);
            arrivals.remove(at(&counts, 30) + within);
            let report = received(receiver(codec), &arrivals);
            assert_eq!((report.frames, report.intact, report.damaged), (90, 89, 1), "{codec:?}, packet {within}");
            assert_eq!((report.lost, report.freezes), (1, 1));
            // From frame 29 to frame 60, the key frame of the next loop.
            assert_eq!(report.freeze_time.as_millis(), 1033);
        }
    }
}

#[test]
fn a_missing_frame_is_lost_and_not_seen() {
    for codec in CODECS {
        let (mut arrivals, counts) = sent(codec, 60, 1);
        arrivals.drain(at(&counts, 30)..at(&counts, 31));
        let report = received(receiver(codec), &arrivals);
        assert_eq!((report.frames, report.intact, report.lost), (59, 59, counts[30] as u64), "{codec:?}");
    }
}

#[test]
fn swapped_frames_are_misplaced() {
    for codec in CODECS {
        let (mut arrivals, counts) = sent(codec, 60, 1);
        // The payloads of frames 30 and 31 in each other's place: as a server would do that mixes up frames.
        let span = at(&counts, 30)..at(&counts, 32);
        let numbers: Vec<_> = arrivals[span.clone()].iter().map(|(packet, _)| packet.header.sequence_number).collect();
        arrivals[span.clone()].rotate_left(counts[30]);
        for ((packet, _), number) in arrivals[span].iter_mut().zip(numbers) {
            packet.header.sequence_number = number;
        }
        let report = received(receiver(codec), &arrivals);
        assert_eq!((report.intact, report.misplaced, report.frames), (57, 3, 60), "31, then 30, then 32: {codec:?}");
    }
}

#[test]
fn a_repeated_frame_is_misplaced() {
    let (mut arrivals, counts) = sent(VideoCodec::H264, 60, 1);
    let again: Arrivals = arrivals[at(&counts, 30)..at(&counts, 31)].to_vec();
    arrivals.splice(at(&counts, 31)..at(&counts, 31), again);
    let first = arrivals[0].0.header.sequence_number;
    for (index, (packet, _)) in arrivals.iter_mut().enumerate() {
        packet.header.sequence_number = first.wrapping_add(index as u16);
        packet.header.timestamp += if index >= at(&counts, 31) { 3000 } else { 0 };
    }
    let report = received(receiver(VideoCodec::H264), &arrivals);
    assert_eq!((report.intact, report.misplaced, report.lost), (60, 1, 0));
}

#[test]
fn a_retransmitted_packet_repairs_its_frame_and_a_late_one_does_not() {
    for (delay_ms, intact, lost) in [(200, 60, 0), (700, 59, 0)] {
        let (mut arrivals, counts) = sent(VideoCodec::Vp8, 60, 1);
        let (packet, due) = arrivals.remove(at(&counts, 20));
        let late = due + Duration::from_millis(delay_ms);
        let place = arrivals.partition_point(|(_, at)| *at <= late);
        arrivals.insert(place, (packet, late));
        let report = received(receiver(VideoCodec::Vp8), &arrivals);
        assert_eq!((report.intact, report.lost), (intact, lost), "after {delay_ms} ms");
    }
}

#[test]
fn a_damaged_picture_asks_for_a_key_frame_and_an_answered_one_heals_it() {
    let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
    let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 9 };
    let mut sender = VideoSender::new(fixture, stream, NonZeroU32::new(30).unwrap(), Instant::now());
    let mut receiver = receiver(VideoCodec::Vp8);
    let mut asked = Vec::new();
    for frame in 0..90 {
        let due = sender.next_due();
        for packet in sender.produce(due).unwrap().packets.into_iter().skip(usize::from(frame == 10)) {
            receiver.handle(&packet, due);
        }
        if receiver.needs_key_frame(due) {
            asked.push(frame);
            sender.request_key_frame();
        }
    }
    // The gap is given up after 500 ms, which are 15 frames.
    assert_eq!(asked, [25]);
    let report = receiver.report();
    assert_eq!((report.intact, report.damaged, report.key_frames, report.misplaced), (89, 1, 3, 0));
    assert_eq!((report.freezes, report.freeze_time.as_millis()), (1, 566), "frame 9 to frame 26");
}

#[test]
fn a_receiver_that_joins_in_the_middle_counts_from_the_next_frame_and_asks_for_a_key_frame() {
    for codec in CODECS {
        let (arrivals, counts) = sent(codec, 60, 1);
        let mut receiver = receiver(codec);
        let mut asked = 0;
        for (packet, at) in &arrivals[at(&counts, 10) + 2..] {
            receiver.handle(packet, *at);
            asked += u64::from(receiver.needs_key_frame(*at));
        }
        receiver.finish(arrivals.last().unwrap().1);
        assert_eq!(receiver.first_frame(), None, "nothing can be decoded");
        let report = receiver.report();
        assert_eq!((report.frames, report.intact), (49, 49), "{codec:?}");
        assert!(asked >= 1 && asked == report.key_frames_requested);
    }
}

#[test]
fn padding_between_frames_changes_nothing() {
    let (arrivals, counts) = sent(VideoCodec::H264, 30, 1);
    let mut padded = Arrivals::new();
    for frame in 0..30 {
        padded.extend_from_slice(&arrivals[at(&counts, frame)..at(&counts, frame + 1)]);
        let mut probe = padded.last().unwrap().clone();
        probe.0.payload = bytes::Bytes::new();
        padded.push(probe);
    }
    for (index, (packet, _)) in padded.iter_mut().enumerate() {
        packet.header.sequence_number = index as u16;
    }
    let report = received(receiver(VideoCodec::H264), &padded);
    assert_eq!((report.frames, report.intact, report.lost), (30, 30, 0));
}

#[test]
fn a_restarted_sequence_loses_nothing() {
    let (mut arrivals, counts) = sent(VideoCodec::Vp8, 60, 1);
    for (packet, _) in &mut arrivals[at(&counts, 30)..] {
        packet.header.sequence_number = packet.header.sequence_number.wrapping_sub(20_000);
    }
    // The first packet after the jump is not believed until the second confirms it, so its frame is damaged.
    let report = received(receiver(VideoCodec::Vp8), &arrivals);
    assert_eq!((report.intact, report.lost), (59, 0));
}

#[test]
fn jitter_and_duplicates_are_counted() {
    let (arrivals, _) = sent(VideoCodec::Vp8, 120, 1);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut jittered: Arrivals = Vec::new();
    for (packet, at) in arrivals {
        let at = at + Duration::from_micros(random.random_range(0..10_000));
        jittered.extend([(packet.clone(), at), (packet, at)]);
    }
    let report = received(receiver(VideoCodec::Vp8), &jittered);
    assert_eq!((report.intact, report.duplicates), (120, report.packets));
    let jitter = report.jitter_ms.unwrap();
    assert!((1.0..6.0).contains(&jitter), "mean of |D| over 10 ms is 3.3 ms, got {jitter}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the network does within the limits of the receiver, every frame that arrived whole is intact, every other
    /// that was seen is damaged, and every loss is counted.
    #[test]
    fn verdicts_agree_with_what_the_network_did(
        h264 in any::<bool>(),
        seed in any::<u64>(),
        loss in 0.0..0.2f64,
        duplicate in 0.0..0.2f64,
        spread in 1usize..30,
    ) {
        let codec = if h264 { VideoCodec::H264 } else { VideoCodec::Vp8 };
        let (arrivals, counts) = sent(codec, 150, seed);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // The first and the last frame arrive, so that what is expected is known.
        let ends = counts[0]..arrivals.len() - counts[149];
        let lost: Vec<bool> =
            (0..arrivals.len()).map(|index| ends.contains(&index) && random.random_bool(loss)).collect();

        let mut network = Arrivals::new();
        for (index, arrival) in arrivals.iter().enumerate().filter(|(index, _)| !lost[*index]) {
            network.push(arrival.clone());
            if random.random_bool(duplicate) && index > 0 {
                network.push(arrival.clone());
            }
        }
        for chunk in network[1..].chunks_mut(spread) {
            let mut times: Vec<_> = chunk.iter().map(|(_, at)| *at).collect();
            chunk.shuffle(&mut random);
            times.sort();
            chunk.iter_mut().zip(times).for_each(|((_, at), time)| *at = time);
        }
        let report = received(receiver(codec), &network);

        let (mut whole, mut seen) = (0, 0);
        for frame in 0..150 {
            let span = at(&counts, frame)..at(&counts, frame + 1);
            whole += u64::from(span.clone().all(|index| !lost[index]));
            seen += u64::from(span.clone().any(|index| !lost[index]));
        }
        prop_assert_eq!(report.lost, lost.iter().filter(|lost| **lost).count() as u64);
        prop_assert_eq!(report.packets + report.duplicates, network.len() as u64);
        prop_assert_eq!((report.intact, report.damaged), (whole, seen - whole));
        prop_assert_eq!((report.foreign, report.misplaced), (0, 0));
    }

    #[test]
    fn no_packet_panics(
        h264 in any::<bool>(),
        packets in proptest::collection::vec(
            (any::<u16>(), 0u32..4, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..20), 0u64..900),
            0..80,
        ),
    ) {
        let codec = if h264 { VideoCodec::H264 } else { VideoCodec::Vp8 };
        let start = Instant::now();
        for mut receiver in [receiver(codec), VideoReceiver::new(codec, None)] {
            for (sequence_number, timestamp, marker, payload, after) in &packets {
                let header = rtc::rtp::header::Header {
                    version: 2,
                    sequence_number: *sequence_number % 64,
                    timestamp: *timestamp,
                    marker: *marker,
                    ..Default::default()
                };
                let now = start + Duration::from_millis(*after);
                receiver.handle(&Packet { header, payload: payload.clone().into() }, now);
                receiver.needs_key_frame(now);
            }
            receiver.finish(start + Duration::from_secs(1));
            let report = receiver.report();
            prop_assert!(report.intact <= report.frames && report.frames <= report.packets);
        }
    }
}
