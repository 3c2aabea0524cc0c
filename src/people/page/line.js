// A line: one connection to the signaling server, in one room (docs/signaling.md).

// A server that does not greet within this time is taken for dead, in milliseconds.
const PATIENCE = 10_000;

export class Line {
  id = null;
  #socket;
  #on;
  #room;
  #timer;

  // `on` has joined(peers), message(message), left(id) and closed(reason), where a reason of null means that close() was
  // called.
  constructor(room, on) {
    this.#room = room;
    this.#on = on;
    this.#socket = new WebSocket(`wss://${location.host}/ws`);
    this.#socket.onmessage = ({ data }) => this.#hear(data);
    this.#socket.onclose = ({ code }) => this.#end(code === 1001 ? 'The server was stopped.' : 'The server cannot be reached.');
    this.#timer = setTimeout(() => this.#end('The server does not answer.'), PATIENCE);
  }

  send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  // Leaves the room and joins it anew, as the last one.
  rejoin() {
    this.send({ type: 'leave' });
    this.send({ type: 'join', room: this.#room });
  }

  close() {
    this.#end(null);
  }

  #end(reason) {
    clearTimeout(this.#timer);
    const on = this.#on;
    if (!on) return;
    this.#on = null;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
    on.closed(reason);
  }

  #hear(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    switch (message?.type) {
      case 'welcome':
        this.id = message.id;
        this.send({ type: 'join', room: this.#room });
        break;
      case 'joined':
        clearTimeout(this.#timer);
        this.#on.joined(message.peers);
        break;
      case 'peer-left':
        this.#on.left(message.id);
        break;
      case 'offer':
      case 'answer':
      case 'candidate':
        this.#on.message(message);
        break;
      case 'error':
        // Somebody who has just left is told by `peer-left`, too.
        if (message.about === 'join') this.#end(`The server refuses: ${message.message}.`);
        break;
    }
  }
}
