// What the driver is told: instants of the call, where the peer is in it, and what went wrong.

export class Log {
  #seen = new Set();
  #marks = [];
  #warnings = [];
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

  // Only the first failure counts: the others follow from it.
  fail(reason, phase = this.#phase) {
    this.#error ??= { phase, reason };
  }

  drain() {
    const marks = this.#marks;
    const warnings = this.#warnings;
    this.#marks = [];
    this.#warnings = [];
    return {
      marks,
      warnings,
      error: this.#error,
      reached: [...this.#reached],
      phase: this.#phase,
      waiting: this.#waiting,
    };
  }
}
