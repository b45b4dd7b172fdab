/**
 * The decoder lowered for serving: ONNX Runtime's fused kernels, the KV cache written in place, adapters as graph inputs.
 * Tokens of all rows share one axis; a decode step has one token per row, a prefill chunk one row.
 */

import { at, only } from "../../base/list.js";
import { float, GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import type { Graph, Value } from "../../graph/types.js";
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
import { buildDecoder, buildHidden, type Lowering } from "../decoder.js";
import { unpackHeads } from "../heads.js";
import type { DecoderConfig } from "../types.js";
import { plainWeight, type WeightSource } from "../weights.js";
import { type AdapterAxis, AdapterInputs, type AdapterMode, type ModuleGroup } from "./adapters.js";
import { AttentionKernel } from "./attention.js";
import { Convolution } from "./convolution.js";
import { buildLikeliest } from "./likeliest.js";
import { biasesOf, biasOf, buildEmbedding, buildJoined, buildLinear } from "./linear.js";
import { Memory } from "./memory.js";
import { Norms } from "./norms.js";
import { StackedAdapters } from "./stacked-adapters.js";
import { StepInputs } from "./step-inputs.js";
import type { FloatType, ServingTarget } from "./target.js";
import { addTokenRows } from "./token-rows.js";

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
  /** Adapters add to the token embeddings, by the input `embedding_delta` [tokens, hidden]. */
  readonly embeds?: boolean;
  /** Adapters may add to the logits of a tied head, as to an adapted layer's outputs. */
  readonly adaptsTiedHead?: boolean;
  /** Adapters may replace the factors and biases of norms. Only with rank classes. */
  readonly changesNorms?: boolean;
  /** Adapters may add to the logits of single tokens, by the inputs of `token-rows`. */
  readonly trainsTokens?: boolean;
  readonly target?: ServingTarget;
  /** What a step gives for each of its logit rows: logits, or also what tells the likeliest token, or the last hidden state alone. Default logits. */
  readonly outputs?: "logits" | "both" | "hidden";
}

export interface ServingGraph {
  readonly graph: Graph;
  /** Target modules grouped by the input that they share, in graph order. Empty without adapters. */
  readonly groups: readonly ModuleGroup[];
}

/**
 * Inputs: `input_ids` [tokens], `positions` [tokens] (`readsPositions`, and plain attention), `attention_shape` [3] = rows, tokens a row,
 * -1; `seqlens_k` int32 [rows] (total length less one), `total_sequence_length` int32 [1]; `logit_rows` [logit_rows];
 * `past.{layer}.key|value` [rows, kvHeads, capacity, headDim]; of a convolution `past.{layer}.window` [rows, reach, channels], and
 * `window_places` [rows, reach, 1], which of the tokens of the window and the row are in the next one; of linear attention
 * `past.{layer}.memory` [rows, valueHeads, keyDim, valueDim], and `taken` [tokens, 1], 1 for a token that memories take in, else 0;
 * adapters' as in `adapters` and `stacked-adapters`. Outputs: `logits` [logit_rows, vocab], `likeliest` (see there), or in place of both
 * `hidden` float32 [logit_rows, hidden], which the head would read; and `present.{layer}.*`, to be bound to the same memory as the past.
 */
export function buildServingGraph(options: ServingOptions): ServingGraph {
  const builder = new GraphBuilder("decoder");
  const lowering = new ServingLowering(builder, options);
  let renamed: Value | null = null;
  const { outputs = "logits" } = options;
  const addOutput = (value: Value, name: string): void => {
    const [out] = builder.node("Identity", [value], [{ type: "float32", shape: value.shape, name }]);
    builder.output(out as Value);
  };
  if (outputs === "hidden") {
    addOutput(lowering.op.cast(buildHidden(lowering, options.config), "float32"), hiddenName);
  } else {
    const logits = buildDecoder(lowering, options.config);
    if (outputs === "logits") addOutput(logits, logitsName);
    else {
      builder.output(logits);
      builder.output(buildLikeliest(lowering.op, logits, options.config.vocabSize));
      renamed = logits;
    }
  }
  for (const value of lowering.presents) builder.output(value);
  const graph = builder.build();
  return { graph: renamed ? withLogits(graph, renamed) : graph, groups: lowering.groups };
}

export const logitsName = "logits";
export const hiddenName = "hidden";
export const embeddingDelta = "embedding_delta";

/** The same graph with its logits under that name. An Identity with a second reader would stay, as a copy that a captured graph does not replay. */
function withLogits(graph: Graph, logits: Value): Graph {
  const rename = (value: Value): Value => (value.name === logits.name ? { ...value, name: logitsName } : value);
  return {
    ...graph,
    outputs: graph.outputs.map(rename),
    nodes: graph.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map((value) => value && rename(value)),
      outputs: node.outputs.map(rename),
    })),
  };
}

