/** The table of adapter methods. mlx-lm's files hold LoRA or DoRA: they are written differently, but compute the same. */

import type { CanonicalConfig, PeftType } from "../canonical.js";
import { adaLora } from "./adalora.js";
import { dora, rsDora } from "./dora.js";
import { lora } from "./lora.js";
import type { AdapterMethod } from "./method.js";
import { rsLora } from "./rslora.js";

/** The keys that name a method. */
export interface MethodKeys extends Pick<CanonicalConfig, "peft_type" | "use_rslora"> {
  readonly use_dora?: boolean;
}

type Choose = (keys: MethodKeys) => AdapterMethod;

const methods: { readonly [T in PeftType]: Choose } = {
  LORA: ({ use_rslora, use_dora }) => (use_dora ? (use_rslora ? rsDora : dora) : use_rslora ? rsLora : lora),
  ADALORA: () => adaLora,
};

/** The values of `peft_type` that are read. */
export const peftTypes = Object.keys(methods);

export const isPeftType = (type: unknown): type is PeftType => typeof type === "string" && Object.hasOwn(methods, type);

export const methodOf = (keys: MethodKeys): AdapterMethod => methods[keys.peft_type](keys);
