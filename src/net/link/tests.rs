//! What one link does, in simulated time.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::net::spec::{Change, Loss as LossSpec, Reorder};

const MS: Duration = Duration::from_millis(1);

struct Bed {
    link: Link,
    start: Instant,
}

impl Bed {
    fn new(conditions: Conditions) -> Self {
        Self::with(conditions.into())
    }

    fn with(spec: LinkSpec) -> Self {
        Self { link: Link::new(&spec, 11), start: Instant::now() }
    }

    /// What becomes of a packet of 1200 bytes with its headers that is sent so long after the start.
    fn send(&mut self, at: Duration) -> Fate {
        self.send_packet(at, &mut packet(1_172))
    }

    fn send_packet(&mut self, at: Duration, packet: &mut Packet) -> Fate {
        self.link.transmit(self.start + at, at, packet)
    }

    /// When it arrives after the start.
    fn arrival(&mut self, at: Duration) -> Option<Duration> {
        match self.send(at) {
            Fate::Arrives { at, .. } => Some(at - self.start),
            Fate::Dropped(_) | Fate::TooBig { .. } => None,
        }
    }
}

fn packet(payload: usize) -> Packet {
    let (source, destination) = ("11.0.0.1:1".parse().unwrap(), "11.0.0.2:2".parse().unwrap());
    Packet::udp(source, destination, Bytes::from(vec![0; payload]))
}

#[test]
fn a_link_without_conditions_does_nothing() {
    let mut bed = Bed::new(Conditions::default());
    assert_eq!(bed.arrival(5 * MS), Some(5 * MS));
}

#[test]
fn delay_is_exact() {
    let mut bed = Bed::new(Conditions { delay_us: 40_000, ..Conditions::default() });
    assert!((0..1_000).all(|ms| bed.arrival(ms * MS) == Some((ms + 40) * MS)));
}

#[test]
fn packets_leave_at_the_rate() {
    // 1200 bytes take 9.6 ms at 1 Mbit/s.
    let mut bed = Bed::new(Conditions { rate_bps: Some(1_000_000), delay_us: 10_000, ..Conditions::default() });
    let arrivals: Vec<_> = (0..3).map(|_| bed.arrival(Duration::ZERO).unwrap()).collect();
    assert_eq!(arrivals, [19_600, 29_200, 38_800].map(Duration::from_micros));
    // After a pause nothing is left of the wait.
    assert_eq!(bed.arrival(100 * MS), Some(Duration::from_micros(119_600)));
}

#[test]
fn the_queue_holds_as_long_as_was_asked_and_drops_the_rest() {
    let mut bed = Bed::new(Conditions { rate_bps: Some(1_000_000), queue_us: 96_000, ..Conditions::default() });
    let fates: Vec<_> = (0..20).map(|_| bed.send(Duration::ZERO)).collect();
    let passed = fates.iter().filter(|fate| matches!(fate, Fate::Arrives { .. })).count();
    // One is being sent, and ten wait for 9.6 ms each.
    assert_eq!(passed, 11);
    assert!(fates[11..].iter().all(|fate| *fate == Fate::Dropped(DropReason::QueueFull)));
    assert!(bed.arrival(10 * MS).is_some(), "there is room again");
}

#[test]
fn jitter_is_bounded_and_keeps_the_order() {
    let conditions = Conditions { delay_us: 50_000, jitter_us: 30_000, ..Conditions::default() };
    let mut bed = Bed::new(conditions.clone());
    let arrivals: Vec<_> = (0..5_000).map(|index| bed.arrival(index * MS).unwrap()).collect();
    assert!(arrivals.is_sorted());

    let mut bed = Bed::new(Conditions { jitter_reorders: true, ..conditions });
    let arrivals: Vec<_> = (0..5_000).map(|index| bed.arrival(index * MS).unwrap()).collect();
    assert!(!arrivals.is_sorted());
    let delays: Vec<f64> =
        (0..5_000).zip(&arrivals).map(|(index, arrival)| (*arrival - index * MS).as_secs_f64() * 1e3).collect();
    assert!(delays.iter().all(|delay| (20.0..=80.0).contains(delay)));
    let mean = delays.iter().sum::<f64>() / 5_000.0;
    let variance = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / 5_000.0;
    assert!((mean - 50.0).abs() < 0.6 && (variance.sqrt() - 8.66).abs() < 0.4, "{mean} ± {}", variance.sqrt());
}

