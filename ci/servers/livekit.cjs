// A double of LiveKit, which cannot be installed here: livekit.cjs CERTIFICATE KEY JANUS
//
// It says in LiveKit's own messages (npm's @livekit/protocol) what LiveKit's documentation and sources say that the server says, and
// leaves the media to the videoroom of the Janus at that URL. What works against it is verified against a double, not against
// LiveKit. Each track comes to a subscriber with an offer of its own, the first at once and the others once it is connected: LiveKit
// offers anew, too, when tracks come. API keys are `devkey`, as of `livekit-server --dev`, and `ci` with the secret in LIVEKIT_SECRET.
// Listens on a free port of this machine, prints the port, and works until it is ended.
const { createHmac, createHash, randomBytes, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");
const { createServer } = require("node:https");
const protocol = require("@livekit/protocol");
const { WebSocketServer } = require("ws");
const { JanusClient } = require("./janus-client.cjs");

const [cert, key] = process.argv.slice(2, 4).map((file) => readFileSync(file));
const janusUrl = process.argv[4];
const keys = { devkey: "secret", ci: process.env.LIVEKIT_SECRET };
const { DisconnectReason, SignalTarget, SubscriptionError, TrackType } = protocol;
/** Seconds: short, so that pings come in a test. */
const ping = { pingInterval: 2, pingTimeout: 6 };
const rooms = new Map();

const id = (prefix) => `${prefix}_${randomBytes(6).toString("hex")}`;

/** Why a client is not let in, or what it did wrong. */
class Refusal extends Error {
  constructor(message, reason = DisconnectReason.STATE_MISMATCH) {
    super(message);
    this.reason = reason;
  }
}

/** The claims of a token, once it is known who signed it (RFC 7519). */
function verified(request) {
  const url = new URL(request.url, "https://localhost");
  const header = request.headers.authorization;
  if (header && !header.startsWith("Bearer ")) throw new Refusal("invalid authorization header. Must start with Bearer ");
  const token = header?.slice("Bearer ".length) ?? url.searchParams.get("access_token");
  if (!token) throw new Refusal("permissions denied");
  const wrong = (why) => new Refusal(`invalid token: ${token}, error: ${why}`);
  let claims;
  try {
    claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
  } catch {
    throw new Refusal("invalid authorization token");
  }
  const secret = Object.hasOwn(keys, claims.iss) && keys[claims.iss];
  if (!secret) throw new Refusal(`invalid API key: ${claims.iss}`);
  const [head, body, signature] = token.split(".");
  const expected = createHmac("sha256", secret).update(`${head}.${body}`).digest();
  const given = Buffer.from(signature ?? "", "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw wrong("error in cryptographic primitive");
  const now = Date.now() / 1000;
  if (!(claims.nbf <= now)) throw wrong("token not valid yet (nbf)");
  if (!(claims.exp > now)) throw wrong("token is expired (exp)");
  if (!claims.video?.roomJoin || !claims.video.room || !claims.sub) throw new Refusal("permissions denied");
  return claims;
}

/** A client of the videoroom. */
class Media extends JanusClient {
  constructor(room) {
    super(janusUrl, cert, "janus.plugin.videoroom");
    this.room = createHash("sha256").update(room).digest().readUInt32BE() + 1;
    // Whoever comes first makes it.
    const create = { request: "create", room: this.room, publishers: 64 };
    this.ready = this.ready.then(() => this.request({ janus: "message", body: create }));
  }

  /** What the videoroom says to it. */
  async ask(body, jsep) {
    const message = await this.request({ janus: "message", body: { room: this.room, ...body }, jsep });
    const data = message.plugindata?.data ?? {};
    if (message.error ?? data.error) throw new Error(message.error?.reason ?? data.error);
    return { ...data, jsep: message.jsep };
  }
}

/** One participant, who either publishes or subscribes. */
class Participant {
  constructor(socket, claims) {
    const { room, canPublish, canSubscribe } = claims.video;
    this.socket = socket;
    this.publishes = canPublish;
    this.target = canSubscribe ? SignalTarget.SUBSCRIBER : SignalTarget.PUBLISHER;
    this.room = rooms.get(room) ?? { sid: id("RM"), name: room, participants: new Map(), tracks: new Map() };
    rooms.set(room, this.room);
    this.info = new protocol.ParticipantInfo({ sid: id("PA"), identity: claims.sub, name: claims.name ?? "" });
    this.pending = new Map();
    this.wanted = [];
    this.offers = 0;
    this.answered = undefined;
    this.media = new Media(room);
    this.media.onCandidate = (candidate) => this.trickle(candidate);
    this.connected = new Promise((resolve) => (this.media.onConnected = resolve));
    this.room.participants.get(claims.sub)?.end(DisconnectReason.DUPLICATE_IDENTITY);
    const others = [...this.room.participants.values()].map(({ info }) => info);
    this.room.participants.set(claims.sub, this);
    const { sid, name } = this.room;
    const version = { serverVersion: "double", subscriberPrimary: canSubscribe };
    this.say("join", { room: { sid, name }, participant: this.info, otherParticipants: others, ...version, ...ping });
    this.tellOthers();
  }

  say(kind, value) {
    this.socket.send(new protocol.SignalResponse({ message: { case: kind, value } }).toBinary());
  }

  tellOthers() {
    for (const other of this.room.participants.values()) {
      if (other !== this) other.say("update", { participants: [this.info] });
    }
  }

  end(reason) {
    this.say("leave", { reason, action: protocol.LeaveRequest_Action.DISCONNECT });
    this.socket.close();
  }

  /** Messages are taken one after the other. */
  hear(data, isBinary) {
    this.last = (this.last ?? Promise.resolve())
      .then(() => {
        if (!isBinary) throw new Refusal("a text where protobuf is expected");
        const { message } = protocol.SignalRequest.fromBinary(data);
        if (!Object.hasOwn(requests, message.case ?? "")) throw new Refusal(`${message.case}: not understood`);
        return requests[message.case](this, message.value);
      })
      .catch((error) => {
        console.error(`${this.info.identity}: ${error.message}`);
        this.end(error.reason ?? DisconnectReason.UNKNOWN_REASON);
      });
  }

  trickle(candidate) {
    const init = candidate.completed ? "" : JSON.stringify(candidate);
    this.say("trickle", { candidateInit: init, target: this.target, final: Boolean(candidate.completed) });
  }

  /** Offers the next track that is subscribed to, if there is one. */
  async offer() {
    const { feed, mid } = this.wanted.shift();
    const streams = [{ feed, mid }];
    const first = this.offers === 0;
    const { jsep } = await this.media.ask(first ? { request: "join", ptype: "subscriber", streams } : { request: "subscribe", streams });
    this.offers += 1;
    this.say("offer", { type: "offer", sdp: jsep.sdp, id: this.offers });
  }

  close() {
    this.media.close();
    if (this.room.participants.get(this.info.identity) === this) {
      this.room.participants.delete(this.info.identity);
      this.info.state = protocol.ParticipantInfo_State.DISCONNECTED;
      this.tellOthers();
    }
    for (const [sid, { of }] of this.room.tracks) if (of === this) this.room.tracks.delete(sid);
    if (this.room.participants.size === 0) rooms.delete(this.room.name);
  }
}

const requests = {
  addTrack(participant, { cid, name, type, source }) {
    if (!participant.publishes) {
      const reason = protocol.RequestResponse_Reason.NOT_ALLOWED;
      return participant.say("requestResponse", { reason, message: "does not have permission to publish" });
    }
    const track = new protocol.TrackInfo({ sid: id("TR"), type, name, source });
    participant.pending.set(cid, track);
    participant.say("trackPublished", { cid, track });
  },

  async offer(participant, { type, sdp, id: number }) {
    if (type !== "offer" || !participant.publishes) throw new Refusal("an offer of who does not publish");
    const sections = sdp.split("\r\nm=").slice(1);
    const tracks = sections.map((section) => {
      const [, cid] = section.match(/^a=msid:\S+ (\S+)/m) ?? [];
      const [, mid] = section.match(/^a=mid:(\S+)/m) ?? [];
      const track = participant.pending.get(cid);
      if (!track) throw new Refusal(`track info not published prior to track: ${cid}`);
      const kind = section.startsWith("audio") ? TrackType.AUDIO : TrackType.VIDEO;
      if (track.type !== kind) throw new Refusal(`the track ${cid} is of another type`);
      return { track, mid };
    });
    const { media, info, room } = participant;
    await media.ready;
    const { id: feed } = await media.ask({ request: "join", ptype: "publisher", display: info.identity });
    const { jsep } = await media.ask({ request: "publish" }, { type, sdp });
    for (const { track, mid } of tracks) room.tracks.set(track.sid, { feed, mid, of: participant });
    info.tracks.push(...tracks.map(({ track }) => track));
    participant.say("answer", { type: "answer", sdp: jsep.sdp, id: number });
    participant.tellOthers();
  },

  async subscription(participant, { trackSids, subscribe }) {
    if (participant.publishes || !subscribe) throw new Refusal("a subscription that this double does not know");
    await participant.media.ready;
    for (const trackSid of trackSids) {
      const track = participant.room.tracks.get(trackSid);
      if (!track) return participant.say("subscriptionResponse", { trackSid, err: SubscriptionError.SE_TRACK_NOTFOUND });
      participant.wanted.push(track);
    }
    await participant.offer();
  },

  async answer(participant, { type, sdp, id: number }) {
    if (type !== "answer" || number !== participant.offers) throw new Refusal(`an answer to the offer ${number}`);
    await participant.media.ask({ request: "start" }, { type, sdp });
    if (participant.wanted.length === 0) return;
    // Not awaited here: the client's candidates come after this message.
    void participant.connected.then(() => participant.offer());
  },

  trickle(participant, { candidateInit, target, final }) {
    if (target !== participant.target) throw new Refusal("a candidate for the other connection");
    const candidate = final || !candidateInit ? { completed: true } : JSON.parse(candidateInit);
    participant.media.send({ janus: "trickle", candidate });
  },

  pingReq(participant, { timestamp }) {
    participant.say("pongResp", { lastPingTimestamp: timestamp, timestamp: BigInt(Date.now()) });
  },

  leave(participant) {
    participant.socket.close();
  },
};

const server = createServer({ cert, key });
const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  let claims;
  try {
    if (!request.url.startsWith("/rtc?")) throw new Refusal("not found");
    claims = verified(request);
  } catch (error) {
    const body = `${error.message}\n`;
    const headers = `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close`;
    return socket.end(`HTTP/1.1 401 Unauthorized\r\n${headers}\r\n\r\n${body}`);
  }
  sockets.handleUpgrade(request, socket, head, (ws) => {
    const participant = new Participant(ws, claims);
    ws.on("message", (data, isBinary) => participant.hear(data, isBinary));
    ws.on("close", () => participant.close());
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
