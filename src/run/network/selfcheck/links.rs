//! What the links of a site do to packets, in each direction on its own, as they begin.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::chain::{Chain, SMALL_BYTES};
use super::{Notes, firewalls};
use crate::lab::discover::{Direction, Flight, Sent, Way};
use crate::lab::place::{Listener, Place};
use crate::net::oracle::End;
use crate::net::spec::{FirewallSpec, PortRule};

/// For what the machine adds to the time of a packet before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(300);

/// How much later than asked for the median packet may be: what the machine adds.
const TOLERANCE: Duration = Duration::from_millis(4);

/// How far off a rate may be, and how often it is measured before it is: a busy machine spoils a measurement, and makes
/// none better.
const RATE_TOLERANCE: f64 = 0.15;
const RATE_ATTEMPTS: u32 = 3;

/// How much of its jitter a link shows at least between the 5th and the 95th percentile; of a bell-shaped one it is 0.95,
/// and less where packets wait for those before them.
const JITTER_SHOWN: f64 = 0.3;

/// Packets of which one must pass, and those of which none may.
const MTU_ATTEMPTS: u32 = 6;
const TOO_LONG_ATTEMPTS: u32 = 3;

/// TCP connections, one after the other, the fastest of which tells the round trip where UDP does not pass: what the machine,
/// a lost packet or a queue does to one of them makes it slower. More are made as long as none is as fast as asked.
const CONNECTIONS: u32 = 5;
const MOST_CONNECTIONS: u32 = 25;
const SYN_BYTES: usize = 60;

/// Measures the links between a host of the site and the host on the internet that has the address `at`.
pub(super) async fn check(
    end: End<'_>,
    inside: (&dyn Place, IpAddr),
    outside: (&dyn Place, IpAddr),
    since: Instant,
) -> Notes {
    let chains = [Direction::Up, Direction::Down].map(|direction| Chain::new(end, direction));
    let mut notes = Notes::new(end);
    if !chains.iter().any(Chain::is_impaired) {
        return notes;
    }
    if let Err(error) = measure(end, &chains, inside, outside, &mut notes).await {
        notes.note("links", "packets".into(), format!("no socket: {error}"), false);
    }
    let links =
        [Some(&end.site.up), Some(&end.site.down), end.carrier.map(|it| &it.up), end.carrier.map(|it| &it.down)];
    let changes = links.into_iter().flatten().filter_map(|link| link.schedule.first());
    match changes.map(|change| Duration::from_micros(change.at_us)).min() {
        Some(change) if change <= since.elapsed() => {
            let mut changed = Notes::new(end);
            changed.skip("links", &format!("the first change, after {}, came before they were measured", ms(change)));
            changed
        }
        _ => notes,
    }
}

async fn measure(
    end: End<'_>,
    chains: &[Chain<'_>; 2],
    (inside, from): (&dyn Place, IpAddr),
    (outside, at): (&dyn Place, IpAddr),
    notes: &mut Notes,
) -> io::Result<()> {
    let [up, down] = chains;
    let patience = PATIENCE + up.longest(SMALL_BYTES) + down.longest(SMALL_BYTES);
    let Some(port) = open_port(end, |firewall| &firewall.udp) else {
        notes.skip("loss, rate and MTU", "no UDP passes");
        return measure_by_tcp(end, chains, (inside, from), (outside, at), patience, notes).await;
    };
    let way = Way::open(inside, from, outside, SocketAddr::new(at, port), patience).await?;
    if up.is_cut() {
        notes.note("link up", "cut".into(), if way.is_some() { "open" } else { "cut" }.into(), way.is_none());
        notes.skip("link down", "nothing can be sent to ask for it");
        return Ok(());
    }
    let Some(way) = way else {
        notes.note("link up", "open".into(), "cut".into(), false);
        return Ok(());
    };
    let small = async |chain: &Chain<'_>| {
        let packets = chain.small_packets();
        way.fly(chain.direction, &packets, packets.len(), PATIENCE + chain.longest(SMALL_BYTES)).await
    };
    let (went, came) = tokio::join!(small(up), small(down));
    for (chain, flight) in [(up, went?), (down, came?)] {
        if chain.is_cut() {
            let cut = flight.arrivals.is_empty();
            notes.note("link down", "cut".into(), if cut { "cut" } else { "open" }.into(), cut);
            continue;
        }
        let fly = async |packets: &[Sent], enough: usize, patience: Duration| {
            way.fly(chain.direction, packets, enough, patience).await
        };
        assess(chain, &flight, &fly, notes).await?;
    }
    Ok(())
}

