// One end of a call on libwebrtc, as a page would make it: what it sends, and a count of what it gets.
const wrtc = require("@roamhq/wrtc");

const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;
const WIDTH = 320;
const HEIGHT = 240;
const RATE = 48000;
const MESSAGES = 10;

const BITS = 16;
const CONTRAST = 100;

const counts = { frames: 0, samples: 0, messages: 0 };
const timers = [];

function every(milliseconds, work) {
  timers.push(setInterval(work, milliseconds));
}

/** Sends what it is given, unless the other end has just hung up. */
function send(channel, data) {
  try {
    channel.send(data);
  } catch (error) {
    console.error(`${error}`);
  }
}

/**
 * Sends a few messages: all of them while the call lasts, as the package (0.10.0) crashes now and then if it is told to send
 * on a channel that the other end is closing.
 */
function chat(channel) {
  let left = MESSAGES;
  every(100, () => left-- > 0 && send(channel, "a message of the page"));
}

/** A camera and a microphone. */
function media() {
  const video = new RTCVideoSource();
  const data = new Uint8ClampedArray((WIDTH * HEIGHT * 3) / 2);
  let frame = 0;
  every(50, () => {
    data.fill((frame++ * 7) % 256, 0, WIDTH * HEIGHT);
    video.onFrame({ width: WIDTH, height: HEIGHT, data });
  });
  const audio = new RTCAudioSource();
  const samples = new Int16Array(RATE / 100);
  every(10, () => {
    for (let index = 0; index < samples.length; index++) samples[index] = 8000 * Math.sin(index / 10);
    audio.onData({ samples, sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: samples.length });
  });
  return new wrtc.MediaStream([video.createTrack(), audio.createTrack()]);
}

/** Counts what a track brings. */
function count(track) {
  if (track.kind === "video") new RTCVideoSink(track).onframe = () => counts.frames++;
  else new RTCAudioSink(track).ondata = () => counts.samples++;
}

/** Counts what a track brings, and the pictures that carry a frame number (fixtures/README.md). */
function watch(track) {
  if (track.kind === "video") {
    counts.readable = 0;
    new RTCVideoSink(track).onframe = ({ frame }) => {
      counts.frames++;
      counts.readable += isReadable(frame) ? 1 : 0;
    };
  } else count(track);
}

/** Whether both samples of each column differ as those of a bit do. */
function isReadable({ width, height, data }) {
  const block = width / BITS;
  const luma = (x, y) => data[Math.floor(y) * width + Math.floor(x)];
  return Array.from({ length: BITS }, (_, column) => (column + 0.5) * block).every(
    (x) => height > 2 * block && Math.abs(luma(x, block / 2) - luma(x, (3 * block) / 2)) > CONTRAST,
  );
}

/** Says what arrived, and ends, when nobody holds its input any more. */
function finish() {
  timers.forEach(clearInterval);
  process.stdout.write(JSON.stringify(counts) + "\n", () => process.exit(0));
}
process.stdin.on("end", finish).resume();

module.exports = { chat, count, counts, media, send, watch, wrtc };
