// A small conference on mediasoup, with both forms of signaling that are in use: mediasoup.cjs CERTIFICATE KEY
//
// protoo, as mediasoup-demo speaks it: requests over a WebSocket of the subprotocol `protoo`, and consumers that the server makes
// and announces (newConsumer). socket.io: the same requests as events with acknowledgements, and consumers that the client asks
// for (consume, resumeConsumer). In both, ?roomId=…&peerId=… says who it is. Listens on a free port of this machine, prints the
// port, and works until it is ended.
const { readFileSync } = require("node:fs");
const { createServer } = require("node:https");
const mediasoup = require("mediasoup");
const { Server } = require("socket.io");
const { WebSocketServer } = require("ws");

const mediaCodecs = [
  { kind: "audio", mimeType: "audio/opus", clockRate: 48000, channels: 2 },
  { kind: "video", mimeType: "video/VP8", clockRate: 90000 },
  {
    kind: "video",
    mimeType: "video/H264",
    clockRate: 90000,
    parameters: { "packetization-mode": 1, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1 },
  },
];
const rooms = new Map();
let worker;

/** What is asked for is not there, or not possible: the server's fault is 500. */
class Refusal extends Error {
  constructor(code, reason) {
    super(reason);
    this.code = code;
  }
}

function found(map, id, what) {
  if (!map.has(id)) throw new Refusal(404, `${what} "${id}" not found`);
  return map.get(id);
}

async function enter(roomId, peerId, connection) {
  if (!rooms.has(roomId)) rooms.set(roomId, { router: worker.createRouter({ mediaCodecs }), peers: new Map() });
  const room = rooms.get(roomId);
  const peer = { id: peerId, connection, transports: new Map(), producers: new Map(), consumers: new Map(), joined: false };
  room.peers.get(peerId)?.connection.close();
  room.peers.set(peerId, peer);
  const router = await room.router;
  connection.onRequest = (method, data) => {
    if (!Object.hasOwn(methods, method)) throw new Refusal(404, `unknown method "${method}"`);
    return methods[method]({ room, router, peer }, data ?? {});
  };
  connection.onClose = () => {
    for (const transport of peer.transports.values()) transport.close();
    if (room.peers.get(peerId) === peer) room.peers.delete(peerId);
    if (room.peers.size === 0 && rooms.get(roomId) === room) {
      rooms.delete(roomId);
      router.close();
    }
  };
}

async function makeConsumer({ router, peer }, { producerId, rtpCapabilities, transport }) {
  if (!router.canConsume({ producerId, rtpCapabilities })) throw new Refusal(400, `cannot consume producer "${producerId}"`);
  const consumer = await transport.consume({ producerId, rtpCapabilities, paused: true });
  peer.consumers.set(consumer.id, consumer);
  consumer.on("transportclose", () => peer.consumers.delete(consumer.id));
  consumer.on("producerclose", () => {
    peer.consumers.delete(consumer.id);
    peer.connection.notify("consumerClosed", { consumerId: consumer.id });
  });
  const { id, kind, rtpParameters, type } = consumer;
  return { id, producerId, kind, rtpParameters, type, producerPaused: consumer.producerPaused };
}

/** As the demo does: makes the consumer, announces it, and lets it flow once it is accepted. */
async function announceConsumer(place, from, producer) {
  const { peer } = place;
  const transport = [...peer.transports.values()].find((transport) => transport.appData.consuming);
  if (!transport || !peer.rtpCapabilities || !peer.connection.announces) return;
  try {
    const { rtpCapabilities } = peer;
    const description = await makeConsumer(place, { producerId: producer.id, rtpCapabilities, transport });
    await peer.connection.request("newConsumer", { peerId: from.id, ...description, appData: producer.appData });
    await peer.consumers.get(description.id)?.resume();
  } catch (error) {
    console.error(`newConsumer for ${peer.id}: ${error.message}`);
  }
}

