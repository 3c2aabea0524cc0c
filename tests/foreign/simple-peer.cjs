// A page of a simple-peer application that signals over socket.io: simple-peer.cjs URL ROOM offer|answer
//
// The bundled server has an event for each kind of signal; the page sorts simple-peer's into them.
const { io } = require("socket.io-client");
const Peer = require("simple-peer");
const { chat, count, counts, media, send, wrtc } = require("./call.cjs");

const [url, room, role] = process.argv.slice(2);
const socket = io(url, { query: { room } });
const stream = media();
let other;
let peer;

function start(id) {
  if (peer || id === socket.id) return;
  other = id;
  peer = new Peer({ initiator: role === "offer", wrtc, stream, channelName: "echo" });
  peer.on("signal", (signal) => {
    if (signal.type === "candidate") socket.emit("candidate", { candidate: signal.candidate, to: other });
    else if (signal.sdp) socket.emit(signal.type, { [signal.type]: signal, to: other });
  });
  peer.on("track", count);
  peer.on("data", (data) => {
    counts.messages++;
    if (role === "answer") send(peer, data);
  });
  peer.on("connect", () => {
    if (role === "offer") chat(peer);
  });
  peer.on("error", (error) => console.error(`${error}`));
}

socket.on("newUser", (id, present) => {
  if (role === "offer") (present ? present.slice(0, 1) : [id]).forEach(start);
});
for (const kind of ["offer", "answer"]) {
  socket.on(kind, (message) => {
    start(message.from);
    peer.signal(message[kind]);
  });
}
socket.on("candidate", ({ candidate, from }) => {
  start(from);
  if (candidate && candidate.candidate) peer.signal({ type: "candidate", candidate });
});