class ServingLowering implements Lowering {
  readonly op: Ops;
  readonly presents: Value[] = [];
  readonly #adapters: AdapterInputs | StackedAdapters | null;
  readonly #weights: WeightSource;
  readonly #accuracyLevel: 0 | 4;
  readonly #type: FloatType;
  readonly #gains: boolean;
  readonly #embeds: boolean;
  readonly #adaptsTiedHead: boolean;
  readonly #trainsTokens: boolean;
  readonly #changesNorms: boolean;
  readonly #finalNorm: string;
  readonly #inputs: StepInputs;
  readonly #norms: Norms;
  readonly #attention: AttentionKernel;
  readonly #convolution: Convolution;
  readonly #memory: Memory;

  constructor(builder: GraphBuilder, options: ServingOptions) {
    const { config, weights, capacity, adapters, gains = false, inBlocks, embeds = false, target = {} } = options;
    this.op = new Ops(builder);
    this.#weights = weights;
    this.#type = target.activationType ?? "float32";
    this.#accuracyLevel = target.accuracyLevel ?? 4;
    this.#gains = gains;
    this.#embeds = embeds;
    this.#adaptsTiedHead = options.adaptsTiedHead ?? false;
    this.#trainsTokens = options.trainsTokens ?? false;
    this.#changesNorms = options.changesNorms ?? false;
    this.#finalNorm = config.finalNorm.path;
    this.#inputs = new StepInputs(this.op, target);
    this.#adapters = this.#adapterLowering(adapters, inBlocks);
    this.#norms = new Norms(this.op, weights);
    this.#attention = new AttentionKernel(this.op, config, capacity, this.#inputs, target);
    this.#convolution = new Convolution(this.op, weights, this.#inputs);
    this.#memory = new Memory(this.op, weights, this.#inputs, this.#norms);
  }

  #adapterLowering(mode: AdapterMode, inBlocks?: boolean): AdapterInputs | StackedAdapters | null {
    if (mode === "none") return null;
    if (mode === "masked" || mode === "picked") return new StackedAdapters(this.op, mode, this.#inputs.logitRows);
    return new AdapterInputs(this.op, mode, inBlocks);
  }

  /** The adapted layers so far. */
  get groups(): readonly ModuleGroup[] {
    return this.#adapters?.groups ?? [];
  }

  scope<T>(name: string, body: () => T): T {
    return this.op.scope(name, body);
  }

