/**
 * One training step without its optimizer: the loss and gradients of a batch. Parameters and gradients are flat arrays that ONNX
 * Runtime reads and writes in place, and one session runs batches of any size.
 */
import { backward } from "../autodiff/backward.js";
import { assert } from "../base/errors.js";
import { at, float32At } from "../base/list.js";
import { RotaryInputs } from "../engine/rotary-inputs.js";
import { Ops } from "../graph/ops.js";
import { pruneGraph } from "../graph/prune.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph, Shape, Value } from "../graph/types.js";
import { buildTrainingGraph } from "../model/training/graph.js";
import { attentionBlocks, blockSizes } from "../model/training/masks.js";
import { moduleInputs, type TrainingOptions } from "../model/training/types.js";
import type { DecoderConfig } from "../model/types.js";
import { canMap } from "../runtime/mapping.js";
import { type Binding, Session, type SessionOptions, SharedWeights } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import type { WeightNorms } from "../weights/norms.js";
import { shareWeights } from "../weights/sharing.js";
import { countPositions, type Labelled, labelledPlaces, type TokenBatch } from "./data/batch.js";
import { type Loss, weightedSum } from "./losses.js";
import { ModuleNorms } from "./module-norms.js";
import { padEnd } from "./pad.js";

export interface StepOptions extends TrainingOptions {
  readonly threads: number;
  /** With `dora`: computes the lengths of adapted weights. The caller closes it, after the step. */
  readonly norms?: Pick<WeightNorms, "of">;
  /** Default: `weightedSum`. */
  readonly loss?: Loss;
  readonly session?: Partial<SessionOptions>;
  /** Minimum labels of a run. It is padded with labels of weight 0. */
  readonly minLabels?: number;
  /** Recompute the layers' activations in the backward pass: about a quarter slower, with much less memory. */
  readonly gradientCheckpointing?: boolean;
}

/** A trained tensor. `data` is a view of the flat parameters. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly data: Float32Array;
  readonly gradient: Float32Array;
}

/** Inputs of a run besides the batch. */
export interface RunOptions {
  /** Weight of each label in the loss: one over the labels of the whole effective batch. */
  readonly labelWeight?: number;
  /** Alternatively, a weight for each label, in the order of `labelledPlaces`. */
  readonly labelWeights?: Float32Array<ArrayBuffer>;
  /** Further inputs: dropout masks, and inputs of the loss. */
  readonly inputs?: ReadonlyMap<string, Tensor>;
  readonly signal?: AbortSignal;
}

/** Weights of an evaluation: the parameters, the base model without them, or those of `freezeReference`. */
export type Weights = "trained" | "base" | "reference";

export type EvaluateOptions = RunOptions & { readonly weights?: Weights };

export interface StepResult {
  readonly loss: number;
  /** -log p of each label, in the order of `labelledPlaces`. */
  readonly tokenLosses: Float32Array;
  /** Of an evaluation with `countsHits`: 1 where the label is the likeliest token, else 0. */
  readonly tokenHits: Float32Array | null;
  /** Of an evaluation with `score`: the scores of all labels at each place, [places, labels]. */
  readonly scores: Float32Array | null;
  readonly labelled: Labelled;
}

/** A graph's size, for reports and tests. */
export interface StepGraphs {
  readonly training: Graph;
  readonly evaluation: Graph;
}

export class TrainStep implements Disposable {
  readonly parameters: readonly Parameter[];
  /** All parameters, concatenated. */
  readonly values: Float32Array;
  /** Overwritten by every `run`. */
  readonly gradients: Float32Array;
  readonly graphs: StepGraphs;
  readonly #options: StepOptions;
  readonly #bound: ReadonlyMap<string, { readonly value: Tensor<"float32">; readonly gradient: Tensor }>;
  readonly #norms: ModuleNorms | null;
  readonly #rotary: RotaryInputs;
  #reference: ReadonlyMap<string, Tensor> | null = null;
  /** Prepacked weights of a quantized base model: one copy for both sessions. */
  #shared: SharedWeights | null;
  #training: Runnable | null = null;
  #evaluation: Runnable | null = null;

