/** The process of one training run of a benchmark, so that its peak memory is the run's. */

import { runTrainCase, type TrainCase, type TrainMeasured } from "./train-case.js";

export type TrainAnswer =
  | { readonly ok: true; readonly measured: TrainMeasured }
  | { readonly ok: false; readonly reason: string };

process.once("message", (what: TrainCase) => {
  runTrainCase(what).then(
    (measured) => answer({ ok: true, measured }),
    (error: unknown) => answer({ ok: false, reason: error instanceof Error ? error.message : String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
// Tells the parent that the listener is ready.
process.send?.("ready");

function answer(message: TrainAnswer): void {
  process.send?.(message);
}
