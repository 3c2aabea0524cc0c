use std::num::NonZeroU32;

use rtc::rtcp;

use super::super::batch::Batch;
use super::super::keys::SessionKey;
use super::super::send::Source;
use super::super::srtp::Cipher;
use super::*;
use crate::media::fixture::VideoFixture;
use crate::media::receive::VideoReceiver;
use crate::media::send::{RtpStream, VideoSender};
use crate::plan::VideoCodec;

const MEDIA: u32 = 9;

/// A sender and a receiver on one clock, with a network between them that loses what it is told to.
struct Pair {
    cipher: Cipher,
    senders: [FastSender; 1],
    receiver: FastReceiver<VideoReceiver>,
    sending: Reporter,
    receiving: Reporter,
    start: Instant,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let start = Instant::now();
        let provider = rtc::crypto::default_provider().unwrap();
        let session = SessionKey::derive(provider.crypto(), &[1; 16], &[2; 12]).unwrap();
        let fixture = VideoFixture::load(VideoCodec::Vp8, None).unwrap();
        let stream = RtpStream { ssrc: MEDIA, payload_type: 96, seed: 3 };
        let video = VideoSender::new(fixture.clone(), stream, NonZeroU32::new(30).unwrap(), start);
        let mut receiver = FastReceiver::new(&session);
        receiver.add(MEDIA, VideoReceiver::new(VideoCodec::Vp8, Some(fixture)));
        let wall = UNIX_EPOCH + Duration::from_secs(1_000_000);
        Self {
            cipher: Cipher::new(&session),
            senders: [FastSender::new(Source::Video(video))],
            receiver,
            sending: Reporter::new(start, wall, 1),
            receiving: Reporter::new(start, wall, 2),
            start,
            now: start,
        }
    }

    /// Sends the next frame without the packets of these places in it.
    fn frame(&mut self, lost: &[usize]) {
        self.now = self.senders[0].next_due();
        let mut batch = Batch::default();
        self.senders[0].produce(self.now, &self.cipher, &mut batch).unwrap();
        self.deliver(&batch, lost);
    }

    fn deliver(&mut self, batch: &Batch, lost: &[usize]) {
        let packets: Vec<Vec<u8>> = batch.runs().flat_map(|run| run.packets().map(<[u8]>::to_vec)).collect();
        for (_, mut packet) in packets.into_iter().enumerate().filter(|(index, _)| !lost.contains(index)) {
            self.receiver.handle(&mut packet, self.now);
        }
    }

    /// RTCP from the receiver to the sender, over the wire.
    fn answer(&mut self) -> Feedback {
        carried(self.receiving.poll(self.now, &[], &mut self.receiver))
    }
}

fn carried(compounds: Vec<Vec<Box<dyn Packet>>>) -> Feedback {
    let mut feedback = Feedback::default();
    for compound in compounds {
        let mut wire = rtcp::packet::marshal(&compound).unwrap();
        feedback.read(&rtcp::packet::unmarshal(&mut wire).unwrap());
    }
    feedback
}

#[test]
fn what_is_lost_is_asked_for_sent_again_and_intact() {
    let mut pair = Pair::new();
    pair.frame(&[]);
    pair.frame(&[0, 2]);
    for _ in 0..4 {
        pair.frame(&[]);
    }
    let feedback = pair.answer();
    assert_eq!((feedback.missing.len(), feedback.nacks), (2, 1));
    let mut batch = Batch::default();
    for (ssrc, number) in feedback.missing {
        assert_eq!(ssrc, MEDIA);
        assert!(pair.senders[0].send_again(number, &pair.cipher, &mut batch));
    }
    pair.deliver(&batch, &[]);
    pair.now += REQUESTS;
    assert_eq!(pair.answer().missing, []);
    let report = pair.receiver.streams()[0].verifier().report();
    assert_eq!((report.intact, report.damaged, report.lost), (6, 0, 0));
}

#[test]
fn the_sender_report_says_what_was_sent_and_the_receiver_report_what_arrived() {
    let mut pair = Pair::new();
    for frame in 0..30 {
        pair.frame(if frame % 10 == 3 { &[0] } else { &[] });
    }
    pair.now = pair.start + REPORTS;
    let compounds = pair.sending.poll(pair.now, &pair.senders, &mut FastReceiver::<VideoReceiver>::new(&session()));
    let report = compounds[0][0].as_any().downcast_ref::<SenderReport>().unwrap();
    let counters = pair.senders[0].counters();
    assert_eq!(
        (u64::from(report.packet_count), u64::from(report.octet_count)),
        (counters.packets, counters.payload_bytes)
    );
    assert_eq!(report.ntp_time, (1_000_001 + NTP_TO_UNIX) << 32);
    let (latest, at) = pair.senders[0].latest().unwrap();
    let since = (pair.now - at).as_secs_f64() * 90_000.0;
    assert_eq!(report.rtp_time, latest.wrapping_add(since as u32));

    let heard = carried(compounds);
    pair.receiving.heard(&heard, pair.now);
    pair.now += Duration::from_millis(250);
    let feedback = pair.answer();
    let [reception] = &feedback.receptions[..] else { panic!("{feedback:?}") };
    assert_eq!((reception.ssrc, reception.total_lost), (MEDIA, 3));
    assert_eq!(u64::from(reception.fraction_lost), 3 * 256 / counters.packets);
    assert_eq!((reception.last_sender_report, reception.delay), ((report_middle(1_000_001)), 65_536 / 4));

    // The second counts from the first.
    for _ in 0..30 {
        pair.frame(&[]);
    }
    pair.now = pair.start + 3 * REPORTS;
    let reception = pair.answer().receptions.remove(0);
    assert_eq!((reception.total_lost, reception.fraction_lost), (3, 0));
}

#[test]
fn without_a_picture_a_key_frame_is_asked_for_and_silence_is_not_reported() {
    let mut pair = Pair::new();
    pair.now += REPORTS;
    assert_eq!(pair.answer(), Feedback::default());
    pair = Pair::new();
    pair.frame(&[0]);
    pair.frame(&[]);
    pair.now += Duration::from_secs(1);
    let feedback = pair.answer();
    assert_eq!((feedback.plis, pair.receiving.counters().plis), (1, 1));
    assert!(pair.receiving.next_due(false) > pair.now);
}

fn session() -> SessionKey {
    let provider = rtc::crypto::default_provider().unwrap();
    SessionKey::derive(provider.crypto(), &[1; 16], &[2; 12]).unwrap()
}

fn report_middle(seconds: u64) -> u32 {
    ((seconds + NTP_TO_UNIX) << 16) as u32
}
