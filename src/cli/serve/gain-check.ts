/**
 * The part of an adapter's check that reads the base model's weights: whether the magnitudes of a DoRA adapter can be folded into
 * gains. It folds them as loading does and discards the result, so that a bad adapter is rejected at upload, not at first use.
 */

import { type AdapterLimits, loadAdapter } from "../../adapter/format.js";
import type { AdapterSummary, HostAdapter } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { Semaphore } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import { foldMagnitudes } from "../../engine/adapters/dora-gains.js";
import { gainWarnings } from "../../engine/adapters/idle-gains.js";
import type { BaseModule } from "../../model/blueprint.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint } from "../../model/types.js";
import { WeightNorms } from "../../weights/norms.js";

export interface GainCheckOptions {
  readonly limits?: Partial<AdapterLimits>;
  /** How long one check may take from its start. Loading is stopped at once; a module being checked is finished first. */
  readonly timeoutMs?: number;
}

export class GainCheck {
  readonly #modules: readonly BaseModule[];
  readonly #norms: Pick<WeightNorms, "of">;
  readonly #options: GainCheckOptions;
  /** Separate from the thread that loads for requests. */
  readonly #worker: AdapterWorker;
  /** One adapter in memory at a time. */
  readonly #turn = new Semaphore(1);

  constructor(modules: readonly BaseModule[], norms: Pick<WeightNorms, "of">, options: GainCheckOptions = {}) {
    this.#modules = modules;
    this.#norms = norms;
    this.#options = options;
    const { timeoutMs } = options;
    this.#worker = new AdapterWorker({ atOnce: 1, ...(timeoutMs !== undefined && { deadlineMs: timeoutMs }) });
  }

  /** For a folder that has passed all other checks. Returns warnings. Throws `adapter_invalid` or `validation_timeout`. */
  async check(folder: string, { dora, alphas }: Pick<AdapterSummary, "dora" | "alphas">): Promise<string[]> {
    if (!dora) return [];
    return await this.#turn.run(async () => {
      const { limits = {}, timeoutMs } = this.#options;
      const norms = timeoutMs === undefined ? this.#norms : until(this.#norms, timeoutMs);
      const options = { limits, ...(alphas && { alphas }) };
      return warningsOf(await foldMagnitudes(await this.#worker.load(folder, this.#modules, options), norms));
    });
  }

  /** Running and waiting checks reject with `draining`. Idempotent. */
  async close(): Promise<void> {
    await this.#worker.close();
  }
}

/** Checks one folder over a checkpoint. Returns warnings. Throws `adapter_invalid`. */
export async function checkGains(checkpoint: Checkpoint, folder: string, { dora }: AdapterSummary): Promise<string[]> {
  if (!dora) return [];
  await using norms = new WeightNorms(checkpoint, { threads: 1 });
  return warningsOf(await foldMagnitudes(await loadAdapter(folder, storedModules(checkpoint)), norms));
}

const warningsOf = ({ modules, embedding, tokens, head }: HostAdapter): string[] =>
  gainWarnings(modules.values(), (embedding ?? tokens ?? head) !== undefined);

function until(norms: Pick<WeightNorms, "of">, timeoutMs: number): Pick<WeightNorms, "of"> {
  const endsAt = performance.now() + timeoutMs;
  return {
    of: async (module) => {
      if (performance.now() < endsAt) return norms.of(module);
      const message = `Checking the adapter's magnitudes took longer than ${timeoutMs} ms and was stopped.`;
      throw new LorikeetError("validation_timeout", message, { allowed: timeoutMs });
    },
  };
}
