/**
 * One training step of a task model without its optimizer: loss and gradients of a batch. A graph has the sizes of one kind of batch, so
 * there is a session for each; all share the parameters, which ONNX Runtime reads and writes in place.
 */

import { backward } from "../../autodiff/backward.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { float32At } from "../../base/list.js";
import type { GraphBuilder } from "../../graph/builder.js";
import type { CustomGradient } from "../../graph/gradient.js";
import { Ops } from "../../graph/ops.js";
import { pruneGraph } from "../../graph/prune.js";
import { serializeGraph } from "../../graph/serialize.js";
import { ShapeError } from "../../graph/shape.js";
import type { ElementType, Graph, Node, Value } from "../../graph/types.js";
import { type TrainedTarget, type TrainedTensor, trainedTensors } from "../../model/task/trained-modules.js";
import { buildTrainable } from "../../model/task/training-graph.js";
import { type Binding, Session, SharedWeights } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";
import { elementCount } from "../../tensor/shape.js";
import type { Parameter } from "../step.js";
import { withSizes } from "./static-graph.js";

/** The loss of a batch, over the model's outputs and inputs. Its further inputs are named `loss.*`. */
export type TaskLoss = (op: Ops, outputs: ReadonlyMap<string, Value>, inputs: ReadonlyMap<string, Value>) => Value;

export interface TaskStepOptions {
  readonly graph: Graph;
  readonly targets: readonly TrainedTarget[];
  /** Initializers that are trained themselves. */
  readonly initializers: readonly TrainedTensor[];
  readonly loss: TaskLoss;
  readonly threads: number;
}

export interface TaskEvaluation {
  readonly loss: number;
  /** The model's outputs, by name. */
  readonly outputs: ReadonlyMap<string, Tensor>;
}

/** Sessions that are kept; the one that was not used for the longest is closed first. */
const maxSessions = 12;

export class TaskStep implements Disposable {
  readonly parameters: readonly Parameter[];
  /** All parameters, concatenated. */
  readonly values: Float32Array;
  /** Overwritten by every `run`. */
  readonly gradients: Float32Array;
  readonly #options: TaskStepOptions;
  readonly #bound: ReadonlyMap<string, { readonly value: Tensor; readonly gradient: Tensor }>;
  readonly #runnables = new Map<string, Runnable>();
  readonly #sized = new Map<string, Graph>();
  /** null once it is disposed of. */
  #shared: SharedWeights | null = new SharedWeights();
  readonly #sharedNames: ReadonlySet<string>;

  /** Parameters start at zero. Sessions are created on first use. */
  constructor(options: TaskStepOptions) {
    this.#options = options;
    const tensors = [...options.initializers, ...options.targets.flatMap(trainedTensors)];
    const total = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    this.values = new Float32Array(total);
    this.gradients = new Float32Array(total);
    const bound = new Map<string, { value: Tensor<"float32">; gradient: Tensor<"float32"> }>();
    let offset = 0;
    this.parameters = tensors.map(({ name, shape }) => {
      const begin = offset;
      offset += elementCount(shape);
      const value = Tensor.over("float32", shape, this.values.buffer, 4 * begin);
      const gradient = Tensor.over("float32", shape, this.gradients.buffer, 4 * begin);
      bound.set(name, { value, gradient });
      return { name, shape, offset: begin, data: value.data, gradient: gradient.data };
    });
    this.#bound = bound;
    this.#sharedNames = this.#share();
  }

  /** Large frozen weights exist once for all sessions. */
  #share(): Set<string> {
    const names = new Set<string>();
    const shared = this.#weights;
    for (const { value, data } of this.#options.graph.initializers) {
      const bytes = data.kind === "inline" ? data.bytes.byteLength : data.byteLength;
      if (value.type !== "float32" || bytes < leastSharedBytes || this.#bound.has(value.name)) continue;
      const shape = value.shape.map(Number);
      if (data.kind === "external") shared.add(value.name, value.type, shape, data);
      else shared.hold(value.name, Tensor.over(value.type, shape, Uint8Array.from(data.bytes).buffer));
      names.add(value.name);
    }
    return names;
  }

