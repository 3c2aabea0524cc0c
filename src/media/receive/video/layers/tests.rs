use std::num::NonZeroU32;

use super::*;
use crate::media::receive::{VideoReceiver, VideoReport};
use crate::media::send::{RtpStream, VideoSender};
use crate::plan::Layer::{Full, Half, Quarter};

/// A publisher, and a server that passes one of its layers on, as a stream of its own.
struct Room {
    start: Instant,
    senders: Vec<(Layer, VideoSender)>,
    receiver: VideoReceiver,
    sequence_number: u16,
    frames: u32,
}

impl Room {
    fn new() -> Self {
        let (start, layers) = (Instant::now(), VideoFixture::load_layers(None).unwrap());
        let senders = layers.iter().zip(1..).map(|((layer, fixture), ssrc)| {
            let stream = RtpStream { ssrc, payload_type: 96, seed: ssrc.into() };
            (*layer, VideoSender::new(Arc::clone(fixture), stream, NonZeroU32::new(30).unwrap(), start))
        });
        let senders = senders.collect();
        Self { start, senders, receiver: VideoReceiver::of_layers(layers), sequence_number: 7, frames: 0 }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(u64::from(self.frames)) / 30
    }

    fn ask_for(&mut self, layer: Layer) {
        let now = self.now();
        self.receiver.ask_for(layer, now);
    }

    /// Passes so many frames of a layer on, the first of which is a key frame if `key`.
    fn pass(&mut self, layer: Layer, frames: u32, key: bool) {
        for index in 0..frames {
            let (now, number) = (self.now(), self.frames);
            self.frames += 1;
            for (of, sender) in &mut self.senders {
                if key && index == 0 && *of == layer {
                    sender.request_key_frame();
                }
                let packets = sender.produce(now).unwrap().packets;
                for mut packet in packets.into_iter().filter(|_| *of == layer) {
                    packet.header.sequence_number = self.sequence_number;
                    packet.header.timestamp = number * 3000;
                    self.sequence_number = self.sequence_number.wrapping_add(1);
                    self.receiver.handle(&packet, now);
                }
            }
        }
    }

    fn report(&mut self) -> VideoReport {
        let now = self.now();
        self.receiver.finish(now);
        self.receiver.report()
    }

    fn layers(&self) -> Vec<(Layer, u64)> {
        self.receiver.layers().unwrap().frames().collect()
    }

    fn took_ms(&self) -> Vec<Option<u128>> {
        let requests = self.receiver.layers().unwrap().requests().iter();
        requests.map(|request| request.took().map(|took| took.as_millis())).collect()
    }
}

#[test]
fn a_layer_changes_at_a_key_frame() {
    let mut room = Room::new();
    room.pass(Quarter, 20, false);
    room.pass(Full, 20, true);
    room.pass(Half, 20, true);
    let report = room.report();
    assert_eq!((report.frames, report.intact, report.misplaced, report.key_frames), (60, 60, 0, 3));
    assert_eq!(room.layers(), [(Quarter, 20), (Half, 20), (Full, 20)]);
    assert_eq!((report.width, report.height), (Some(320), Some(180)), "of the last layer");
}

#[test]
fn a_layer_that_changes_without_a_key_frame_is_out_of_place() {
    let mut room = Room::new();
    room.pass(Quarter, 20, false);
    room.pass(Full, 10, false);
    let report = room.report();
    assert_eq!((report.frames, report.intact, report.misplaced), (30, 29, 1));
}

#[test]
fn other_layers_may_come_until_the_one_that_was_asked_for_has_come() {
    let mut room = Room::new();
    room.pass(Quarter, 15, false);
    room.ask_for(Full);
    room.pass(Quarter, 3, false);
    room.pass(Half, 12, true);
    room.pass(Full, 20, true);
    assert_eq!(room.took_ms(), [Some(500)], "15 frames later");
    room.ask_for(Quarter);
    room.pass(Full, 3, false);
    room.pass(Quarter, 10, true);
    let report = room.report();
    assert_eq!((report.intact, report.misplaced), (63, 0));
    assert_eq!(room.took_ms(), [Some(500), Some(100)]);
}

#[test]
fn no_other_layer_may_come_after_the_one_that_was_asked_for() {
    let mut room = Room::new();
    room.ask_for(Full);
    room.pass(Full, 20, false);
    room.pass(Half, 5, true);
    room.pass(Full, 15, true);
    let report = room.report();
    assert_eq!((report.frames, report.intact, report.misplaced), (40, 35, 5));
}

#[test]
fn a_layer_that_never_comes_is_never_reached() {
    let mut room = Room::new();
    room.ask_for(Full);
    room.pass(Half, 30, false);
    let report = room.report();
    assert_eq!((report.intact, report.misplaced), (30, 0), "as for each frame on its own");
    assert_eq!(room.took_ms(), [None]);
    assert_eq!(room.receiver.layers().unwrap().last(), Some(Half));
}

#[test]
fn a_change_during_a_loss_is_no_fault_of_its_own() {
    let mut room = Room::new();
    room.pass(Quarter, 20, false);
    // The key frame of the new layer is lost on the way, all of it.
    let before = room.sequence_number;
    let mut kept =
        std::mem::replace(&mut room.receiver, VideoReceiver::of_layers(VideoFixture::load_layers(None).unwrap()));
    room.pass(Full, 1, true);
    assert!(room.sequence_number > before);
    std::mem::swap(&mut room.receiver, &mut kept);
    room.pass(Full, 30, false);
    let report = room.report();
    assert_eq!((report.frames, report.intact, report.misplaced), (50, 50, 0));
    assert!(report.lost > 0 && report.key_frames == 1, "{report:?}");
}

#[test]
fn what_is_in_no_layer_is_foreign() {
    let mut room = Room::new();
    room.pass(Quarter, 10, false);
    let (mut packets, now) = (Vec::new(), room.now());
    for (layer, sender) in &mut room.senders {
        let produced = sender.produce(now).unwrap().packets;
        packets.extend(produced.into_iter().filter(|_| *layer == Quarter));
    }
    for mut packet in packets {
        let mut payload = packet.payload.to_vec();
        *payload.last_mut().unwrap() ^= 1;
        packet.payload = payload.into();
        packet.header.sequence_number = room.sequence_number;
        packet.header.timestamp = room.frames * 3000;
        room.sequence_number += 1;
        room.receiver.handle(&packet, now);
    }
    room.frames += 1;
    room.pass(Quarter, 10, false);
    let report = room.report();
    assert_eq!((report.frames, report.intact, report.foreign, report.misplaced), (21, 20, 1, 0));
}
