//! Tones by which speakers are told apart in what a mixer makes of them.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ropus::{Application, Bitrate, Channels, Encoder};

use super::fixture::AudioFixture;

/// Samples per second of what is encoded and decoded, in Hz.
pub(super) const SAMPLE_RATE: u32 = 48_000;
/// The lowest tone, and how far the next is, in Hz: whole waves fit into a window, and all tones into the 4 kHz of a narrow
/// band.
const LOWEST: u32 = 400;
const STEP: u32 = 150;
/// How many tones there are.
pub const TONES: u32 = 20;
/// What all speakers of a room together may be, as a share of the full scale: a mixer must not have to clip.
const FULL: f64 = 0.8;

/// 20 ms in samples, and how many of them are two seconds.
const FRAME: usize = 960;
const FRAMES: usize = 100;
/// Enough for a pure tone, in bit/s.
const BITRATE: u32 = 32_000;
/// RFC 6716, section 3.4: no packet is longer, in bytes.
const LONGEST: usize = 1275;

/// The frequency of a speaker's tone in Hz, by the speaker's number in the room, of which there are [`TONES`].
pub fn frequency(number: u32) -> u32 {
    LOWEST + STEP * (number % TONES)
}

/// A tone for one of so many speakers of a room, as audio that can be sent in a loop.
///
/// # Errors
///
/// The encoder refuses, which no frequency of [`frequency`] makes it do.
pub fn audio(hertz: u32, speakers: u32) -> Result<Arc<AudioFixture>, String> {
    let mut encoder = Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Audio)
        .bitrate(Bitrate::try_bits(BITRATE).map_err(|error| error.to_string())?)
        .build()
        .map_err(|error| error.to_string())?;
    let amplitude = FULL / f64::from(speakers.max(1));
    let mut packet = [0; LONGEST];
    // The first two seconds warm the encoder up, so that the end of the loop fits its beginning.
    let mut frame = |index: usize| -> Result<Bytes, String> {
        let length = encoder.encode(&wave(hertz, amplitude, index * FRAME), &mut packet);
        length.map(|length| Bytes::copy_from_slice(&packet[..length])).map_err(|error| error.to_string())
    };
    for index in 0..FRAMES {
        frame(index)?;
    }
    let packets = (0..FRAMES).map(frame).collect::<Result<Vec<_>, _>>()?;
    let duration = Duration::from_secs(FRAME as u64) / SAMPLE_RATE;
    Ok(Arc::new(AudioFixture::new(packets, duration)))
}

/// A frame of a tone, from this sample on.
pub(super) fn wave(hertz: u32, amplitude: f64, start: usize) -> [i16; FRAME] {
    std::array::from_fn(|index| {
        let turns = f64::from(hertz) * (start + index) as f64 / f64::from(SAMPLE_RATE);
        (amplitude * f64::from(i16::MAX) * (turns.fract() * TAU).sin()).round() as i16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_fixture_of_two_seconds() {
        let audio = audio(frequency(0), 1).unwrap();
        assert_eq!((audio.packets().len(), audio.duration()), (100, Duration::from_millis(20)));
    }

    #[test]
    fn tones_differ_and_are_within_a_narrow_band() {
        let tones: std::collections::BTreeSet<u32> = (0..TONES).map(frequency).collect();
        assert_eq!(tones.len(), TONES as usize);
        assert!(tones.last().is_some_and(|highest| *highest < 4_000));
    }
}
