// A page of PeerJS, with the public client: peerjs.cjs URL ID data|media offer|answer OTHER [SERIALIZATION]
const { chat, count, counts, media, send, wrtc } = require("./call.cjs");

// What a browser has.
Object.assign(globalThis, wrtc, { WebSocket: require("ws"), window: globalThis });
Object.defineProperty(globalThis, "navigator", { value: { userAgent: "node", platform: "node" }, configurable: true });
globalThis.location = { protocol: "https:" };
const { Peer } = require("peerjs");

const [url, id, kind, role, other, serialization] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const peer = new Peer(id, { host: hostname, port: Number(port), path: "/", secure: true, config: {} });

function converse(connection) {
  connection.on("data", (data) => {
    counts.messages++;
    if (role === "answer") send(connection, data);
  });
  connection.on("open", () => {
    if (role === "offer") chat(connection);
  });
}

function watch(call) {
  call.on("stream", (stream) => stream.getTracks().forEach(count));
}

peer.on("open", () => {
  if (role !== "offer") return;
  if (kind === "data") converse(peer.connect(other, { label: "echo", reliable: true, serialization }));
  else watch(peer.call(other, media()));
});
peer.on("connection", converse);
peer.on("call", (call) => {
  watch(call);
  call.answer(media());
});
peer.on("error", (error) => console.error(`${error.type}: ${error}`));
