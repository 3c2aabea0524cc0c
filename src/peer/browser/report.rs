//! What a browser peer has to report of its call.

use serde_json::Value;

use super::page::receives;
use super::peer::BrowserPeer;
use super::stats::Stats;
use super::verify;
use crate::peer::Sent;
use crate::plan::Role;
use crate::record::{MediaKind, MediaReport, Metric, PeerRecorder};

/// The samples that a second of media gives.
pub(super) fn stream_samples(recorder: &PeerRecorder, stats: &Stats, before: &Stats) {
    let rates = stats.rates_since(before);
    for (metric, value) in [
        (Metric::SendBitrateBps, rates.send_bps),
        (Metric::RecvBitrateBps, rates.recv_bps),
        (Metric::GoodputBps, rates.goodput_bps),
        (Metric::RttMs, stats.rtt_ms()),
    ] {
        if let Some(value) = value {
            recorder.sample(metric, value);
        }
    }
    for jitter in stats.jitters_ms() {
        recorder.sample(Metric::JitterMs, jitter);
    }
}

/// How many data-channel messages are known to be under way to this peer.
pub(super) fn outstanding(peer: &BrowserPeer, sent: Option<&Sent>) -> u64 {
    let echo = peer.data.echo.as_ref().map_or(0, |echo| {
        let returned = echo.replies.unwrap_or(0) + echo.wrong.unwrap_or(0);
        echo.sent.unwrap_or(0).saturating_sub(returned)
    });
    let reliable = bulk_is_reliable(peer);
    let bulk = match (&peer.data.bulk, sent.and_then(|sent| sent.data_messages)) {
        (Some(bulk), Some(sent)) if reliable => bulk.received.map_or(0, |received| sent.saturating_sub(received)),
        _ => 0,
    };
    echo + bulk
}

/// Records everything that the peer's final statistics say.
pub(super) fn report(peer: &BrowserPeer, sent: Option<&Sent>) {
    let recorder = &peer.context.recorder;
    if let Some(path) = peer.latest.path(recorder.call(), recorder.peer()) {
        recorder.path(path);
    }
    let reports: Vec<MediaReport> = [MediaKind::Audio, MediaKind::Video, MediaKind::DataEcho, MediaKind::DataBulk]
        .into_iter()
        .filter(|kind| receives(&peer.context, *kind))
        .map(|kind| match kind {
            MediaKind::Audio | MediaKind::Video => rtp_report(peer, kind, sent),
            MediaKind::DataEcho => echo_report(peer),
            MediaKind::DataBulk => bulk_report(peer, sent),
        })
        .collect();
    if !reports.is_empty() {
        let verified = reports.iter().all(|report| report.verified);
        recorder.sample(Metric::MediaVerifiedRatio, if verified { 1.0 } else { 0.0 });
    }
    samples(peer, sent, &reports);
    for report in reports {
        recorder.media(report);
    }
    recorder.stats(peer.latest.0.clone());
}

fn rtp_report(peer: &BrowserPeer, kind: MediaKind, sent: Option<&Sent>) -> MediaReport {
    let mut report = peer.context.media_report(kind, "");
    let (name, first) = match kind {
        MediaKind::Audio => ("audio", peer.instants.first_rtp),
        _ => ("video", peer.instants.first_frame),
    };
    let start_s =
        first.zip(peer.instants.connected).map_or(0.0, |(first, connected)| (first - connected).max(0.0) / 1e3);
    let Some(inbound) = peer.latest.rtp("inbound-rtp", name) else {
        report.detail = format!("no {name} arrived");
        return report;
    };
    let count = |member: &str| inbound[member].as_u64();
    let pixels = |member: &str| count(member).and_then(|value| value.try_into().ok());
    report.codec = peer.latest.codec(inbound).unwrap_or_default().to_owned();
    report.packets = count("packetsReceived").unwrap_or(0);
    report.packets_lost = inbound["packetsLost"].as_i64().map(|lost| lost.max(0) as u64);
    report.nack_count = count("nackCount");
    let judged = if kind == MediaKind::Audio {
        report.frames = report.packets;
        report.frames_intact = report.packets.saturating_sub(count("packetsDiscarded").unwrap_or(0));
        report.frames_sent = sent.and_then(|sent| sent.audio_packets);
        verify::audio(inbound, sent, start_s)
    } else {
        report.frames = count("framesReceived").unwrap_or(0);
        report.frames_intact = count("framesDecoded").unwrap_or(0);
        report.frames_sent = sent.and_then(|sent| sent.video_frames);
        (report.width, report.height) = (pixels("frameWidth"), pixels("frameHeight"));
        report.rate = verify::decoded_rate(inbound);
        report.pli_count = count("pliCount").map(|pli| pli + count("firCount").unwrap_or(0));
        let planned =
            peer.context.plan.media_of(&peer.context.call).video.as_ref().map(|video| video.codec.mime_type());
        match planned {
            Some(planned) if !report.codec.eq_ignore_ascii_case(planned) => {
                Err(format!("{} was negotiated, {planned} is planned", report.codec))
            }
            _ => verify::video(inbound, sent, start_s),
        }
    };
    let judged = judged.and_then(|compared| match peer.silence.at_end(kind) {
        // What the other end says it sent is a better measure, and it has been held against that.
        Some(silence) if report.frames_sent.is_none() => {
            Err(format!("{compared}; nothing came in the last {:.1} s", silence.as_secs_f64()))
        }
        _ => Ok(compared),
    });
    judge(&mut report, judged);
    report
}

