//! From figures to the generated part of `docs/performance.md`.

use std::fmt::Write;
use std::path::Path;

use super::dialects::{self, Dialect};
use super::engine::{Engine, Streaming};
use super::pion::Pion;
use super::schedule::Schedule;
use super::signaling::{MESSAGES, Signaling};
use super::{Result, Size, per_packet, process};

const BEGIN: &str = "<!-- made by ci/bench: begin -->\n";
const END: &str = "<!-- made by ci/bench: end -->";
/// Ratios are between rows that did the work that was planned, up to this share: rounds begin and end within a window.
const COMPLETE: f64 = 0.98;
/// The stack that the targets are for.
const JUDGED: &str = "dense";

/// Everything that was measured.
pub(super) struct Figures {
    pub(super) size: Size,
    pub(super) schedule: Schedule,
    pub(super) load_average: Option<f32>,
    pub(super) plain: Streaming,
    pub(super) offload: Streaming,
    /// Each stack by name.
    pub(super) engines: Vec<(&'static str, Engine)>,
    /// Or what is missing.
    pub(super) pion: std::result::Result<Pion, String>,
    pub(super) signaling: Signaling,
    /// The yardstick first.
    pub(super) dialects: Vec<Dialect>,
}

/// The generated part.
pub(super) fn render(figures: &Figures) -> String {
    let Figures { size, schedule, load_average, .. } = figures;
    let mut text = String::new();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let load = load_average.map_or_else(|| "unknown".into(), |load| format!("{load:.2}"));
    let _ = writeln!(text, "Measured {date} on: {}; load average before: {load}.\n", process::machine());
    let _ = writeln!(
        text,
        "{} one-way pairs of {:.0} packets/s and {:.2} Mbit/s each, both ends on the machine, for {} s:\n",
        size.pairs,
        schedule.packets_per_second(),
        schedule.bits_per_second() / 1e6,
        size.window.as_secs(),
    );
    media(&mut text, figures);
    set_up(&mut text, figures);
    signaling(&mut text, figures);
    dialects(&mut text, figures);
    targets(&mut text, figures);
    text
}

/// Puts the generated part into the file, between its marks.
pub(super) fn replace(file: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(file)?;
    let parts = old.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let Some((head, tail)) = parts else {
        return Err(format!("{} lacks the marks between which the table goes", file.display()).into());
    };
    std::fs::write(file, format!("{head}{BEGIN}\n{text}\n{END}{tail}"))?;
    Ok(())
}

fn media(text: &mut String, figures: &Figures) {
    let floor = per_packet(&figures.offload);
    let pion = figures.pion.as_ref().ok().map(|pion| per_packet(&pion.streaming));
    text.push_str("| media | CPU per packet | × floor | × Pion | memory per peer | received of planned | verified |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    let mut row = |name: &str, streaming: &Streaming, verified: Option<f64>| {
        let cost = per_packet(streaming);
        let _ = writeln!(
            text,
            "| {name} | {cost:.2} µs | {:.2} | {} | {} | {} | {} |",
            cost / floor,
            or_dash(pion.map(|pion| format!("{:.2}", cost / pion))),
            or_dash(streaming.resident.map(kilobytes)),
            percent(streaming.complete),
            or_dash(verified.map(percent)),
        );
    };
    row("floor: UDP with GSO and GRO, AES-128-GCM", &figures.offload, None);
    row("floor: sendto and recvfrom, AES-128-GCM", &figures.plain, None);
    for (stack, engine) in &figures.engines {
        row(&format!("harness, stack {stack}"), &engine.streaming, Some(engine.verified));
    }
    if let Ok(pion) = &figures.pion {
        row("Pion, as in Debian", &pion.streaming, None);
    }
    if let Err(missing) = &figures.pion {
        let _ = writeln!(text, "\n**Missing**: Pion; {missing}.");
    }
    for (stack, engine) in &figures.engines {
        let _ = writeln!(
            text,
            "\nBookkeeping of stack {stack} (events, histograms, display): {} of its CPU time; {} events in the run.",
            percent(engine.bookkeeping.share),
            engine.bookkeeping.events,
        );
    }
}

fn set_up(text: &mut String, figures: &Figures) {
    let _ = writeln!(text, "\n{} pairs, idle after they are up:\n", figures.size.idle_pairs);
    text.push_str(
        "| set-up | CPU per pair | without signaling | memory per peer | channel open p50, p95 | connection p95 | failed | pairs/s, all at once |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (stack, engine) in &figures.engines {
        let of = &engine.set_up;
        let _ = writeln!(
            text,
            "| harness, stack {stack} | {:.2} ms | {:.2} ms | {} | {}, {} | {} | {} | {:.0} |",
            of.cpu_ms,
            of.cpu_ms - of.signaling_ms,
            kilobytes(of.resident),
            milliseconds(of.data_channel_p50_ms),
            milliseconds(of.data_channel_p95_ms),
            milliseconds(of.connection_p95_ms),
            of.failed,
            engine.connect_rate,
        );
    }
    if let Ok(pion) = &figures.pion {
        let pairs = figures.size.pairs;
        let _ = writeln!(
            text,
            "| Pion, {pairs} pairs with video and audio, no signaling at all | – | {:.2} ms | – | – | – | – | – |",
            pion.set_up_ms
        );
    }
}

fn signaling(text: &mut String, figures: &Figures) {
    let of = &figures.signaling;
    let _ = writeln!(text, "\n{} clients that send {MESSAGES} messages/s each:\n", figures.size.clients);
    text.push_str("| signaling | |\n|---|---|\n");
    for (what, value) in [
        ("calls that failed", of.failed.to_string()),
        ("messages relayed", format!("{:.0}/s", of.relayed)),
        ("arrived unaltered and in order", or_dash(of.delivered.map(percent))),
        ("delivery p50, p99", format!("{}, {}", milliseconds(of.delivery_p50_ms), milliseconds(of.delivery_p99_ms))),
        ("CPU of the server per message", format!("{:.1} µs", of.server_cpu_us)),
        ("CPU of the clients per message", format!("{:.1} µs", of.client_cpu_us)),
        ("CPU of the server per client that joins and calls", format!("{:.2} ms", of.join_cpu_ms)),
        ("memory of the server per client", kilobytes(of.server_resident)),
        ("memory of the clients, each", kilobytes(of.client_resident)),
    ] {
        let _ = writeln!(text, "| {what} | {value} |");
    }
}

fn dialects(text: &mut String, figures: &Figures) {
    let _ = writeln!(text, "\n{} calls/s through the bundled server, each with two clients:\n", dialects::ARRIVALS);
    text.push_str(
        "| protocol | CPU per call | × own | of it the server's | failed | exchange p99 |\n|---|---|---|---|---|---|\n",
    );
    for dialect in &figures.dialects {
        let _ = writeln!(
            text,
            "| {} | {:.2} ms | {:.2} | {:.2} ms | {} | {} |",
            dialect.protocol,
            dialect.cpu_ms(),
            dialect.cpu_ms() / figures.dialects[0].cpu_ms(),
            dialect.server_ms,
            dialect.failed,
            milliseconds(dialect.exchange_p99_ms),
        );
    }
}

/// What was asked for, and whether this run shows it.
fn targets(text: &mut String, figures: &Figures) {
    let judged = figures.engines.iter().find(|(stack, _)| *stack == JUDGED);
    let _ = writeln!(text, "\n| target | measured | met |\n|---|---|---|");
    let mut row = |target: &str, measured: String, met: bool| {
        let _ = writeln!(text, "| {target} | {measured} | {} |", if met { "yes" } else { "**no**" });
    };
    let whole = |streaming: &Streaming| streaming.complete >= COMPLETE;
    let unless_whole = |ratio: f64, others: &Streaming, own: &Streaming| match whole(others) && whole(own) {
        true => format!("{ratio:.2}"),
        false => format!("{ratio:.2}, of unequal work: the machine was too busy"),
    };
    if let Some((stack, engine)) = judged {
        let cost = per_packet(&engine.streaming);
        let floor = cost / per_packet(&figures.offload);
        let own = &engine.streaming;
        let intact = whole(own) && engine.verified >= 1.0;
        let measured = unless_whole(floor, &figures.offload, own);
        row(
            &format!("{stack}: at most 3 times the floor with GSO"),
            measured,
            floor <= 3.0 && intact && whole(&figures.offload),
        );
        if let Ok(pion) = &figures.pion {
            let ratio = cost / per_packet(&pion.streaming);
            let measured = unless_whole(ratio, &pion.streaming, own);
            let met = ratio <= 0.4 && intact && whole(&pion.streaming);
            row(&format!("{stack}: at most 0.4 times Pion"), measured, met);
        }
        let set_up = engine.set_up.cpu_ms - engine.set_up.signaling_ms;
        let target = format!("{stack}: at most 2 CPU-ms per pair, without signaling");
        row(&target, format!("{set_up:.2} ms"), set_up <= 2.0);
        let idle = engine.set_up.resident;
        row(&format!("{stack}: at most 160 kB per idle peer"), kilobytes(idle), idle <= 160e3);
        if let Some(streaming) = engine.streaming.resident {
            let target = format!("{stack}: at most 250 kB per streaming peer");
            row(&target, kilobytes(streaming), streaming <= 250e3);
        }
        let (failed, p95) = (engine.set_up.failed, engine.set_up.connection_p95_ms);
        row(
            &format!(
                "{stack}: {} peers in 5 s, none fails, connection_time p95 under 300 ms",
                2 * figures.size.idle_pairs
            ),
            format!("{failed} failed, {}", milliseconds(p95)),
            failed == 0 && p95.is_some_and(|p95| p95 < 300.0),
        );
        let share = engine.bookkeeping.share;
        row(&format!("{stack}: bookkeeping under 5 %"), percent(share), share < 0.05);
    }
    let of = &figures.signaling;
    let wanted = f64::from(figures.size.clients * MESSAGES);
    row(
        &format!("signaling: {} clients, {wanted:.0} messages/s", figures.size.clients),
        format!("{} calls failed, {:.0}/s", of.failed, of.relayed),
        // A message that is on its way when the clock is read belongs to neither side.
        of.failed == 0 && of.relayed >= 0.99 * wanted && of.delivered == Some(1.0),
    );
    let Some((own, others)) = figures.dialects.split_first() else { return };
    for other in others {
        let ratio = other.cpu_ms() / own.cpu_ms();
        row(
            &format!("{}: under 10 % more CPU per call than our own protocol", other.protocol),
            format!("{:+.1} %, {} failed", (ratio - 1.0) * 100.0, other.failed),
            ratio < 1.1 && other.failed == 0,
        );
    }
}

fn kilobytes(bytes: f64) -> String {
    format!("{:.0} kB", bytes / 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.2}", share * 100.0).trim_end_matches('0').trim_end_matches('.').to_owned() + " %"
}

fn milliseconds(value: Option<f64>) -> String {
    or_dash(value.map(|value| format!("{value:.1} ms")))
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".into())
}
