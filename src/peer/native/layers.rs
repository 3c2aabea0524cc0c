//! Simulcast, at a subscriber: it asks the server for layers, and says what came of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::media::Media;
use crate::media::receive::Layers;
use crate::plan::Layer;
use crate::signaling::client::Sender;

/// Asks for these layers in turn, each for the same share of the time that the call holds, beginning now.
pub(super) async fn ask_in_turn(sender: Sender, media: Arc<Media>, layers: Vec<Layer>, hold: Duration) {
    let (start, share) = (Instant::now(), hold / u32::try_from(layers.len()).unwrap_or(u32::MAX).max(1));
    for (number, layer) in (0..).zip(layers) {
        tokio::select! {
            () = sleep_until((start + share * number).into()) => {}
            () = media.stopping().cancelled() => return,
        }
        media.ask_for(layer, Instant::now());
        if let Err(error) = sender.ask_for(layer).await {
            return media.layer_refused(format!("signaling: {error}"));
        }
    }
}

/// Whether every layer came that was asked for, and what is to be told; `refusal` is what the server said against it.
pub(super) fn verdict(layers: &Layers, refusal: Option<&str>) -> (bool, String) {
    let frames: Vec<_> = layers.frames().map(|(layer, frames)| format!("{frames} of {}", layer.name())).collect();
    let requests = layers.requests();
    let told = requests.iter().enumerate().map(|(number, request)| {
        let after = request.at.saturating_duration_since(requests[0].at).as_secs_f64();
        let asked = format!("asked for {} at {after:.1} s", request.layer.name());
        match (request.took(), requests.get(number + 1), layers.last()) {
            (Some(took), ..) => format!("{asked}, and got it after {} ms", took.as_millis()),
            (None, Some(_), _) => format!("{asked}, and did not get it until the next request"),
            (None, None, Some(last)) => format!("{asked}, and got {} until the end", last.name()),
            (None, None, None) => format!("{asked}, and got nothing"),
        }
    });
    let mut parts = vec![format!("intact frames: {}", frames.join(", "))];
    parts.extend(told);
    let reached = requests.iter().all(|request| request.reached.is_some());
    parts.extend(refusal.filter(|_| !reached).map(str::to_owned));
    (reached, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::media::fixture::VideoFixture;
    use crate::media::receive::VideoReceiver;
    use crate::media::send::{RtpStream, VideoSender};

    /// What a subscriber says that asked for these layers, a second apart, while `came` came for two seconds.
    fn told(requests: &[Layer], came: Layer, refusal: Option<&str>) -> (bool, String) {
        let (start, layers) = (Instant::now(), VideoFixture::load_layers(None).unwrap());
        let fixture = layers.iter().find(|(layer, _)| *layer == came).map(|(_, fixture)| Arc::clone(fixture)).unwrap();
        let stream = RtpStream { ssrc: 1, payload_type: 96, seed: 1 };
        let mut sender = VideoSender::new(fixture, stream, NonZeroU32::new(10).unwrap(), start);
        let mut receiver = VideoReceiver::of_layers(layers);
        let mut requests = (0..).map(|second| start + Duration::from_secs(second)).zip(requests).peekable();
        for _ in 0..20 {
            let due = sender.next_due();
            if let Some((at, layer)) = requests.next_if(|(at, _)| *at <= due) {
                receiver.ask_for(*layer, at);
            }
            sender.produce(due).unwrap().packets.iter().for_each(|packet| receiver.handle(packet, due));
        }
        receiver.finish(start + Duration::from_secs(2));
        verdict(receiver.layers().unwrap(), refusal)
    }

    #[test]
    fn every_layer_that_was_asked_for_must_come() {
        let (fits, detail) = told(&[], Layer::Half, None);
        assert!(fits);
        assert_eq!(detail, "intact frames: 0 of quarter, 20 of half, 0 of full");
        let (fits, detail) = told(&[Layer::Half], Layer::Half, Some("a rumour"));
        assert!(fits);
        assert_eq!(
            detail,
            "intact frames: 0 of quarter, 20 of half, 0 of full; asked for half at 0.0 s, and got it after 0 ms"
        );
    }

    #[test]
    fn a_layer_that_did_not_come_is_told_with_what_came_instead() {
        let (fits, detail) = told(&[Layer::Half, Layer::Full], Layer::Half, Some("Janus refuses the layer: 430: no"));
        assert!(!fits);
        assert!(
            detail.ends_with("asked for full at 1.0 s, and got half until the end; Janus refuses the layer: 430: no"),
            "{detail}"
        );
        let (fits, detail) = told(&[Layer::Full, Layer::Half], Layer::Half, None);
        assert!(!fits);
        assert!(detail.contains("asked for full at 0.0 s, and did not get it until the next request"), "{detail}");
    }
}