  /** Forward and backward pass: returns the loss and writes its gradients. `feeds`: inputs of the model and of the loss. */
  async run(
    feeds: ReadonlyMap<string, Tensor>,
    options: { masks?: MaskSource; signal?: AbortSignal } = {},
  ): Promise<number> {
    const runnable = await this.#runnable(feeds, "train", options.signal);
    const { session, binding, loss, masks } = runnable;
    bindFeeds(runnable, feeds);
    for (const [index, { name, shape }] of masks.entries()) {
      assert(options.masks, "a graph with dropout gets its masks");
      binding.input(name, options.masks(shape.map(Number), index));
    }
    await session.run(binding, options.signal);
    return float32At(loss.data, 0);
  }

  /** Forward pass only, without dropout. */
  async evaluate(feeds: ReadonlyMap<string, Tensor>, signal?: AbortSignal): Promise<TaskEvaluation> {
    const runnable = await this.#runnable(feeds, "evaluate", signal);
    const outputs = await this.#forward(runnable, feeds, signal);
    return { loss: float32At(runnable.loss.data, 0), outputs };
  }

  /** The model's outputs alone, for which `feeds` needs no inputs of the loss. */
  async predict(feeds: ReadonlyMap<string, Tensor>, signal?: AbortSignal): Promise<ReadonlyMap<string, Tensor>> {
    return await this.#forward(await this.#runnable(feeds, "predict", signal), feeds, signal);
  }

  async #forward(
    runnable: Runnable,
    feeds: ReadonlyMap<string, Tensor>,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<string, Tensor>> {
    bindFeeds(runnable, feeds);
    await runnable.session.run(runnable.binding, signal);
    const found = runnable.binding.outputs();
    // Outputs follow the loss, if there is one, which is bound to memory of its own.
    const first = found.length - runnable.outputs.length;
    return new Map(runnable.outputs.map((name, i) => [name, found[first + i] as Tensor]));
  }

  async #runnable(feeds: ReadonlyMap<string, Tensor>, purpose: Purpose, signal?: AbortSignal): Promise<Runnable> {
    const sizes = this.#options.graph.inputs.map(({ name }) => feeds.get(name)?.shape.join("x"));
    const key = `${purpose} ${sizes.join(" ")}`;
    const known = this.#runnables.get(key);
    if (known) {
      this.#runnables.delete(key);
      this.#runnables.set(key, known);
      return known;
    }
    for (const [oldest, { session }] of this.#runnables) {
      if (this.#runnables.size < maxSessions) break;
      this.#runnables.delete(oldest);
      session[Symbol.dispose]();
    }
    const graph = await this.#sizedGraph(sizes.join(" "), feeds, signal);
    const made = await this.#load(graph, purpose);
    this.#runnables.set(key, made);
    return made;
  }

  async #sizedGraph(key: string, feeds: ReadonlyMap<string, Tensor>, signal?: AbortSignal): Promise<Graph> {
    const known = this.#sized.get(key);
    if (known) return known;
    const { graph, targets, initializers, threads } = this.#options;
    const layers = targets.flatMap(({ module, form }) =>
      form.kind === "bias" ? form.layers : module.uses.map(({ target }) => target),
    );
    const sized = await withSizes(graph, {
      inputs: feeds,
      adapted: new Set(layers.flatMap(({ node }) => node.outputs.map(({ name }) => name))),
      trained: new Set(initializers.map(({ name }) => name)),
      threads,
      ...(signal && { signal }),
    });
    if (this.#sized.size >= maxSessions) this.#sized.clear();
    this.#sized.set(key, sized);
    return sized;
  }

