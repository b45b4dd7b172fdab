/** Whether the server accepts new work. Readiness, requests and WebSockets all depend on it. */
import { LorikeetError } from "../base/errors.js";

export class Gate {
  #isOpen: boolean;
  #isDraining = false;
  readonly #listeners = new Set<() => void>();

  constructor(isOpen = true) {
    this.#isOpen = isOpen;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Throws LorikeetError `not_ready` until the model is loaded, `draining` once the server no longer takes requests. */
  check(): void {
    if (this.#isDraining) throw drainingFault();
    if (!this.#isOpen) throw new LorikeetError("not_ready", "The model is still being loaded; try again later.");
  }

  open(): void {
    this.#isOpen = true;
  }

  onDrain(listener: () => void): void {
    this.#listeners.add(listener);
  }

  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (const listener of this.#listeners) listener();
  }
}

export function drainingFault(): LorikeetError {
  return new LorikeetError("draining", "The server is shutting down and takes no new requests.");
}
