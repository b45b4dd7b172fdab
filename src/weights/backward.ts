/** The second copy of quantized weights that training needs: a frozen product runs forwards on one and backwards on the other. */

import { backwardPath } from "../model/training/types.js";
import type { Rounding, WeightSource } from "../model/weights.js";
import { rowErrorBound, type WeightPlan, type WeightPlanEntry } from "./plan.js";

/**
 * The plan of the copies for gradients of weights that are prepared for the way forwards: dx = g W with W as the product
 * forwards multiplies with, rounded, so that the gradient is that of the forward pass which ran. They are int8 rows, and
 * blocks where the rows' error is too large. Weights that are not quantized need no copy. rowLimit: as for serving.
 */
export function planBackward(forward: WeightSource, rowLimit: number): WeightPlan {
  const plan = new Map<string, WeightPlanEntry>();
  for (const { name, form, sources, transposed, rowLimit: limit = rowLimit } of forward.values()) {
    if (form === "fp32" || form === "raw") continue;
    const rounded: Rounding = { form, rowLimit: limit };
    const turned = { sources, transposed: !transposed, rounded };
    const entry: WeightPlanEntry = { form: "int8row", maxRowError: rowErrorBound(rowLimit), rowLimit, ...turned };
    plan.set(`${backwardPath(name.replace(/\.weight$/, ""))}.weight`, entry);
  }
  return plan;
}