  async #load(sized: Graph, purpose: Purpose): Promise<Runnable> {
    const { graph, outputs, masks, parameters } = this.#build(sized, purpose);
    const names = graph.initializers.flatMap(({ value: { name } }) => (this.#sharedNames.has(name) ? [name] : []));
    const session = await Session.create(serializeGraph(graph), {
      threads: this.#options.threads,
      memoryPattern: true,
      shared: { weights: this.#weights, names },
    });
    const binding = session.bind();
    const loss = Tensor.zeros("float32", []);
    const computed = new Set(graph.outputs.map(({ name }) => name));
    if (computed.has("loss")) binding.output("loss", loss);
    for (const [name, { value, gradient }] of this.#bound) {
      const input = parameters.get(name);
      assert(input, `${name} is a parameter of the graph`);
      binding.input(input.name, value);
      if (computed.has(gradientName(name))) binding.output(gradientName(name), gradient);
    }
    for (const name of outputs) binding.outputToHost(outputName(name));
    return { session, binding, loss, outputs, masks, inputs: graph.inputs };
  }

  #build(sized: Graph, purpose: Purpose): Built {
    const { targets, initializers, loss: lossOf } = this.#options;
    const names = new Set(initializers.map(({ name }) => name));
    const { builder, parameters, outputs, masks, custom } = buildTrainable(sized, {
      targets,
      initializers: names,
      dropout: purpose === "train",
    });
    const op = new Ops(builder);
    const inputs = new Map(sized.inputs.map((value) => [value.name, value]));
    const loss = purpose === "predict" ? null : lossOf(op, outputs, inputs);
    if (loss) nameOutput(op, loss, "loss");
    if (loss && purpose === "train") {
      const gradients = differentiate(builder, loss, [...parameters.values()], custom);
      for (const [name, value] of parameters) {
        const gradient = gradients.get(value);
        if (gradient) nameOutput(op, gradient, gradientName(name));
      }
      return { graph: pruneGraph(builder.build()), outputs: [], masks, parameters };
    }
    const kept = [...outputs].filter(([, { type }]) => type === "float32");
    for (const [name, value] of kept) nameOutput(op, value, outputName(name));
    return { graph: pruneGraph(builder.build()), outputs: kept.map(([name]) => name), masks: [], parameters };
  }

  get #weights(): SharedWeights {
    assert(this.#shared, "a disposed step is not used");
    return this.#shared;
  }

  /** May be called more than once. */
  [Symbol.dispose](): void {
    for (const { session } of this.#runnables.values()) session[Symbol.dispose]();
    this.#runnables.clear();
    this.#shared?.[Symbol.dispose]();
    this.#shared = null;
  }
}

/** The mask of an adapted module, by its number. */
export type MaskSource = (shape: readonly number[], module: number) => Tensor;

/** What a graph computes: loss and gradients, loss and outputs, or outputs alone. */
type Purpose = "train" | "evaluate" | "predict";

/** Smaller initializers are copied into each session: ONNX Runtime folds them into other constants. */
const leastSharedBytes = 4096;

interface Built {
  readonly graph: Graph;
  readonly outputs: readonly string[];
  readonly masks: readonly Value[];
  readonly parameters: ReadonlyMap<string, Value>;
}

interface Runnable {
  readonly session: Session;
  readonly binding: Binding;
  readonly loss: Tensor<"float32">;
  /** Of the model, where they are read. */
  readonly outputs: readonly string[];
  readonly masks: readonly Value[];
  readonly inputs: readonly Value[];
}

function bindFeeds({ binding, inputs }: Runnable, feeds: ReadonlyMap<string, Tensor>): void {
  for (const { name } of inputs) {
    const tensor = feeds.get(name);
    if (tensor) binding.input(name, tensor);
  }
}

const gradientName = (name: string): string => `gradient.${name}`;
const outputName = (name: string): string => `output.${name}`;
function nameOutput(op: Ops, value: Value, as: string): void {
  const { type, shape } = value;
  for (const output of op.builder.node("Identity", [value], [{ type, shape, name: as }])) op.builder.output(output);
}

/** The gradients of the parameters that the loss depends on. Throws `model_unsupported` where an operator has no gradient rule. */
function differentiate(
  builder: GraphBuilder,
  loss: Value,
  parameters: readonly Value[],
  custom: readonly CustomGradient[],
): ReadonlyMap<Value, Value> {
  const reached = ancestors(builder.nodes, loss);
  try {
    return backward(
      builder,
      loss,
      parameters.filter(({ name }) => reached.has(name)),
      { custom },
    );
  } catch (cause) {
    if (!(cause instanceof ShapeError)) throw cause;
    throw new LorikeetError("model_unsupported", `The model cannot be trained: ${cause.message}.`, { cause });
  }
}

const floats: ReadonlySet<ElementType> = new Set(["float32", "float64", "float16"]);

/** Names of the values that a value is computed from. */
function ancestors(nodes: readonly Node[], of: Value): Set<string> {
  const names = new Set([of.name]);
  for (const { inputs, outputs } of nodes.toReversed()) {
    if (!outputs.some(({ name }) => names.has(name))) continue;
    for (const input of inputs) if (input && floats.has(input.type)) names.add(input.name);
  }
  return names;
}
