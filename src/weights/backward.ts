/** The second copy of quantized weights that training needs: a frozen product uses one in the forward pass and the other in the backward pass. */

import { backwardPath } from "../model/training/types.js";
import type { Rounding, WeightSource } from "../model/weights.js";
import { isFloat } from "./layout.js";
import { rowErrorBound, type WeightPlan, type WeightPlanEntry } from "./plan.js";

/**
 * Plans the copies for gradients, dx = g W, of weights that are prepared for the forward pass. W is the rounded matrix that the
 * forward pass multiplies by, so that the gradient is that of the pass that ran. Copies are int8 rows, or blocks where the rows'
 * error is too large. Weights that are not quantized need no copy. `rowLimit` as in serving.
 */
export function planBackward(forward: WeightSource, rowLimit: number): WeightPlan {
  const plan = new Map<string, WeightPlanEntry>();
  for (const { name, form, sources, transposed, rowLimit: limit = rowLimit } of forward.values()) {
    if (isFloat(form) || form === "raw") continue;
    const rounded: Rounding = { form, rowLimit: limit };
    const backward = { sources, transposed: !transposed, rounded };
    const entry: WeightPlanEntry = { form: "int8row", maxRowError: rowErrorBound(rowLimit), rowLimit, ...backward };
    plan.set(`${backwardPath(name.replace(/\.weight$/, ""))}.weight`, entry);
  }
  return plan;
}
