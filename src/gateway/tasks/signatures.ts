/**
 * What models take and give, with the sizes of an adapter's own head. An adapter is loaded to learn them: once for all who ask, and with
 * bounds on how many loads may wait and for how long.
 */

import { LorikeetError } from "../../base/errors.js";
import type { TaskEngine, TaskSignature } from "../../engine/task/types.js";
import type { Catalog } from "../catalog.js";
import { Deadline, type DeadlineTimes } from "../deadline.js";

export interface SignatureDeps {
  readonly engine: TaskEngine;
  readonly catalog: Catalog;
  readonly times: DeadlineTimes;
}

/** Signatures that are remembered, by the digest of an adapter's weights. */
const maxKnown = 1024;

export class Signatures {
  readonly #deps: SignatureDeps;
  readonly #known = new Map<string, TaskSignature>();
  readonly #loading = new Map<string, Promise<TaskSignature>>();

  constructor(deps: SignatureDeps) {
    this.#deps = deps;
  }

  /** `model`: a base's or an adapter's name; null is the base. Rejects with `model_not_found`, `queue_full`, `queue_timeout`, or what loading throws. */
  async of(model: string | null, client: AbortSignal): Promise<TaskSignature> {
    const { engine, catalog, times } = this.#deps;
    const target = catalog.resolve(model);
    const deadline = new Deadline(times, client);
    try {
      const { weightsDigest } = target;
      if (weightsDigest === null) return engine.signature;
      const ended = new Promise<never>((_, reject) => deadline.onEnd(reject));
      return await Promise.race([this.#known.get(weightsDigest) ?? this.#load(weightsDigest), ended]);
    } finally {
      deadline.release();
      target.release();
    }
  }

  #load(digest: string): Promise<TaskSignature> {
    const { engine } = this.#deps;
    const { maxQueue } = engine.limits;
    const running = this.#loading.get(digest);
    if (running) return running;
    if (this.#loading.size >= maxQueue) {
      const message = `${this.#loading.size} adapters are being loaded to be described; at most ${maxQueue} may (--max-queue).`;
      throw new LorikeetError("queue_full", message, { found: this.#loading.size, allowed: maxQueue });
    }
    const load = engine
      .outputsOf(digest)
      .then((outputs) => this.#remember(digest, { ...engine.signature, outputs }))
      .finally(() => this.#loading.delete(digest));
    load.catch(() => {}); // who asked may have left
    this.#loading.set(digest, load);
    return load;
  }

  #remember(digest: string, signature: TaskSignature): TaskSignature {
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size >= maxKnown) this.#known.delete(oldest);
    this.#known.set(digest, signature);
    return signature;
  }
}
