/** Rank-stabilized LoRA (arXiv:2312.03732): s = alpha / sqrt(r). */

import { lora, readLora } from "./lora.js";
import type { AdapterMethod } from "./method.js";

export const rsLora: AdapterMethod = {
  ...lora,
  name: "rsLoRA",
  flags: { use_rslora: true },
  scaleOf: (alpha, rank) => alpha / Math.sqrt(rank),
  describe: () => "LoRA, rank-stabilized (rsLoRA)",
  readConfig: (field) => readLora(field, rsLora),
};
