/**
 * The module names of a decoder: its linear layers, which adapters may target, and every tensor that its checkpoint must
 * hold. Names are those of transformers and PEFT. Reads no file.
 */

import type { DecoderConfig, LinearSite } from "./types.js";

interface Linear extends LinearSite {
  readonly bias: boolean;
}

export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** `norm` is a scale that a fresh model starts at 1 (gemma2: at 0, where 1 + w is meant). */
  readonly role: "embedding" | "matrix" | "norm" | "bias";
}

/**
 * Every linear layer that an adapter may target, in the order of the forward pass; the head comes last, and only when it is
 * not tied to the embeddings. phi3's packed and gpt2's Conv1D layers are one site each.
 */
export function linearSites(config: DecoderConfig): LinearSite[] {
  const sites = [...allLinearSites(config)];
  if (!config.tiedHead) {
    sites.push({ path: headPath, inFeatures: config.hiddenSize, outFeatures: config.vocabSize });
  }
  return sites;
}

/** What PEFT's `target_modules="all-linear"` adapts: every linear layer but the head, which must be named to be adapted. */
export function allLinearSites(config: DecoderConfig): LinearSite[] {
  return layerIndices(config).flatMap((layer) =>
    layerLinears(config, layer).map(({ path, inFeatures, outFeatures }) => ({ path, inFeatures, outFeatures })),
  );
}

/**
 * Every tensor of a checkpoint under its canonical name, in the order of the forward pass. A tied head has none. Linear
 * weights are [out, in]; gpt2's Conv1D weights are [in, out].
 */
export function expectedTensors(config: DecoderConfig): ExpectedTensor[] {
  const { hiddenSize, vocabSize, maxPositions } = config;
  const isGpt2 = config.family === "gpt2";
  const tensors: ExpectedTensor[] = isGpt2
    ? [
        { name: "transformer.wte.weight", shape: [vocabSize, hiddenSize], role: "embedding" },
        { name: "transformer.wpe.weight", shape: [maxPositions, hiddenSize], role: "embedding" },
      ]
    : [{ name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize], role: "embedding" }];
  for (const layer of layerIndices(config)) {
    const names = isGpt2 ? ["ln_1", "ln_2"] : rmsNorms(config);
    for (const name of names) tensors.push(...norm(config, `${layerPath(config, layer)}.${name}`, hiddenSize));
    if (config.qkNorm) {
      for (const name of ["q_norm", "k_norm"]) {
        tensors.push(...norm(config, `${layerPath(config, layer)}.self_attn.${name}`, config.headDim));
      }
    }
    for (const linear of layerLinears(config, layer)) tensors.push(...linearTensors(config, linear));
  }
  tensors.push(...norm(config, isGpt2 ? "transformer.ln_f" : "model.norm", hiddenSize));
  if (!config.tiedHead) tensors.push({ name: `${headPath}.weight`, shape: [vocabSize, hiddenSize], role: "matrix" });
  return tensors;
}

export const headPath = "lm_head";

/** Whether a linear layer's weight is stored [in, out], as gpt2's Conv1D is. */
export const isTransposed = ({ family }: Pick<DecoderConfig, "family">, path: string): boolean =>
  family === "gpt2" && path !== headPath;

/** The module path of a decoder layer: `model.layers.0`, `transformer.h.0`. */
export function layerPath({ family }: DecoderConfig, layer: number): string {
  return family === "gpt2" ? `transformer.h.${layer}` : `model.layers.${layer}`;
}

function layerIndices({ layerCount }: DecoderConfig): number[] {
  return Array.from({ length: layerCount }, (_, layer) => layer);
}

function layerLinears(config: DecoderConfig, layer: number): Linear[] {
  const { family, hiddenSize, intermediateSize, bias } = config;
  const path = layerPath(config, layer);
  const linear = (name: string, inFeatures: number, outFeatures: number, hasBias: boolean): Linear => ({
    path: `${path}.${name}`,
    inFeatures,
    outFeatures,
    bias: hasBias,
  });
  const q = config.headCount * config.headDim;
  const kv = config.kvHeadCount * config.headDim;
  switch (family) {
    case "gpt2":
      return [
        linear("attn.c_attn", hiddenSize, 3 * hiddenSize, bias.qkv),
        linear("attn.c_proj", hiddenSize, hiddenSize, bias.o),
        linear("mlp.c_fc", hiddenSize, intermediateSize, bias.mlp),
        linear("mlp.c_proj", intermediateSize, hiddenSize, bias.mlp),
      ];
    case "phi3":
      return [
        linear("self_attn.qkv_proj", hiddenSize, q + 2 * kv, bias.qkv),
        linear("self_attn.o_proj", q, hiddenSize, bias.o),
        linear("mlp.gate_up_proj", hiddenSize, 2 * intermediateSize, bias.mlp),
        linear("mlp.down_proj", intermediateSize, hiddenSize, bias.mlp),
      ];
    default:
      return [
        linear("self_attn.q_proj", hiddenSize, q, bias.qkv),
        linear("self_attn.k_proj", hiddenSize, kv, bias.qkv),
        linear("self_attn.v_proj", hiddenSize, kv, bias.qkv),
        linear("self_attn.o_proj", q, hiddenSize, bias.o),
        linear("mlp.gate_proj", hiddenSize, intermediateSize, bias.mlp),
        linear("mlp.up_proj", hiddenSize, intermediateSize, bias.mlp),
        linear("mlp.down_proj", intermediateSize, hiddenSize, bias.mlp),
      ];
  }
}

function rmsNorms({ gemmaNorms }: DecoderConfig): string[] {
  const common = ["input_layernorm", "post_attention_layernorm"];
  return gemmaNorms ? [...common, "pre_feedforward_layernorm", "post_feedforward_layernorm"] : common;
}

function norm(config: DecoderConfig, path: string, size: number): ExpectedTensor[] {
  const weight: ExpectedTensor = { name: `${path}.weight`, shape: [size], role: "norm" };
  return config.norm.kind === "rms" ? [weight] : [weight, { name: `${path}.bias`, shape: [size], role: "bias" }];
}

function linearTensors({ family }: DecoderConfig, linear: Linear): ExpectedTensor[] {
  const { path, inFeatures, outFeatures } = linear;
  const shape = family === "gpt2" ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
  const weight: ExpectedTensor = { name: `${path}.weight`, shape, role: "matrix" };
  return linear.bias ? [weight, { name: `${path}.bias`, shape: [outFeatures], role: "bias" }] : [weight];
}

/** The head, or the table that it is tied to. */
export const isHead = (name: string): boolean => /^(lm_head|model\.embed_tokens|transformer\.wte)\.weight$/.test(name);
