/**
 * PEFT's features beyond LoRA on linear layers, as far as a config or a tensor's name shows them. Each is refused once, by name, however
 * many tensors use it.
 */

import { type Faults, quote } from "./faults.js";

const features = {
  dora: "DoRA's magnitudes (lora_magnitude_vector) are read only if the config sets use_dora; set it to true",
  adalora_dora: "AdaLoRA with use_dora is not supported; PEFT does not support it either",
  lora_bias: "biases on lora_B (lora_bias) are not supported here; train it without lora_bias",
  fixed_bias:
    'trained biases of filters and of normalizations of heads are not supported over a language model unless they equal the base\'s; train it with bias "lora_only"',
  modules_to_save:
    "modules saved whole (modules_to_save) are not supported over a language model, except its embeddings and its head, normalizations of its layers and a classification head named score; adapt others by LoRA (target_modules)",
  embedding: "LoRA on embeddings is not supported over this base; remove them from target_modules",
  tied_embedding:
    "LoRA on embeddings together with a tied head (ensure_weight_tying) is only supported for decoders; train without it",
  conv: "LoRA with the four axes of a convolution is not supported on a language model's linear layers",
  adalora: 'AdaLoRA (lora_E) is read only if the config says so; set peft_type to "ADALORA" and init_r',
} as const;

export type Feature = keyof typeof features;

export class FeatureLog {
  readonly #seen = new Map<Feature, string[]>();

  /** Records a use: by a config key (no tensor), or by a tensor. */
  note(feature: Feature, tensor?: string): void {
    const tensors = this.#seen.get(feature) ?? [];
    if (tensor !== undefined) tensors.push(tensor);
    this.#seen.set(feature, tensors);
  }

  /** Reports those that the base does not take. */
  report(faults: Faults, taken: ReadonlySet<Feature>): void {
    for (const [feature, tensors] of this.#seen) {
      if (taken.has(feature)) continue;
      const plural = tensors.length === 1 ? "1 tensor uses it" : `${tensors.length} tensors use it`;
      const where = tensors.length > 0 ? ` (${plural}: ${quote(tensors[0])}${tensors.length > 1 ? ", ..." : ""})` : "";
      faults.unsupported(features[feature] + where);
    }
  }
}
