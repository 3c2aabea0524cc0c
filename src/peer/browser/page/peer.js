// One end of one call. The driver calls the functions of `window.harness`, each of which returns at once or within
// milliseconds, and polls for what came of them.

import { Log } from './log.js';
import { Signaling } from './signaling.js';
import { trace } from './trace.js';
import { capture, codecPreferences, withoutStrayFeedback } from './media.js';
import { BulkReceiver, BulkSender, EchoReplier, EchoSender } from './data.js';

// How often statistics are read for instants that no event tells of.
const WATCH_MS = 20;

class Peer {
  log = new Log();
  #config;
  #room;
  #pc;
  #stream;
  #signaling;
  #other = null;
  #otherCame;
  #meetNow;
  #remoteSet = false;
  #early = [];
  #descriptionSent = false;
  #unsent = [];
  #held = [];
  #connectCalled;
  #connectNow;
  #watching = false;
  #signalingRtt = null;
  #left = false;
  #echo = null;
  #bulk = null;

  constructor(config) {
    this.#config = config;
    this.#connectCalled = new Promise((resolve) => (this.#connectNow = resolve));
    this.#otherCame = new Promise((resolve) => (this.#meetNow = resolve));
  }

  async prepare() {
    this.log.enter('start', 'the media source');
    if (this.#config.video) codecPreferences(this.#config.video.codec);
    this.#stream = await capture(this.#config);
    this.log.reach('prepared');
  }

  join(room) {
    this.#room = room;
    this.#signaling = new Signaling(this.#config.url, this.log, (message, at) => this.#handle(message, at));
  }

  connect() {
    const configuration = {
      iceServers: this.#config.ice_servers,
      iceTransportPolicy: this.#config.ice_policy,
      bundlePolicy: 'max-bundle',
    };
    this.#pc = new RTCPeerConnection(configuration);
    if (this.#config.trace) trace(this.#pc, configuration, (method, value) => this.log.trace(method, value));
    this.#observe();
    this.#connectNow();
    if (this.#config.role === 'offerer') {
      this.#offer().catch((error) => this.log.fail(String(error)));
    } else {
      this.log.enter('offer', 'the offer of the other peer');
    }
  }

  poll() {
    return {
      ...this.log.drain(),
      latencies: this.#echo instanceof EchoSender ? this.#echo.drain() : [],
      signaling_rtt: this.#signalingRtt,
      data: this.#data(),
    };
  }

  async stats() {
    // A Map, which WebDriver cannot carry.
    return { stats: [...(await this.#pc.getStats()).values()], data: this.#data() };
  }

  async stop() {
    this.#echo?.stop?.();
    await this.#bulk?.stop?.();
    this.#releaseCamera();
    // Not `active = false`: for that Chromium sends an RTCP BYE, upon which Firefox forgets what it has counted.
    await Promise.all(this.#pc.getSenders().map((sender) => sender.replaceTrack(null)));
    // Chromium repeats its statistics for 50 ms.
    await new Promise((resolve) => setTimeout(resolve, 60));
    return this.stats();
  }

  // What there still is for the dump.
  leave() {
    this.#left = true;
    this.#echo?.stop?.();
    this.#releaseCamera();
    this.#pc?.close();
    this.#stream?.getAudioTracks().forEach((track) => track.stop());
    this.#signaling?.leave();
    return this.log.drain().traced;
  }

  // Gives the camera back, and does so before its sender lets go of it: Chromium suspends a camera that is held but not looked
  // at, and does not resume it for those who open it then, in any window of the browser, until all have given it back.
  // `tests/browser/camera.rs` tells when upstream has mended that.
  #releaseCamera() {
    this.#stream?.getVideoTracks().forEach((track) => track.stop());
  }

  #data() {
    const { sent, replies, received, wrong } = this.#echo ?? {};
    const { sent: bulkSent, received: bulkReceived, wrong: bulkWrong, bytes, first, last } = this.#bulk ?? {};
    return {
      echo: this.#echo && { sent, replies, received, wrong },
      bulk: this.#bulk && { sent: bulkSent, received: bulkReceived, wrong: bulkWrong, bytes, first, last },
    };
  }

  async #handle(message, at) {
    const { log } = this;
    switch (message.type) {
      case 'welcome':
        log.mark('signaling_connected', at);
        if (message.protocol !== 1) log.fail(`the signaling server speaks protocol ${message.protocol}, this peer 1`);
        log.enter('signaling', `the room ${this.#room}`);
        this.#signaling.send({ type: 'join', room: this.#room });
        break;
      case 'joined':
        log.mark('joined', at);
        if (message.peers.length > 0) this.#meet(message.peers[0]);
        this.#signaling.roundTrip().then((rtt) => {
          this.#signalingRtt = rtt;
          log.reach('joined');
        });
        break;
      case 'peer-joined':
        this.#meet(message.id);
        break;
      case 'peer-left':
        if (message.id === this.#other && !log.has('connected')) log.fail('the other peer left before the call was up');
        break;
      case 'error': {
        const text = `the signaling server reports ${message.code}: ${message.message}`;
        if (log.has('connected')) log.warn(text);
        else log.fail(text);
        break;
      }
      case 'offer':
        await this.#connectCalled;
        if (this.#config.role !== 'answerer') break;
        if (!this.#descriptionSent) await this.#answer(message, at);
        else if (message.from === this.#other) await this.#answerAgain(message);
        break;
      case 'answer':
        if (message.from === this.#other) await this.#accept(message, at);
        break;
      case 'candidate':
        if (message.from !== this.#other) break;
        if (this.#remoteSet) await this.#add(message.candidate);
        else this.#early.push(message.candidate);
        break;
    }
  }

  #meet(id) {
    this.#other ??= id;
    this.#meetNow();
  }

  async #offer() {
    const { log } = this;
    const { audio, video, data } = this.#config;
    if (data) {
      this.#use(new EchoSender(this.#pc, data));
      if (data.bulk) this.#bulk = new BulkSender(this.#pc, data.bulk);
    }
    for (const [kind, media] of Object.entries({ audio, video })) {
      if (!media) continue;
      const track = this.#stream.getTracks().find((track) => track.kind === kind);
      const transceiver = this.#pc.addTransceiver(track ?? kind, {
        direction: direction(media),
        streams: track ? [this.#stream] : [],
      });
      if (kind === 'video') transceiver.setCodecPreferences(codecPreferences(video.codec));
    }
    log.enter('offer', 'the other peer to join the room');
    await this.#otherCame;
    log.enter('offer', 'createOffer');
    log.mark('create_offer');
    const offer = await this.#pc.createOffer();
    log.mark('offer_created');
    log.mark('set_local_offer');
    await this.#pc.setLocalDescription(offer);
    this.#sendDescription('offer', offer);
    log.enter('answer', 'the answer of the other peer');
    this.#observeTransports();
  }

  #sendDescription(type, { sdp }) {
    this.#signaling.send({ type, to: this.#other, sdp: withoutStrayFeedback(sdp) });
    this.log.mark(`${type}_sent`);
    this.#descriptionSent = true;
    for (const candidate of this.#unsent.splice(0)) this.#sendCandidate(candidate);
  }

  // No candidate may overtake its description.
  #sendCandidate(candidate) {
    if (this.#descriptionSent) this.#signaling.send({ type: 'candidate', to: this.#other, candidate });
    else this.#unsent.push(candidate);
  }

  async #accept({ sdp }, at) {
    this.log.mark('answer_received', at);
    await this.#setRemote({ type: 'answer', sdp }, 'answer');
  }

  async #answer({ from, sdp }, at) {
    const { log } = this;
    this.#other = from;
    log.mark('offer_received', at);
    log.enter('answer', 'createAnswer');
    if (!(await this.#setRemote({ type: 'offer', sdp }, 'offer'))) return;
    for (const transceiver of this.#pc.getTransceivers()) await this.#take(transceiver);
    log.mark('create_answer');
    const answer = await this.#pc.createAnswer();
    log.mark('answer_created');
    log.mark('set_local_answer');
    await this.#pc.setLocalDescription(answer);
    this.#sendDescription('answer', answer);
    this.#waitForIce();
    this.#observeTransports();
  }

  // Takes part in what the other end has offered.
  async #take(transceiver) {
    const { kind } = transceiver.receiver.track;
    const media = this.#config[kind];
    const track = this.#stream.getTracks().find((track) => track.kind === kind);
    transceiver.direction = media ? direction(media) : 'inactive';
    if (track) {
      transceiver.sender.setStreams?.(this.#stream);
      const begin = () => transceiver.sender.replaceTrack(track);
      if (this.#config.hold_media_ms > 0 && !this.log.has('connected')) this.#held.push(begin);
      else await begin();
    }
    if (media && kind === 'video') transceiver.setCodecPreferences(codecPreferences(media.codec));
  }

  // A later offer changes what the connection carries: servers that pass media on add it as it comes.
  async #answerAgain({ sdp }) {
    if (!(await this.#setRemote({ type: 'offer', sdp }, 'later offer', this.log.phase))) return;
    for (const transceiver of this.#pc.getTransceivers()) await this.#take(transceiver);
    const answer = await this.#pc.createAnswer();
    await this.#pc.setLocalDescription(answer);
    this.#sendDescription('answer', answer);
  }

  async #setRemote(description, name, phase = name) {
    try {
      await this.#pc.setRemoteDescription(description);
    } catch (error) {
      this.log.fail(`setRemoteDescription refuses the ${name} of the other peer: ${error.message}`, phase);
      return false;
    }
    this.#remoteSet = true;
    if (name === 'answer') this.#waitForIce();
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
    return true;
  }

  async #add(candidate) {
    try {
      await this.#pc.addIceCandidate(candidate);
    } catch (error) {
      // Another candidate may do; if none does, the warning stands beside the failure.
      this.log.warn(`addIceCandidate refuses ${JSON.stringify(candidate)}: ${error.message}`);
    }
  }

  #waitForIce() {
    if (!this.log.has('ice_connected')) this.log.enter('ice', 'a candidate pair that works');
  }

  // Takes the echo channel of either end.
  #use(echo) {
    this.#echo = echo;
    const { channel } = echo;
    const opened = () => {
      this.log.mark('data_channel_open');
      this.#check();
    };
    if (channel.readyState === 'open') opened();
    else channel.addEventListener('open', opened);
    channel.addEventListener('close', () => {
      if (!this.#left) this.log.fail('the data channel closed', this.log.has('connected') ? 'media' : 'data_channel');
    });
  }

  #observe() {
    const { log } = this;
    const pc = this.#pc;
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate === '') return;
      if (['host', 'srflx', 'relay'].includes(candidate?.type)) log.mark(`first_${candidate.type}`);
      if (candidate?.type === 'relay') {
        log.hear({ url: candidate.url ?? null, relay_protocol: candidate.relayProtocol ?? null, error: null });
      }
      this.#sendCandidate(candidate && candidate.toJSON());
    };
    pc.onicecandidateerror = ({ url, errorCode, errorText }) => {
      log.hear({ url, relay_protocol: null, error: `${errorCode} ${errorText}` });
      log.warn(`${url}: ${errorCode} ${errorText}`);
    };
    pc.onicegatheringstatechange = () => {
      if (pc.iceGatheringState === 'gathering') log.mark('gathering_started');
      if (pc.iceGatheringState === 'complete') log.mark('gathering_complete');
    };
    pc.oniceconnectionstatechange = () => {
      if (pc.iceConnectionState === 'checking') log.mark('ice_checking');
      if (pc.iceConnectionState === 'connected' || pc.iceConnectionState === 'completed') {
        log.mark('ice_connected');
        if (!log.has('connected')) log.enter('dtls', 'the DTLS handshake');
        this.#watch();
      }
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'connected') {
        log.mark('connected');
        if (this.#config.data && !log.has('data_channel_open')) log.enter('data_channel', 'the data channel to open');
        this.#check();
      } else if (pc.connectionState === 'failed') {
        const phase = log.has('connected') ? 'media' : log.has('ice_connected') ? 'dtls' : 'ice';
        log.fail(`connectionState became failed (iceConnectionState ${pc.iceConnectionState})`, phase);
      }
    };
    pc.ondatachannel = ({ channel }) => {
      if (channel.label === 'bulk' && this.#config.data?.bulk) {
        this.#bulk = new BulkReceiver(channel, this.#config.data.bulk);
      } else if (channel.label === 'echo') {
        this.#use(new EchoReplier(channel));
      } else {
        log.warn(`the other peer opened a data channel that is not planned: ${channel.label}`);
      }
    };
    pc.ontrack = ({ track }) => {
      // Sound is decoded only if it is played.
      const element = document.getElementById('remote');
      element.srcObject ??= new MediaStream();
      element.srcObject.addTrack(track);
      element.play().catch((error) => log.warn(`the received media does not play: ${error.message}`));
    };
  }

  // Transports exist from the local description on.
  #observeTransports() {
    const ends = [...this.#pc.getTransceivers().map(({ sender }) => sender.transport), this.#pc.sctp?.transport];
    const transports = [...new Set(ends.filter(Boolean))];
    for (const dtls of transports) {
      const check = () => {
        if (dtls.state === 'connected') this.log.mark('dtls_connected');
        if (!this.#left && this.log.has('connected') && transports.every(({ state }) => state === 'closed')) {
          this.log.fail('the other end hung up before the end of the call: its DTLS transport is closed', 'media');
        }
      };
      dtls.addEventListener('statechange', check);
      check();
      // Chromium tells; Firefox does not, so that the statistics have to.
      dtls.iceTransport?.addEventListener('selectedcandidatepairchange', () => this.log.mark('ice_nominated'));
    }
  }

  #check() {
    if (!this.log.has('connected') || (this.#config.data && !this.log.has('data_channel_open'))) return;
    this.log.enter('media', 'first media');
    this.log.reach('connected');
    const held = this.#held.splice(0);
    if (held.length > 0) setTimeout(() => held.forEach((begin) => begin()), this.#config.hold_media_ms);
  }

  // Reads statistics until first media of every kind has arrived.
  async #watch() {
    if (this.#watching) return;
    this.#watching = true;
    const { log } = this;
    const expected = ['audio', 'video'].filter((kind) => this.#config[kind]?.receive);
    const missing = new Set(expected);
    if (expected.length === 0 && this.#config.data) missing.add('data');
    let last = performance.now();
    while (!this.#left && !(log.has('ice_nominated') && log.has('connected') && missing.size === 0)) {
      const stats = [...(await this.#pc.getStats()).values()];
      const now = performance.now();
      if (stats.some(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')) {
        log.mark('ice_nominated');
      }
      for (const stat of stats.filter(({ type, packetsReceived }) => type === 'inbound-rtp' && packetsReceived > 0)) {
        log.mark('first_rtp', arrival(stat, last, now));
        if (stat.kind === 'audio') missing.delete('audio');
        if (stat.kind === 'video' && stat.framesDecoded > 0) {
          log.mark('first_frame');
          missing.delete('video');
        }
      }
      if (this.#echo?.received > 0 || this.#echo?.replies > 0) missing.delete('data');
      if (missing.size > 0 && log.phase === 'media') log.enter('media', `first ${[...missing].join(' and ')}`);
      last = now;
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
    }
    if (this.#left) return;
    log.mark('first_media');
    log.reach('first_media');
    log.enter('media', 'the end of the call');
  }
}

// When the first packet arrived, given that none had at `last` and one has at `now`: the statistics may know better.
function arrival({ lastPacketReceivedTimestamp: seen }, last, now) {
  const at = seen - performance.timeOrigin;
  return at > last && at < now ? at : now;
}

function direction({ send, receive }) {
  return send && receive ? 'sendrecv' : send ? 'sendonly' : receive ? 'recvonly' : 'inactive';
}

let peer = null;

window.harness = {
  now: () => performance.now(),
  // Null, or why this browser cannot take part.
  capable(codecs) {
    if (typeof RTCPeerConnection === 'undefined') return 'it has no RTCPeerConnection';
    try {
      codecs.forEach(codecPreferences);
      return null;
    } catch (error) {
      return error.message;
    }
  },
  prepare(config) {
    peer = new Peer(config);
    peer.prepare().catch((error) => peer.log.fail(String(error.message ?? error), 'start'));
  },
  join: (room) => peer.join(room),
  connect: () => peer.connect(),
  poll: () => peer.poll(),
  stats: () => peer.stats(),
  stop: () => peer.stop(),
  leave: () => peer?.leave(),
  warn: (text) => peer?.log.warn(text),
};
