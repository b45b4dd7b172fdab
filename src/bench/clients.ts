/** Clients of a running server in a separate process, so that reading streams does not delay the server's event loop. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { LorikeetError } from "../base/errors.js";
import { forkModule } from "../base/processes.js";
import type { Arrivals } from "./arrivals.js";

export interface StreamRequest {
  readonly model: string;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
}

/** One round of requests, sent at once and ended when each has produced `wanted` tokens while all ran. */
export interface ClientRound {
  readonly port: number;
  readonly requests: readonly StreamRequest[];
  readonly wanted: number;
}

export type ClientAnswer =
  | { readonly ok: true; readonly streams: readonly Arrivals[] }
  | { readonly ok: false; readonly reason: string };

export class Clients implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #gone: Promise<never>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#gone = once(child, "exit").then(([code, signal]) => {
      throw new LorikeetError("internal", `The benchmark's clients ended early (${code ?? signal}).`);
    });
    this.#gone.catch(() => {});
  }

  static async start(): Promise<Clients> {
    const child = forkModule(import.meta.url, "clients-main");
    const clients = new Clients(child);
    await Promise.race([once(child, "message"), clients.#gone]);
    return clients;
  }

  /** Resolves with the arrivals of each stream's tokens. Rejects if a stream fails or ends early. */
  async run(round: ClientRound): Promise<readonly Arrivals[]> {
    const answered = once(this.#child, "message");
    this.#child.send(round);
    const [answer]: ClientAnswer[] = await Promise.race([answered, this.#gone]);
    if (!answer?.ok) throw new LorikeetError("internal", `The benchmark's clients failed: ${answer?.reason}`);
    return answer.streams;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.disconnect();
    await ended;
  }
}
