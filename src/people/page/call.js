// One call: an RTCPeerConnection with perfect negotiation (W3C webrtc, section 10.7). The caller is the impolite end.

// How long a connection may take once both have agreed, and how long it may be interrupted, in milliseconds.
const CONNECTING = 30_000;
const INTERRUPTION = 20_000;
const NO_PATH = 'No path between the two devices was found. They may be in networks that need a relay (TURN).';
const CHAT_CHARACTERS = 2000;

export class Call {
  pc;
  // What the other end sends.
  stream = new MediaStream();
  #on;
  #polite;
  #send;
  #devices;
  #channel = null;
  #makingOffer = false;
  #ignoringOffer = false;
  #settingAnswer = false;
  #early = [];
  #chain = Promise.resolve();
  #media = Promise.resolve();
  #timer = null;
  #wasConnected = false;
  #closed = false;

  // `send` takes a message for the other end to the signaling server. `on` has connected(), state(text), media(), chat(text),
  // writable(), bye(message), warning(text) and ended(reason).
  constructor({ polite, send, iceServers, devices }, on) {
    this.#polite = polite;
    this.#send = send;
    this.#devices = devices;
    this.#on = on;
    this.pc = new RTCPeerConnection({ iceServers });
    this.#observe();
  }

  // Makes the first offer, as the caller.
  begin() {
    this.#use(this.pc.createDataChannel('people'));
    for (const [kind, track] of Object.entries(this.#devices.tracks)) this.setTrack(kind, track);
  }

  // Sends this track from now on; with null, none of its kind.
  setTrack(kind, track) {
    this.#media = this.#media.then(() => this.#setTrack(kind, track)).catch((error) => this.#warn(error));
  }

  async #setTrack(kind, track) {
    const { stream } = this.#devices;
    const usable = this.pc.getTransceivers().filter(({ receiver, direction }) => receiver.track.kind === kind && direction !== 'stopped');
    const used = usable.find(({ sender }) => sender.track) ?? usable[0];
    if (!used) {
      if (track) this.pc.addTrack(track, stream);
      return;
    }
    await used.sender.replaceTrack(track);
    if (track) used.sender.setStreams?.(stream);
    const wanted = track ? 'sendrecv' : 'recvonly';
    if (used.direction !== wanted) used.direction = wanted;
  }

  // Takes a message of the other end.
  handle(message) {
    this.#chain = this.#chain.then(() => this.#handle(message)).catch((error) => {
      if (this.#wasConnected) this.#warn(error);
      else if (!this.#closed) this.#on.ended(`This browser refuses what the other one sent: ${error.message}`);
    });
  }

  chat(text) {
    this.#channel.send(JSON.stringify({ chat: text }));
  }

  // Says good-bye, both ways: the channel is there when the server is not, and the other way about.
  bye(bye) {
    const message = { type: 'candidate', candidate: null, bye };
    if (this.#channel?.readyState === 'open') this.#channel.send(JSON.stringify(message));
    this.#send(message);
  }

  // From now on nothing reaches the other end but over the channel.
  lineLost() {
    this.#send = () => {};
    if (this.pc.connectionState !== 'connected') this.#on.ended('The other one has left.');
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#channel = null;
    // What has just been sent over the channel still has to leave.
    setTimeout(() => this.pc.close(), 250);
  }

  #observe() {
    const { pc } = this;
    pc.onnegotiationneeded = async () => {
      if (this.#closed) return;
      try {
        this.#makingOffer = true;
        await pc.setLocalDescription();
        this.#tell({ type: pc.localDescription.type, sdp: pc.localDescription.sdp });
      } catch (error) {
        this.#warn(error);
      } finally {
        this.#makingOffer = false;
      }
    };
    pc.onicecandidate = ({ candidate }) => this.#tell({ type: 'candidate', candidate: candidate?.toJSON() ?? null });
    pc.onconnectionstatechange = () => this.#changed();
    pc.ondatachannel = ({ channel }) => channel.label === 'people' && this.#use(channel);
    pc.onsignalingstatechange = () => pc.signalingState === 'stable' && this.#receive();
  }

  // Takes what the other end says it sends: browsers are not at one about when a track is muted.
  #receive() {
    const receiving = this.pc.getTransceivers().filter(({ currentDirection }) => /recv/.test(currentDirection));
    const tracks = receiving.map(({ receiver }) => receiver.track);
    for (const old of this.stream.getTracks()) if (!tracks.includes(old)) this.stream.removeTrack(old);
    for (const track of tracks) this.stream.addTrack(track);
    if (!this.#closed) this.#on.media();
  }

  #changed() {
    if (this.#closed) return;
    const state = this.pc.connectionState;
    this.#on.state(state);
    if (state === 'connected') {
      clearTimeout(this.#timer);
      this.#timer = null;
      if (!this.#wasConnected) this.#on.connected();
      this.#wasConnected = true;
    } else if (state === 'failed' && !this.#wasConnected) {
      this.#on.ended(NO_PATH);
    } else if (state === 'failed' || state === 'disconnected') {
      this.#timer ??= setTimeout(() => this.#on.ended('The connection was lost.'), INTERRUPTION);
      if (state === 'failed') this.pc.restartIce();
    }
  }

  async #handle({ type, sdp, candidate }) {
    const { pc } = this;
    if (this.#closed) return;
    if (type === 'candidate') {
      if (pc.remoteDescription) await this.#add(candidate);
      else this.#early.push(candidate);
      return;
    }
    const ready = !this.#makingOffer && (pc.signalingState === 'stable' || this.#settingAnswer);
    this.#ignoringOffer = type === 'offer' && !ready && !this.#polite;
    if (this.#ignoringOffer) return;
    const first = !pc.remoteDescription;
    this.#settingAnswer = type === 'answer';
    await pc.setRemoteDescription({ type, sdp }).finally(() => (this.#settingAnswer = false));
    for (const early of this.#early.splice(0)) await this.#add(early);
    if (first) this.#timer ??= setTimeout(() => this.#on.ended(NO_PATH), CONNECTING);
    if (type !== 'offer') return;
    if (first) {
      for (const [kind, track] of Object.entries(this.#devices.tracks)) if (track) this.setTrack(kind, track);
      await this.#media;
    }
    await pc.setLocalDescription();
    this.#tell({ type: 'answer', sdp: pc.localDescription.sdp });
  }

  async #add(candidate) {
    try {
      await this.pc.addIceCandidate(candidate ?? undefined);
    } catch (error) {
      // One for an offer that was passed over, or of a kind that this browser does not know; others may do.
      if (!this.#ignoringOffer) console.warn('a candidate was refused', error);
    }
  }

  // Over the channel if it is open: it needs no server.
  #tell(message) {
    if (this.#closed) return;
    if (this.#channel?.readyState === 'open') this.#channel.send(JSON.stringify(message));
    else this.#send(message);
  }

  #use(channel) {
    this.#channel = channel;
    channel.onopen = () => this.#on.writable();
    channel.onclose = () => !this.#closed && this.#on.ended('The other one has left.');
    channel.onmessage = ({ data }) => {
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      if (typeof message?.chat === 'string') this.#on.chat(message.chat.slice(0, CHAT_CHARACTERS));
      else if (typeof message?.bye === 'string') this.#on.bye(message);
      else if (typeof message?.type === 'string') this.handle(message);
    };
    if (channel.readyState === 'open') this.#on.writable();
  }

  #warn(error) {
    if (!this.#closed) this.#on.warning(`The browser refuses a step of the call: ${error.message}`);
  }
}
