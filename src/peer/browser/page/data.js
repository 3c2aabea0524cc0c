// The data channels: `echo`, whose messages the answerer sends back unchanged, and `bulk`, from the offerer to the
// answerer as fast as it goes.

const HEADER = 4;
// Enough to keep the association busy, and little enough to stop soon.
const BULK_HIGH = 1 << 20;
const BULK_LOW = 1 << 18;

export class EchoSender {
  channel;
  sent = 0;
  replies = 0;
  wrong = 0;
  #latencies = [];
  #planned = new Map();
  #timer;
  #bytes;
  #interval;

  constructor(pc, { echo_interval_us, echo_bytes }) {
    this.#bytes = Math.max(HEADER, echo_bytes);
    this.#interval = echo_interval_us / 1000;
    this.channel = pc.createDataChannel('echo');
    this.channel.binaryType = 'arraybuffer';
    this.channel.addEventListener('open', () => this.#run(performance.now()));
    this.channel.addEventListener('message', ({ data }) => this.#receive(data, performance.now()));
  }

  // Sends each message that is due; latency counts from when it was due, so that a late timer cannot hide delay.
  #run(start) {
    const now = performance.now();
    for (let due; (due = start + this.sent * this.#interval) <= now && this.channel.readyState === 'open'; ) {
      this.#planned.set(this.sent, due);
      this.channel.send(this.#message(this.sent));
      this.sent += 1;
    }
    const wait = start + this.sent * this.#interval - performance.now();
    this.#timer = setTimeout(() => this.#run(start), Math.max(0, wait));
  }

  #message(number) {
    const bytes = new Uint8Array(this.#bytes).fill(number % 251);
    new DataView(bytes.buffer).setUint32(0, number);
    return bytes;
  }

  #receive(data, at) {
    const number = data.byteLength >= HEADER ? new DataView(data).getUint32(0) : -1;
    const due = this.#planned.get(number);
    this.#planned.delete(number);
    const got = new Uint8Array(data);
    if (due === undefined || got.length !== this.#bytes || this.#message(number).some((byte, i) => byte !== got[i])) {
      this.wrong += 1;
      return;
    }
    this.replies += 1;
    this.#latencies.push(at - due);
  }

  drain() {
    const latencies = this.#latencies;
    this.#latencies = [];
    return latencies;
  }

  stop() {
    clearTimeout(this.#timer);
  }
}

export class EchoReplier {
  channel;
  received = 0;

  constructor(channel) {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('message', ({ data }) => {
      this.received += 1;
      if (channel.readyState === 'open') channel.send(data);
    });
  }
}

export class BulkSender {
  channel;
  sent = 0;
  #stopped = false;

  constructor(pc, { reliable, message_bytes }) {
    this.channel = pc.createDataChannel('bulk', reliable ? {} : { ordered: false, maxRetransmits: 0 });
    this.channel.bufferedAmountLowThreshold = BULK_LOW;
    const message = new Uint8Array(message_bytes).fill(0xa5);
    const pump = () => {
      while (!this.#stopped && this.channel.readyState === 'open' && this.channel.bufferedAmount < BULK_HIGH) {
        this.channel.send(message);
        this.sent += 1;
      }
    };
    this.channel.addEventListener('open', pump);
    this.channel.addEventListener('bufferedamountlow', pump);
  }

  // Returns once everything has left the buffer, or after two seconds.
  async stop() {
    this.#stopped = true;
    const until = performance.now() + 2000;
    while (this.channel.bufferedAmount > 0 && this.channel.readyState === 'open' && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

export class BulkReceiver {
  channel;
  received = 0;
  bytes = 0;
  wrong = 0;
  first = null;
  last = null;

  constructor(channel, { message_bytes }) {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('message', ({ data }) => {
      this.last = performance.now();
      this.first ??= this.last;
      this.received += 1;
      this.bytes += data.byteLength;
      if (data.byteLength !== message_bytes) this.wrong += 1;
    });
  }
}
