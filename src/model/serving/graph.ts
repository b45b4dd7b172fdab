/**
 * The decoder lowered for serving: ONNX Runtime's fused kernels, the KV cache written in place, adapters as graph inputs.
 * Tokens of all rows share one axis; a decode step has one token per row, a prefill chunk one row.
 */

import { at, only } from "../../base/list.js";
import { type AttributeInput, float, GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import type { Graph, Shape, Value } from "../../graph/types.js";
import type {
  Activation,
  Attention,
  CausalFilter,
  Embedding,
  GatedDelta,
  Head,
  HeadNorm,
  Linear,
  Norm,
} from "../blueprint.js";
import { buildDecoder, type Lowering } from "../decoder.js";
import { normalizeHeads, unpackHeads } from "../heads.js";
import { dependsOnLength, growthTable, kernelRotates, steppedTables } from "../rope.js";
import type { DecoderConfig } from "../types.js";
import { plainWeight, type WeightSource } from "../weights.js";
import { type AdapterAxis, AdapterInputs, type AdapterMode, type ModuleGroup } from "./adapters.js";
import { type CacheKind, pastInput, presentOutput } from "./cache-names.js";
import { biasesOf, buildEmbedding, buildJoined, buildLinear } from "./linear.js";
import { holdsScale, rotaryNames, rotationFactor } from "./rotary.js";

export interface ServingOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightSource;
  /** Tokens that a KV slot holds. */
  readonly capacity: number;
  readonly adapters: AdapterMode;
  /** Rows may have a gain for each output, as DoRA's have; with one adapter for all rows, it has them. */
  readonly gains?: boolean;
  /** Sum over ranks above 128 in blocks, so that a row does not depend on the others. Only with rank classes. */
  readonly inBlocks?: boolean;
}

export interface ServingGraph {
  readonly graph: Graph;
  /** Target modules grouped by the input that they share, in graph order. Empty without adapters. */
  readonly groups: readonly ModuleGroup[];
}

const contrib = "com.microsoft";

