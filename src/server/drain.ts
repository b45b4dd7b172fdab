/** Whether the server accepts new work. Readiness, requests and WebSockets all depend on it. */
import { LorikeetError } from "../base/errors.js";

export class Gate {
  #isOpen: boolean;
  #refusal: LorikeetError | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(isOpen = true) {
    this.#isOpen = isOpen;
  }

  /** Why the server no longer takes requests; null while it does. */
  get refusal(): LorikeetError | null {
    return this.#refusal;
  }

  /** Throws `not_ready` until the model is loaded, and the refusal once the server no longer takes requests. */
  check(): void {
    if (this.#refusal) throw this.#refusal;
    if (!this.#isOpen) throw new LorikeetError("not_ready", "The model is still being loaded; try again later.");
  }

  open(): void {
    this.#isOpen = true;
  }

  onDrain(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** The first reason stays. */
  drain(reason: LorikeetError = drainingFault()): void {
    if (this.#refusal) return;
    this.#refusal = reason;
    for (const listener of this.#listeners) listener();
  }
}

function drainingFault(): LorikeetError {
  return new LorikeetError("draining", "The server is shutting down and takes no new requests.");
}
