/** Whether the server takes new work: the one switch that readiness, requests and sockets ask. */
import { LorikeetError } from "../base/errors.js";

export class Gate {
  #isDraining = false;
  readonly #listeners = new Set<() => void>();

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Throws LorikeetError `draining` once the server no longer takes requests. */
  check(): void {
    if (this.#isDraining) throw drainingFault();
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