  embed({ path, scale, positions }: Embedding): Value {
    let x = buildEmbedding(this.op, this.#weights, `${path}.weight`, this.#inputs.ids, this.#type);
    // Before the scale, as in PEFT: where a model scales inside its table, PEFT scales what it adds.
    if (this.#embeds) x = this.op.add(x, this.op.builder.input(embeddingDelta, x.type, x.shape));
    if (scale !== 1) x = this.op.scale(x, Math.fround(scale));
    if (!positions) return x;
    return this.op.add(x, this.op.gather(this.#weight(`${positions.path}.weight`), this.#inputs.positions));
  }

  norm(norm: Norm, x: Value): Value {
    return this.#changed(norm, this.#norms.norm(norm, x));
  }

  addNorm(norm: Norm, x: Value, delta: Value): { sum: Value; normed: Value } {
    const { sum, normed } = this.#norms.addNorm(norm, x, delta);
    return { sum, normed: this.#changed(norm, normed) };
  }

  /** A norm's outputs as adapters change them. */
  #changed(norm: Norm, normed: Value): Value {
    if (!this.#changesNorms || !(this.#adapters instanceof AdapterInputs)) return normed;
    const bias = norm.bias ? this.#weight(`${norm.path}.bias`) : null;
    return this.#adapters.norm(norm, normed, bias, norm.path === this.#finalNorm ? "logit_rows" : "tokens");
  }

  headNorm(norm: HeadNorm, x: Value, heads: number): Value {
    return this.#norms.headNorm(norm, x, heads);
  }

  add(x: Value, y: Value): Value {
    return this.op.add(x, y);
  }

  scale(x: Value, factor: number): Value {
    return this.op.scale(x, Math.fround(factor));
  }

  multiply(x: Value, y: Value): Value {
    return this.op.mul(x, y);
  }

  sigmoid(x: Value): Value {
    return this.op.sigmoid(x);
  }

  linears(linears: readonly Linear[], x: Value, joined: string | null = null): Value[] {
    return this.#adapted(linears, x, "tokens", joined);
  }

  joined(linears: readonly Linear[], x: Value, joined: string): Value | null {
    if (this.#adapters instanceof AdapterInputs) return null;
    const base = buildJoined(this.op, this.#weights, linears, x, joined, this.#accuracyLevel);
    return base && this.#adapters ? this.#stacked(this.#adapters, linears, x, base, "tokens", joined) : base;
  }

  #products(linears: readonly Linear[], x: Value, joined: string | null): Value[] {
    return buildLinear(this.op, this.#weights, linears, x, { joined, accuracyLevel: this.#accuracyLevel });
  }

  /** A tied head: the embedding table, with adapters under the head's own path. */
  #tiedHead({ path, linear }: Head, x: Value): Value {
    const base = only(this.#products([linear], x, null));
    const adapters = this.#adapters;
    if (!this.#adaptsTiedHead || !(adapters instanceof AdapterInputs)) return base;
    return only(
      adapters.apply([{ ...linear, path }], x, { bases: [base], biases: this.#gains ? [null] : null }, "logit_rows"),
    );
  }

  #adapted(linears: readonly Linear[], x: Value, axis: AdapterAxis, joined: string | null): Value[] {
    const adapters = this.#adapters;
    if (adapters instanceof StackedAdapters) {
      const whole = joined && buildJoined(this.op, this.#weights, linears, x, joined, this.#accuracyLevel);
      const bases = whole ? [whole] : this.#products(linears, x, joined);
      const base = bases.length === 1 ? at(bases, 0) : this.op.concat(bases, 1);
      const sum = this.#stacked(adapters, linears, x, base, axis, joined);
      const sizes = linears.map(({ outFeatures }) => outFeatures);
      return sizes.length === 1 ? [sum] : this.op.split(sum, sizes, 1);
    }
    const bases = this.#products(linears, x, joined);
    if (!adapters) return bases;
    const biases = this.#gains ? biasesOf(this.op, this.#weights, linears, joined) : null;
    return adapters.apply(linears, x, { bases, biases }, axis);
  }

  /** The outputs of all layers side by side; `base` without adapters. */
  #stacked(
    adapters: StackedAdapters,
    linears: readonly Linear[],
    x: Value,
    base: Value,
    axis: AdapterAxis,
    joined: string | null,
  ): Value {
    const gains = this.#gains ? { bias: biasOf(this.op, this.#weights, linears, joined, base.type) } : null;
    return adapters.apply(linears, x, base, axis, gains);
  }

  unpack(x: Value, heads: number, parts: number): Value[] {
    return unpackHeads(this.op, x, heads, parts);
  }

  split(x: Value, sizes: readonly number[]): Value[] {
    return this.op.split(x, sizes, 1);
  }

  attend(layer: number, attention: Attention, q: Value, k: Value | null, v: Value | null): Value {
    const { found, presents } = this.#attention.build(layer, attention, q, k, v);
    this.presents.push(...presents);
    return found;
  }

  convolve(layer: number, filter: CausalFilter, x: Value): Value {
    const { y, present } = this.#convolution.build(layer, filter, x);
    this.presents.push(present);
    return y;
  }

  recall(layer: number, delta: GatedDelta, mixed: Value, rate: Value, decay: Value): Value {
    const { found, present } = this.#memory.build(layer, delta, mixed, rate, decay);
    this.presents.push(present);
    return found;
  }

  gate(activation: Activation, gate: Value, up: Value): Value {
    return this.op.mul(this.activate(activation, gate), up);
  }

  activate(activation: Activation, x: Value): Value {
    switch (activation) {
      case "silu":
        return this.op.one("QuickGelu", [x], x.type, x.shape, { alpha: float(1) }, "com.microsoft"); // x * sigmoid(x)
      case "gelu":
        return this.op.gelu(x, "none");
      case "gelu_tanh":
        return this.op.gelu(x, "tanh");
    }
  }

  select(x: Value): Value {
    return this.op.gather(x, this.#inputs.logitRows);
  }

  head(head: Head, x: Value): Value {
    const { path, linear, tied, bias, scale, softcap } = head;
    const product = tied ? this.#tiedHead(head, x) : only(this.#adapted([linear], x, "logit_rows", null));
    const biased = tied && bias ? this.op.add(product, this.#weight(`${path}.bias`)) : product;
    let logits = this.op.cast(biased, "float32");
    if (this.#trainsTokens) logits = addTokenRows(this.op, x, logits);
    if (scale !== 1) logits = this.op.scale(logits, scale);
    if (softcap === null) return logits;
    return this.op.scale(this.op.tanh(this.op.scale(logits, 1 / softcap)), softcap);
  }

  #weight(name: string): Value {
    return plainWeight(this.op.builder, this.#weights, name);
  }
}
