// The figures of the call that is on, as text.

import { Figures, path, quality } from './figures.js';

const INTERVAL = 1000;
const ABSENT = '–';

export class Meter {
  #pc = null;
  #timer;
  #figures;

  // Shows this connection from now on.
  watch(pc) {
    put('state', pc.connectionState);
    if (this.#pc === pc) return;
    this.stop();
    this.#pc = pc;
    this.#figures = new Figures();
    this.#timer = setInterval(() => this.#show(pc), INTERVAL);
    this.#show(pc);
  }

  stop() {
    clearInterval(this.#timer);
    this.#pc = null;
    put('state', ABSENT);
  }

  async #show(pc) {
    const stats = [...(await pc.getStats()).values()];
    if (this.#pc !== pc) return;
    const now = this.#figures.read(stats);
    put('path', path(now) ?? ABSENT);
    put('rtt', number(now.rtt, (s) => `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`));
    put('loss', `${number(now.lossIn, percent)} / ${number(now.lossOut, percent)}`);
    put('down', number(now.down, bitrate));
    put('up', number(now.up, bitrate));
    put('received', picture(now.received));
    put('sent', picture(now.sent));
    const [word, tone] = quality(now) ?? ['', 'wait'];
    const shown = document.getElementById('quality');
    // Not written anew each second, as it is read aloud.
    if (shown.textContent !== word) shown.textContent = word;
    shown.dataset.tone = tone;
  }
}

function put(name, text) {
  document.getElementById(`f-${name}`).textContent = text;
}

function number(value, format) {
  return typeof value === 'number' ? format(value) : ABSENT;
}

function percent(ratio) {
  return `${(ratio * 100).toFixed(1)} %`;
}

function bitrate(bits) {
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${(bits / 1e3).toFixed(0)} kbit/s`;
}

function picture(of) {
  return of ? `${of.width}×${of.height}, ${of.frames.toFixed(0)} fps` : ABSENT;
}
