/**
 * The decoder lowered for training: differentiable operators, whole rows at once, and the loss of every labelled token instead of
 * logits. Does not differentiate; it only supplies custom gradients where they are cheaper.
 */
import { assert } from "../../base/errors.js";
import { at, last } from "../../base/list.js";
import { float, GraphBuilder } from "../../graph/builder.js";
import type { CustomGradient } from "../../graph/gradient.js";
import { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Dim, Value } from "../../graph/types.js";
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
import { filterReach, hasMemory } from "../modules.js";
import { dependsOnLength, growthTable, rotaryTables } from "../rope.js";
import { buildEmbedding } from "../serving/linear.js";
import { rotaryNames } from "../serving/rotary.js";
import type { DecoderConfig } from "../types.js";
import { plainWeight } from "../weights.js";
import { TrainingAttention } from "./attention.js";
import { TrainingDelta } from "./delta.js";
import { gatedSilu, silu } from "./gate.js";
import { buildLabelLosses, buildTokenLosses } from "./head.js";
import { TrainingLinears } from "./linear.js";
import { attentionBlocks } from "./masks.js";
import { TrainingShifts } from "./shifts.js";
import { Parameters, type TrainingOptions } from "./types.js";

export interface TrainingGraph {
  /** Holds the forward pass; the caller adds a loss, gradients and outputs. */
  readonly builder: GraphBuilder;
  /** Negative log-likelihood of each label: [labelled]. */
  readonly tokenLosses: Value;
  /** With `countsHits`: 1 where the label is the likeliest token, else 0: [labelled]. */
  readonly tokenHits: Value | null;
  /** With `score`: the scores of all labels, [labelled, labels]. */
  readonly scores: Value | null;
  /** The trained parameters, graph inputs in the order of the forward pass. */
  readonly parameters: readonly Value[];
  /** For `backward`. */
  readonly custom: readonly CustomGradient[];
  /** Names of values inside layers that are expensive to recompute for their size. */
  readonly costly: ReadonlySet<string>;
}

/**
 * Inputs, int64: `input_ids`, `positions` and `segments` [rows, length] (a token sees the tokens of its own segment up to its
 * position; segment 0 is padding, and each sequence that shares a row has its own number); `label_rows` [labelled], the
 * flat positions, each once, whose next token is labelled; `labels` [labelled]; `chunk_sizes` [chunks], which sum to labelled; `block_sizes` [attentionBlocks], which sum to length (`blockSizes`).
 * With dropout `dropout.{path}` bool [rows * length, in] ([labelled, in] for the head), true where an element is kept. Parameters: `{path}.lora_A`
 * [in, rank], `{path}.lora_B` [rank, out], `{path}.lora_magnitude` [out] with DoRA, beside which `{path}.lora_norm` [out] is read, the
 * length of each output's adapted weights; in mode `full` the checkpoint's tensors; with `score` its weight [labels, hidden], and `labels`
 * are not tokens but indices of labels, which the token at the position itself predicts.
 */
export function buildTrainingGraph(options: TrainingOptions): TrainingGraph {
  const builder = new GraphBuilder("training");
  const lowering = new TrainingLowering(builder, options);
  const tokenLosses = buildDecoder(lowering, options.config);
  const { custom, costly, tokenHits, scores } = lowering;
  return { builder, tokenLosses, tokenHits, scores, parameters: lowering.parameters.list, custom, costly };
}

class TrainingLowering implements Lowering {
  readonly op: Ops;
  readonly parameters: Parameters;
  readonly custom: CustomGradient[] = [];
  readonly costly = new Set<string>();
  tokenHits: Value | null = null;
  scores: Value | null = null;
  readonly #options: TrainingOptions;
  readonly #config: DecoderConfig;
  readonly #inputs: Record<"ids" | "positions" | "segments" | "rows" | "labels" | "chunks", Value>;
  readonly #linears: TrainingLinears;
  readonly #attention: TrainingAttention;
  readonly #shifts: TrainingShifts;
  readonly #delta: TrainingDelta | null;
  #growth: Value | null = null;
  readonly #scattered = new Map<string, Value>();