  private constructor(options: StepOptions) {
    this.#options = options;
    this.#shared = isQuantized(options) && canMap() ? new SharedWeights() : null;
    const { graphs, parameters } = buildGraphs(options);
    this.graphs = graphs;
    const sizes = parameters.map(({ shape }) => shape.reduce<number>((n, dim) => n * Number(dim), 1));
    const total = sizes.reduce((a, b) => a + b, 0);
    this.values = new Float32Array(new ArrayBuffer(4 * total));
    this.gradients = new Float32Array(new ArrayBuffer(4 * total));
    let offset = 0;
    const bound = new Map<string, { value: Tensor<"float32">; gradient: Tensor }>();
    this.parameters = parameters.map(({ name, shape }, i) => {
      const begin = offset;
      const dims = shape.map(Number);
      offset += at(sizes, i);
      const value = Tensor.over("float32", dims, this.values.buffer, 4 * begin);
      const gradient = Tensor.over("float32", dims, this.gradients.buffer, 4 * begin);
      bound.set(name, { value, gradient });
      return { name, shape: dims, offset: begin, data: value.data, gradient: gradient.data };
    });
    this.#bound = bound;
    const { dora = false, norms, modules } = options;
    assert(!dora || norms, "a step with magnitudes has norms");
    this.#norms = dora && norms ? new ModuleNorms(norms, modules, this) : null;
    this.#rotary = new RotaryInputs(options.config.ropes, options.maxLength, () => 1);
  }

  /** Builds the graphs. Parameters start at zero. Sessions are created on first use. */
  static create(options: StepOptions): TrainStep {
    return new TrainStep(options);
  }

  /** With `dora`: the current |W + s B A| of each output, by the names of the magnitudes. */
  async lengths(): Promise<ReadonlyMap<string, Float32Array>> {
    await this.#norms?.refresh();
    const lengths = new Map<string, Float32Array>();
    for (const path of this.#options.modules.keys()) {
      const { norm, magnitude } = moduleInputs(path);
      const tensor = this.#norms?.tensors.get(norm);
      if (tensor) lengths.set(magnitude, tensor.data);
    }
    return lengths;
  }

  /** Forward and backward pass: returns the loss and writes its gradients to `gradients`. */
  async run(batch: TokenBatch, options: RunOptions = {}): Promise<StepResult> {
    this.#training ??= await this.#load(this.graphs.training, true);
    return this.#execute(this.#training, batch, options);
  }

  /** Forward pass only, without dropout, with the trained weights or others. */
  async evaluate(batch: TokenBatch, options: EvaluateOptions = {}): Promise<StepResult> {
    this.#evaluation ??= await this.#load(this.graphs.evaluation, false);
    const { weights = "trained" } = options;
    if (weights !== "trained") this.#bindParameters(this.#evaluation, weights);
    try {
      return await this.#execute(this.#evaluation, batch, options);
    } finally {
      if (weights !== "trained") this.#bindParameters(this.#evaluation, "trained");
    }
  }

