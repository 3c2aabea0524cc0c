//! Who is heard in what a mixer sends.

use std::f64::consts::TAU;
use std::time::Duration;

use ropus::{Channels, DecodeMode, Decoder};

use crate::media::tone::SAMPLE_RATE;

/// Samples of a window: 100 ms, which tells tones apart that are 10 Hz away from each other.
const WINDOW: usize = SAMPLE_RATE as usize / 10;
/// RFC 6716, section 2.1.4: no packet holds more than 120 ms.
const LONGEST: usize = SAMPLE_RATE as usize * 120 / 1000;
/// A speaker is heard whose amplitude is this share of the loudest one's: all are equally loud before they are mixed.
const RELATIVE: f64 = 0.25;
/// Below this share of the full scale there is silence.
const SILENCE: f64 = 0.002;

/// Decodes a stream, and listens for tones in it.
pub struct MixListener {
    decoder: Decoder,
    tones: Vec<Tone>,
    window: Vec<i16>,
    windows: u64,
    undecoded: u64,
}

struct Tone {
    hertz: u32,
    windows: u64,
}

/// For how long which tone was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct MixReport {
    /// In the order in which the tones were given.
    pub heard: Vec<Duration>,
    /// How much was decoded.
    pub decoded: Duration,
    /// Packets that cannot be decoded.
    pub undecoded: u64,
}

impl MixListener {
    /// A listener for tones of these frequencies, in Hz.
    ///
    /// # Errors
    ///
    /// There is no decoder.
    pub fn new(tones: impl IntoIterator<Item = u32>) -> Result<Self, String> {
        Ok(Self {
            decoder: Decoder::new(SAMPLE_RATE, Channels::Mono).map_err(|error| error.to_string())?,
            tones: tones.into_iter().map(|hertz| Tone { hertz, windows: 0 }).collect(),
            window: Vec::with_capacity(WINDOW + LONGEST),
            windows: 0,
            undecoded: 0,
        })
    }

    /// Takes the payload of a packet, in the order of arrival.
    pub fn take(&mut self, payload: &[u8]) {
        let filled = self.window.len();
        self.window.resize(filled + LONGEST, 0);
        let decoded = self.decoder.decode(payload, &mut self.window[filled..], DecodeMode::Normal);
        self.undecoded += u64::from(decoded.is_err());
        self.window.truncate(filled + decoded.unwrap_or(0));
        while self.window.len() >= WINDOW {
            self.listen();
            self.window.drain(..WINDOW);
        }
    }

    /// What was heard so far.
    pub fn report(&self) -> MixReport {
        let duration = |windows: u64| Duration::from_secs(windows * WINDOW as u64) / SAMPLE_RATE;
        MixReport {
            heard: self.tones.iter().map(|tone| duration(tone.windows)).collect(),
            decoded: duration(self.windows),
            undecoded: self.undecoded,
        }
    }

    fn listen(&mut self) {
        self.windows += 1;
        let amplitudes: Vec<f64> =
            self.tones.iter().map(|tone| amplitude(&self.window[..WINDOW], tone.hertz)).collect();
        let loudest = amplitudes.iter().copied().fold(SILENCE / RELATIVE, f64::max);
        for (tone, amplitude) in self.tones.iter_mut().zip(amplitudes) {
            tone.windows += u64::from(amplitude >= loudest * RELATIVE);
        }
    }
}

/// The amplitude of a tone as a share of the full scale (Goertzel's algorithm).
fn amplitude(samples: &[i16], hertz: u32) -> f64 {
    let factor = 2.0 * (TAU * f64::from(hertz) / f64::from(SAMPLE_RATE)).cos();
    let (last, before) = samples.iter().fold((0.0, 0.0), |(last, before), sample| {
        (f64::from(*sample) / f64::from(i16::MAX) + factor * last - before, last)
    });
    let power = last * last + before * before - factor * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use ropus::{Application, Encoder};

    use super::*;
    use crate::media::tone::{TONES, audio, frequency, wave};

    /// What a mixer makes of these speakers, of so many in the room, in two seconds.
    fn mixed(speakers: &[u32], of: u32) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Voip).build().unwrap();
        let mut decoders: Vec<_> = speakers
            .iter()
            .map(|number| (Decoder::new(SAMPLE_RATE, Channels::Mono).unwrap(), audio(frequency(*number), of).unwrap()))
            .collect();
        let frames = (0..100).map(|frame| {
            let mut sum = [0i16; 960];
            for (decoder, audio) in &mut decoders {
                let mut samples = [0; 960];
                decoder.decode(&audio.packets()[frame], &mut samples, DecodeMode::Normal).unwrap();
                sum.iter_mut().zip(samples).for_each(|(sum, sample)| *sum = sum.saturating_add(sample));
            }
            let mut packet = vec![0; 1275];
            let length = encoder.encode(&sum, &mut packet).unwrap();
            packet.truncate(length);
            packet
        });
        frames.collect()
    }

    fn heard(packets: &[Vec<u8>], tones: impl IntoIterator<Item = u32>) -> Vec<f64> {
        let mut listener = MixListener::new(tones.into_iter().map(frequency)).unwrap();
        packets.iter().for_each(|packet| listener.take(packet));
        let report = listener.report();
        assert_eq!((report.undecoded, report.decoded), (0, Duration::from_secs(2)));
        report.heard.iter().map(|heard| heard.as_secs_f64() / report.decoded.as_secs_f64()).collect()
    }

    #[test]
    fn who_speaks_is_heard_and_nobody_else() {
        let heard = heard(&mixed(&[1, 2, 7], 4), [0, 1, 2, 7, 8]);
        for (speaks, heard) in [false, true, true, true, false].into_iter().zip(heard) {
            assert_eq!(heard > 0.8, speaks, "{heard}");
            assert!(speaks || heard == 0.0, "{heard}");
        }
    }

    #[test]
    fn everybody_in_a_full_room_is_told_apart() {
        let all: Vec<u32> = (0..TONES).filter(|number| *number != 5).collect();
        let heard = heard(&mixed(&all, TONES), 0..TONES);
        let missed: Vec<usize> =
            (0..TONES as usize).filter(|number| (heard[*number] > 0.8) != (*number != 5)).collect();
        assert!(missed.is_empty(), "{missed:?}: {heard:?}");
    }

    #[test]
    fn silence_is_nobody() {
        assert!(heard(&mixed(&[], 4), 0..4).iter().all(|heard| *heard == 0.0));
    }

    #[test]
    fn what_is_no_opus_is_counted() {
        let mut listener = MixListener::new([frequency(0)]).unwrap();
        listener.take(&[3]);
        assert_eq!(listener.report().undecoded, 1);
    }

    #[test]
    fn amplitudes_are_those_of_the_waves() {
        let samples: Vec<i16> = (0..5).flat_map(|frame| wave(700, 0.25, frame * 960)).collect();
        assert!((amplitude(&samples, 700) - 0.25).abs() < 0.001);
        assert!(amplitude(&samples, 850) < 0.001);
    }
}
