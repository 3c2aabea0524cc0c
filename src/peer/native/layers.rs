//! Simulcast, at a subscriber: it asks the server for layers, and says what came of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::media::Media;
use crate::media::receive::{LayerRequest, Layers};
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
        let until = requests.get(number + 1).map_or("the end", |_| "the next request");
        match (request.took(), layers.last()) {
            (Some(took), _) => format!("{asked}, and got it after {} ms", took.as_millis()),
            (None, Some(last)) if number + 1 == requests.len() => {
                format!("{asked}, and got {} until {until}", last.name())
            }
            (None, _) => format!("{asked}, and did not get it until {until}"),
        }
    });
    let mut parts = vec![format!("intact frames: {}", frames.join(", "))];
    parts.extend(told);
    let reached = requests.iter().all(is_reached);
    parts.extend(refusal.filter(|_| !reached).map(str::to_owned));
    (reached, parts.join("; "))
}

fn is_reached(request: &LayerRequest) -> bool {
    request.reached.is_some()
}