  /** Copies the current parameters as the reference. Until then, the base model is the reference. */
  async freezeReference(): Promise<void> {
    await this.#norms?.refresh();
    const copies = this.#inputs().map(([name, tensor]): [string, Tensor] => {
      const copy = Tensor.zeros("float32", tensor.shape);
      copy.data.set(tensor.data);
      return [name, copy];
    });
    this.#reference = new Map(copies);
  }

  /** The trained tensors and related inputs, by the names of their graph inputs. */
  #inputs(): [name: string, Tensor<"float32">][] {
    const bound = [...this.#bound].map(([name, { value }]): [string, Tensor<"float32">] => [name, value]);
    return [...bound, ...(this.#norms?.tensors ?? [])];
  }

  async #load(graph: Graph, training: boolean): Promise<Runnable> {
    const shared = this.#shared;
    const session = await Session.create(serializeGraph(graph), {
      threads: this.#options.threads,
      prepacking: isQuantized(this.#options),
      memoryPattern: false,
      ...this.#options.session,
      ...(shared ? { shared: { weights: shared, names: shareWeights(graph, shared) } } : {}),
    });
    const binding = session.bind();
    const loss = Tensor.zeros("float32", []);
    binding.output("loss", loss);
    const inputs = new Map(graph.inputs.map(({ name, shape }) => [name, shape]));
    const outputs = new Set(graph.outputs.map((output) => output.name));
    const runnable = { session, binding, loss, inputs, outputs };
    this.#bindParameters(runnable, "trained");
    if (training) {
      for (const [name, { gradient }] of this.#bound) binding.output(gradientName(name), gradient);
    }
    return runnable;
  }

  #bindParameters({ binding, inputs }: Runnable, weights: Weights): void {
    for (const [name, tensor] of this.#inputs()) {
      if (!inputs.has(name)) continue;
      const reference = weights === "reference" ? this.#reference?.get(name) : undefined;
      binding.input(name, weights === "trained" ? tensor : (reference ?? asBase(name, tensor)));
    }
  }

  async #execute(runnable: Runnable, batch: TokenBatch, options: RunOptions): Promise<StepResult> {
    const { session, binding, loss, inputs } = runnable;
    await this.#norms?.refresh();
    const labelled = labelledPlaces(batch);
    const count = labelled.places.length;
    const computed = Math.max(count, this.#options.minLabels ?? 0);
    const tokenLosses = Tensor.zeros("float32", [computed]);
    const padded = { ...labelled, places: padPlaces(labelled.places, computed) };
    for (const [name, tensor] of this.#feeds(batch, padded, options)) {
      const axis = inputs.get(name)?.indexOf("labelled");
      if (axis !== undefined) binding.input(name, axis < 0 ? tensor : padEnd(tensor, axis, computed));
    }
    binding.input("chunk_sizes", int64([this.#options.chunks], chunkSizes(computed, this.#options.chunks)));
    binding.output("token_losses", tokenLosses);
    const tokenHits = runnable.outputs.has("token_hits") ? Tensor.zeros("float32", [computed]) : null;
    if (tokenHits) binding.output("token_hits", tokenHits);
    const { outFeatures = 0 } = this.#options.score ?? {};
    const scores = runnable.outputs.has("scores") ? Tensor.zeros("float32", [computed, outFeatures]) : null;
    if (scores) binding.output("scores", scores);
    await session.run(binding, options.signal);
    return {
      loss: float32At(loss.data, 0),
      tokenLosses: tokenLosses.data.subarray(0, count),
      tokenHits: tokenHits?.data.subarray(0, count) ?? null,
      scores: scores?.data.subarray(0, count * outFeatures) ?? null,
      labelled,
    };
  }

  #feeds(batch: TokenBatch, labelled: Labelled, options: RunOptions): Map<string, Tensor> {
    const { rows, length, ids } = batch;
    assert(length <= this.#options.maxLength, `${length} tokens a row of at most ${this.#options.maxLength}`);
    const count = labelled.labels.length;
    const shape = [rows, length];
    const blocks = attentionBlocks(this.#options.maxLength);
    const segments = batch.segments ?? new Int32Array(rows * length).fill(1);
    const positions = batch.positions ?? countPositions(batch);
    const weights = options.labelWeights ?? new Float32Array(count).fill(options.labelWeight ?? 1 / Math.max(count, 1));
    assert(weights.length === count, `${weights.length} weights for ${count} labels`);
    return new Map<string, Tensor>([
      ["input_ids", int64(shape, ids)],
      ["positions", int64(shape, positions)],
      ["segments", int64(shape, segments)],
      ["block_sizes", int64([blocks], blockSizes(length, blocks))],
      ["label_rows", int64([labelled.places.length], labelled.places)],
      ["labels", int64([count], labelled.labels)],
      ["label_weights", Tensor.from("float32", [count], weights)],
      ...this.#rotary.whole(1 + positions.reduce((most, position) => Math.max(most, position), 0)),
      ...(options.inputs ?? []),
    ]);
  }

  [Symbol.dispose](): void {
    this.#training?.session[Symbol.dispose]();
    this.#evaluation?.session[Symbol.dispose]();
    this.#shared?.[Symbol.dispose]();
    this.#training = null;
    this.#evaluation = null;
    this.#shared = null;
  }
}

interface Runnable {
  readonly session: Session;
  readonly binding: Binding;
  readonly loss: Tensor<"float32">;
  readonly inputs: ReadonlyMap<string, Shape>;
  readonly outputs: ReadonlySet<string>;
}

/** Whether the base model multiplies integers. */
const isQuantized = ({ weights }: StepOptions): boolean =>
  [...weights.values()].some(({ form }) => form !== "fp32" && form !== "raw");

/** The tensor that disables an adapter: zero for B, one for magnitudes and norms. */
function asBase(name: string, tensor: Tensor<"float32">): Tensor {
  const { b, magnitude, norm } = moduleInputs("");
  const value = name.endsWith(b) ? 0 : name.endsWith(magnitude) || name.endsWith(norm) ? 1 : null;
  if (value === null) return tensor;
  const filled = Tensor.zeros("float32", tensor.shape);
  filled.data.fill(value);
  return filled;
}

const gradientName = (name: string): string => `gradient.${name}`;

/** The training graph, and the same forward pass without dropout. */
function buildGraphs(options: StepOptions): { graphs: StepGraphs; parameters: readonly Value[] } {
  const { loss: lossOf = weightedSum } = options;
  const { builder, tokenLosses, parameters, custom, costly } = buildTrainingGraph({ ...options, countsHits: false });
  const op = new Ops(builder);
  const loss = lossOf(op, tokenLosses);
  name(op, loss, "loss");
  name(op, tokenLosses, "token_losses");
  const layerOf = layerFinder(options.config);
  const gradients = backward(builder, loss, parameters, {
    custom,
    groups: ({ name, outputs }) => (outputs.some((output) => costly.has(output.name)) ? null : layerOf(name)),
    recompute: options.gradientCheckpointing ?? false,
  });
  for (const [parameter, gradient] of gradients) name(op, gradient, gradientName(parameter.name));
  return {
    graphs: { training: pruneGraph(builder.build()), evaluation: evaluationGraph(options) },
    parameters,
  };
}

/** Finds the decoder layer whose scope a node was created in, by the node's name. */
function layerFinder({ layers }: DecoderConfig): (node: string) => string | null {
  const paths = new Set(layers.map(({ path }) => path));
  const segments = at(layers, 0).path.split(".").length;
  return (node) => {
    const path = node.split(".", segments).join(".");
    return paths.has(path) ? path : null;
  };
}

/** Its loss is always the weighted sum. The loss of preferences can be computed from the token losses. */
function evaluationGraph(options: StepOptions): Graph {
  const { builder, tokenLosses, tokenHits, scores } = buildTrainingGraph({ ...options, dropout: 0 });
  const op = new Ops(builder);
  name(op, weightedSum(op, tokenLosses), "loss");
  name(op, tokenLosses, "token_losses");
  if (tokenHits) name(op, tokenHits, "token_hits");
  if (scores) name(op, scores, "scores");
  return pruneGraph(builder.build());
}

/** Adds a value to the outputs, under a name. */
function name(op: Ops, value: Value, as: string): void {
  const { type, shape } = value;
  for (const output of op.builder.node("Identity", [value], [{ type, shape, name: as }])) op.builder.output(output);
}

/** Padding gets a place that has no label: gradients are scattered to their places, and only one of equal places counts. */
function padPlaces(places: Int32Array, size: number): Int32Array {
  if (places.length >= size) return places;
  const taken = new Set(places);
  let spare = 0;
  while (taken.has(spare)) spare++;
  return Int32Array.from({ length: size }, (_, i) => places[i] ?? spare);
}

/** Splits `total` into `count` parts that are as equal as possible, larger ones first. */
function chunkSizes(total: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => Math.floor(total / count) + (i < total % count ? 1 : 0));
}

function int64(shape: readonly number[], data: Int32Array): Tensor {
  return Tensor.from("int64", shape, BigInt64Array.from(data, BigInt));
}
