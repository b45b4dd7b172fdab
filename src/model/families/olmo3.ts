/** OLMo 3 (Ai2, 2025): OLMo 2's layers, three of four with a sliding window, and a separate rope for full attention. */

import { zip } from "../../base/list.js";
import { readRopes } from "../config/rope.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import { olmoTokens, readOlmo } from "./olmo2.js";
import { llamaNames } from "./parts.js";

const theta = 500000;

export const olmo3: Family = {
  name: "olmo3",
  architectures: ["Olmo3ForCausalLM", "Olmo3Model"],
  reads: ["attention_bias", "sliding_window"],
  tokens: olmoTokens,
  names: llamaNames,
  read: (fields) =>
    readOlmo(fields, (sizes) => {
      const rules = { layers: "threeOfFour", slidingWindow: 4096 } as const;
      const { types, windows } = readWindows(fields, rules, sizes.layerCount);
      const sliding = { theta: fields.positive("rope_theta", theta) };
      const { ropes, of } = readRopes(fields, { ...sizes, theta, sliding }, types);
      return { ropes, layers: zip(types, windows).map(([type, window]) => ({ window, rope: of(type) })) };
    }),
};
