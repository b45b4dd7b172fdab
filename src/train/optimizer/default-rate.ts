/**
 * The default peak learning rate: a smooth function of the model's hidden size, after "LoRA Without Regret" (Schulman et al.,
 * Thinking Machines Lab, 2025).
 */
import { familyNamed } from "../../model/families/registry.js";
import type { DecoderConfig } from "../../model/types.js";
import type { TrainSettings } from "../settings.js";

/** The best rate of full fine-tuning at a hidden size of 2,000, and the factor for LoRA (rank matters little). */
const fullRate = 5e-5;
const loraFactor = 10;
const width = 2000;
/** How fast the best rate falls with the hidden size, fitted to Llama models; for families without their own exponent. */
const llamaExponent = 0.781;
/** DPO: small steps from a model that already answers. */
const preferenceRate = 5e-6;

export interface ModelSize {
  readonly hiddenSize: number;
  readonly family: DecoderConfig["family"];
}

const exponentOf = (family: ModelSize["family"]): number => familyNamed(family)?.learningRateExponent ?? llamaExponent;

/** Rounded to two digits. */
export function defaultRate(method: TrainSettings["method"], { hiddenSize, family }: ModelSize): number {
  if (method === "dpo") return preferenceRate;
  const rate = fullRate * (width / hiddenSize) ** exponentOf(family);
  return Number(((method === "full" ? 1 : loraFactor) * rate).toPrecision(2));
}

/** Explains the default, for the header. */
export function rateReason(method: TrainSettings["method"], { hiddenSize, family }: ModelSize): string {
  if (method === "dpo") return "the default for DPO";
  const times = method === "full" ? "" : `${loraFactor} x `;
  const formula = `${times}${fullRate} x (${width} / ${hiddenSize})^${exponentOf(family)}`;
  return `the default for a hidden size of ${hiddenSize}: ${formula}, after "LoRA Without Regret"`;
}