#[test]
fn jitter_greater_than_the_delay_lets_no_packet_arrive_before_it_was_sent() {
    let conditions = Conditions { jitter_us: 30_000, jitter_reorders: true, ..Conditions::default() };
    let mut bed = Bed::new(conditions);
    assert!((0..1_000).all(|index| bed.arrival(index * MS).unwrap() >= index * MS));
}

fn lost(loss: LossSpec, packets: usize) -> Vec<bool> {
    let mut bed = Bed::new(Conditions { loss, ..Conditions::default() });
    (0..packets).map(|_| bed.send(Duration::ZERO) == Fate::Dropped(DropReason::Lost)).collect()
}

#[test]
fn random_loss_is_as_frequent_as_was_asked() {
    for ratio in [0.0, 0.01, 0.1, 0.5, 1.0] {
        let packets = 100_000;
        let count = lost(LossSpec::Random { ratio }, packets).iter().filter(|lost| **lost).count();
        // Four standard deviations of the binomial distribution.
        let bound = 4.0 * (packets as f64 * ratio * (1.0 - ratio)).sqrt();
        assert!((count as f64 - packets as f64 * ratio).abs() <= bound, "{count} of {packets} for {ratio}");
    }
}

#[test]
fn bursts_are_as_frequent_and_as_long_as_was_asked() {
    for (loss, ratio, burst) in [
        (LossSpec::Burst { ratio: 0.05, mean_burst: 4.0 }, 0.05, 4.0),
        (LossSpec::Burst { ratio: 0.2, mean_burst: 10.0 }, 0.2, 10.0),
        (LossSpec::Lengths { mean_good: 40.0, mean_bad: 2.0 }, 2.0 / 42.0, 2.0),
    ] {
        let lost = lost(loss, 1_000_000);
        let count = lost.iter().filter(|lost| **lost).count();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let (seen, length) = (count as f64 / 1e6, count as f64 / bursts as f64);
        assert!((seen / ratio - 1.0).abs() < 0.05, "{seen} lost for {ratio}");
        assert!((length / burst - 1.0).abs() < 0.05, "bursts of {length} for {burst}");
        assert!((loss.ratio() - ratio).abs() < 1e-9);
    }
}

#[test]
fn no_loss_in_bursts_loses_nothing() {
    assert!(lost(LossSpec::Burst { ratio: 0.0, mean_burst: 3.0 }, 10_000).iter().all(|lost| !lost));
}

#[test]
fn packets_that_are_held_back_are_overtaken() {
    let reorder = Some(Reorder { ratio: 0.1, by_us: 5_000 });
    let mut bed = Bed::new(Conditions { delay_us: 10_000, reorder, ..Conditions::default() });
    let delays: Vec<_> = (0..10_000).map(|index| bed.arrival(index * MS).unwrap() - index * MS).collect();
    let held_back = delays.iter().filter(|delay| **delay == 15 * MS).count();
    assert!(delays.iter().all(|delay| [10 * MS, 15 * MS].contains(delay)));
    assert!((880..1_120).contains(&held_back), "{held_back} of 10000");
}

#[test]
fn some_packets_arrive_twice() {
    let mut bed = Bed::new(Conditions { duplicate_ratio: 0.1, ..Conditions::default() });
    let twice =
        (0..10_000).filter(|_| matches!(bed.send(Duration::ZERO), Fate::Arrives { again: Some(_), .. })).count();
    assert!((880..1_120).contains(&twice), "{twice} of 10000");
}

