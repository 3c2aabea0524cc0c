//! Whether what a browser received is what was sent. Pure. `Ok` and `Err` both carry what was compared.

use serde_json::Value;

use crate::peer::Sent;

/// A browser sees no bytes of a frame, so that it cannot do better than count.
const ENOUGH: f64 = 0.9;
/// How far the rate of decoded frames may be from that of sent ones.
const RATE_TOLERANCE: f64 = 0.2;
/// What the other end may send before this one decodes, and after it was asked to stop, beyond the measured start.
const SLACK_S: f64 = 0.5;
/// Packets per second of Opus in its default packets of 20 ms (RFC 7587, section 4.2).
const AUDIO_RATE: f64 = 50.0;

/// Frames decoded per second, over the time in which there were any.
pub(super) fn decoded_rate(inbound: &Value) -> Option<f64> {
    let (frames, seconds) = (inbound["framesDecoded"].as_f64()?, inbound["totalInterFrameDelay"].as_f64()?);
    (frames >= 2.0 && seconds > 0.0).then(|| (frames - 1.0) / seconds)
}

/// Compares received video with what the other end says it sent. `start_s` is the time from the connection to the first
/// decoded frame, during which frames may go by.
pub(super) fn video(inbound: &Value, sent: Option<&Sent>, start_s: f64) -> Result<String, String> {
    let decoded = inbound["framesDecoded"].as_u64().unwrap_or(0);
    if decoded == 0 {
        return Err("no frame was decoded".into());
    }
    let mut compared = vec![format!("{decoded} frames decoded")];
    let sent = sent.cloned().unwrap_or_default();
    let rate = decoded_rate(inbound);
    if let Some(frames) = sent.video_frames {
        let missed = sent.video_rate.or(rate).unwrap_or(0.0) * (start_s + SLACK_S);
        let needed = ENOUGH * (frames as f64 - missed).max(1.0);
        compared.push(format!("{frames} sent"));
        if (decoded as f64) < needed {
            return Err(format!("{}; at least {needed:.0} had to be decoded", compared.join(", ")));
        }
    }
    if let Some((width, height)) = sent.video_size {
        let got = (inbound["frameWidth"].as_u64(), inbound["frameHeight"].as_u64());
        compared.push(format!("{width}x{height}"));
        if got != (Some(width.into()), Some(height.into())) {
            let (got_width, got_height) = (got.0.unwrap_or(0), got.1.unwrap_or(0));
            return Err(format!("{} sent, {got_width}x{got_height} decoded", compared.join(", ")));
        }
    }
    if let (Some(sent), Some(got)) = (sent.video_rate, rate) {
        compared.push(format!("{got:.1} frames/s of {sent:.1}"));
        if (got - sent).abs() > RATE_TOLERANCE * sent {
            return Err(format!("{}: the rates differ by more than 20 %", compared.join(", ")));
        }
    }
    if sent.video_frames.is_none() {
        compared.push("the other end does not say how many it sent".into());
    }
    Ok(compared.join(", "))
}

/// Compares received audio with what the other end says it sent. `start_s` is the time from the connection to the first
/// packet.
pub(super) fn audio(inbound: &Value, sent: Option<&Sent>, start_s: f64) -> Result<String, String> {
    let received = inbound["packetsReceived"].as_u64().unwrap_or(0);
    if received == 0 {
        return Err("no packet arrived".into());
    }
    let lost = inbound["packetsLost"].as_i64().unwrap_or(0).max(0);
    let mut compared = vec![format!("{received} packets received, {lost} lost")];
    if let (Some(concealed), Some(total)) =
        (inbound["concealedSamples"].as_f64(), inbound["totalSamplesReceived"].as_f64())
        && total > 0.0
    {
        compared.push(format!("{:.1} % of the samples concealed", 100.0 * concealed / total));
    }
    match sent.and_then(|sent| sent.audio_packets) {
        Some(packets) => {
            compared.push(format!("{packets} sent"));
            let needed = ENOUGH * (packets as f64 - AUDIO_RATE * (start_s + SLACK_S)).max(1.0);
            if (received as f64) < needed {
                return Err(format!("{}; at least {needed:.0} had to arrive", compared.join(", ")));
            }
        }
        None => compared.push("the other end does not say how many it sent".into()),
    }
    if inbound["totalAudioEnergy"].as_f64() == Some(0.0) {
        return Err(format!("{}, but what they decode to is silence", compared.join(", ")));
    }
    Ok(compared.join(", "))
}

/// Compares bulk messages received over a data channel with those sent.
pub(super) fn bulk(received: u64, wrong: u64, sent: Option<u64>, reliable: bool) -> Result<String, String> {
    let compared = match sent {
        Some(sent) => format!("{received} messages of {sent}"),
        None => format!("{received} messages; the other end does not say how many it sent"),
    };
    match sent {
        _ if wrong > 0 => Err(format!("{compared}, {wrong} of another size than planned")),
        _ if received == 0 => Err(compared),
        Some(sent) if received > sent || (reliable && received < sent) => Err(compared),
        _ => Ok(compared),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> Sent {
        Sent {
            video_frames: Some(100),
            video_rate: Some(20.0),
            video_size: Some((320, 240)),
            audio_packets: Some(250),
            ..Sent::default()
        }
    }

    fn inbound(decoded: u64, seconds: f64) -> Value {
        json!({"framesDecoded": decoded, "totalInterFrameDelay": seconds, "frameWidth": 320, "frameHeight": 240})
    }

    #[test]
    fn video_that_arrived_is_verified() {
        let detail = video(&inbound(96, 4.75), Some(&sent()), 0.1).unwrap();
        assert_eq!(detail, "96 frames decoded, 100 sent, 320x240, 20.0 frames/s of 20.0");
        assert!(video(&inbound(96, 4.75), None, 0.1).unwrap().contains("does not say"));
    }

    #[test]
    fn each_way_for_video_to_fall_short_is_told() {
        for (inbound, word) in [
            (json!({}), "no frame"),
            (inbound(50, 2.45), "at least 79"),
            (inbound(96, 9.5), "20 %"),
            (json!({"framesDecoded": 96, "frameWidth": 160, "frameHeight": 120}), "160x120 decoded"),
        ] {
            let reason = video(&inbound, Some(&sent()), 0.1).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn audio_must_arrive_and_sound() {
        let good = json!({"packetsReceived": 245, "packetsLost": 0, "totalAudioEnergy": 0.5});
        assert!(audio(&good, Some(&sent()), 0.1).is_ok());
        let silent = json!({"packetsReceived": 245, "totalAudioEnergy": 0.0});
        assert!(audio(&silent, Some(&sent()), 0.1).unwrap_err().contains("silence"));
        let few = json!({"packetsReceived": 100, "totalAudioEnergy": 0.5});
        assert!(audio(&few, Some(&sent()), 0.1).unwrap_err().contains("at least"));
        assert!(audio(&json!({}), None, 0.0).is_err());
    }

    #[test]
    fn bulk_must_be_whole_if_reliable() {
        assert!(bulk(10, 0, Some(10), true).is_ok());
        assert!(bulk(9, 0, Some(10), true).is_err());
        assert!(bulk(9, 0, Some(10), false).is_ok());
        assert!(bulk(11, 0, Some(10), false).is_err());
        assert!(bulk(10, 1, Some(10), true).is_err());
        assert!(bulk(0, 0, None, false).is_err());
    }
}
