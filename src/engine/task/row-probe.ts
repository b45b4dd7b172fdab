/**
 * Finds where the rows of a batch lie in the input of each target module, by changing one row at a time and seeing what moves. Graphs
 * reshape and transpose as they like; running one tells what reading it does not.
 */

import { hasCode } from "../../base/errors.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Graph, Value } from "../../graph/types.js";
import { type RowLayout, stackNames } from "../../model/task/adapted-node.js";
import type { ImageSize } from "../../model/task/image-size.js";
import { adapterRows, adaptGraph } from "../../model/task/serving-graph.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import { Session } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";
import { elementCount } from "../../tensor/shape.js";
import { type Trial, TrialInputs } from "./trial-inputs.js";

/** How a layer's rows are found, or a clause that says why they cannot be. */
export type FoundLayout = RowLayout | { readonly refusal: string };

export interface RowProbe {
  /** Whether several rows can run at once. */
  readonly isBatched: boolean;
  /** Why not; null if they can. */
  readonly reason: string | null;
  /** By node. */
  readonly layouts: ReadonlyMap<WeightedNode, FoundLayout>;
  /** Inputs that the model has run with. */
  readonly trial: Trial | null;
}

export interface ProbeOptions {
  readonly threads: number;
  readonly imageSize: ImageSize | null;
  /** Stops a run that takes too long. */
  readonly signal?: AbortSignal;
}

const rows = 3;
/** Each row, and each row changed. */
export const probeSeeds: readonly number[] = Array.from({ length: 2 * rows }, (_, seed) => seed);
/** Sizes to try for the axes of images that a file only names, after those of the model's configuration. */
const trialSizes = [64, 32, 224, 7];
/** Tokens of trial texts. */
const trialTokens = 7;

/** `imageSize`: of the model's configuration; null if it states none. Throws `cancelled`, and what ONNX Runtime throws for a model that it cannot load. */
export async function probeRows(
  graph: Graph,
  targets: readonly WeightedNode[],
  options: ProbeOptions,
): Promise<RowProbe> {
  const watched = new Watched(graph, targets, options);
  using session = await Session.create(serializeGraph(watched.graph), { threads: options.threads, optimization: 0 });
  const square = trialSizes.map((size): ImageSize => [size, size]);
  const sizes = options.imageSize ? [options.imageSize, ...square] : square;
  const isNamed = graph.inputs.length > 0 && graph.inputs.every(({ shape }) => typeof shape[0] === "string");
  const alone = aloneFor(targets);
  for (const size of sizes) {
    const [height, width] = size;
    const trial = new TrialInputs(graph, { ids: trialTokens, height, width });
    const single = await watched.tryRun(session, trial.of([0]));
    if (!single) continue;
    if (!isNamed) return alone("the first axis of an input has a fixed size", trial);
    const found = await tryRows(watched, session, trial, targets);
    if (!found.isBatched || size === options.imageSize) return found;
    // One position for each row looks like a row, wherever the positions of larger images lie.
    const larger = new TrialInputs(graph, { ids: trialTokens, height: 2 * height, width: 2 * width });
    if (!(await watched.hasMore(session, larger, single))) return found;
    return { ...(await tryRows(watched, session, larger, targets)), trial };
  }
  return alone("the model did not run with trial inputs", null);
}

/** `probeRows` of a graph whose inputs others have computed. Throws what it throws, and what a run of one row throws. */
export async function probeRowsWith(
  graph: Graph,
  targets: readonly WeightedNode[],
  trial: Trial,
  options: WatchOptions,
): Promise<RowProbe> {
  const watched = new Watched(graph, targets, options);
  using session = await Session.create(serializeGraph(watched.graph), { threads: options.threads, optimization: 0 });
  await watched.run(session, trial.of([0]));
  return await tryRows(watched, session, trial, targets);
}