#[test]
fn corruption_flips_one_bit_of_the_payload() {
    let mut bed = Bed::new(Conditions { corrupt_ratio: 1.0, ..Conditions::default() });
    let mut sent = packet(100);
    bed.send_packet(Duration::ZERO, &mut sent);
    let Transport::Udp(payload) = &sent.transport else { panic!("{sent:?}") };
    assert_eq!(payload.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    bed.send_packet(Duration::ZERO, &mut packet(0));
}

#[test]
fn a_packet_longer_than_the_mtu_vanishes_or_is_reported() {
    for black_hole in [true, false] {
        let mut bed = Bed::new(Conditions { mtu: Some(Mtu { bytes: 1_200, black_hole }), ..Conditions::default() });
        assert!(bed.arrival(Duration::ZERO).is_some());
        let fate = bed.send_packet(Duration::ZERO, &mut packet(1_173));
        let expected = if black_hole { Fate::Dropped(DropReason::TooBig) } else { Fate::TooBig { mtu: 1_200 } };
        assert_eq!(fate, expected);
    }
}

#[test]
fn conditions_change_on_schedule() {
    let delay = |delay_us| Conditions { delay_us, ..Conditions::default() };
    let cut = Conditions { cut: true, ..Conditions::default() };
    let schedule = vec![
        Change { at_us: 1_000_000, conditions: delay(20_000) },
        Change { at_us: 2_000_000, conditions: cut },
        Change { at_us: 3_000_000, conditions: delay(30_000) },
    ];
    let mut bed = Bed::with(LinkSpec { conditions: delay(10_000), schedule });
    assert_eq!(bed.arrival(999 * MS), Some(1_009 * MS));
    assert_eq!(bed.arrival(1_000 * MS), Some(1_020 * MS));
    assert_eq!(bed.send(2_500 * MS), Fate::Dropped(DropReason::LinkCut));
    assert_eq!(bed.arrival(9_000 * MS), Some(9_030 * MS));
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    let loss = LossSpec::Random { ratio: 0.3 };
    assert_eq!(lost(loss, 1_000), lost(loss, 1_000));
    let other = Link::new(&Conditions { loss, ..Conditions::default() }.into(), 12);
    let mut bed = Bed { link: other, start: Instant::now() };
    let others: Vec<_> = (0..1_000).map(|_| bed.send(Duration::ZERO) == Fate::Dropped(DropReason::Lost)).collect();
    assert_ne!(lost(loss, 1_000), others);
}

proptest! {
    #[test]
    fn whatever_the_conditions_packets_wait_their_turn(
        rate_bps in prop::option::of(1u64..100_000_000),
        (queue_us, delay_us, jitter_us) in (0u64..2_000_000, 0u64..1_000_000, 0u64..1_000_000),
        (loss, duplicate_ratio, corrupt_ratio) in (0.0f64..0.5, 0.0f64..=1.0, 0.0f64..=1.0),
        sends in prop::collection::vec((0u64..50_000, 0usize..2_000), 1..100),
    ) {
        let loss = LossSpec::Burst { ratio: loss, mean_burst: 1.5 };
        let conditions =
            Conditions { rate_bps, queue_us, delay_us, jitter_us, loss, duplicate_ratio, corrupt_ratio, ..Conditions::default() };
        let mut bed = Bed::new(conditions);
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for (us, length) in sends {
            now += Duration::from_micros(us);
            let sending = rate_bps.map_or(Duration::ZERO, |rate| {
                Duration::from_nanos((length as u64 + 28) * 8 * 1_000_000_000 / rate)
            });
            if let Fate::Arrives { at, again } = bed.send_packet(now, &mut packet(length)) {
                let at = at - bed.start;
                let waited = if rate_bps.is_some() { Duration::from_micros(queue_us) } else { Duration::ZERO };
                let longest = sending + waited + Duration::from_micros(delay_us + jitter_us);
                prop_assert!(at >= last && at >= now + sending);
                prop_assert!(at <= last.max(now + longest));
                last = again.map_or(at, |again| again - bed.start);
                prop_assert!(last >= at);
            }
        }
    }
}
