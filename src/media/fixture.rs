//! Fixtures: pre-encoded media that is sent in a loop, and that receivers compare with what arrives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::bitstream::{self, Vp8Header, nal};
use super::container;
use super::packetize;
use crate::plan::{Layer, VideoCodec};

/// Why a fixture cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FixtureError {
    /// The file cannot be read.
    #[error("media fixture {} cannot be read: {reason}; the directory must hold {name} ({form})", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's message.
        reason: String,
        /// The name that is looked for.
        name: &'static str,
        /// What it must be.
        form: &'static str,
    },
    /// The file does not hold what it should.
    #[error("media fixture {} cannot be used: {reason}; fixtures/README.md says what is needed", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        reason: String,
    },
}

/// An encoded frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// What a depacketizer gives back: a VP8 frame, or the NAL units of an H.264 access unit, each after a 4-byte start
    /// code.
    pub data: Bytes,
    /// Whether it can be decoded without any other.
    pub key: bool,
}

/// Pre-encoded video, at least one frame long, with a key frame first.
#[derive(Debug)]
pub struct VideoFixture {
    codec: VideoCodec,
    width: u32,
    height: u32,
    frames: Vec<Frame>,
    payloads: OnceLock<Vec<Vec<Bytes>>>,
    positions: Positions,
}

impl VideoFixture {
    /// The fixture of this codec: the built-in one, or `vp8.ivf` or `h264.h264` from a directory.
    ///
    /// Each file is read once per process, and shared by all who load it.
    ///
    /// # Errors
    ///
    /// The file is missing, is not of the codec, or cannot be sent in a loop.
    pub fn load(codec: VideoCodec, directory: Option<&Path>) -> Result<Arc<Self>, FixtureError> {
        Self::load_layer(codec, Layer::Full, directory)
    }

    /// The layers of simulcast, from the smallest: the built-in ones, or `vp8-quarter.ivf`, `vp8-half.ivf` and `vp8.ivf` from
    /// a directory.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), or a layer is not larger than the one before it.
    pub fn load_layers(directory: Option<&Path>) -> Result<Vec<(Layer, Arc<Self>)>, FixtureError> {
        let mut layers: Vec<(Layer, Arc<Self>)> = Vec::with_capacity(Layer::ALL.len());
        for layer in Layer::ALL {
            let fixture = Self::load_layer(VideoCodec::Vp8, layer, directory)?;
            if let Some((_, below)) = layers.last().filter(|(_, below)| fixture.width <= below.width) {
                let reason = format!("it is {} pixels wide, and the layer below it {}", fixture.width, below.width);
                return Err(FixtureError::Invalid { path: path(directory, layer.fixture_file()), reason });
            }
            layers.push((layer, fixture));
        }
        Ok(layers)
    }

    /// H.264 is there in one size.
    fn load_layer(codec: VideoCodec, layer: Layer, directory: Option<&Path>) -> Result<Arc<Self>, FixtureError> {
        static LOADED: LazyLock<Mutex<HashMap<(&str, Option<PathBuf>), Arc<VideoFixture>>>> =
            LazyLock::new(Mutex::default);
        let (name, form, built_in) = match (codec, layer) {
            (VideoCodec::H264, _) => ("h264.h264", "Annex B", &include_bytes!("../../fixtures/h264.h264")[..]),
            (VideoCodec::Vp8, layer) => {
                let built_in = match layer {
                    Layer::Quarter => &include_bytes!("../../fixtures/vp8-quarter.ivf")[..],
                    Layer::Half => &include_bytes!("../../fixtures/vp8-half.ivf")[..],
                    Layer::Full => &include_bytes!("../../fixtures/vp8.ivf")[..],
                };
                (layer.fixture_file(), "VP8 in IVF", built_in)
            }
        };
        // Held while a file is read, so that a thousand peers that start together read it once.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name, directory.map(Path::to_owned));
        if let Some(fixture) = loaded.get(&key) {
            return Ok(Arc::clone(fixture));
        }
        let file = match directory {
            Some(directory) => read(directory, name, form)?,
            None => Bytes::from_static(built_in),
        };
        let invalid = |reason| FixtureError::Invalid { path: path(directory, name), reason };
        let fixture = Self::parse(codec, &file).map_err(invalid)?;
        Ok(Arc::clone(loaded.entry(key).or_insert_with(|| Arc::new(fixture))))
    }

    /// The codec.
    pub fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The frames, in the order in which they are sent; the first is a key frame.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The RTP payloads of each frame, made once for all who send the fixture.
    pub(super) fn payloads(&self) -> &[Vec<Bytes>] {
        self.payloads
            .get_or_init(|| self.frames.iter().map(|frame| packetize::payloads(self.codec, &frame.data)).collect())
    }

    /// Where in the fixture this frame is.
    pub(super) fn position(&self, content: &[u8]) -> Position {
        self.positions.of(content)
    }

