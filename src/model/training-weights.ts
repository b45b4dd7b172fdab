/** Which form every weight takes for training: frozen linears run forwards on one copy and backwards on its transpose. */
import { type PlanOptions, planWeights, type WeightPlan, type WeightPlanEntry } from "./quantize-plan.js";
import { linearSites } from "./sites.js";
import { backwardPath } from "./training-types.js";
import type { DecoderConfig, TensorLocation } from "./types.js";

export interface TrainingPlanOptions extends Pick<PlanOptions, "maxRowError" | "overrides"> {
  /** `int8`: integer products per row both ways; a layer whose rows' error is too large takes blocks, either way by itself. */
  readonly dtype: "fp32" | "int8";
}

/**
 * The plan for `prepareWeights`. The head stays fp32: what it passes back is a distribution over the vocabulary whose many
 * small entries one scale a row would lose. Throws what `planWeights` throws.
 */
export function planTrainingWeights(
  config: DecoderConfig,
  tensors: ReadonlyMap<string, TensorLocation>,
  options: TrainingPlanOptions,
): WeightPlan {
  const forward = planWeights(config, tensors, { ...options, int8Kind: "rows", headDtype: "fp32" });
  const plan = new Map(forward);
  for (const { path } of linearSites(config)) {
    const name = `${path}.weight`;
    const entry = forward.get(name);
    if (entry?.form === "int8row") plan.set(`${backwardPath(path)}.weight`, turned(name, entry));
  }
  return plan;
}

/** The stored matrix read the other way round: its outputs are the layer's inputs. */
function turned(name: string, { transposed = false, ...entry }: WeightPlanEntry): WeightPlanEntry {
  return { ...entry, sources: [name], transposed: !transposed };
}
