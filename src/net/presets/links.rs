//! Access links by name. Rates are those of the profiles that other tools use; their round-trip times are split evenly.

use super::{Access, Name, Preset};
use crate::net::spec::{Conditions, LinkSpec, Loss};

pub(super) const PRESETS: &[Preset<Access>] = &[
    Preset {
        name: Name { name: "perfect", aliases: &["none", "lan"], about: "does nothing to packets" },
        make: || Access { up: LinkSpec::default(), down: LinkSpec::default() },
    },
    Preset {
        name: Name { name: "2g", aliases: &[], about: "35/32 kbit/s, RTT 650 ms (sitespeed.io)" },
        make: || throttled(35, 32, 650),
    },
    Preset {
        name: Name { name: "edge", aliases: &[], about: "240/200 kbit/s, RTT 840 ms (WebPageTest)" },
        make: || throttled(240, 200, 840),
    },
    Preset {
        name: Name { name: "3gslow", aliases: &["3g-slow"], about: "400/400 kbit/s, RTT 200 ms (sitespeed.io)" },
        make: || throttled(400, 400, 200),
    },
    Preset {
        name: Name { name: "3g", aliases: &[], about: "1.6 Mbit/s and 768 kbit/s, RTT 150 ms (sitespeed.io)" },
        make: || throttled(1_600, 768, 150),
    },
    Preset {
        name: Name {
            name: "3gfast",
            aliases: &["3g-fast"],
            about: "1.6 Mbit/s and 768 kbit/s, RTT 75 ms (sitespeed.io)",
        },
        make: || throttled(1_600, 768, 75),
    },
    Preset {
        name: Name { name: "mobile", aliases: &[], about: "1.6 Mbit/s and 750 kbit/s, RTT 150 ms (Lighthouse)" },
        make: || throttled(1_600, 750, 150),
    },
    Preset {
        name: Name { name: "4g", aliases: &[], about: "9 Mbit/s, RTT 170 ms (WebPageTest)" },
        make: || throttled(9_000, 9_000, 170),
    },
    Preset {
        name: Name { name: "lte", aliases: &[], about: "12 Mbit/s, RTT 70 ms (WebPageTest)" },
        make: || throttled(12_000, 12_000, 70),
    },
    Preset {
        name: Name { name: "dsl", aliases: &["adsl"], about: "1.5 Mbit/s and 384 kbit/s, RTT 50 ms (WebPageTest)" },
        make: || throttled(1_500, 384, 50),
    },
    Preset {
        name: Name { name: "cable", aliases: &[], about: "5 and 1 Mbit/s, RTT 14 ms (sitespeed.io)" },
        make: || throttled(5_000, 1_000, 14),
    },
    Preset {
        name: Name { name: "wifi", aliases: &[], about: "54 Mbit/s, 5 ± 1 ms, 1 % loss in bursts" },
        make: || lossy(54_000, (5, 1), 300, (200.0, 2.0)),
    },
    Preset {
        name: Name { name: "wifi-lossy", aliases: &["bad-wifi"], about: "54 Mbit/s, 5 ± 5 ms, 5 % loss in bursts" },
        make: || lossy(54_000, (5, 5), 300, (40.0, 2.0)),
    },
    Preset {
        name: Name { name: "cellular", aliases: &[], about: "50 Mbit/s, 30 ± 10 ms, 2 % loss in bursts" },
        make: || lossy(50_000, (30, 10), 300, (100.0, 2.0)),
    },
    Preset {
        name: Name { name: "satellite", aliases: &["geo"], about: "10 Mbit/s, 300 ± 25 ms, 3 % loss in bursts" },
        make: || lossy(10_000, (300, 25), 300, (100.0, 3.0)),
    },
    Preset {
        name: Name {
            name: "congested",
            aliases: &["bufferbloat"],
            about: "2 Mbit/s, 50 ± 30 ms, a queue of one second (RFC 8868), 9 % loss in bursts",
        },
        make: || lossy(2_000, (50, 30), 1_000, (20.0, 2.0)),
    },
];

fn throttled(down_kbps: u64, up_kbps: u64, rtt_ms: u64) -> Access {
    let link = |kbps: u64| {
        let conditions =
            Conditions { rate_bps: Some(kbps * 1_000), delay_us: rtt_ms * 1_000 / 2, ..Conditions::default() };
        LinkSpec::from(conditions)
    };
    Access { up: link(up_kbps), down: link(down_kbps) }
}

/// The same in both directions: one-way delay with its jitter, the queue, and the mean lengths of the good and of the bad
/// state, as in str0m's emulator.
fn lossy(kbps: u64, (delay_ms, jitter_ms): (u64, u64), queue_ms: u64, (mean_good, mean_bad): (f64, f64)) -> Access {
    let conditions = Conditions {
        rate_bps: Some(kbps * 1_000),
        queue_us: queue_ms * 1_000,
        delay_us: delay_ms * 1_000,
        jitter_us: jitter_ms * 1_000,
        loss: Loss::Lengths { mean_good, mean_bad },
        ..Conditions::default()
    };
    Access { up: conditions.clone().into(), down: conditions.into() }
}