const aloneFor =
  (targets: readonly WeightedNode[]) =>
  (reason: string, trial: Trial | null): RowProbe => ({
    isBatched: false,
    reason,
    layouts: new Map(
      targets.map((target) => {
        const isUnclear = typeof target.channels?.after === "number";
        return [target, trial && !isUnclear ? "first" : { refusal: reason }];
      }),
    ),
    trial,
  });

async function tryRows(
  watched: Watched,
  session: Session,
  trial: Trial,
  targets: readonly WeightedNode[],
): Promise<RowProbe> {
  const alone = aloneFor(targets);
  try {
    return await compareRows(watched, session, trial, targets, alone);
  } catch (error) {
    if (!hasCode(error, "runtime_failed")) throw error;
    return alone("the model did not run with several rows", trial);
  }
}

async function compareRows(
  watched: Watched,
  session: Session,
  trial: Trial,
  targets: readonly WeightedNode[],
  alone: (reason: string, trial: Trial) => RowProbe,
): Promise<RowProbe> {
  const seeds = Array.from({ length: rows }, (_, row) => row);
  const base = await watched.run(session, trial.of(seeds));
  const fewer = await watched.run(session, trial.of(seeds.slice(1)));
  const changed: ReadonlyMap<string, Tensor>[] = [];
  for (const row of seeds) changed.push(await watched.run(session, trial.of(seeds.with(row, rows + row))));
  for (const { name } of watched.outputs) {
    const owners = new Owners(name, base, fewer, changed);
    if (owners.shape[0] !== rows || owners.layout(owners.perRow) !== "first") {
      return alone(`rows of the output ${JSON.stringify(name)} cannot be told apart`, trial);
    }
  }
  const layouts = new Map<WeightedNode, FoundLayout>();
  for (const target of targets) layouts.set(target, layoutOf(target, base, fewer, changed));
  const fixed = targets.filter((target) => layouts.get(target) === "none");
  if (fixed.length > 0 && !(await spreads(watched, trial, fixed))) {
    for (const target of fixed) layouts.set(target, "uniform");
  }
  return { isBatched: true, reason: null, layouts, trial };
}

/** As a share of an output's largest number. */
const tolerance = 1e-3;

/**
 * Whether rows with different adapters on these layers, whose input all rows share, give together what each gives alone. They do not where a
 * graph repeats the layer's output for each row itself.
 */
async function spreads(watched: Watched, trial: Trial, targets: readonly WeightedNode[]): Promise<boolean> {
  const adapted = targets.map((target, i) => {
    const isBias = target.kind === "bias";
    const parts = { product: !isBias, gain: false, shift: isBias, whole: false };
    return { path: `${i}`, target, layout: "none" as const, parts };
  });
  const graph = adaptGraph(watched.plain, adapted, "any");
  using session = await Session.create(serializeGraph(graph), { threads: watched.threads, optimization: 0 });
  const stacks = new Map<string, Tensor>();
  for (const { path, target, parts } of adapted) {
    const { a, b, shift } = stackNames(path);
    if (parts.shift) {
      stacks.set(shift, waves([rows, target.outFeatures], 1));
      continue;
    }
    stacks.set(a, waves([rows, target.inFeatures, 1], 1 / Math.sqrt(target.inFeatures)));
    stacks.set(b, waves([rows, 1, target.outFeatures], 1));
  }
  const run = async (seeds: readonly number[]): Promise<ReadonlyMap<string, Tensor>> => {
    const places = Tensor.from("int64", [seeds.length], BigInt64Array.from(seeds, BigInt));
    const inputs = new Map([...trial.of(seeds), ...stacks, [adapterRows, places] as const]);
    return await runOnce(session, graph, inputs, watched.signal);
  };
  const seeds = Array.from({ length: rows }, (_, row) => row);
  try {
    const together = await run(seeds);
    for (const seed of seeds) {
      const alone = await run([seed]);
      if (graph.outputs.some(({ name }) => !isRow(together.get(name), alone.get(name), seed))) return false;
    }
    return true;
  } catch (error) {
    if (hasCode(error, "runtime_failed")) return false;
    throw error;
  }
}

