// Where media comes from, and which codec it takes.

const WIDTH = 320;
const HEIGHT = 240;
const RATE = 20;

// What a person has allowed with a press of a button: an audio context, and perhaps a stream of camera and microphone.
const allowed = { context: null, stream: null };

export function allow(what) {
  Object.assign(allowed, what);
}

// A stream with the tracks that `config` sends.
export async function capture({ source, audio, video }) {
  const wanted = { audio: Boolean(audio?.send), video: Boolean(video?.send) };
  if (!wanted.audio && !wanted.video) return new MediaStream();
  return source === 'canvas' ? draw(wanted) : fake(wanted);
}

async function fake({ audio, video }) {
  if (allowed.stream) {
    const wanted = allowed.stream.getTracks().filter(({ kind }) => (kind === 'audio' ? audio : video));
    return new MediaStream(wanted);
  }
  const size = { width: WIDTH, height: HEIGHT, frameRate: RATE };
  return navigator.mediaDevices.getUserMedia({ audio, video: video && size });
}

// A moving picture and a tone; needs no permission.
async function draw({ audio, video }) {
  const stream = new MediaStream();
  if (video) {
    const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH, height: HEIGHT });
    const context = canvas.getContext('2d');
    let frame = 0;
    // A timer and not requestAnimationFrame, which stops in windows that are not shown.
    setInterval(() => {
      frame += 1;
      context.fillStyle = `hsl(${frame % 360} 60% 40%)`;
      context.fillRect(0, 0, WIDTH, HEIGHT);
      context.fillStyle = 'white';
      context.fillRect((frame * 4) % WIDTH, (frame * 3) % HEIGHT, 40, 40);
      context.font = '32px monospace';
      context.fillText(String(frame), 20, 60);
    }, 1000 / RATE);
    (document.getElementById('own') ?? document.body).append(canvas);
    // Every drawn frame: a rate given here would be sampled against that of the timer.
    stream.addTrack(canvas.captureStream().getVideoTracks()[0]);
  }
  if (audio) {
    const context = allowed.context ?? new AudioContext();
    const tone = context.createOscillator();
    const out = context.createMediaStreamDestination();
    tone.connect(out);
    tone.start();
    // Not awaited: without a sound card Firefox runs the context, but never says so.
    context.resume();
    stream.addTrack(out.stream.getAudioTracks()[0]);
  }
  return stream;
}

// Codec preferences that allow this codec with retransmission, and no other; throws if the browser lacks it.
export function codecPreferences(mimeType) {
  const { codecs } = RTCRtpReceiver.getCapabilities('video');
  const sendable = RTCRtpSender.getCapabilities('video').codecs;
  const named = (codec) => codec.mimeType.toLowerCase() === mimeType.toLowerCase();
  // What every WebRTC endpoint with H.264 has: constrained baseline, here with packetization mode 1 (RFC 7742, 6.2).
  const baseline = (codec) =>
    !/h264/i.test(codec.mimeType) ||
    (/profile-level-id=42[0-9a-f]{4}/i.test(codec.sdpFmtpLine) && /packetization-mode=1/.test(codec.sdpFmtpLine));
  const chosen = codecs.filter((codec) => named(codec) && baseline(codec));
  if (chosen.length === 0 || !sendable.some(named)) {
    const known = [...new Set(codecs.map((codec) => codec.mimeType))].join(', ');
    throw new Error(`this browser cannot do ${mimeType}; it can do ${known}`);
  }
  return [...chosen, ...codecs.filter((codec) => /\/rtx$/i.test(codec.mimeType))];
}

// The description without feedback for payload types that it does not list. Firefox leaves such lines where preferences
// exclude a codec, and Chromium refuses a description that has them.
export function withoutStrayFeedback(sdp) {
  const sections = sdp.split(/(?=^m=)/m).map((section) => {
    const listed = new Set(/^m=\S+ \S+ \S+ (.*)$/m.exec(section)?.[1].trim().split(' '));
    return section.replace(/^a=rtcp-fb:(\S+) .*\r?\n/gm, (line, type) => (type === '*' || listed.has(type) ? line : ''));
  });
  return sections.join('');
}
