// A page of a socket.io application, with the public socket.io-client: socketio.cjs URL ROOM offer|answer [TRANSPORT]
const { io } = require("socket.io-client");
const { chat, count, counts, media, send, wrtc } = require("./call.cjs");

const [url, room, role, transport] = process.argv.slice(2);
const socket = io(url, { query: { room }, ...(transport ? { transports: [transport] } : {}) });
const pc = new wrtc.RTCPeerConnection();
let other;
let early = [];

function talk(channel) {
  channel.binaryType = "arraybuffer";
  channel.onmessage = ({ data }) => {
    counts.messages++;
    if (role === "answer") send(channel, data);
  };
  if (role === "offer") {
    channel.onopen = () => chat(channel);
  }
}

pc.ontrack = ({ track }) => count(track);
pc.ondatachannel = ({ channel }) => talk(channel);
pc.onicecandidate = ({ candidate }) => {
  if (candidate && other) socket.emit("candidate", { candidate, to: other });
  else if (candidate) early.push(candidate);
};
const stream = media();

async function call(id) {
  if (role !== "offer" || other || id === socket.id) return;
  other = id;
  stream.getTracks().forEach((track) => pc.addTrack(track, stream));
  talk(pc.createDataChannel("echo"));
  await pc.setLocalDescription(await pc.createOffer());
  socket.emit("offer", { offer: pc.localDescription, to: other });
}

socket.on("newUser", (id, present) => (present ? present.slice(0, 1).forEach(call) : call(id)));
socket.on("offer", async ({ offer, from }) => {
  other = from;
  await pc.setRemoteDescription(offer);
  stream.getTracks().forEach((track) => pc.addTrack(track, stream));
  await pc.setLocalDescription(await pc.createAnswer());
  socket.emit("answer", { answer: pc.localDescription, to: other });
  early.splice(0).forEach((candidate) => socket.emit("candidate", { candidate, to: other }));
});
socket.on("answer", ({ answer }) => pc.setRemoteDescription(answer));
socket.on("candidate", ({ candidate }) => pc.addIceCandidate(candidate).catch((error) => console.error(`${error}`)));
socket.on("refused", (why) => console.error(`refused: ${why}`));
socket.on("connect_error", (error) => console.error(`${error}`));
