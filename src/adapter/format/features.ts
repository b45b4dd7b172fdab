/**
 * What PEFT can do beyond LoRA on linear layers, as far as a LoRA config or a tensor's name shows it: each is refused once,
 * by name, however many tensors speak of it.
 */

import { type Faults, quote } from "./faults.js";

const features = {
  dora: "DoRA's magnitudes (lora_magnitude_vector) are read only where the config says so; set use_dora to true",
  adalora_dora: "AdaLoRA with use_dora is not supported; PEFT makes none either",
  lora_bias: "biases on lora_B (lora_bias) are not supported yet; train it without lora_bias",
  bias: 'trained biases (bias other than "none") are not supported yet; train it with bias "none"',
  modules_to_save: "whole modules saved with the adapter (modules_to_save, embeddings, heads) are not supported yet",
  embedding: "LoRA on embeddings is not supported yet; leave them out of target_modules",
  conv: "LoRA on convolutions is not supported yet; leave them out of target_modules",
  trainable_tokens: "trained token rows (trainable_token_indices) are not supported yet",
  adalora: 'AdaLoRA (lora_E) is read only where the config says so; set peft_type to "ADALORA", with its init_r',
} as const;

export type Feature = keyof typeof features;

export class FeatureLog {
  readonly #seen = new Map<Feature, string[]>();

  /** Notes a use, by a config key (no tensor) or by a tensor. */
  note(feature: Feature, tensor?: string): void {
    const tensors = this.#seen.get(feature) ?? [];
    if (tensor !== undefined) tensors.push(tensor);
    this.#seen.set(feature, tensors);
  }

  report(faults: Faults): void {
    for (const [feature, tensors] of this.#seen) {
      const plural = tensors.length === 1 ? "1 tensor uses it" : `${tensors.length} tensors use it`;
      const where = tensors.length > 0 ? ` (${plural}: ${quote(tensors[0])}${tensors.length > 1 ? ", ..." : ""})` : "";
      faults.unsupported(features[feature] + where);
    }
  }
}
