// A client of docs/signaling.md on libwebrtc: wrtc.cjs URL ROOM offer|answer
//
// Besides what it gets, it counts the frames whose picture is one of fixtures/README.md.
const WebSocket = require("ws");
const { chat, counts, media, send, watch, wrtc } = require("./call.cjs");

const [url, room, role] = process.argv.slice(2);

function talk(channel) {
  if (channel.label !== "echo") return;
  channel.binaryType = "arraybuffer";
  channel.onmessage = ({ data }) => {
    counts.messages++;
    if (role === "answer") send(channel, data);
  };
  if (role === "offer") channel.onopen = () => chat(channel);
}

function main() {
  const pc = new wrtc.RTCPeerConnection();
  const socket = new WebSocket(url);
  const tell = (message) => socket.send(JSON.stringify(message));
  let other;
  let early = [];

  pc.ontrack = ({ track }) => watch(track);
  pc.ondatachannel = ({ channel }) => talk(channel);

  async function describe(type, description) {
    await pc.setLocalDescription(description);
    tell({ type, to: other, sdp: description.sdp });
    pc.onicecandidate = ({ candidate }) => tell({ type: "candidate", to: other, candidate: candidate || null });
  }

  function sendMedia() {
    const stream = media();
    stream.getTracks().forEach((track) => pc.addTrack(track, stream));
  }

  async function described(type, sdp) {
    await pc.setRemoteDescription({ type, sdp });
    for (const candidate of early) await pc.addIceCandidate(candidate);
    early = null;
  }

  async function call(id) {
    if (role !== "offer" || other || !id) return;
    other = id;
    sendMedia();
    talk(pc.createDataChannel("echo"));
    await describe("offer", await pc.createOffer());
  }

  const handlers = {
    welcome: () => tell({ type: "join", room }),
    joined: ({ peers }) => call(peers[0]),
    "peer-joined": ({ id }) => call(id),
    offer: async ({ from, sdp }) => {
      other = from;
      await described("offer", sdp);
      sendMedia();
      await describe("answer", await pc.createAnswer());
    },
    answer: ({ sdp }) => described("answer", sdp),
    candidate: ({ candidate }) => {
      if (!candidate || !candidate.candidate) return null;
      if (early) return early.push(candidate);
      return pc.addIceCandidate(candidate);
    },
    error: ({ code, message }) => console.error(`${code}: ${message}`),
  };
  socket.on("message", (text) => {
    const message = JSON.parse(text);
    Promise.resolve((handlers[message.type] || (() => null))(message)).catch((error) => console.error(`${error}`));
  });
  socket.on("error", (error) => console.error(`${error}`));
}

main();