function waves(shape: readonly number[], size: number): Tensor<"float32"> {
  const count = elementCount(shape);
  const values = Float32Array.from({ length: count }, (_, i) => size * Math.sin(1 + 1.7 * i));
  return Tensor.from("float32", shape, values);
}

/** Whether an output's row is the one of a run of its own. */
function isRow(together: Tensor | undefined, alone: Tensor | undefined, row: number): boolean {
  const size = alone?.data.length ?? 0;
  if (!together || !alone || together.data.length !== rows * size) return false;
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < size; i++) {
    const expected = Number(alone.data[i]);
    largest = Math.max(largest, Math.abs(expected));
    difference = Math.max(difference, Math.abs(Number(together.data[row * size + i]) - expected));
  }
  return difference <= tolerance * largest;
}

/** The value in which rows must be told apart: a layer's input, or what a bias was added to. */
const inputName = ({ kind, node }: WeightedNode): string =>
  (kind === "bias" ? node.outputs[0] : node.inputs[kind === "table" ? 1 : 0])?.name ?? "";

function layoutOf(
  target: WeightedNode,
  base: ReadonlyMap<string, Tensor>,
  fewer: ReadonlyMap<string, Tensor>,
  changed: readonly ReadonlyMap<string, Tensor>[],
): FoundLayout {
  const name = inputName(target);
  if (!base.has(name)) return target.kind === "convolution" ? { refusal: "its input is a constant" } : "uniform";
  const owners = new Owners(name, base, fewer, changed);
  const { shape } = owners;
  if (target.kind === "bias" && !isAlong(target, shape)) return { refusal: "its bias lies along another axis" };
  if (target.kind === "convolution" || target.channels) {
    if (shape[0] === rows && owners.layout(owners.perRow) === "first") return "first";
    if (target.kind === "bias") return "uniform";
    return { refusal: "the rows of its input are not those of the batch" };
  }
  const width = target.kind === "table" ? 1 : target.inFeatures;
  const found = owners.layout(width);
  const hasNoAxis = found === "none" && (shape.length < 2 || shape[0] !== 1);
  return found === null || hasNoAxis ? "uniform" : found;
}

/** Whether a bias lies along the axis of the outputs that its operator's form suggests. */
function isAlong({ outFeatures, channels }: WeightedNode, shape: readonly number[]): boolean {
  if (!channels) return shape.at(-1) === outFeatures;
  const { after } = channels;
  return shape[1] === outFeatures && (after === null || shape.length === after + 2);
}

/** Which rows of a batch change which part of a value. */
class Owners {
  readonly #base: Tensor;
  readonly #fewer: Tensor;
  readonly #changed: readonly Tensor[];

  constructor(
    name: string,
    base: ReadonlyMap<string, Tensor>,
    fewer: ReadonlyMap<string, Tensor>,
    changed: readonly ReadonlyMap<string, Tensor>[],
  ) {
    this.#base = base.get(name) as Tensor;
    this.#fewer = fewer.get(name) as Tensor;
    this.#changed = changed.map((run) => run.get(name) as Tensor);
  }

  get shape(): readonly number[] {
    return this.#base.shape;
  }

  /** Elements of one entry of the first axis. */
  get perRow(): number {
    return this.#base.data.length / (this.shape[0] ?? 1);
  }