/// What a flight of small packets tells of the links of a direction, and what further ones do that `fly` makes: of these packets,
/// until so many have arrived, or for so long after the last was sent.
///
/// # Errors
///
/// Those of `fly`.
pub(super) async fn assess(
    chain: &Chain<'_>,
    flight: &Flight,
    fly: &impl AsyncFn(&[Sent], usize, Duration) -> io::Result<Flight>,
    notes: &mut Notes,
) -> io::Result<()> {
    judge(chain, flight, notes);
    check_rate(chain, fly, notes).await?;
    check_mtu(chain, fly, notes).await
}

/// What a flight of small packets tells.
fn judge(chain: &Chain<'_>, flight: &Flight, notes: &mut Notes) {
    let what = |what: &str| format!("{what} {}", chain.name());
    let (expected, delays) = (chain.delay(SMALL_BYTES), flight.delays());
    let (jitter, widest) = chain.jitter();
    let median = at(&delays, 0.5);
    let close = median.is_some_and(|median| median.abs_diff(expected) <= TOLERANCE + jitter);
    notes.note(&what("delay"), ms(expected), median.map_or_else(|| "nothing arrives".into(), ms), close);
    let timely = if chain.reorder().is_some() { flight.timely_delays() } else { delays };
    if let (false, Some((low, high))) = (jitter.is_zero(), at(&timely, 0.05).zip(at(&timely, 0.95))) {
        let spread = high.saturating_sub(low);
        let fits = spread >= widest.mul_f64(JITTER_SHOWN) && spread <= (jitter + TOLERANCE) * 2;
        notes.note(&what("jitter"), format!("± {}", ms(jitter)), format!("± {}", ms(spread / 2)), fits);
    }
    let sent = flight.sent() as f64;
    let mut share = |name: &str, expected: f64, measured: f64| {
        // Four standard deviations of what chance does, wider where losses come in bursts.
        let deviation = (expected * (1.0 - expected) * (2.0 * chain.burst() - 1.0) / sent).sqrt();
        let fits = (measured - expected).abs() <= 4.0 * deviation + 0.005;
        notes.note(&what(name), percent(expected), percent(measured), fits);
    };
    share("loss", chain.loss(), flight.loss());
    let passed = 1.0 - chain.loss();
    if chain.duplicate() > 0.0 {
        share("duplicates", chain.duplicate() * passed, flight.duplicates as f64 / sent);
    }
    if chain.corrupt() > 0.0 {
        share("corruption", chain.corrupt() * passed, flight.corrupt as f64 / sent);
    }
    let Some((held_back, by)) = chain.reorder().filter(|(ratio, _)| *ratio > 0.0) else { return };
    let interval = flight.sending / u32::try_from(flight.sent()).unwrap_or(u32::MAX).max(1);
    if chain.jitter_reorders() {
        notes.skip(&what("reordering"), "jitter reorders packets as well");
    } else if by <= (interval + jitter) * 2 {
        notes.skip(&what("reordering"), "packets are held back too shortly for others to overtake them");
    } else {
        // Of two copies the earlier counts, and a corrupt packet tells no number.
        let seen = passed * (1.0 - chain.duplicate()) * (1.0 - chain.corrupt());
        share("reordering", held_back * seen, flight.overtaken());
    }
}

/// The rate shows in the pace of packets that were sent faster.
async fn check_rate(
    chain: &Chain<'_>,
    fly: &impl AsyncFn(&[Sent], usize, Duration) -> io::Result<Flight>,
    notes: &mut Notes,
) -> io::Result<()> {
    let Some(rate) = chain.rate() else { return Ok(()) };
    let what = format!("rate {}", chain.name());
    let (train, length) = match chain.train(rate) {
        Ok(train) => train,
        Err(reason) => {
            notes.skip(&what, &reason);
            return Ok(());
        }
    };
    let patience = PATIENCE + chain.longest(train[0].bytes) + length;
    let (mut measured, mut too_slow) = (None, true);
    for _ in 0..RATE_ATTEMPTS {
        let flight = fly(&train, train.len(), patience).await?;
        measured = flight.rate();
        too_slow &= flight.sending > length.mul_f64(0.8);
        if measured.is_some_and(|measured| (measured / rate as f64 - 1.0).abs() <= RATE_TOLERANCE) {
            notes.note(&what, bits(rate as f64), measured.map(bits).unwrap_or_default(), true);
            return Ok(());
        }
    }
    match measured {
        // It did not wait for the link, but the link for it.
        Some(measured) if too_slow && measured < rate as f64 => {
            notes.skip(&what, &format!("this machine does not send at {}", bits(rate as f64)));
        }
        measured => {
            notes.note(&what, bits(rate as f64), measured.map_or_else(|| "nothing arrives".into(), bits), false);
        }
    }
    Ok(())
}

