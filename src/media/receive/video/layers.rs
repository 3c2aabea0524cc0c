//! Which layer of simulcast comes, and which was asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::media::fixture::{Position, VideoFixture};
use crate::plan::Layer;

/// The layers of a publisher, of which a server passes one on at a time.
#[derive(Debug)]
pub struct Layers {
    fixtures: Vec<(Layer, Arc<VideoFixture>)>,
    /// The layer that comes, by its index, as far as that is certain.
    current: Option<usize>,
    /// The layer of the last intact frame.
    last: Option<Layer>,
    /// Intact frames of each.
    intact: Vec<u64>,
    requests: Vec<LayerRequest>,
}

/// A layer that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LayerRequest {
    /// The layer.
    pub layer: Layer,
    /// When it was asked for.
    pub at: Instant,
    /// When its first intact frame had come; absent: it never came while it was wanted.
    pub reached: Option<Instant>,
}

impl LayerRequest {
    /// From asking to the first intact frame.
    pub fn took(&self) -> Option<Duration> {
        Some(self.reached?.saturating_duration_since(self.at))
    }
}

/// A frame that is in one of the layers.
pub(super) struct Found<'a> {
    pub(super) layer: Layer,
    pub(super) fixture: &'a VideoFixture,
    /// Whether the frame before it was of another layer.
    pub(super) changes: bool,
}

impl Layers {
    pub(super) fn new(fixtures: Vec<(Layer, Arc<VideoFixture>)>) -> Self {
        let intact = vec![0; fixtures.len()];
        Self { fixtures, current: None, last: None, intact, requests: Vec::new() }
    }

    /// Intact frames of each layer, from the smallest.
    pub fn frames(&self) -> impl Iterator<Item = (Layer, u64)> {
        self.fixtures.iter().map(|(layer, _)| *layer).zip(self.intact.iter().copied())
    }

    /// What was asked for, in this order.
    pub fn requests(&self) -> &[LayerRequest] {
        &self.requests
    }

    /// The layer of the last intact frame.
    pub fn last(&self) -> Option<Layer> {
        self.last
    }

    pub(super) fn ask_for(&mut self, layer: Layer, at: Instant) {
        self.requests.push(LayerRequest { layer, at, reached: None });
    }

    /// The layer that has this frame; `position` is where in the layer that comes the frame before it was.
    pub(super) fn find(&mut self, content: &[u8], position: Option<usize>) -> Option<Found<'_>> {
        let follows = |(_, fixture): &(Layer, Arc<VideoFixture>)| {
            let next = position.map(|position| (position + 1) % fixture.frames().len());
            next.is_some_and(|next| fixture.frames()[next].data == content)
        };
        let before = self.current;
        let index = match before {
            // Almost always so, and much cheaper than the search.
            Some(index) if follows(&self.fixtures[index]) => index,
            _ => self.fixtures.iter().position(|(_, fixture)| fixture.position(content) != Position::Nowhere)?,
        };
        self.current = Some(index);
        let (layer, fixture) = &self.fixtures[index];
        Some(Found { layer: *layer, fixture, changes: before.is_some_and(|before| before != index) })
    }

    /// A fixture to say of a frame that it is in none.
    pub(super) fn any(&self) -> &VideoFixture {
        &self.fixtures[0].1
    }

    /// Which layer comes is not certain any more.
    pub(super) fn lose(&mut self) {
        self.current = None;
    }

    /// An intact frame of this layer has come; false if another one had come already that was asked for.
    pub(super) fn take(&mut self, layer: Layer, at: Instant) -> bool {
        if let Some(request) = self.requests.last_mut().filter(|request| request.at <= at) {
            if request.layer == layer {
                request.reached.get_or_insert(at);
            } else if request.reached.is_some() {
                return false;
            }
        }
        self.last = Some(layer);
        if let Some(index) = self.fixtures.iter().position(|(of, _)| *of == layer) {
            self.intact[index] += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests;
