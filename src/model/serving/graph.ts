/**
 * The decoder lowered for serving: ONNX Runtime's fused kernels, the KV cache written in place, adapters as graph inputs.
 * Tokens of all rows lie in one axis; a decode step has one token a row, a prefill chunk has one row.
 */
import { type AttributeInput, float, GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import type { Graph, Value } from "../../graph/types.js";
import { buildDecoder, type LinearPart, type Lowering } from "../decoder.js";
import { rotaryTables } from "../rope.js";
import type { DecoderConfig } from "../types.js";
import { plainWeight, type WeightSource } from "../weights.js";
import { type AdapterAxis, AdapterInputs, type AdapterMode, type SiteGroup } from "./adapters.js";
import { biasesOf, buildEmbedding, buildJoined, buildLinear } from "./linear.js";

export interface ServingOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightSource;
  /** Tokens that a KV slot holds. */
  readonly capacity: number;
  readonly adapters: AdapterMode;
  /** Rows may have DoRA; with one adapter for every row it is. */
  readonly dora?: boolean;
  /** Sums over ranks above 128 in blocks, so that they do not depend on the other rows; for rank classes. */
  readonly inBlocks?: boolean;
}

export interface ServingGraph {
  readonly graph: Graph;
  /** Adapted linears by the input that they share, in graph order. Empty without adapters. */
  readonly groups: readonly SiteGroup[];
}

const contrib = "com.microsoft";

/**
 * Inputs: `input_ids` [tokens], `positions` [tokens] (learned positions only), `attention_shape` [3] = rows, tokens a row,
 * -1; `seqlens_k` int32 [rows] (total length less one), `total_sequence_length` int32 [1]; `logit_rows` [logit_rows];
 * `past.{layer}.key|value` [rows, kvHeads, capacity, headDim]; adapters' as in serving-adapters. Outputs: `logits`
 * [logit_rows, vocab] and `present.{layer}.key|value`, to be bound to the same memory as the past.
 */
export function buildServingGraph(options: ServingOptions): ServingGraph {
  const builder = new GraphBuilder("decoder");
  const lowering = new ServingLowering(builder, options);
  const logits = buildDecoder(lowering, options.config);
  const [out] = builder.node("Identity", [logits], [{ type: "float32", shape: logits.shape, name: "logits" }]);
  builder.output(out as Value);
  for (const value of lowering.presents) builder.output(value);
  return { graph: builder.build(), groups: lowering.adapters?.groups ?? [] };
}

class ServingLowering implements Lowering {
  readonly op: Ops;
  readonly presents: Value[] = [];
  readonly adapters: AdapterInputs | null;
  readonly #options: ServingOptions;
  readonly #inputs: Record<"ids" | "shape" | "lengths" | "total" | "rows", Value>;
  readonly #rotary: readonly [Value, Value] | null;