const methods = {
  getRouterRtpCapabilities: ({ router }) => router.rtpCapabilities,

  async createWebRtcTransport({ router, peer }, { producing, consuming }) {
    const listenInfos = [{ protocol: "udp", ip: "127.0.0.1" }];
    const transport = await router.createWebRtcTransport({ listenInfos, appData: { producing, consuming } });
    peer.transports.set(transport.id, transport);
    const { id, iceParameters, iceCandidates, dtlsParameters, sctpParameters } = transport;
    return { id, iceParameters, iceCandidates, dtlsParameters, sctpParameters };
  },

  async connectWebRtcTransport({ peer }, { transportId, dtlsParameters }) {
    await found(peer.transports, transportId, "transport").connect({ dtlsParameters });
  },

  join(place, { rtpCapabilities }) {
    const { room, peer } = place;
    if (peer.joined) throw new Refusal(400, "peer already joined");
    Object.assign(peer, { joined: true, rtpCapabilities });
    const others = [...room.peers.values()].filter((other) => other !== peer && other.joined);
    for (const other of others) {
      for (const producer of other.producers.values()) void announceConsumer(place, other, producer);
    }
    return { peers: others.map(({ id }) => ({ id, displayName: id, device: {} })) };
  },

  async produce({ room, router, peer }, { transportId, kind, rtpParameters }) {
    if (!peer.joined) throw new Refusal(400, "peer not yet joined");
    const producer = await found(peer.transports, transportId, "transport").produce({ kind, rtpParameters });
    peer.producers.set(producer.id, producer);
    for (const other of room.peers.values()) {
      if (other !== peer && other.joined) void announceConsumer({ room, router, peer: other }, peer, producer);
    }
    return { id: producer.id };
  },

  consume(place, { transportId, producerId, rtpCapabilities }) {
    const transport = found(place.peer.transports, transportId, "transport");
    return makeConsumer(place, { producerId, rtpCapabilities, transport });
  },

  resumeConsumer: ({ peer }, { consumerId }) => found(peer.consumers, consumerId, "consumer").resume(),
};

/** Requests wait until the room is there. */
function serve(roomId, peerId, connection) {
  connection.entered = enter(roomId, peerId, connection);
}

async function request(connection, method, data) {
  await connection.entered;
  return (await connection.onRequest(method, data)) ?? {};
}

function protoo(socket) {
  const asked = new Map();
  const send = (message) => socket.send(JSON.stringify(message));
  const connection = {
    announces: true,
    notify: (method, data) => send({ notification: true, method, data }),
    request: (method, data) =>
      new Promise((resolve, reject) => {
        const id = Math.floor(Math.random() * 1e7);
        asked.set(id, { resolve, reject });
        send({ request: true, id, method, data });
      }),
    close: () => socket.close(),
  };
  socket.on("message", async (text) => {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return socket.close(4000, "no JSON");
    }
    if (message.response) {
      const { resolve, reject } = asked.get(message.id) ?? {};
      asked.delete(message.id);
      return message.ok ? resolve?.(message.data) : reject?.(new Error(message.errorReason));
    }
    const { id, method, data } = message;
    try {
      send({ response: true, id, ok: true, data: await request(connection, method, data) });
    } catch (error) {
      send({ response: true, id, ok: false, errorCode: error.code ?? 500, errorReason: error.message });
    }
  });
  socket.on("close", () => {
    for (const { reject } of asked.values()) reject(new Error("closed"));
    connection.onClose?.();
  });
  return connection;
}

function acknowledged(socket) {
  const connection = {
    announces: false,
    notify: (method, data) => socket.emit(method, data),
    close: () => socket.disconnect(true),
  };
  socket.onAny(async (method, data, acknowledge) => {
    const answer = typeof acknowledge === "function" ? acknowledge : () => {};
    try {
      answer(await request(connection, method, data));
    } catch (error) {
      answer({ error: error.message });
    }
  });
  socket.on("disconnect", () => connection.onClose?.());
  return connection;
}

async function main() {
  const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
  worker = await mediasoup.createWorker({ logLevel: "warn" });
  worker.on("died", (error) => {
    console.error(`the worker of mediasoup died: ${error}`);
    process.exit(1);
  });
  const server = createServer({ cert, key });
  const io = new Server(server, { destroyUpgrade: false });
  io.on("connection", (socket) => {
    const { roomId, peerId } = socket.handshake.query;
    serve(roomId, peerId, acknowledged(socket));
  });
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has("protoo") ? "protoo" : false),
  });
  server.on("upgrade", (request, socket, head) => {
    const url = new URL(request.url, "https://localhost");
    if (url.pathname.startsWith("/socket.io/")) return;
    const [roomId, peerId] = ["roomId", "peerId"].map((name) => url.searchParams.get(name));
    sockets.handleUpgrade(request, socket, head, (ws) => {
      if (!roomId || !peerId) return ws.close(4001, "roomId and peerId are needed");
      serve(roomId, peerId, protoo(ws));
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

void main();
