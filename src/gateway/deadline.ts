/** Ends a request from outside, from its first byte on: it waits or runs too long, has to yield, or its client disconnects. */
import { LorikeetError } from "../base/errors.js";

export interface DeadlineTimes {
  /** Maximum time until admission, tokenization included. */
  readonly queueTimeoutMs: number;
  readonly requestTimeoutMs: number;
}

export class Deadline {
  readonly #controller = new AbortController();
  readonly #client: AbortSignal;
  readonly #clientLeft = (): void => this.end(new LorikeetError("cancelled", "The client left."));
  readonly #queueTimer: NodeJS.Timeout;
  readonly #requestTimer: NodeJS.Timeout;
  #onEnd: (fault: LorikeetError) => void = () => {};

  constructor({ queueTimeoutMs, requestTimeoutMs }: DeadlineTimes, client: AbortSignal) {
    this.#client = client;
    this.#queueTimer = setTimeout(() => {
      const message = `The request waited for ${queueTimeoutMs} ms without finding a place; try again later.`;
      this.end(new LorikeetError("queue_timeout", message, { allowed: queueTimeoutMs }));
    }, queueTimeoutMs);
    this.#requestTimer = setTimeout(() => {
      const message = `The request was not done after ${requestTimeoutMs} ms, the longest that is allowed.`;
      this.end(new LorikeetError("timeout", message, { allowed: requestTimeoutMs }));
    }, requestTimeoutMs);
    client.addEventListener("abort", this.#clientLeft, { once: true });
    if (client.aborted) this.#clientLeft();
  }

  /** Aborted with the LorikeetError that ended the request. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Calls back with the reason that ends the request; immediately if it has ended. */
  onEnd(listener: (fault: LorikeetError) => void): void {
    this.#onEnd = listener;
    if (this.signal.aborted) listener(this.signal.reason);
  }

  /** The first reason counts. */
  end(fault: LorikeetError): void {
    if (this.signal.aborted) return;
    this.#controller.abort(fault);
    this.#onEnd(fault);
  }

  /** Stops the limit on waiting. */
  admitted(): void {
    clearTimeout(this.#queueTimer);
  }

  /** From now on nothing ends the request from outside. Idempotent. */
  release(): void {
    clearTimeout(this.#queueTimer);
    clearTimeout(this.#requestTimer);
    this.#client.removeEventListener("abort", this.#clientLeft);
  }
}
