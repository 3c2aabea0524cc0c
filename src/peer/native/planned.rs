//! What the plan has a native peer send, and what it expects of the other end.

use std::path::Path;
use std::sync::Arc;

use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodecParameters, RtpCodecKind};

use super::connection::{opus, video_codec};
use super::mix::Mix;
use super::source::Source;
use crate::media::fixture::{AudioFixture, FixtureError, VideoFixture};
use crate::media::tone;
use crate::peer::PeerContext;
use crate::plan::{Engine, Layer, VideoPlan};

/// A track as it is planned.
#[derive(Clone)]
pub(super) struct TrackPlan {
    pub(super) kind: RtpCodecKind,
    pub(super) codec: RTCRtpCodecParameters,
    /// What is sent: with simulcast several, the largest first, as servers expect them; none if the track only receives.
    pub(super) encodings: Vec<Encoding>,
}

/// One RTP stream of a track (W3C `RTCRtpEncodingParameters`).
#[derive(Clone)]
pub(super) struct Encoding {
    pub(super) source: Source,
    /// Which of several it is.
    pub(super) layer: Option<Layer>,
    pub(super) ssrc: u32,
    /// What the content of its packets beyond the fixture derives from.
    pub(super) seed: u64,
}

/// What the other end sends, as far as that is known frame by frame: what a native peer sends, not what a browser encodes.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) video: Option<ExpectedVideo>,
    pub(super) audio: Option<Arc<AudioFixture>>,
    /// What a server that mixes makes of what many send.
    pub(super) mix: Option<Mix>,
}

pub(super) enum ExpectedVideo {
    Fixture(Arc<VideoFixture>),
    /// One at a time.
    Layers(Vec<(Layer, Arc<VideoFixture>)>),
}

/// The tracks that the plan gives a peer, in the order of their kinds in descriptions.
pub(super) fn tracks(context: &PeerContext) -> Result<Vec<TrackPlan>, String> {
    let media = context.plan.media_of(&context.call);
    let sends = context.group.direction.sends();
    let mut tracks = Vec::new();
    let encoding = |layer: Option<Layer>, source: Source| {
        let stream = match layer {
            Some(layer) => format!("{}/{}", source.mime_type(), layer.rid()),
            None => source.mime_type().to_owned(),
        };
        Encoding { source, layer, ssrc: rand::random(), seed: seed(context, &stream) }
    };
    if let Some(video) = &media.video {
        let encodings = if !sends {
            Vec::new()
        } else if video.simulcast {
            let layers = load_layers(video).map_err(|error| error.to_string())?.into_iter().rev();
            layers.map(|(layer, fixture)| encoding(Some(layer), Source::Video(fixture, video.frame_rate))).collect()
        } else {
            let fixture = load_video(video).map_err(|error| error.to_string())?;
            vec![encoding(None, Source::Video(fixture, video.frame_rate))]
        };
        tracks.push(TrackPlan { kind: RtpCodecKind::Video, codec: video_codec(video.codec), encodings });
    }
    if media.audio {
        let source = sends.then(|| audio_of(context)).transpose()?.map(Source::Audio);
        let encodings = source.into_iter().map(|source| encoding(None, source)).collect();
        tracks.push(TrackPlan { kind: RtpCodecKind::Audio, codec: opus(), encodings });
    }
    Ok(tracks)
}

/// What the plan has the other end send to a peer.
pub(super) fn expected(context: &PeerContext) -> Result<Expected, String> {
    let media = context.plan.media_of(&context.call);
    if let Some(mix) = context.call.mix.as_ref().filter(|_| context.group.direction.receives()) {
        return Ok(Expected { mix: Some(Mix::new(mix)?), ..Expected::default() });
    }
    if !context.group.direction.receives() || context.source().is_none_or(|group| group.engine != Engine::Native) {
        return Ok(Expected::default());
    }
    let video = media.video.as_ref().map(|video| match video.simulcast {
        true => load_layers(video).map(ExpectedVideo::Layers),
        false => load_video(video).map(ExpectedVideo::Fixture),
    });
    let video = video.transpose().map_err(|error| error.to_string())?;
    let audio = media.audio.then(|| AudioFixture::load(None)).transpose().map_err(|error| error.to_string())?;
    Ok(Expected { video, audio, mix: None })
}

/// What a peer says: where a server mixes, a tone of its own.
fn audio_of(context: &PeerContext) -> Result<Arc<AudioFixture>, String> {
    match &context.call.mix {
        Some(mix) if let Some(hertz) = mix.own_hz => tone::audio(hertz, mix.speakers()),
        _ => AudioFixture::load(None).map_err(|error| error.to_string()),
    }
}

fn load_video(video: &VideoPlan) -> Result<Arc<VideoFixture>, FixtureError> {
    VideoFixture::load(video.codec, video.fixtures.as_deref().map(Path::new))
}

fn load_layers(video: &VideoPlan) -> Result<Vec<(Layer, Arc<VideoFixture>)>, FixtureError> {
    VideoFixture::load_layers(video.fixtures.as_deref().map(Path::new))
}

fn seed(context: &PeerContext, stream: &str) -> u64 {
    crate::plan::derive_seed(context.plan.seed, &format!("{}/{stream}", context.recorder.peer()))
}