  /** `width`: elements that belong together. null: rows lie in no known way. */
  layout(width: number): RowLayout | null {
    const { data, shape } = this.#base;
    const count = data.length / width;
    if (this.#changed.some((other) => other.data.length !== data.length)) return null;
    if (sameSizes(shape, this.#fewer.shape))
      return this.#owners(width).every((owner) => owner === null) ? "none" : null;
    if (count % rows !== 0) return null;
    const owners = this.#owners(width);
    if (owners.includes("several")) return null;
    const fits = (of: (position: number) => number): boolean =>
      owners.every((owner, position) => owner === null || owner === of(position));
    const isFirst = fits((position) => Math.floor((position * rows) / count));
    const isSecond = shape[1] === rows && this.#fewer.shape[1] === rows - 1 && fits((position) => position % rows);
    // What no row changes still has an axis that counts them.
    if (isFirst && shape[0] !== this.#fewer.shape[0]) return "first";
    return isSecond && shape.length >= 3 ? "second" : null;
  }

  #owners(width: number): (number | "several" | null)[] {
    const count = this.#base.data.length / width;
    return Array.from({ length: count }, (_, position) => {
      let owner: number | "several" | null = null;
      for (const [row, other] of this.#changed.entries()) {
        if (!differs(this.#base, other, position * width, width)) continue;
        owner = owner === null ? row : "several";
      }
      return owner;
    });
  }
}

function differs({ data }: Tensor, { data: other }: Tensor, begin: number, count: number): boolean {
  for (let i = begin; i < begin + count; i++) if (data[i] !== other[i]) return true;
  return false;
}

const sameSizes = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis]);

/** Outputs by name. */
async function runOnce(
  session: Session,
  { outputs }: Graph,
  inputs: ReadonlyMap<string, Tensor>,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Tensor>> {
  using binding = session.bind();
  for (const [name, tensor] of inputs) binding.input(name, tensor);
  for (const { name } of outputs) binding.outputToHost(name);
  await session.run(binding, signal);
  const found = binding.outputs();
  return new Map(outputs.map(({ name }, index) => [name, found[index] as Tensor] as const));
}

type WatchOptions = Pick<ProbeOptions, "threads" | "signal">;

/** The graph with the inputs of target modules as outputs. */
class Watched {
  readonly graph: Graph;
  /** Without them. */
  readonly plain: Graph;
  readonly outputs: readonly Value[];
  readonly threads: number;
  readonly signal: AbortSignal | undefined;
  readonly #inputs: ReadonlySet<string>;

  constructor(graph: Graph, targets: readonly WeightedNode[], { threads, signal }: WatchOptions) {
    this.plain = graph;
    this.threads = threads;
    this.signal = signal;
    const made = new Map(graph.nodes.flatMap(({ outputs }) => outputs.map((value) => [value.name, value] as const)));
    const names = new Set([...graph.outputs.map(({ name }) => name), ...targets.map(inputName)]);
    const watched = [...names].flatMap((name) => made.get(name) ?? []);
    this.graph = { ...graph, outputs: watched.map((value) => ({ ...value, unknown: "type" as const })) };
    this.outputs = graph.outputs;
    this.#inputs = new Set(graph.inputs.map(({ name }) => name));
  }

  async run(session: Session, inputs: ReadonlyMap<string, Tensor>): Promise<Map<string, Tensor>> {
    const read = new Map([...inputs].filter(([name]) => this.#inputs.has(name)));
    return new Map([...inputs, ...(await runOnce(session, this.graph, read, this.signal))]);
  }

  /** null: the model does not run with these inputs. */
  async tryRun(session: Session, inputs: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor> | null> {
    try {
      return await this.run(session, inputs);
    } catch (error) {
      if (hasCode(error, "runtime_failed")) return null;
      throw error;
    }
  }

  /** Whether a value whose first axis has one entry in a run of one row has several in one of larger inputs. */
  async hasMore(session: Session, larger: Trial, single: ReadonlyMap<string, Tensor>): Promise<boolean> {
    const inputs = larger.of([0]);
    if ([...inputs].every(([name, { shape }]) => sameSizes(shape, single.get(name)?.shape ?? []))) return false;
    const found = await this.tryRun(session, inputs);
    if (!found) return false;
    return [...found].some(([name, { shape }]) => single.get(name)?.shape[0] === 1 && shape[0] !== 1);
  }
}
