/**
 * The decoder, once, for every family: embeddings, layers, head. What each step becomes (fused serving kernels or plain
 * differentiable ops) is the lowering's business; the architecture asks it for parts under the checkpoint's own names.
 */
import type { Value } from "../graph/types.js";
import { layerPath } from "./sites.js";
import type { DecoderConfig } from "./types.js";

/** A linear layer asked for by its module path. */
export interface LinearPart {
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** What a decoder is made of. Activations are [tokens, features]. */
export interface Lowering {
  /** Token embeddings [tokens, hidden], learned positions added where the family has them. */
  embed(path: string): Value;
  norm(path: string, x: Value): Value;
  /** sum = x + delta, and its norm. */
  addNorm(path: string, x: Value, delta: Value): { sum: Value; normed: Value };
  /** Linear layers that read the same input, each with its bias and adapter. */
  linears(parts: readonly LinearPart[], x: Value): Value[];
  /** The same layers side by side in one value, where the lowering has them so anyway; else null. */
  joined?(parts: readonly LinearPart[], x: Value): Value | null;
  /** Normalises each head of [tokens, heads*headDim]. */
  headNorm(path: string, x: Value, heads: number): Value;
  /** Causal attention, positions applied; `k` and `v` are null when `q` holds all three side by side. [tokens, heads*headDim]. */
  attention(layer: number, q: Value, k: Value | null, v: Value | null): Value;
  /** activation(gate) * up; `up` null: activation(gate); both in one value side by side when `packed`. */
  gated(gate: Value, up: Value | null, packed: boolean): Value;
  /** The rows whose logits are wanted: [rows, hidden]. */
  select(x: Value): Value;
  /** Logits over the vocabulary, softcapped where the family does. */
  head(x: Value): Value;
  scope<T>(name: string, body: () => T): T;
}

/** Builds the whole decoder and returns logits [rows, vocab]. */
export function buildDecoder(lower: Lowering, config: DecoderConfig): Value {
  const gpt2 = config.family === "gpt2";
  const names = gpt2 ? gpt2Names : config.gemmaNorms ? gemmaNames : llamaNames;
  let x = lower.embed(gpt2 ? "transformer.wte" : "model.embed_tokens");
  let delta: Value | null = null;
  const enter = (path: string): Value => {
    if (!delta) return lower.norm(path, x);
    const both = lower.addNorm(path, x, delta);
    x = both.sum;
    return both.normed;
  };
  const leave = (path: string | null, y: Value): void => {
    delta = path === null ? y : lower.norm(path, y);
  };
  for (let layer = 0; layer < config.layerCount; layer++) {
    lower.scope(layerPath(config, layer), () => {
      const at = (name: string): string => `${layerPath(config, layer)}.${name}`;
      const attended = attention(lower, config, layer, enter(at(names.attentionNorm)));
      leave(names.afterAttention && at(names.afterAttention), attended);
      const mixed = mlp(lower, config, layer, enter(at(names.mlpNorm)));
      leave(names.afterMlp && at(names.afterMlp), mixed);
    });
  }
  const finalNorm = gpt2 ? "transformer.ln_f" : "model.norm";
  if (delta) {
    // Only the wanted rows are added up and normalised.
    const { normed } = lower.addNorm(finalNorm, lower.select(x), lower.select(delta));
    return lower.head(normed);
  }
  return lower.head(lower.norm(finalNorm, lower.select(x)));
}

interface LayerNames {
  readonly attentionNorm: string;
  readonly afterAttention: string | null;
  readonly mlpNorm: string;
  readonly afterMlp: string | null;
}

const llamaNames: LayerNames = {
  attentionNorm: "input_layernorm",
  afterAttention: null,
  mlpNorm: "post_attention_layernorm",
  afterMlp: null,
};
const gemmaNames: LayerNames = {
  attentionNorm: "input_layernorm",
  afterAttention: "post_attention_layernorm",
  mlpNorm: "pre_feedforward_layernorm",
  afterMlp: "post_feedforward_layernorm",
};
const gpt2Names: LayerNames = { attentionNorm: "ln_1", afterAttention: null, mlpNorm: "ln_2", afterMlp: null };

function attention(lower: Lowering, config: DecoderConfig, layer: number, x: Value): Value {
  const root = layerPath(config, layer);
  const { hiddenSize, headDim } = config;
  const qSize = config.headCount * headDim;
  const kvSize = config.kvHeadCount * headDim;
  const part = (name: string, inFeatures: number, outFeatures: number): LinearPart => ({
    path: `${root}.${name}`,
    inFeatures,
    outFeatures,
  });
  const [output, packed] =
    config.family === "gpt2"
      ? ["attn.c_proj", "attn.c_attn"]
      : ["self_attn.o_proj", config.family === "phi3" ? "self_attn.qkv_proj" : null];
  let mixed: Value;
  if (packed !== null) {
    const [qkv] = lower.linears([part(packed, hiddenSize, qSize + 2 * kvSize)], x);
    mixed = lower.attention(layer, qkv as Value, null, null);
  } else {
    const parts = [
      part("self_attn.q_proj", hiddenSize, qSize),
      part("self_attn.k_proj", hiddenSize, kvSize),
      part("self_attn.v_proj", hiddenSize, kvSize),
    ];
    const joined = config.qkNorm ? null : (lower.joined?.(parts, x) ?? null);
    mixed = joined ? lower.attention(layer, joined, null, null) : separate(lower, config, layer, parts, x);
  }
  return lower.linears([part(output, qSize, hiddenSize)], mixed)[0] as Value;
}

function separate(
  lower: Lowering,
  config: DecoderConfig,
  layer: number,
  parts: readonly LinearPart[],
  x: Value,
): Value {
  const root = layerPath(config, layer);
  let [q, k, v] = lower.linears(parts, x) as [Value, Value, Value];
  if (config.qkNorm) {
    q = lower.headNorm(`${root}.self_attn.q_norm`, q, config.headCount);
    k = lower.headNorm(`${root}.self_attn.k_norm`, k, config.kvHeadCount);
  }
  return lower.attention(layer, q, k, v);
}

function mlp(lower: Lowering, config: DecoderConfig, layer: number, x: Value): Value {
  const root = layerPath(config, layer);
  const { hiddenSize, intermediateSize } = config;
  const up = (name: string, outFeatures: number): LinearPart => ({
    path: `${root}.mlp.${name}`,
    inFeatures: hiddenSize,
    outFeatures,
  });
  const down = (name: string): LinearPart => ({
    path: `${root}.mlp.${name}`,
    inFeatures: intermediateSize,
    outFeatures: hiddenSize,
  });
  if (config.family === "gpt2") {
    const [wide] = lower.linears([up("c_fc", intermediateSize)], x);
    return lower.linears([down("c_proj")], lower.gated(wide as Value, null, false))[0] as Value;
  }
  if (config.family === "phi3") {
    const [both] = lower.linears([up("gate_up_proj", 2 * intermediateSize)], x);
    return lower.linears([down("down_proj")], lower.gated(both as Value, null, true))[0] as Value;
  }
  const [gate, wide] = lower.linears([up("gate_proj", intermediateSize), up("up_proj", intermediateSize)], x);
  return lower.linears([down("down_proj")], lower.gated(gate as Value, wide as Value, false))[0] as Value;
}
