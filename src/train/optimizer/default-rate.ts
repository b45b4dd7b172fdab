/**
 * The peak rate for who names none: a smooth function of a model's width, after "LoRA Without Regret" (Schulman et al., Thinking
 * Machines Lab, 2025). Knows no flag.
 */
import { familyNamed } from "../../model/families/registry.js";
import type { DecoderConfig } from "../../model/types.js";
import type { TrainSettings } from "../settings.js";

/** The best rate of full fine-tuning at a hidden size of 2,000, and how many times that LoRA's is (rank changes it little). */
const fullRate = 5e-5;
const loraFactor = 10;
const width = 2000;
/** How fast the best rate falls with the width, fitted to Llama's models: for families without an exponent of their own. */
const llamaExponent = 0.781;
/** Preferences: small steps from a model that answers already. */
const preferenceRate = 5e-6;

export interface ModelSize {
  readonly hiddenSize: number;
  readonly family: DecoderConfig["family"];
}

const exponentOf = (family: ModelSize["family"]): number => familyNamed(family)?.learningRateExponent ?? llamaExponent;

/** To two digits. */
export function defaultRate(method: TrainSettings["method"], { hiddenSize, family }: ModelSize): number {
  if (method === "dpo") return preferenceRate;
  const rate = fullRate * (width / hiddenSize) ** exponentOf(family);
  return Number(((method === "full" ? 1 : loraFactor) * rate).toPrecision(2));
}

/** Why that is the rate, for a header. */
export function rateReason(method: TrainSettings["method"], { hiddenSize, family }: ModelSize): string {
  if (method === "dpo") return "the default for preferences";
  const times = method === "full" ? "" : `${loraFactor} x `;
  const formula = `${times}${fullRate} x (${width} / ${hiddenSize})^${exponentOf(family)}`;
  return `the default for a hidden size of ${hiddenSize}: ${formula}, after "LoRA Without Regret"`;
}