    fn parse(codec: VideoCodec, file: &Bytes) -> Result<Self, String> {
        let (frames, size) = match codec {
            VideoCodec::Vp8 => vp8_frames(container::ivf_frames(file)?)?,
            VideoCodec::H264 => h264_frames(container::annex_b_frames(file)?)?,
        };
        let first = frames.first().ok_or("it holds no frame")?;
        if !first.key {
            return Err("its first frame is not a key frame".into());
        }
        let (width, height) = size.ok_or("the size of the picture cannot be read")?;
        let positions = Positions::new(frames.iter().map(|frame| &frame.data));
        Ok(Self { codec, width, height, frames, payloads: OnceLock::new(), positions })
    }
}

type Frames = (Vec<Frame>, Option<(u32, u32)>);

fn vp8_frames(data: Vec<Bytes>) -> Result<Frames, String> {
    let (mut frames, mut size) = (Vec::with_capacity(data.len()), None);
    for (index, data) in data.into_iter().enumerate() {
        let header = Vp8Header::parse(&data).ok_or_else(|| format!("frame {index} is not a VP8 frame"))?;
        if !header.shown {
            return Err(format!("frame {index} is not shown (an alt-ref frame)"));
        }
        size = size.or(header.size);
        frames.push(Frame { data, key: header.key });
    }
    Ok((frames, size))
}

fn h264_frames(data: Vec<Bytes>) -> Result<Frames, String> {
    let (mut frames, mut size) = (Vec::with_capacity(data.len()), None);
    for (index, data) in data.into_iter().enumerate() {
        let mut key = false;
        for unit in bitstream::nal_units(&data) {
            match nal::kind(unit) {
                nal::SPS => size = size.or_else(|| bitstream::sps_size(unit)),
                nal::IDR => key = true,
                nal::SLICE if bitstream::is_b_slice(unit) == Some(true) => {
                    return Err(format!("frame {index} has a B slice, which cannot be sent in display order"));
                }
                _ => {}
            }
        }
        frames.push(Frame { data, key });
    }
    Ok((frames, size))
}

/// Pre-encoded Opus audio, at least one packet long.
#[derive(Debug)]
pub struct AudioFixture {
    packets: Vec<Bytes>,
    duration: Duration,
    positions: Positions,
}

impl AudioFixture {
    /// The audio fixture: the built-in one, or `opus.ogg` from a directory.
    ///
    /// # Errors
    ///
    /// The file is missing, holds no Opus stream, or its packets differ in duration.
    pub fn load(directory: Option<&Path>) -> Result<Arc<Self>, FixtureError> {
        static OPUS: OnceLock<Result<Arc<AudioFixture>, FixtureError>> = OnceLock::new();
        const NAME: &str = "opus.ogg";
        let parse = |path: PathBuf, file: Bytes| match Self::parse(&file) {
            Ok(fixture) => Ok(Arc::new(fixture)),
            Err(reason) => Err(FixtureError::Invalid { path, reason }),
        };
        let built_in = || {
            let file = Bytes::from_static(include_bytes!("../../fixtures/opus.ogg"));
            parse(Path::new("fixtures").join(NAME), file)
        };
        match directory {
            Some(directory) => parse(directory.join(NAME), read(directory, NAME, "Opus in Ogg")?),
            None => OPUS.get_or_init(built_in).clone(),
        }
    }

    /// The packets, in the order in which they are sent.
    pub fn packets(&self) -> &[Bytes] {
        &self.packets
    }

    /// The duration of the sound in each packet.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Where in the fixture this packet is.
    pub(super) fn position(&self, content: &[u8]) -> Position {
        self.positions.of(content)
    }

    fn parse(file: &Bytes) -> Result<Self, String> {
        let packets = container::ogg_packets(file)?;
        let mut duration = None;
        for (index, packet) in packets.iter().enumerate() {
            let this =
                bitstream::opus_duration(packet).ok_or_else(|| format!("packet {index} is not an Opus packet"))?;
            if *duration.get_or_insert(this) != this {
                return Err(format!("packet {index} holds {this:?} of sound, unlike those before it"));
            }
        }
        Ok(Self::new(packets, duration.ok_or("it holds no packet")?))
    }

    /// Packets that each hold so much sound.
    pub(super) fn new(packets: Vec<Bytes>, duration: Duration) -> Self {
        let positions = Positions::new(packets.iter());
        Self { packets, duration, positions }
    }
}

fn path(directory: Option<&Path>, name: &str) -> PathBuf {
    directory.unwrap_or_else(|| Path::new("fixtures")).join(name)
}

fn read(directory: &Path, name: &'static str, form: &'static str) -> Result<Bytes, FixtureError> {
    let path = directory.join(name);
    match std::fs::read(&path) {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(FixtureError::Unreadable { path, reason: error.to_string(), name, form }),
    }
}

/// Where a piece of content is in a fixture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Position {
    /// At this index only.
    At(usize),
    /// At more than one index, such as the frames of a still picture.
    Several,
    /// Nowhere.
    Nowhere,
}

