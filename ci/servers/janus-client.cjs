// A session of Janus with one handle: what stands behind the doubles of other servers.
const { randomUUID } = require("node:crypto");
const { WebSocket } = require("ws");

class JanusClient {
  /** Connects to the Janus at this URL, and attaches to a plugin; `ready` is when that is done. */
  constructor(url, ca, plugin) {
    this.socket = new WebSocket(url, "janus-protocol", { ca });
    this.answers = new Map();
    this.socket.on("message", (text) => this.hear(JSON.parse(text)));
    this.ready = this.attach(plugin);
    this.keepalive = setInterval(() => this.session && this.send({ janus: "keepalive" }), 25000);
  }

  async attach(plugin) {
    await new Promise((resolve, reject) => this.socket.once("open", resolve).once("error", reject));
    this.session = (await this.request({ janus: "create" })).data.id;
    this.handle = (await this.request({ janus: "attach", plugin })).data.id;
  }

  send(message) {
    const transaction = randomUUID();
    const where = { session_id: this.session, handle_id: this.handle };
    this.socket.send(JSON.stringify({ ...message, ...where, transaction }));
    return transaction;
  }

  /** The answer; of a plugin that answers later, what it says then. */
  request(message) {
    return new Promise((resolve) => this.answers.set(this.send(message), resolve));
  }

  hear(message) {
    if (message.janus === "trickle") this.onCandidate?.(message.candidate);
    if (message.janus === "webrtcup") this.onConnected?.();
    if (message.janus === "ack") return;
    this.answers.get(message.transaction)?.(message);
    this.answers.delete(message.transaction);
  }

  close() {
    clearInterval(this.keepalive);
    this.socket.close();
  }
}

module.exports = { JanusClient };
