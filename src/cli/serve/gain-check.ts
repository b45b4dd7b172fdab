/**
 * The part of an adapter's check that reads the base's weights: whether every magnitude of a DoRA adapter has a gain. It folds them
 * as loading does and keeps nothing, so that what cannot be served is refused when it is sent, not when it is first asked for.
 */

import type { AdapterLimits } from "../../adapter/format.js";
import type { AdapterSummary } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { Semaphore } from "../../base/async.js";
import { foldMagnitudes } from "../../engine/adapters/dora-gains.js";
import type { LinearSite } from "../../model/types.js";
import type { WeightNorms } from "../../weights/norms.js";

export class GainCheck {
  readonly #sites: readonly LinearSite[];
  readonly #norms: Pick<WeightNorms, "of">;
  readonly #limits: Partial<AdapterLimits>;
  /** Apart from the thread that loads for requests. */
  readonly #worker = new AdapterWorker({ atOnce: 1 });
  /** One adapter in memory at a time. */
  readonly #turn = new Semaphore(1);

  constructor(sites: readonly LinearSite[], norms: Pick<WeightNorms, "of">, limits: Partial<AdapterLimits> = {}) {
    this.#sites = sites;
    this.#norms = norms;
    this.#limits = limits;
  }

  /** For a folder that has passed its check otherwise. Throws `adapter_invalid`. */
  async check(folder: string, { dora, alphas }: Pick<AdapterSummary, "dora" | "alphas">): Promise<void> {
    if (!dora) return;
    await this.#turn.run(async () => {
      const options = { limits: this.#limits, ...(alphas && { alphas }) };
      await foldMagnitudes(await this.#worker.load(folder, this.#sites, options), this.#norms);
    });
  }

  /** Checks that run or wait reject with `draining`. Idempotent. */
  async close(): Promise<void> {
    await this.#worker.close();
  }
}
