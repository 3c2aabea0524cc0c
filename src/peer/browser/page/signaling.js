// A client of the signaling protocol, version 1 (docs/signaling.md).

export class Signaling {
  #socket;
  #log;
  #left = false;
  #ping = null;

  // Calls `handle` with every message of the server but pongs, in order, one at a time.
  constructor(url, log, handle) {
    this.#log = log;
    let chain = Promise.resolve();
    log.enter('signaling', `the greeting of ${url}`);
    log.mark('join_started');
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = ({ data }) => {
      const at = performance.now();
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        log.fail(`the signaling server sent something that is not JSON: ${String(data).slice(0, 80)}`);
        return;
      }
      if (message.type === 'pong') {
        this.#ping?.(at);
      } else {
        chain = chain.then(() => handle(message, at)).catch((error) => log.fail(String(error)));
      }
    };
    // The error event of a WebSocket says nothing; the close event that follows does.
    this.#socket.onclose = ({ code, reason }) => {
      if (!this.#left) log.fail(`the signaling server ${url} closed the connection (code ${code}${reason && `: ${reason}`})`);
    };
  }

  send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) {
      this.#log.fail(`cannot send ${message.type}: the signaling connection is not open`);
      return;
    }
    this.#socket.send(JSON.stringify(message));
  }

  // Milliseconds from a ping to its pong.
  roundTrip() {
    return new Promise((resolve) => {
      const sent = performance.now();
      this.#ping = (at) => resolve(at - sent);
      this.send({ type: 'ping', nonce: sent });
    });
  }

  leave() {
    this.#left = true;
    if (this.#socket.readyState === WebSocket.OPEN) this.send({ type: 'leave' });
    this.#socket.close(1000);
  }
}
