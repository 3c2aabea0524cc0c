// What the driver is told: instants of the call, where the peer is in it, and what went wrong.

export class Log {
  #seen = new Set();
  #marks = [];
  #warnings = [];
  #heard = [];
  #traced = [];
  #error = null;
  #reached = new Set();
  #phase = 'start';
  #waiting = 'the page';

  // The first time an instant is passed counts. Times are milliseconds on performance.now().
  mark(name, at = performance.now()) {
    if (this.#seen.has(name)) return;
    this.#seen.add(name);
    this.#marks.push([name, at]);
  }

  has(name) {
    return this.#seen.has(name);
  }

  // The peer is now in this phase, and waits for this.
  enter(phase, waiting) {
    this.#phase = phase;
    this.#waiting = waiting;
  }

  get phase() {
    return this.#phase;
  }

  reach(step) {
    this.#reached.add(step);
  }

  warn(text) {
    if (this.#warnings.length < 20) this.#warnings.push(text);
  }

  // What became of a STUN or TURN server: a relayed candidate, or an error.
  hear(heard) {
    if (this.#heard.length < 20) this.#heard.push({ at: performance.now(), ...heard });
  }

  // For the peer's dump. What is told may change later, and have members that only its prototype has.
  trace(method, value) {
    this.#traced.push([method, JSON.parse(JSON.stringify(value ?? null)), performance.now()]);
  }

  // Only the first failure counts: the others follow from it.
  fail(reason, phase = this.#phase) {
    this.#error ??= { phase, reason };
  }

  drain() {
    const marks = this.#marks;
    const warnings = this.#warnings;
    const heard = this.#heard;
    const traced = this.#traced;
    this.#marks = [];
    this.#warnings = [];
    this.#heard = [];
    this.#traced = [];
    return {
      marks,
      warnings,
      heard,
      traced,
      error: this.#error,
      reached: [...this.#reached],
      phase: this.#phase,
      waiting: this.#waiting,
    };
  }
}
