// The phone: my own line, on which others call me, and the one call that there can be at a time.
//
// My id is the name of a room that I am alone in. Who calls me joins it, on a second line, and sends an offer to the one
// who was there first. So both are still reachable under their own ids meanwhile, and learn who else calls.

import { Call } from './call.js';
import { fresh, known } from './id.js';
import { Line } from './line.js';

// Milliseconds.
const RING = 60_000;
const RETRY = [500, 1000, 2000, 5000];
const ROOM_RETRY = 1000;
// A server notices within 40 s that a connection is dead (docs/signaling.md, limits); until then my old one has my room.
const ROOM_TRIES = 45;
// An id that I have from before the page was loaded anew may be that of a duplicate of this tab.
const FIRST_TRIES = 3;
// Candidates that may come before a call is answered.
const EARLY = 200;

export class Phone {
  id = sessionStorage.getItem('id') ?? fresh();
  state = 'idle';
  other = null;
  call = null;
  online = false;
  // Whether the id was mine since the page was loaded, so that my room can only be taken by my own old connection.
  #registered = false;
  #on;
  #devices;
  #iceServers;
  #line;
  #failures = 0;
  #retry;
  #roomTries = 0;
  #outgoing = null;
  #incoming = null;
  #ringing;

  // `on` has change(), line(reason or null), ended(reason), and those of a call.
  constructor(devices, iceServers, on) {
    this.#on = on;
    this.#devices = devices;
    this.#iceServers = iceServers;
    this.#connect();
  }

  // Connects at once if it is waiting to; for when the page is looked at again.
  wake() {
    if (this.#line || !this.#retry) return;
    clearTimeout(this.#retry);
    this.#connect();
  }

  #connect() {
    this.#retry = null;
    this.#line = new Line(this.id, {
      joined: (peers) => this.#joined(peers),
      message: (message) => this.#hear(message),
      left: (id) => this.#left(id),
      closed: (reason) => this.#lost(reason),
    });
  }

  // Whoever calls takes the first in a room for its owner.
  #joined(peers) {
    if (peers.length > 0) {
      this.#roomTries += 1;
      if (this.#roomTries > (this.#registered ? ROOM_TRIES : FIRST_TRIES)) {
        this.id = fresh();
        this.#registered = false;
        this.#line.close();
        return;
      }
      const line = this.#line;
      setTimeout(() => line === this.#line && line.rejoin(), ROOM_RETRY);
      return;
    }
    this.#failures = this.#roomTries = 0;
    this.online = this.#registered = true;
    sessionStorage.setItem('id', this.id);
    this.#on.line(null);
  }

  #lost(reason) {
    this.online = false;
    this.#line = null;
    this.#roomTries = 0;
    if (this.#incoming) {
      if (this.state === 'ringing') this.#end('The call was lost.');
      else this.call?.lineLost();
    }
    const wait = reason === null ? 0 : RETRY[Math.min(this.#failures++, RETRY.length - 1)];
    this.#retry = setTimeout(() => this.#connect(), wait);
    if (reason !== null) this.#on.line(reason);
  }

  // Calls the owner of an id.
  dial(id) {
    if (this.state !== 'idle') return;
    if (id === this.id) return this.#on.ended('This is your own id. Type that of the other one.');
    this.#enter('calling', id);
    this.#ringing = setTimeout(() => this.hangUp('There was no answer.'), RING);
    const line = new Line(id, {
      joined: ([other]) => {
        if (!other) return this.#end(`Nobody with the id ${id} is here. The page of the other one must be open.`);
        this.#outgoing.to = other;
        this.call = this.#make(false, line, other, id);
        this.call.begin();
      },
      message: (message) => message.from === this.#outgoing?.to && this.#take(message),
      left: (id) => id === this.#outgoing?.to && this.#gone(),
      closed: (reason) => reason !== null && this.#gone(reason),
    });
    this.#outgoing = { line, to: null };
  }

  // Answers the call that rings.
  answer() {
    if (this.state !== 'ringing') return;
    const { from, caller, messages } = this.#incoming;
    this.call = this.#make(true, this.#line, from, caller);
    this.#enter('call', caller);
    messages.forEach((message) => this.#take(message));
  }

  // Ends the call at whatever state it is in, for a reason to be shown here.
  hangUp(reason = null) {
    if (this.state === 'ringing') this.#refuse(this.#incoming.from, 'declined');
    else this.call?.bye(this.state === 'calling' ? 'gave up' : 'hung up');
    this.#end(reason);
  }

  #make(polite, line, to, other) {
    const send = (message) => line.send({ ...message, to, caller: this.id });
    return new Call({ polite, send, iceServers: this.#iceServers, devices: this.#devices }, {
      ...this.#on,
      connected: () => {
        clearTimeout(this.#ringing);
        if (this.state === 'calling') this.#enter('call', other);
        this.#on.connected();
      },
      bye: (message) => this.#take(message),
      ended: (reason) => this.#end(reason),
    });
  }

  #enter(state, other) {
    this.state = state;
    this.other = other;
    this.#on.change();
  }

  #end(reason) {
    if (this.state === 'idle') return;
    clearTimeout(this.#ringing);
    this.call?.close();
    this.#outgoing?.line.close();
    this.call = this.#outgoing = this.#incoming = null;
    this.#enter('idle', null);
    this.#on.ended(reason);
  }

  // The other end of my call has left the room, or my line to it is down: what is connected can go on without.
  #gone(reason = 'The other one has left.') {
    if (this.state === 'call') this.call.lineLost();
    else this.#end(reason);
  }

  #take(message) {
    if (message.type === 'answer') clearTimeout(this.#ringing);
    const words = { declined: 'declined the call', busy: 'is in another call', 'gave up': 'gave up', 'hung up': 'hung up' };
    if (typeof message.bye === 'string') this.#end(`${this.other} ${words[message.bye] ?? 'ended the call'}.`);
    else this.call?.handle(message);
  }

  // On my own line.
  #hear(message) {
    const { from } = message;
    if (from === this.#incoming?.from) {
      if (this.state !== 'ringing' || typeof message.bye === 'string') this.#take(message);
      else if (this.#incoming.messages.length < EARLY) this.#incoming.messages.push(message);
      return;
    }
    if (message.type !== 'offer') return;
    const caller = known(message.caller);
    if (this.state === 'calling' && caller === this.other) {
      // Both call each other: the call of the smaller id stands. The other page does the same, so that one is left.
      if (this.id < caller) return;
      this.#end(null);
    }
    if (this.state !== 'idle') return this.#refuse(from, 'busy');
    this.#incoming = { from, caller, messages: [message] };
    this.#enter('ringing', caller);
  }

  #left(id) {
    if (id !== this.#incoming?.from) return;
    if (this.state === 'ringing') this.#end(`${this.other} has called, and gave up.`);
    else this.#gone();
  }

  // Within a candidate, so that a client of another kind takes it for the end of candidates.
  #refuse(to, bye) {
    this.#line?.send({ type: 'candidate', candidate: null, to, bye });
  }
}