#[derive(Debug)]
struct Positions(HashMap<Bytes, Position>);

impl Positions {
    fn new<'a>(contents: impl Iterator<Item = &'a Bytes>) -> Self {
        let mut positions = HashMap::new();
        for (index, content) in contents.enumerate() {
            positions
                .entry(content.clone())
                .and_modify(|position| *position = Position::Several)
                .or_insert(Position::At(index));
        }
        Self(positions)
    }

    fn of(&self, content: &[u8]) -> Position {
        self.0.get(content).copied().unwrap_or(Position::Nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_video_is_as_its_readme_says() {
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            let fixture = VideoFixture::load(codec, None).unwrap();
            assert_eq!((fixture.width(), fixture.height(), fixture.frames().len()), (640, 360, 60));
            assert!(fixture.frames().iter().enumerate().all(|(index, frame)| frame.key == (index == 0)));
            for (index, frame) in fixture.frames().iter().enumerate() {
                assert_eq!(fixture.position(&frame.data), Position::At(index), "frames can be told apart");
            }
            assert_eq!(fixture.position(b"else"), Position::Nowhere);
        }
    }

    #[test]
    fn the_built_in_layers_are_one_clip_in_three_sizes() {
        let layers = VideoFixture::load_layers(None).unwrap();
        let sizes: Vec<_> =
            layers.iter().map(|(layer, of)| (*layer, of.width(), of.height(), of.frames().len())).collect();
        assert_eq!(sizes, [(Layer::Quarter, 160, 90, 60), (Layer::Half, 320, 180, 60), (Layer::Full, 640, 360, 60)]);
        for (layer, fixture) in &layers {
            assert!(fixture.frames().iter().enumerate().all(|(index, frame)| frame.key == (index == 0)));
            for (other, of_other) in layers.iter().filter(|(other, _)| other != layer) {
                let is_apart = |frame: &Frame| of_other.position(&frame.data) == Position::Nowhere;
                assert!(fixture.frames().iter().all(is_apart), "{layer:?} can be told from {other:?}");
            }
        }
    }

    #[test]
    fn layers_of_one_size_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in VideoCodec::Vp8.fixture_files(true) {
            std::fs::write(directory.path().join(name), include_bytes!("../../fixtures/vp8.ivf")).unwrap();
        }
        let error = VideoFixture::load_layers(Some(directory.path())).unwrap_err().to_string();
        assert!(
            error.contains("vp8-half.ivf cannot be used: it is 640 pixels wide, and the layer below it 640"),
            "{error}"
        );
    }

    #[test]
    fn every_h264_frame_carries_its_number() {
        let fixture = VideoFixture::load(VideoCodec::H264, None).unwrap();
        for (index, frame) in fixture.frames().iter().enumerate() {
            let sei = bitstream::nal_units(&frame.data).find(|unit| nal::kind(unit) == nal::SEI).unwrap();
            assert!(sei[..sei.len() - 1].ends_with(format!("frame {index:04}").as_bytes()));
        }
    }

    #[test]
    fn the_built_in_audio_has_packets_of_20_ms() {
        let fixture = AudioFixture::load(None).unwrap();
        assert_eq!((fixture.packets().len(), fixture.duration()), (100, Duration::from_millis(20)));
    }

    #[test]
    fn unusable_files_are_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let load = |codec| VideoFixture::load(codec, Some(directory.path())).unwrap_err().to_string();
        assert!(load(VideoCodec::Vp8).contains("the directory must hold vp8.ivf"));

        std::fs::write(directory.path().join("vp8.ivf"), b"RIFF....").unwrap();
        assert!(load(VideoCodec::Vp8).contains("not an IVF file"));

        let mut vp9 = include_bytes!("../../fixtures/vp8.ivf").to_vec();
        vp9[8..12].copy_from_slice(b"VP90");
        std::fs::write(directory.path().join("vp8.ivf"), &vp9).unwrap();
        assert!(load(VideoCodec::Vp8).contains("codec is VP90, not VP80"));

        let vp8 = &include_bytes!("../../fixtures/vp8.ivf")[..];
        let second = 32 + 12 + u32::from_le_bytes(vp8[32..36].try_into().unwrap()) as usize;
        std::fs::write(directory.path().join("vp8.ivf"), [&vp8[..32], &vp8[second..]].concat()).unwrap();
        assert!(load(VideoCodec::Vp8).contains("first frame is not a key frame"));

        std::fs::write(directory.path().join("vp8.ivf"), &vp8[..vp8.len() - 1]).unwrap();
        assert!(load(VideoCodec::Vp8).contains("ends within frame 59"));

        std::fs::write(directory.path().join("h264.h264"), vp8).unwrap();
        load(VideoCodec::H264);
        assert!(AudioFixture::load(Some(directory.path())).unwrap_err().to_string().contains("opus.ogg"));
    }
}
