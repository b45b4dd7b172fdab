/** Compares a trained decoder in the serving engine with its training graph, on the same rows. */

import { plainBatches } from "./data/batches.js";
import type { Item } from "./data/dataset.js";
import type { TokenRow } from "./data/encode.js";
import { evaluateLoss } from "./evaluate.js";
import { nextToken } from "./objectives.js";
import type { ServedComparison } from "./run.js";
import type { Served } from "./served.js";
import type { TrainSession } from "./session.js";
import type { TrainSettings } from "./settings.js";

export interface ComparisonOptions {
  readonly session: TrainSession;
  readonly settings: TrainSettings;
  readonly rows: readonly TokenRow[];
  readonly serve: (result: string) => Promise<Served>;
  /** Called with the served result before its engine stops. */
  readonly onServed?: (served: Served) => Promise<void>;
}

export function compareServed({ session, settings, rows, serve, onServed }: ComparisonOptions): ServedComparison {
  return {
    rows: rows.length,
    async trained(signal) {
      if (rows.length === 0) return null;
      const batches = plainBatches(
        rows.map((row): Item => [row]),
        Math.min(settings.batchSize, 4), // no more memory than the run itself
      );
      const total = batches.reduce((sum, batch) => sum + nextToken.count(batch), 0);
      let loss = 0;
      for (const batch of batches) loss += (await nextToken.evaluate(session.step, batch, total, signal)).loss;
      return loss;
    },
    async served(result, signal) {
      await using served = await serve(result);
      const figures = rows.length === 0 ? null : await evaluateLoss(served, rows, { signal });
      await onServed?.(served);
      return figures?.loss ?? null;
    },
  };
}
