// Clients of docs/signaling.md in a page of the signaling server's own origin.

const KEYS = {
  ecdsa: { name: "ECDSA", namedCurve: "P-256" },
  rsa: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
};
const CAMERA = { audio: true, video: { width: 320, height: 240, frameRate: 10 } };

// What a frame number looks like (fixtures/README.md).
const BITS = 16;
const CONTRAST = 100;

/** Counts the pictures of a video, and those that carry a frame number. */
function watch(track, counts) {
  const video = document.createElement("video");
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(video, { muted: true, srcObject: new MediaStream([track]) });
  video.play();
  setInterval(() => {
    if (!video.videoWidth || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    context.drawImage(video, 0, 0);
    const block = canvas.width / BITS;
    const green = (x, y) => context.getImageData(Math.floor(x), Math.floor(y), 1, 1).data[1];
    const columns = Array.from({ length: BITS }, (_, column) => (column + 0.5) * block);
    counts.pictures++;
    if (columns.every((x) => Math.abs(green(x, block / 2) - green(x, (3 * block) / 2)) > CONTRAST)) counts.readable++;
  }, 100);
}

function talk(channel, role, counts) {
  if (channel.label !== "echo") return;
  channel.binaryType = "arraybuffer";
  channel.onmessage = ({ data }) => {
    counts.messages++;
    if (role === "answer") channel.send(data);
  };
  if (role === "offer") {
    channel.onopen = () =>
      setInterval(() => channel.readyState === "open" && channel.send("a message of the page"), 100);
  }
}

function join(room, role, pc, stream, counts) {
  const socket = new WebSocket(`wss://${location.host}/ws`);
  const tell = (message) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  let other;
  // What comes is handled one after the other, as it may have to wait for the connection.
  let last = Promise.resolve();

  pc.ontrack = ({ track }) => track.kind === "video" && watch(track, counts);
  pc.ondatachannel = ({ channel }) => talk(channel, role, counts);
  pc.onicecandidate = ({ candidate }) => tell({ type: "candidate", to: other, candidate });

  async function describe(type, description) {
    tell({ type, to: other, sdp: description.sdp });
    await pc.setLocalDescription(description);
  }

  async function call(id) {
    if (role !== "offer" || other || !id) return;
    other = id;
    stream.getTracks().forEach((track) => pc.addTrack(track, stream));
    talk(pc.createDataChannel("echo"), role, counts);
    await describe("offer", await pc.createOffer());
  }

  const handlers = {
    welcome: () => tell({ type: "join", room }),
    joined: ({ peers }) => call(peers[0]),
    "peer-joined": ({ id }) => call(id),
    offer: async ({ from, sdp }) => {
      other = from;
      await pc.setRemoteDescription({ type: "offer", sdp });
      stream.getTracks().forEach((track) => pc.addTrack(track, stream));
      await describe("answer", await pc.createAnswer());
    },
    answer: ({ sdp }) => pc.setRemoteDescription({ type: "answer", sdp }),
    candidate: ({ candidate }) => candidate && pc.addIceCandidate(candidate),
    error: ({ code, message }) => counts.complaints.push(`${code}: ${message}`),
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    const handle = () => (handlers[message.type] || (() => null))(message);
    last = last.then(handle).catch((error) => counts.complaints.push(`${error}`));
  };
}

/** Joins the room of each call ([room, role, kind of key]); afterwards, `said()` gives the counts of each. */
async function prepare(calls) {
  const stream = await navigator.mediaDevices.getUserMedia(CAMERA);
  const all = [];
  for (const [room, role, key] of calls) {
    const certificate = await RTCPeerConnection.generateCertificate(KEYS[key]);
    const pc = new RTCPeerConnection({ certificates: [certificate], bundlePolicy: "max-bundle" });
    const counts = { frames: 0, packets: 0, pictures: 0, readable: 0, messages: 0, complaints: [] };
    join(room, role, pc, stream, counts);
    all.push({ pc, counts });
  }
  window.said = () =>
    Promise.all(
      all.map(async ({ pc, counts }) => {
        for (const entry of (await pc.getStats()).values()) {
          if (entry.type === "inbound-rtp" && entry.kind === "video") counts.frames = entry.framesDecoded;
          if (entry.type === "inbound-rtp" && entry.kind === "audio") counts.packets = entry.packetsReceived;
        }
        return counts;
      }),
    );
}