  constructor(builder: GraphBuilder, options: TrainingOptions) {
    this.op = new Ops(builder);
    this.#options = options;
    this.#config = options.config;
    const tokens = ["rows", "length"];
    this.#inputs = {
      ids: builder.input("input_ids", "int64", tokens),
      positions: builder.input("positions", "int64", tokens),
      segments: builder.input("segments", "int64", tokens),
      rows: builder.input("label_rows", "int64", ["labelled"]),
      labels: builder.input("labels", "int64", ["labelled"]),
      chunks: builder.input("chunk_sizes", "int64", [options.chunks]),
    };
    this.parameters = new Parameters(builder, options);
    this.#linears = new TrainingLinears(this.op, options, this.parameters, this.custom);
    const { ids, positions, segments } = this.#inputs;
    const blocks = builder.input("block_sizes", "int64", [attentionBlocks(options.maxLength)]);
    const inputs = { ids, positions, segments, blocks, rotary: this.#rotaryTables() };
    this.#attention = new TrainingAttention(this.op, options.config, inputs, this);
    this.#shifts = new TrainingShifts(this.op, segments, filterReach(options.config) ?? 0);
    this.#delta = hasMemory(options.config) ? new TrainingDelta(this.op, inputs, options.maxLength) : null;
  }

  scope<T>(name: string, body: () => T): T {
    return this.op.scope(name, body);
  }

  embed({ path, scale, positions }: Embedding): Value {
    const ids = this.#flat(this.#inputs.ids);
    const name = `${path}.weight`;
    const trained = this.parameters.trained(name);
    let x = trained ? this.op.gather(trained, ids) : buildEmbedding(this.op, this.#options.weights, name, ids);
    if (scale !== 1) x = this.op.scale(x, Math.fround(scale));
    if (positions) {
      const table = this.#weight(`${positions.path}.weight`);
      x = this.op.add(x, this.op.gather(table, this.#flat(this.#inputs.positions)));
    }
    return x;
  }

  /** [rows, length] as [tokens]. */
  #flat(x: Value): Value {
    return this.op.reshape(x, [dimProduct(x.shape)], this.op.builder.constant("int64", [1], [-1]));
  }

  norm(norm: Norm, x: Value): Value {
    const gain = this.#gain(norm);
    return this.#normalize(norm, x, norm.bias ? [gain, this.#weight(`${norm.path}.bias`)] : [gain]);
  }

  #gain({ path, offset }: Norm): Value {
    const weight = this.#weight(`${path}.weight`);
    return offset === 0 ? weight : this.op.add(weight, this.op.like(weight, offset));
  }

  #normalize({ kind, epsilon }: Norm, x: Value, weights: readonly Value[]): Value {
    const output = { type: x.type, shape: x.shape };
    const saved = { type: x.type, shape: x.shape.with(-1, 1) };
    const inputs = [x, ...weights];
    const attributes = { epsilon: float(epsilon) };
    const [operator, outputs] =
      kind === "layer"
        ? ["LayerNormalization", [output, saved, saved]]
        : ["SimplifiedLayerNormalization", [output, saved]];
    return at(this.op.builder.node(operator, inputs, outputs, attributes), 0);
  }

  addNorm(norm: Norm, x: Value, delta: Value): { sum: Value; normed: Value } {
    const sum = this.add(x, delta);
    return { sum, normed: this.norm(norm, sum) };
  }

  add(x: Value, y: Value): Value {
    const sum = this.op.add(x, y);
    this.costly.add(sum.name);
    return sum;
  }

  scale(x: Value, factor: number): Value {
    return this.op.scale(x, Math.fround(factor));
  }

  linears(linears: readonly Linear[], x: Value, joined: string | null = null): Value[] {
    return this.#linears.apply(linears, x, { joined });
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

  attend(_layer: number, attention: Attention, q: Value, k: Value | null, v: Value | null): Value {
    if (k && v) return this.#attention.apply(attention, this.#grown(attention, q), k, v);
    const { headCount, kvHeadCount, headDim } = this.#config;
    const sizes = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim);
    const [query, key, value] = this.op.split(q, sizes, 1) as [Value, Value, Value];
    return this.#attention.apply(attention, query, key, value);
  }