fn echo_report(peer: &BrowserPeer) -> MediaReport {
    let mut report = peer.context.media_report(MediaKind::DataEcho, "echo");
    let Some(echo) = &peer.data.echo else {
        report.detail = "the channel was never opened".into();
        return report;
    };
    let judged = match (echo.sent, echo.replies) {
        (Some(sent), Some(replies)) => {
            let wrong = echo.wrong.unwrap_or(0);
            (report.packets, report.frames_intact, report.frames_sent) = (replies + wrong, replies, Some(sent));
            let compared = format!("{replies} of {sent} messages came back unchanged, {wrong} changed");
            if sent > 0 && replies == sent && wrong == 0 { Ok(compared) } else { Err(compared) }
        }
        _ => {
            let received = echo.received.unwrap_or(0);
            (report.packets, report.frames_intact) = (received, received);
            let compared = format!("{received} messages sent back; the offerer compares them");
            if received > 0 { Ok(compared) } else { Err(compared) }
        }
    };
    report.frames = report.packets;
    judge(&mut report, judged);
    report
}

fn bulk_report(peer: &BrowserPeer, sent: Option<&Sent>) -> MediaReport {
    let mut report = peer.context.media_report(MediaKind::DataBulk, "bulk");
    let Some(bulk) = &peer.data.bulk else {
        report.detail = "the channel was never opened".into();
        return report;
    };
    let (received, wrong) = (bulk.received.unwrap_or(0), bulk.wrong.unwrap_or(0));
    let messages = sent.and_then(|sent| sent.data_messages);
    (report.packets, report.frames, report.frames_intact) = (received, received, received - wrong.min(received));
    report.frames_sent = messages;
    if let Some(seconds) = bulk_seconds(bulk.first, bulk.last) {
        report.rate = Some(received as f64 / seconds);
    }
    judge(&mut report, verify::bulk(received, wrong, messages, bulk_is_reliable(peer)));
    report
}

/// The samples that a whole call gives, and why others are absent.
fn samples(peer: &BrowserPeer, sent: Option<&Sent>, reports: &[MediaReport]) {
    let recorder = &peer.context.recorder;
    if let Some(loss) = peer.latest.loss_ratio() {
        recorder.sample(Metric::PacketLossRatio, loss);
    }
    if let Some(video) = peer.latest.rtp("inbound-rtp", "video") {
        match video["totalFreezesDuration"].as_f64() {
            Some(seconds) => recorder.sample(Metric::FreezeTimeMs, seconds * 1e3),
            None => recorder.absent(Metric::FreezeTimeMs, "the browser gives no totalFreezesDuration"),
        }
        if video["retransmittedBytesReceived"] == Value::Null {
            recorder.absent(Metric::GoodputBps, "the browser does not count retransmitted video bytes apart");
        }
    }
    if let Some(report) = reports.iter().find(|report| report.kind == MediaKind::Video) {
        let of_fixture = sent.filter(|sent| sent.video_is_fixture).and(report.frames_sent);
        let frames = of_fixture.unwrap_or(report.frames);
        if frames > 0 {
            recorder.sample(Metric::FrameIntegrityRatio, (report.frames_intact as f64 / frames as f64).min(1.0));
        } else {
            recorder.absent(Metric::FrameIntegrityRatio, "no frame arrived");
        }
    }
    if receives(&peer.context, MediaKind::Audio) {
        recorder.absent(Metric::AudioGapMs, "browsers do not say when single audio packets arrive");
    }
    if let Some(bulk) = &peer.data.bulk
        && let (Some(bytes), Some(seconds)) = (bulk.bytes, bulk_seconds(bulk.first, bulk.last))
    {
        recorder.sample(Metric::DataChannelThroughputBps, bytes as f64 * 8.0 / seconds);
    }
    if peer.data.echo.is_some() && peer.context.role == Role::Answerer {
        recorder.absent(Metric::DataChannelLatencyMs, "the offerer measures it");
    }
}

fn bulk_seconds(first: Option<f64>, last: Option<f64>) -> Option<f64> {
    first.zip(last).map(|(first, last)| (last - first) / 1e3).filter(|seconds| *seconds > 0.0)
}

fn bulk_is_reliable(peer: &BrowserPeer) -> bool {
    let data = peer.context.plan.media_of(&peer.context.call).data.as_ref();
    data.and_then(|data| data.bulk.as_ref()).is_some_and(|bulk| bulk.reliable)
}

fn judge(report: &mut MediaReport, judged: Result<String, String>) {
    report.verified = judged.is_ok();
    report.detail = judged.unwrap_or_else(|reason| reason);
}
