// A double of Kurento Media Server, which cannot be installed here: kurento.cjs CERTIFICATE KEY JANUS
//
// It says what Kurento's documentation says that Kurento says ("Kurento Protocol"), and leaves the media to the echo test of the
// Janus at that URL: an endpoint that is connected to itself sends back what it gets. What works against it is verified against a
// double, not against Kurento. Listens on a free port of this machine, prints the port, and works until it is ended.
const { randomUUID } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createServer } = require("node:https");
const { WebSocketServer } = require("ws");
const { JanusClient } = require("./janus-client.cjs");

const [cert, key] = process.argv.slice(2, 4).map((file) => readFileSync(file));
const janusUrl = process.argv[4];

class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** What an endpoint does with media: Janus's echo test. */
class Media extends JanusClient {
  constructor() {
    super(janusUrl, cert, "janus.plugin.echotest");
    this.found = [];
    this.tell = undefined;
    this.onCandidate = (candidate) => {
      if (candidate.candidate) this.found.push(candidate);
      this.gather();
    };
  }

  /** Candidates are told of once somebody has asked for them. */
  gather() {
    if (this.tell) this.found.splice(0).forEach((candidate) => this.tell(candidate));
  }

  async answer(sdp, sendsBack) {
    const body = { audio: sendsBack, video: sendsBack };
    return (await this.request({ janus: "message", body, jsep: { type: "offer", sdp } })).jsep.sdp;
  }
}

class Session {
  constructor(socket) {
    this.socket = socket;
    this.id = randomUUID();
    this.subscribed = false;
    this.isConnected = false;
  }

  send(message) {
    this.socket.send(JSON.stringify({ ...message, jsonrpc: "2.0" }));
  }

  async hear(text) {
    let message;
    try {
      message = JSON.parse(text);
      if (message.jsonrpc !== "2.0") throw new Refusal(-32600, "Invalid Request");
      const result = await this.answer(message.method, message.params ?? {});
      this.send({ id: message.id, result: { ...result, sessionId: this.id } });
    } catch (error) {
      const code = error.code ?? (message ? -32603 : -32700);
      this.send({ id: message?.id ?? null, error: { code, message: error.message } });
    }
  }

  async answer(method, params) {
    if (method === "ping") return { value: "pong" };
    if (method === "create" && params.type === "MediaPipeline") {
      this.pipeline = `${randomUUID()}_kurento.MediaPipeline`;
      return { value: this.pipeline };
    }
    if (params.sessionId !== this.id) throw new Refusal(40007, "Invalid session");
    if (method === "create" && params.type === "WebRtcEndpoint") {
      this.known(params.constructorParams.mediaPipeline, this.pipeline);
      this.media = new Media();
      await this.media.ready;
      this.endpoint = `${this.pipeline}/${randomUUID()}_kurento.WebRtcEndpoint`;
      return { value: this.endpoint };
    }
    if (method === "release") {
      this.known(params.object, this.pipeline);
      this.close();
      return {};
    }
    this.known(params.object, this.endpoint);
    if (method === "subscribe") {
      this.subscribed = params.type === "IceCandidateFound";
      return { value: randomUUID() };
    }
    if (method !== "invoke") throw new Refusal(-32601, `Method not found: ${method}`);
    return this.invoke(params.operation, params.operationParams ?? {});
  }

  async invoke(operation, params) {
    switch (operation) {
      case "connect":
        this.known(params.sink, this.endpoint);
        this.isConnected = true;
        return {};
      case "processOffer":
        return { value: await this.media.answer(params.offer, this.isConnected) };
      case "gatherCandidates":
        this.media.tell = (candidate) => this.event("IceCandidateFound", { candidate });
        this.media.gather();
        return {};
      case "addIceCandidate": {
        const { candidate, sdpMid, sdpMLineIndex } = params.candidate;
        this.media.send({ janus: "trickle", candidate: { candidate, sdpMid, sdpMLineIndex } });
        return {};
      }
      default:
        throw new Refusal(40105, `Operation not found: ${operation}`);
    }
  }

  event(type, data) {
    if (!this.subscribed) return;
    const object = this.endpoint;
    const timestamp = String(Math.floor(Date.now() / 1000));
    data = { ...data, source: object, tags: [], timestamp, type };
    this.send({ method: "onEvent", params: { value: { data, object, type } } });
  }

  known(object, own) {
    if (!own || object !== own) throw new Refusal(40101, `Object '${object}' not found`);
  }

  close() {
    this.media?.close();
  }
}

const server = createServer({ cert, key });
new WebSocketServer({ server, path: "/kurento" }).on("connection", (socket) => {
  const session = new Session(socket);
  socket.on("message", (text) => void session.hear(text));
  socket.on("close", () => session.close());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