  constructor(builder: GraphBuilder, options: ServingOptions) {
    this.op = new Ops(builder);
    this.#options = options;
    this.#inputs = {
      ids: builder.input("input_ids", "int32", ["tokens"]),
      shape: builder.input("attention_shape", "int64", [3]),
      lengths: builder.input("seqlens_k", "int32", ["rows"]),
      total: builder.input("total_sequence_length", "int32", [1]),
      rows: builder.input("logit_rows", "int32", ["logit_rows"]),
    };
    this.adapters = options.adapters === "none" ? null : new AdapterInputs(this.op, options.adapters, options.inBlocks);
    this.#rotary = this.#rotaryTables();
  }

  scope<T>(name: string, body: () => T): T {
    return this.op.scope(name, body);
  }

  embed(path: string): Value {
    const { config, weights } = this.#options;
    let x = buildEmbedding(this.op, weights, `${path}.weight`, this.#inputs.ids);
    if (config.embeddingScale !== 1) x = this.op.scale(x, Math.fround(config.embeddingScale));
    if (config.rope === null) {
      const positions = this.op.builder.input("positions", "int32", ["tokens"]);
      x = this.op.add(x, this.op.gather(this.#weight("transformer.wpe.weight"), positions));
    }
    return x;
  }

  norm(path: string, x: Value): Value {
    const { norm } = this.#options.config;
    const epsilon = float(norm.epsilon);
    if (norm.kind === "layer") {
      return this.op.one("LayerNormalization", [x, this.#gain(path), this.#bias(path)], x.type, x.shape, { epsilon });
    }
    return this.op.one("SimplifiedLayerNormalization", [x, this.#gain(path)], x.type, x.shape, { epsilon });
  }

  addNorm(path: string, x: Value, delta: Value): { sum: Value; normed: Value } {
    const { norm } = this.#options.config;
    const layer = norm.kind === "layer";
    const output = { type: x.type, shape: x.shape };
    const values = this.op.builder.node(
      layer ? "SkipLayerNormalization" : "SkipSimplifiedLayerNormalization",
      layer ? [x, delta, this.#gain(path), this.#bias(path)] : [x, delta, this.#gain(path)],
      [output, null, null, output],
      { epsilon: float(norm.epsilon) },
      contrib,
    );
    return { normed: values[0] as Value, sum: values[3] as Value };
  }

  linears(parts: readonly LinearPart[], x: Value): Value[] {
    return this.#adapted(parts, x, "tokens");
  }

  joined(parts: readonly LinearPart[], x: Value): Value | null {
    return this.adapters ? null : buildJoined(this.op, this.#options.weights, parts, x);
  }

  #adapted(parts: readonly LinearPart[], x: Value, axis: AdapterAxis): Value[] {
    const { weights, dora = false } = this.#options;
    const bases = buildLinear(this.op, weights, parts, x);
    if (!this.adapters) return bases;
    return this.adapters.apply(parts, x, bases, axis, dora ? biasesOf(this.op, weights, parts) : null);
  }

  headNorm(path: string, x: Value, heads: number): Value {
    const { headDim } = this.#options.config;
    const rows = this.op.reshape(x, ["tokens", heads, headDim]);
    return this.op.reshape(this.norm(path, rows), ["tokens", heads * headDim]);
  }

  attention(layer: number, q: Value, k: Value | null, v: Value | null): Value {
    const { config, capacity } = this.#options;
    const { shape, lengths, total } = this.#inputs;
    const { builder } = this.op;
    const split = (x: Value | null): Value | null =>
      x && this.op.reshape(x, ["rows", "row_tokens", x.shape[1] ?? 0], shape);
    const cache = ["rows", config.kvHeadCount, capacity, config.headDim];
    const past = (kind: string): Value => builder.input(`past.${layer}.${kind}`, "float32", cache);
    const present = (kind: string) => ({
      type: "float32" as const,
      shape: cache,
      name: `present.${layer}.${kind}`,
    });
    const attributes: Record<string, AttributeInput> = {
      num_heads: config.headCount,
      kv_num_heads: config.kvHeadCount,
      scale: float(1), // see #scaled
      do_rotary: this.#rotary ? 1 : 0,
      local_window_size: config.windows[layer] ?? undefined,
      softcap: config.attentionSoftcap === null ? undefined : float(config.attentionSoftcap),
    };
    const width = config.headCount * config.headDim;
    const [out, key, value] = builder.node(
      "GroupQueryAttention",
      [split(this.#scaled(q)), split(k), split(v), past("key"), past("value"), lengths, total, ...(this.#rotary ?? [])],
      [{ type: "float32", shape: ["rows", "row_tokens", width] }, present("key"), present("value")],
      attributes,
      contrib,
    ) as [Value, Value, Value];
    this.presents.push(key, value);
    const flat = builder.constant("int64", [2], [-1, width]);
    return this.op.reshape(out, ["tokens", width], flat);
  }

  /**
   * q times the attention's scale, unless the rotation does it. The kernel takes its fast product for a single row only with a
   * scale of 1: with another one it packs all keys of the slot anew for every head.
   */
  #scaled(q: Value): Value {
    const { attentionScale: scale, headCount, headDim } = this.#options.config;
    if (this.#rotationScales || scale === 1) return q;
    const width = q.shape[1] as number; // of q alone, or of q, k and v side by side
    const factors = Float32Array.from({ length: width }, (_, i) => (i < headCount * headDim ? scale : 1));
    return this.op.mul(q, this.#inline(`attention.scale.${width}`, [width], factors));
  }

  /** Where whole heads are rotated, the tables hold the root of the scale: the product of a query and a key has all of it. */
  get #rotationScales(): boolean {
    const { rope, headDim } = this.#options.config;
    return rope?.rotaryDim === headDim;
  }

  #inline(name: string, shape: readonly number[], data: Float32Array): Value {
    const bytes = new Uint8Array(data.buffer);
    return this.op.builder.initializer(name, "float32", shape, { kind: "inline", bytes });
  }

  gated(gate: Value, up: Value | null, packed: boolean): Value {
    const { intermediateSize } = this.#options.config;
    if (packed) {
      const [left, right] = this.op.split(gate, [intermediateSize, intermediateSize], 1) as [Value, Value];
      return this.op.mul(this.#activate(left), right);
    }
    return up ? this.op.mul(this.#activate(gate), up) : this.#activate(gate);
  }

  #activate(x: Value): Value {
    switch (this.#options.config.activation) {
      case "silu":
        return this.op.one("QuickGelu", [x], x.type, x.shape, { alpha: float(1) }, contrib); // x * sigmoid(x)
      case "gelu":
        return this.op.gelu(x, "none");
      case "gelu_tanh":
        return this.op.gelu(x, "tanh");
    }
  }

  select(x: Value): Value {
    return this.op.gather(x, this.#inputs.rows);
  }

  head(x: Value): Value {
    const { config } = this.#options;
    const table = config.family === "gpt2" ? "transformer.wte" : "model.embed_tokens";
    const part = {
      path: config.tiedHead ? table : "lm_head",
      inFeatures: config.hiddenSize,
      outFeatures: config.vocabSize,
    };
    // A tied head is the embedding table: no adapter reaches it.
    const [logits] = config.tiedHead
      ? buildLinear(this.op, this.#options.weights, [part], x)
      : this.#adapted([part], x, "logit_rows");
    if (config.finalSoftcap === null) return logits as Value;
    const cap = config.finalSoftcap;
    return this.op.scale(this.op.tanh(this.op.scale(logits as Value, 1 / cap)), cap);
  }

  #weight(name: string): Value {
    return plainWeight(this.op.builder, this.#options.weights, name);
  }

  /** The norm's weight; gemma stores w for 1 + w (folded when the session is made). */
  #gain(path: string): Value {
    const gain = this.#weight(`${path}.weight`);
    return this.#options.config.gemmaNorms ? this.op.add(gain, this.op.like(gain, 1)) : gain;
  }

  #bias(path: string): Value {
    return this.#weight(`${path}.bias`);
  }

  #rotaryTables(): readonly [Value, Value] | null {
    const { config, capacity } = this.#options;
    if (!config.rope) return null;
    const factor = this.#rotationScales ? Math.sqrt(config.attentionScale) : 1;
    const { cos, sin } = rotaryTables(config.rope, capacity, factor);
    const shape = [capacity, config.rope.rotaryDim / 2];
    return [this.#inline("rotary.cos", shape, cos), this.#inline("rotary.sin", shape, sin)];
  }
}