  /** Each token's q times the scale at its position. */
  #grown({ queryGrowth }: Attention, q: Value): Value {
    if (!queryGrowth) return q;
    const { maxLength } = this.#options;
    this.#growth ??= this.op.unsqueeze(
      this.op.gather(
        this.#inline("attention.growth", [maxLength], growthTable(queryGrowth, maxLength)),
        this.#flat(this.#inputs.positions),
      ),
      1,
    );
    return this.op.mul(q, this.#growth);
  }

  gate(activation: Activation, gate: Value, up: Value): Value {
    if (activation === "silu") return gatedSilu(this.op, gate, up, this.custom);
    return this.op.mul(this.activate(activation, gate), up);
  }

  split(x: Value, sizes: readonly number[]): Value[] {
    return this.op.split(x, sizes, 1);
  }

  recall(_layer: number, delta: GatedDelta, mixed: Value, rate: Value, decay: Value): Value {
    assert(this.#delta, "a decoder with linear attention has its computation");
    const { op } = this;
    const logDecay = op.mul(
      op.neg(op.exp(this.#weight(delta.decayLog))),
      op.unary("Softplus", op.add(decay, this.#weight(delta.decayBias))),
    );
    return this.#delta.apply(delta, mixed, { logDecay, rate: op.sigmoid(rate) });
  }

  multiply(x: Value, y: Value): Value {
    return this.op.mul(x, y);
  }

  sigmoid(x: Value): Value {
    return this.op.sigmoid(x);
  }

  convolve(_layer: number, { path, channels, width, bias }: CausalFilter, x: Value): Value {
    const weight = this.#weight(`${path}.weight`);
    const products = Array.from({ length: width }, (_, i) =>
      this.op.mul(
        this.#shifts.before(x, width - 1 - i),
        this.op.reshape(this.op.slice(weight, 2, i, i + 1), [channels]),
      ),
    );
    const sum = products.reduce((total, product) => this.op.add(total, product));
    return bias ? this.op.add(sum, this.#weight(`${path}.bias`)) : sum;
  }

  activate(activation: Activation, x: Value): Value {
    switch (activation) {
      case "silu":
        return silu(this.op, x);
      case "gelu":
        return this.op.gelu(x, "none");
      case "gelu_tanh":
        return this.op.gelu(x, "tanh");
    }
  }

  /** The rows whose next token is labelled. Each is taken once, so its gradient is scattered without adding. */
  select(x: Value): Value {
    const { rows } = this.#inputs;
    const picked = this.op.gather(x, rows);
    this.custom.push({
      inputs: [x],
      outputs: [picked],
      vjp: (op, [gradient]) => [gradient ? this.#scatter(op, gradient, x) : null],
    });
    return picked;
  }

  #scatter(op: Ops, gradient: Value, x: Value): Value {
    // The residual sum passes the same gradient to both of its terms.
    const known = this.#scattered.get(gradient.name);
    if (known) return known;
    const zeros = op.expand(op.like(x, 0), x.shape, this.#shapeOfRows(op, last(x.shape)));
    const scattered = op.one("ScatterND", [zeros, op.unsqueeze(this.#inputs.rows, -1), gradient], x.type, x.shape);
    this.#scattered.set(gradient.name, scattered);
    return scattered;
  }

  /** [tokens, width] as a tensor. */
  #shapeOfRows(op: Ops, width: Dim): Value {
    const tokens = op.shapeOf(this.#flat(this.#inputs.ids));
    return op.concat([tokens, op.builder.constant("int64", [1], [Number(width)])], 0);
  }

  /** Token losses instead of logits, [labelled]. */
  head(head: Head, x: Value): Value {
    const { labels, chunks } = this.#inputs;
    const { parameters } = this;
    const { score } = this.#options;
    if (score) {
      const { scores, losses } = buildLabelLosses(this.op, x, score.outFeatures, { labels, ...this });
      this.scores = scores;
      return losses;
    }
    return buildTokenLosses(this.op, this.#options, head, x, {
      labels,
      chunks,
      parameters,
      linears: this.#linears,
      custom: this.custom,
      keepHits: this.#options.countsHits
        ? (hits) => {
            this.tokenHits = hits;
          }
        : undefined,
    });
  }

  #weight(name: string): Value {
    return this.parameters.trained(name) ?? plainWeight(this.op.builder, this.#options.weights, name);
  }

  /** cos and sin [maxLength, rotaryDim / 2] of each rope: inputs if they depend on the length of the longest row. */
  #rotaryTables(): (readonly [Value, Value])[] {
    const { maxLength } = this.#options;
    return this.#config.ropes.map((rope, i) => {
      const names = rotaryNames(i);
      const shape = [maxLength, rope.rotaryDim / 2];
      const { builder } = this.op;
      if (dependsOnLength(rope)) {
        return [builder.input(names.cos, "float32", shape), builder.input(names.sin, "float32", shape)] as const;
      }
      const { cos, sin } = rotaryTables(rope, maxLength, maxLength);
      return [this.#inline(names.cos, shape, cos), this.#inline(names.sin, shape, sin)] as const;
    });
  }

  #inline(name: string, shape: readonly number[], data: Float32Array): Value {
    const bytes = new Uint8Array(data.buffer);
    return this.op.builder.initializer(name, "float32", shape, { kind: "inline", bytes });
  }
}