/**
 * Inputs: `input_ids` [tokens], `positions` [tokens] (`readsPositions`), `attention_shape` [3] = rows, tokens a row,
 * -1; `seqlens_k` int32 [rows] (total length less one), `total_sequence_length` int32 [1]; `logit_rows` [logit_rows];
 * `past.{layer}.key|value` [rows, kvHeads, capacity, headDim]; of a convolution `past.{layer}.window` [rows, reach, channels], and
 * `window_places` [rows, reach, 1], which of the tokens of the window and the row are in the next one; of linear attention
 * `past.{layer}.memory` [rows, valueHeads, keyDim, valueDim], and `taken` [tokens, 1], 1 for a token that memories take in, else 0;
 * adapters' as in serving-adapters. Outputs: `logits` [logit_rows, vocab] and `present.{layer}.*`, to be bound to the same memory as the past.
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
  readonly #rotary: readonly (readonly [Value, Value])[];
  #positions: Value | null = null;
  #windowPlaces: Value | null = null;
  #rowPositions: Value | null = null;
  #taken: Value | null = null;
  #growth: Value | null = null;

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

  embed({ path, scale, positions }: Embedding): Value {
    let x = buildEmbedding(this.op, this.#options.weights, `${path}.weight`, this.#inputs.ids);
    if (scale !== 1) x = this.op.scale(x, Math.fround(scale));
    if (positions) {
      x = this.op.add(x, this.op.gather(this.#weight(`${positions.path}.weight`), this.#tokenPositions()));
    }
    return x;
  }

  norm(norm: Norm, x: Value): Value {
    return this.#normalize(norm, x, this.#normWeights(norm));
  }

  #normalize({ kind, epsilon }: Pick<Norm, "kind" | "epsilon">, x: Value, weights: readonly Value[]): Value {
    const operator = kind === "layer" ? "LayerNormalization" : "SimplifiedLayerNormalization";
    return this.op.one(operator, [x, ...weights], x.type, x.shape, { epsilon: float(epsilon) });
  }

  addNorm(norm: Norm, x: Value, delta: Value): { sum: Value; normed: Value } {
    const output = { type: x.type, shape: x.shape };
    const values = this.op.builder.node(
      norm.kind === "layer" ? "SkipLayerNormalization" : "SkipSimplifiedLayerNormalization",
      [x, delta, ...this.#normWeights(norm)],
      [output, null, null, output],
      { epsilon: float(norm.epsilon) },
      contrib,
    );
    return { normed: at(values, 0) as Value, sum: at(values, 3) as Value };
  }

  add(x: Value, y: Value): Value {
    return this.op.add(x, y);
  }

  scale(x: Value, factor: number): Value {
    return this.op.scale(x, Math.fround(factor));
  }

  linears(linears: readonly Linear[], x: Value, joined: string | null = null): Value[] {
    return this.#adapted(linears, x, "tokens", joined);
  }

  joined(linears: readonly Linear[], x: Value, joined: string): Value | null {
    return this.adapters ? null : buildJoined(this.op, this.#options.weights, linears, x, joined);
  }

  #adapted(linears: readonly Linear[], x: Value, axis: AdapterAxis, joined: string | null): Value[] {
    const { weights, gains = false } = this.#options;
    const bases = buildLinear(this.op, weights, linears, x, { joined });
    if (!this.adapters) return bases;
    const biases = gains ? biasesOf(this.op, weights, linears, joined) : null;
    return this.adapters.apply(linears, x, bases, axis, biases);
  }

  unpack(x: Value, heads: number, parts: number): Value[] {
    return unpackHeads(this.op, x, heads, parts);
  }

  headNorm(norm: HeadNorm, x: Value, heads: number): Value {
    return normalizeHeads(this.op, norm, x, heads, {
      norm: (one, rows) => this.norm(one, rows),
      normBy: (one, rows, gain) => this.#normalize(one, rows, [gain]),
      gain: (one) => this.#gain(one),
    });
  }

  attend(layer: number, attention: Attention, q: Value, k: Value | null, v: Value | null): Value {
    const { config, capacity } = this.#options;
    const isTurned = attention.rope !== null && !kernelRotates(at(config.ropes, attention.rope), config.headDim);
    const rotary = attention.rope === null || isTurned ? null : at(this.#rotary, attention.rope);
    const { shape, lengths, total } = this.#inputs;
    const { builder } = this.op;
    const split = (x: Value | null): Value | null =>
      x && this.op.reshape(x, ["rows", "row_tokens", x.shape[1] ?? 0], shape);
    const turned = (x: Value | null, heads: number): Value | null =>
      x && isTurned ? this.#turned(attention, x, heads) : x;
    const [query, key, value] = isTurned && !k ? this.#parts(q) : [q, k, v];
    const cache = ["rows", config.kvHeadCount, capacity, config.headDim];
    const past = (kind: CacheKind): Value => builder.input(pastInput(layer, kind), "float32", cache);
    const present = (kind: CacheKind) => ({
      type: "float32" as const,
      shape: cache,
      name: presentOutput(layer, kind),
    });
    const attributes: Record<string, AttributeInput> = {
      num_heads: config.headCount,
      kv_num_heads: config.kvHeadCount,
      scale: float(1), // see #scaled
      do_rotary: rotary ? 1 : 0,
      local_window_size: attention.window ?? undefined,
      softcap: attention.softcap === null ? undefined : float(attention.softcap),
    };
    const width = config.headCount * config.headDim;
    const [out, keys, values] = builder.node(
      "GroupQueryAttention",
      [
        turned(split(this.#scaled(attention, this.#grown(attention, query))), config.headCount),
        turned(split(key), config.kvHeadCount),
        split(value),
        past("key"),
        past("value"),
        lengths,
        total,
        ...(rotary ?? []),
      ],
      [{ type: "float32", shape: ["rows", "row_tokens", width] }, present("key"), present("value")],
      attributes,
      contrib,
    ) as [Value, Value, Value];
    this.presents.push(keys, values);
    const flat = builder.constant("int64", [2], [-1, width]);
    return this.op.reshape(out, ["tokens", width], flat);
  }

  /** q, k and v side by side, as three. */
  #parts(qkv: Value): [Value, Value, Value] {
    const { headCount, kvHeadCount, headDim } = this.#options.config;
    const sizes = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim);
    return this.op.split(qkv, sizes, 1) as [Value, Value, Value];
  }

  /** Queries or keys [rows, row_tokens, heads*headDim], rotated as the attention kernel cannot. */
  #turned({ rope }: Attention, x: Value, heads: number): Value {
    const { ropes } = this.#options.config;
    const tables = at(this.#rotary, rope ?? 0);
    this.#rowPositions ??= this.op.reshape(
      this.op.cast(this.#tokenPositions(), "int64"),
      ["rows", "row_tokens"],
      this.op.slice(this.#inputs.shape, 0, 0, 2),
    );
    const part = { num_heads: heads, rotary_embedding_dim: at(ropes, rope ?? 0).rotaryDim };
    return this.op.one("RotaryEmbedding", [x, this.#rowPositions, ...tables], x.type, x.shape, part, contrib);
  }

  /** The position of each token, [tokens]. */
  #tokenPositions(): Value {
    this.#positions ??= this.op.builder.input("positions", "int32", ["tokens"]);
    return this.#positions;
  }

  /** q of each token times the growth at its position. */
  #grown({ queryGrowth }: Attention, q: Value): Value {
    if (!queryGrowth) return q;
    const { capacity } = this.#options;
    this.#growth ??= this.op.unsqueeze(
      this.op.gather(
        this.#inline("attention.growth", [capacity], growthTable(queryGrowth, capacity)),
        this.#tokenPositions(),
      ),
      1,
    );
    return this.op.mul(q, this.#growth);
  }

  /**
   * q times the attention's scale, unless the rotation does it. The kernel takes its fast product for a single row only with a
   * scale of 1: with another one it repacks all keys of the slot for every head.
   */
  #scaled({ scale, rope }: Attention, q: Value): Value {
    if (scale === 1 || (rope !== null && holdsScale(this.#options.config, rope))) return q;
    const { headCount, headDim } = this.#options.config;
    const width = q.shape[1] as number; // of q alone, or of q, k and v side by side
    const name = `attention.scale.${width}`;
    const factors = Float32Array.from({ length: width }, (_, i) => (i < headCount * headDim ? scale : 1));
    return this.op.mul(q, this.#inline(name, [width], factors));
  }

  #inline(name: string, shape: readonly number[], data: Float32Array): Value {
    const bytes = new Uint8Array(data.buffer);
    return this.op.builder.initializer(name, "float32", shape, { kind: "inline", bytes });
  }

  gate(activation: Activation, gate: Value, up: Value): Value {
    return this.op.mul(this.activate(activation, gate), up);
  }

  split(x: Value, sizes: readonly number[]): Value[] {
    return this.op.split(x, sizes, 1);
  }

  /** A token that a row does not take in neither lets its memory decay nor corrects it: it stays as it is, to the last bit. */
  recall(layer: number, delta: GatedDelta, mixed: Value, rate: Value, decay: Value): Value {
    const { builder } = this.op;
    const { keyHeads, valueHeads, keyDim, valueDim } = delta;
    const keys = keyHeads * keyDim;
    const width = valueHeads * valueDim;
    const rows = (x: Value): Value => this.op.reshape(x, ["rows", "row_tokens", x.shape[1] ?? 0], this.#inputs.shape);
    this.#taken ??= builder.input("taken", "float32", ["tokens", 1]);
    const taken = this.#taken;
    const [q, k, v] = this.op.split(mixed, [keys, keys, width], 1) as [Value, Value, Value];
    const logDecay = this.op.mul(
      this.op.neg(this.op.exp(this.#weight(delta.decayLog))),
      this.op.unary("Softplus", this.op.add(decay, this.#weight(delta.decayBias))),
    );
    const memory = ["rows", valueHeads, keyDim, valueDim];
    const [found, present] = builder.node(
      "LinearAttention",
      [
        rows(this.#unitHeads(q, keyHeads, keyDim)),
        rows(this.#unitHeads(k, keyHeads, keyDim)),
        rows(v),
        builder.input(pastInput(layer, "memory"), "float32", memory),
        rows(this.op.mul(logDecay, taken)),
        rows(this.op.mul(this.op.sigmoid(rate), taken)),
      ],
      [
        { type: "float32", shape: ["rows", "row_tokens", width] },
        { type: "float32", shape: memory, name: presentOutput(layer, "memory") },
      ],
      {
        update_rule: "gated_delta",
        q_num_heads: keyHeads,
        kv_num_heads: valueHeads,
        scale: float(1 / Math.sqrt(keyDim)),
      },
      contrib,
    ) as [Value, Value];
    this.presents.push(present);
    return this.op.reshape(found, ["tokens", width], builder.constant("int64", [2], [-1, width]));
  }

  /** Each head of length 1, in the sense of x / sqrt(|x|² + 1e-6). */
  #unitHeads(x: Value, heads: number, size: number): Value {
    const gain = this.#inline(`unit.${size}`, [size], new Float32Array(size).fill(1 / Math.sqrt(size)));
    const apart = this.op.reshape(x, ["tokens", heads, size]);
    const unit = this.#normalize({ kind: "rms", epsilon: 1e-6 / size }, apart, [gain]);
    return this.op.reshape(unit, x.shape);
  }

  multiply(x: Value, y: Value): Value {
    return this.op.mul(x, y);
  }

  sigmoid(x: Value): Value {
    return this.op.sigmoid(x);
  }

  /** From sums of products of each place, so that no bit depends on how the tokens before lie in steps. */
  convolve(layer: number, filter: CausalFilter, x: Value): Value {
    const { builder } = this.op;
    const { path, channels, width, bias } = filter;
    const reach = width - 1;
    const window = ["rows", reach, channels];
    const past = builder.input(pastInput(layer, "window"), "float32", window);
    const own = this.op.reshape(x, ["rows", "row_tokens", channels], this.#inputs.shape);
    const read = this.op.concat([past, own], 1);
    this.#keepWindow(layer, read, window);
    const weight = this.#weight(`${path}.weight`);
    const products = Array.from({ length: width }, (_, i) =>
      this.op.mul(this.#from(read, i, i - reach, own), this.op.reshape(this.op.slice(weight, 2, i, i + 1), [channels])),
    );
    const sum = products.reduce((total, product) => this.op.add(total, product));
    const y = bias ? this.op.add(sum, this.#weight(`${path}.bias`)) : sum;
    return this.op.reshape(y, x.shape, builder.constant("int64", [2], [-1, channels]));
  }

  /** Tokens from `start` of each row up to `behind` before its end, as many as `like` has. */
  #from(read: Value, start: number, behind: number, like: Value): Value {
    const list = (value: number): Value => this.op.builder.constant("int64", [1], [value]);
    const end = behind === 0 ? 2 ** 31 - 1 : behind;
    return this.op.one("Slice", [read, list(start), list(end), list(1)], read.type, like.shape);
  }

  /** The tokens of a row that its next one still reads. A row that takes no token in keeps those that it had. */
  #keepWindow(layer: number, read: Value, window: Shape): void {
    const { builder } = this.op;
    this.#windowPlaces ??= builder.input("window_places", "int64", ["rows", window[1] ?? 0, 1]);
    const [kept] = builder.node(
      "GatherND",
      [read, this.#windowPlaces],
      [{ type: "float32", shape: window, name: presentOutput(layer, "window") }],
      { batch_dims: 1 },
    ) as [Value];
    this.presents.push(kept);
  }

  activate(activation: Activation, x: Value): Value {
    switch (activation) {
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

  head({ path, linear, tied, bias, scale, softcap }: Head, x: Value): Value {
    // A tied head is the embedding table: no adapter reaches it.
    let logits = only(
      tied ? buildLinear(this.op, this.#options.weights, [linear], x) : this.#adapted([linear], x, "logit_rows", null),
    );
    if (tied && bias) logits = this.op.add(logits, this.#weight(`${path}.bias`));
    if (scale !== 1) logits = this.op.scale(logits, scale);
    if (softcap === null) return logits;
    return this.op.scale(this.op.tanh(this.op.scale(logits, 1 / softcap)), softcap);
  }

  #weight(name: string): Value {
    return plainWeight(this.op.builder, this.#options.weights, name);
  }

  /** A norm's factors and its bias. An offset is folded when the session is created. */
  #normWeights(norm: Norm): Value[] {
    const gain = this.#gain(norm);
    return norm.bias ? [gain, this.#weight(`${norm.path}.bias`)] : [gain];
  }

  #gain({ path, offset }: Norm): Value {
    const weight = this.#weight(`${path}.weight`);
    return offset === 0 ? weight : this.op.add(weight, this.op.like(weight, offset));
  }

  /** cos and sin [capacity, rotaryDim / 2] of each rope: inputs where they depend on the length of the text. */
  #rotaryTables(): (readonly [Value, Value])[] {
    const { config, capacity } = this.#options;
    return config.ropes.map((rope, i) => {
      const names = rotaryNames(i);
      const shape = [capacity, rope.rotaryDim / 2];
      if (dependsOnLength(rope)) {
        const { builder } = this.op;
        return [builder.input(names.cos, "float32", shape), builder.input(names.sin, "float32", shape)] as const;
      }
      const { cos, sin } = steppedTables(rope, capacity, rotationFactor(config, i));
      return [this.#inline(names.cos, shape, cos), this.#inline(names.sin, shape, sin)] as const;
    });
  }
}