/// The longest packet that may pass does, and one that is longer by a byte does not.
async fn check_mtu(
    chain: &Chain<'_>,
    fly: &impl AsyncFn(&[Sent], usize, Duration) -> io::Result<Flight>,
    notes: &mut Notes,
) -> io::Result<()> {
    let Some(mtu) = chain.mtu() else { return Ok(()) };
    let passes = async |bytes: u16, attempts: u32| {
        let bytes = usize::from(bytes);
        let interval = chain.delay(bytes).min(PATIENCE);
        let packets: Vec<_> = (0..attempts).map(|number| Sent { due: interval * number, bytes }).collect();
        let flight = fly(&packets, 1, PATIENCE + chain.longest(bytes) * attempts).await?;
        Ok::<_, io::Error>(!flight.arrivals.is_empty())
    };
    let what = format!("MTU {}", chain.name());
    if usize::from(mtu) < Way::MIN_BYTES || mtu >= super::HOST_MTU {
        notes.skip(&what, &format!("hosts send no packets of {mtu} bytes and one"));
        return Ok(());
    }
    let found = (passes(mtu, MTU_ATTEMPTS).await?, passes(mtu + 1, TOO_LONG_ATTEMPTS).await?);
    let word = |passes: bool| if passes { "pass" } else { "do not" };
    let words = |(fits, longer)| format!("{mtu} bytes {}, {} {}", word(fits), mtu + 1, word(longer));
    notes.note(&what, words((true, false)), words(found), found == (true, false));
    Ok(())
}

/// Where UDP does not pass, TCP connections tell the delay.
async fn measure_by_tcp(
    end: End<'_>,
    chains: &[Chain<'_>; 2],
    (inside, from): (&dyn Place, IpAddr),
    (outside, at): (&dyn Place, IpAddr),
    patience: Duration,
    notes: &mut Notes,
) -> io::Result<()> {
    let Some(port) = open_port(end, |firewall| &firewall.tcp).filter(|_| !chains.iter().any(Chain::is_cut)) else {
        notes.skip("round trip", "neither UDP nor TCP passes");
        return Ok(());
    };
    let address = SocketAddr::new(at, port);
    let mut listener = outside.listen_tcp(address)?;
    let connect = async || {
        let begun = Instant::now();
        let connected = timeout(patience, inside.connect_tcp(Some(from), address)).await;
        connected.is_ok_and(|connected| connected.is_ok()).then(|| begun.elapsed())
    };
    let expected: Duration = chains.iter().map(|chain| chain.delay(SYN_BYTES)).sum();
    let jitter: Duration = chains.iter().map(|chain| chain.jitter().0).sum();
    let close = |fastest: Duration| fastest.abs_diff(expected) <= TOLERANCE + jitter;
    let measure = async {
        let mut fastest: Option<Duration> = None;
        for made in 1..=MOST_CONNECTIONS {
            fastest = connect().await.into_iter().chain(fastest).min();
            if made >= CONNECTIONS && fastest.is_none_or(close) {
                break;
            }
        }
        fastest
    };
    let fastest = tokio::select! {
        fastest = measure => fastest,
        error = take_all(&mut *listener) => return Err(error),
    };
    let shown = fastest.map_or_else(|| "no connection".into(), ms);
    notes.note("round trip of TCP", ms(expected), shown, fastest.is_some_and(close));
    Ok(())
}

/// Takes connections until that fails.
async fn take_all(listener: &mut dyn Listener) -> io::Error {
    let mut taken = Vec::new();
    loop {
        match listener.accept().await {
            Ok(connection) => taken.push(connection),
            Err(error) => return error,
        }
    }
}

/// A port that every firewall on the way lets through; those come first that people let through.
fn open_port(end: End<'_>, rule: impl Fn(&FirewallSpec) -> &PortRule) -> Option<u16> {
    let allowed = |port: &u16| firewalls(end).all(|firewall| rule(firewall).allows(*port));
    [443, 3478].into_iter().chain(1..=u16::MAX).find(allowed)
}

/// What this share of the sorted times does not exceed.
fn at(times: &[Duration], share: f64) -> Option<Duration> {
    times.get((times.len().saturating_sub(1) as f64 * share) as usize).copied()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn bits(rate: f64) -> String {
    match rate {
        ..1e6 => format!("{:.1} kbit/s", rate / 1e3),
        _ => format!("{:.2} Mbit/s", rate / 1e6),
    }
}
