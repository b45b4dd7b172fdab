/** Stops running jobs while the server is busy, and lets them go on after a quiet moment. */

export interface PausingOptions {
  /** Sequences that run or wait in the server. */
  load(): number;
  /** The load at which jobs stop; 0: they never do. */
  readonly pauseAt: number;
  suspend(): void;
  proceed(): void;
}

/** How often the load is read, and how long it must stay low. */
const everyMs = 50;
const quietMs = 500;

export class Pausing {
  readonly #options: PausingOptions;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | null = null;
  #isSuspended = false;
  #quietSince: number | null = null;
  #suspendedMs = 0;
  #since = 0;

  constructor(options: PausingOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  get isSuspended(): boolean {
    return this.#isSuspended;
  }

  /** How long jobs have been stopped in total. */
  get seconds(): number {
    return (this.#suspendedMs + (this.#isSuspended ? this.#now() - this.#since : 0)) / 1000;
  }

  /** Watches while anything runs. */
  watch(isRunning: boolean): void {
    if (isRunning && this.#options.pauseAt > 0) this.#timer ??= setInterval(() => this.tick(), everyMs).unref();
    if (isRunning || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#proceed();
  }

  /** Compares the load with the bound. */
  tick(): void {
    const isBusy = this.#options.load() >= this.#options.pauseAt;
    const now = this.#now();
    if (isBusy) {
      this.#quietSince = null;
      if (this.#isSuspended) return;
      this.#isSuspended = true;
      this.#since = now;
      this.#options.suspend();
    } else if (this.#isSuspended) {
      this.#quietSince ??= now;
      if (now - this.#quietSince >= quietMs) this.#proceed();
    }
  }

  #proceed(): void {
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    this.#quietSince = null;
    this.#suspendedMs += this.#now() - this.#since;
    this.#options.proceed();
  }
}
