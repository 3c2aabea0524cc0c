// What the statistics of a call say, once a second (W3C webrtc-stats). What a browser does not measure is absent.

export class Figures {
  #before = null;
  #answers;
  #answered;

  // The figures of now, given an array of RTCStats dictionaries; rates and losses are those since the last time.
  read(stats) {
    const now = { of: (type, kind) => stats.filter((stat) => stat.type === type && (!kind || stat.kind === kind)) };
    const before = this.#before;
    this.#before = now;
    const pair = selected(stats);
    const at = (id) => stats.find((stat) => stat.id === id);
    const [local, remote] = [at(pair?.localCandidateId), at(pair?.remoteCandidateId)];
    return {
      local: local && { type: local.candidateType, protocol: local.protocol, relay: local.relayProtocol },
      remote: remote && { type: remote.candidateType },
      rtt: pair?.currentRoundTripTime,
      silence: this.#silence(pair),
      up: before && rate(before, now, 'outbound-rtp', 'bytesSent'),
      down: before && rate(before, now, 'inbound-rtp', 'bytesReceived'),
      lossIn: before && lossIn(before, now),
      lossOut: worst(now.of('remote-inbound-rtp').map(({ fractionLost }) => fractionLost)),
      sent: before && picture(before, now, 'outbound-rtp', 'framesSent'),
      received: before && picture(before, now, 'inbound-rtp', 'framesDecoded'),
    };
  }

  // Seconds since the other end last answered a check, as far as they are counted: its round trip stays what it was.
  #silence(pair) {
    if (pair?.responsesReceived === undefined) return undefined;
    if (pair.responsesReceived !== this.#answers) this.#answered = pair.timestamp;
    this.#answers = pair.responsesReceived;
    return (pair.timestamp - this.#answered) / 1000;
  }
}

function selected(stats) {
  const transport = stats.find(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId);
  const told = stats.find(({ id }) => id === transport?.selectedCandidatePairId);
  return told ?? stats.find(({ type, selected }) => type === 'candidate-pair' && selected);
}

// Bits per second over all streams of both readings.
function rate(before, now, type, member) {
  return sum(before, now, type, null, (stat, old, seconds) => ((stat[member] - old[member]) * 8) / seconds);
}

// Lost over expected packets since the last reading.
function lossIn(before, now) {
  const lost = sum(before, now, 'inbound-rtp', null, (stat, old) => stat.packetsLost - old.packetsLost);
  const received = sum(before, now, 'inbound-rtp', null, (stat, old) => stat.packetsReceived - old.packetsReceived);
  // Duplicates can make a count go down (RFC 3550, section 6.4.1).
  return received > 0 ? Math.max(0, lost) / (received + Math.max(0, lost)) : undefined;
}

// Size and frames per second of a picture that moves.
function picture(before, now, type, member) {
  const stream = now.of(type, 'video').find((stat) => stat.frameWidth > 0);
  const frames = sum(before, now, type, 'video', (stat, old, seconds) => (stat[member] - old[member]) / seconds);
  return stream && frames > 0 ? { width: stream.frameWidth, height: stream.frameHeight, frames } : undefined;
}

function sum(before, now, type, kind, difference) {
  let total;
  for (const stat of now.of(type, kind)) {
    const old = before.of(type, kind).find(({ id }) => id === stat.id);
    const seconds = (stat.timestamp - old?.timestamp) / 1000;
    const value = seconds > 0 ? difference(stat, old, seconds) : NaN;
    if (Number.isFinite(value)) total = (total ?? 0) + value;
  }
  return total;
}

function worst(values) {
  const known = values.filter((value) => typeof value === 'number');
  return known.length > 0 ? Math.max(...known) : undefined;
}

// One word for a call, with its tone, from its worse half. A delay of 150 ms one way is good and beyond 400 ms not acceptable
// (ITU-T G.114); conversation stands up to 3 % of loss (ITU-T G.1010), and little beyond 10 %. Consent is asked for every five
// seconds or so (RFC 7675, section 5.1).
export function quality({ rtt, silence, lossIn, lossOut }) {
  const loss = worst([lossIn, lossOut]);
  if (silence > 7) return ['No answer', 'bad'];
  if (rtt === undefined) return null;
  if (rtt > 0.8 || loss > 0.1) return ['Poor', 'bad'];
  if (rtt > 0.3 || loss > 0.03) return ['Fair', 'wait'];
  return ['Good', 'good'];
}

// The path in words: what it goes over, and what kinds of addresses its ends have (RFC 8445).
export function path({ local, remote }) {
  if (!local || !remote) return null;
  const kinds = { host: 'own address', srflx: 'address of a NAT', prflx: 'address found by the checks', relay: 'relay' };
  const relayed = local.type === 'relay' || remote.type === 'relay';
  const leg = local.type === 'relay' && local.relay ? `, to the relay over ${local.relay.toUpperCase()}` : '';
  const ends = `${kinds[local.type]} (${local.type}) ↔ ${kinds[remote.type]} (${remote.type})`;
  return `${relayed ? 'Relayed' : 'Direct'}, ${local.protocol.toUpperCase()}${leg}; ${ends}`;
}
