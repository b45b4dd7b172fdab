/** Runs batches of a task model: the plain graph for rows without adapters, and graphs with stacks for rows with them. */

import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Graph } from "../../graph/types.js";
import { type AdaptedNode, needsRowCount, type RowLayout } from "../../model/task/adapted-node.js";
import type { RowCount } from "../../model/task/adapted-ops.js";
import type { BlockPlan } from "../../model/task/blocked/plan.js";
import { type Blocks, loadBlocks } from "../../model/task/blocked/weights.js";
import { adapterRows, adaptGraph } from "../../model/task/serving-graph.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { Device } from "../../runtime/device/device.js";
import { released } from "../../runtime/device/lost.js";
import { Session } from "../../runtime/session.js";
import { alignedFloats, Tensor } from "../../runtime/tensor.js";
import { DeviceStacks } from "./device-stacks.js";
import { GraphWeights } from "./graph-weights.js";
import { type StackPlan, sameParts } from "./stack-plan.js";
import type { Stacks } from "./stacks.js";
import type { TaskData, TaskTensor } from "./types.js";

export interface RunRow {
  readonly inputs: ReadonlyMap<string, TaskTensor>;
  /** Of its adapter; 0 without stacks. */
  readonly place: number;
}

export interface RunnerOptions {
  readonly graph: Graph;
  /** Of the graph's target modules that take adapters. */
  readonly layouts: ReadonlyMap<WeightedNode, RowLayout>;
  readonly isBatched: boolean;
  readonly maxBatch: number;
  readonly threads: number;
  readonly spinning?: boolean;
  /** Default: the CPU. */
  readonly device?: Device;
  /** Path prefix of a profile of each session, up to `endProfiles`. */
  readonly profile?: string;
  /** Of several graphs; their owner disposes of them after the runners. Default: the runner's own. */
  readonly weights?: GraphWeights;
}

/** A session with adapters, and the names of the graph's inputs: another graph of the model may read stacks that this one does not. */
interface Adapted {
  readonly session: Session;
  readonly inputs: ReadonlySet<string>;
}

export class TaskRunner implements AsyncDisposable {
  readonly #options: RunnerOptions;
  readonly #weights: GraphWeights;
  readonly #device: Device;
  readonly #stacks: DeviceStacks;
  #profile: string | undefined;
  #profiles = 0;
  #plain: Promise<Session> | null = null;
  /** Graphs with the parts of this plan, by what they are made for. */
  #plan: StackPlan = new Map();
  #blocks: Promise<Blocks> | null = null;
  readonly #adapted = new Map<RowCount, Promise<Adapted>>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#device = options.device ?? cpu;
    this.#profile = options.profile;
    this.#weights = options.weights ?? new GraphWeights(this.#device);
    this.#stacks = new DeviceStacks(this.#device);
    this.#weights.add(options.graph);
  }

  /** The plain graph, loaded. Throws what ONNX Runtime throws for a model that it cannot load. */
  async open(): Promise<void> {
    await this.#plainSession();
  }

  /** Outputs by name, for each row in order. `stacks`: null for rows without adapters. `signal` stops it: `cancelled`. */
  async run(rows: readonly RunRow[], stacks: Stacks | null, signal?: AbortSignal): Promise<Map<string, TaskTensor>[]> {
    const found: Map<string, TaskTensor>[] = [];
    for (const group of stacks ? this.#groupsOf(rows, stacks) : [[...rows.keys()]]) {
      const outputs = await this.#runTogether(
        group.map((index) => at(rows, index)),
        stacks,
        signal,
      );
      for (const [i, index] of group.entries()) found[index] = at(outputs, i);
    }
    return found;
  }

  /** Rows that can share a run, by index: an adapter that changes a "uniform" module has runs of its own. */
  #groupsOf(rows: readonly RunRow[], stacks: Stacks): readonly (readonly number[])[] {
    const uniform = [...stacks.plan.keys()].filter(({ uses }) =>
      uses.some(({ target }) => this.#options.layouts.get(target) === "uniform"),
    );
    const groups = new Map<number, number[]>();
    for (const [index, { place }] of rows.entries()) {
      const key = stacks.changesAny(place, uniform) ? place : 0;
      groups.set(key, [...(groups.get(key) ?? []), index]);
    }
    return [...groups.values()];
  }

  async #runTogether(
    rows: readonly RunRow[],
    stacks: Stacks | null,
    signal: AbortSignal | undefined,
  ): Promise<Map<string, TaskTensor>[]> {
    const nodes = stacks ? this.#nodesOf(stacks.plan) : [];
    const count = this.#rowCount(rows.length, nodes);
    const adapted = stacks && nodes.length > 0 ? await this.#adaptedSession(stacks, nodes, count) : null;
    const session = adapted?.session ?? (await this.#plainSession());
    const first = rows[0];
    assert(first, "a run has a row");
    // Rows that only fill up the batch are like its first one, without an adapter.
    const length = typeof count === "number" ? count : rows.length;
    const filled = Array.from({ length }, (_, i) => rows[i] ?? { ...first, place: 0 });
    const inputs = this.#options.graph.inputs.map(
      ({ name }) => [name, joined(filled.map((row) => row.inputs.get(name)))] as const,
    );
    const { outputs } = this.#options.graph;
    const found = await this.#device.turn(async () => {
      using binding = session.bind();
      for (const [name, tensor] of inputs) binding.input(name, tensor);
      if (stacks && adapted) {
        const tensors = count === "lone" ? stacks.of(first.place) : await this.#stacks.of(stacks);
        for (const [name, tensor] of tensors) if (adapted.inputs.has(name)) binding.input(name, tensor);
        const places = BigInt64Array.from(filled, ({ place }) => BigInt(place));
        if (count !== "lone") binding.input(adapterRows, Tensor.from("int64", [filled.length], places));
      }
      for (const { name } of outputs) binding.outputToHost(name);
      await session.run(binding, signal);
      return binding.outputs();
    });
    return rows.map(
      (_, row) => new Map(outputs.map(({ name }, i) => [name, this.#rowOf(found[i] as Tensor, row)] as const)),
    );
  }

  /** Ends the profiles of the sessions, and gives their files. Sessions that are created later have none. Call it when no run is in progress. */
  async endProfiles(): Promise<string[]> {
    if (this.#profile === undefined) return [];
    this.#profile = undefined;
    const sessions = [await this.#plain, ...(await Promise.all(this.#adapted.values())).map(({ session }) => session)];
    return await this.#device.turn(async () => sessions.flatMap((session) => session?.endProfiling() ?? []));
  }

  #rowOf(tensor: Tensor, row: number): TaskTensor {
    const { type, shape, data } = tensor;
    if (!this.#options.isBatched) return { type, shape, data };
    const size = data.length / (shape[0] as number);
    return { type, shape: [1, ...shape.slice(1)], data: data.subarray(row * size, (row + 1) * size) };
  }

  /** What the graph that runs is made for. */
  #rowCount(rows: number, nodes: readonly AdaptedNode[]): RowCount {
    // A card holds copies of whole stacks.
    if (rows === 1 && nodes.length > 0 && this.#device.capabilities.hostMemory) return "lone";
    if (!needsRowCount(nodes)) return "any";
    let count = 1;
    while (count < rows) count *= 2;
    return Math.min(count, this.#options.maxBatch);
  }

  #nodesOf(plan: StackPlan): AdaptedNode[] {
    return [...plan.values()].flatMap(({ module, ...parts }) =>
      module.uses.flatMap(({ target }): AdaptedNode[] => {
        const layout = this.#options.layouts.get(target);
        return layout ? [{ path: module.path, target, layout, parts }] : [];
      }),
    );
  }

  #plainSession(): Promise<Session> {
    if (this.#plain) return this.#plain;
    const made = this.#load(this.#options.graph);
    this.#plain = made;
    made.catch(() => {
      this.#plain = null;
    });
    return made;
  }

  #blocksOf(plan: BlockPlan): Promise<Blocks> {
    if (this.#blocks) return this.#blocks;
    const made = loadBlocks(plan, alignedFloats);
    this.#blocks = made;
    made.catch(() => {
      this.#blocks = null; // the next run reads the files again
    });
    return made;
  }

  async #adaptedSession({ plan, blocks }: Stacks, nodes: readonly AdaptedNode[], rows: RowCount): Promise<Adapted> {
    if (!sameParts(plan, this.#plan)) {
      await this.forgetAdapted();
      this.#plan = plan;
    }
    const known = this.#adapted.get(rows);
    if (known) return known;
    const made = this.#loadAdapted(nodes, rows, blocks);
    this.#adapted.set(rows, made);
    made.catch(() => this.#adapted.delete(rows));
    return made;
  }

  async #loadAdapted(nodes: readonly AdaptedNode[], rows: RowCount, plan: BlockPlan | null): Promise<Adapted> {
    const graph = adaptGraph(this.#options.graph, nodes, rows, plan && (await this.#blocksOf(plan)));
    this.#weights.add(graph);
    return { session: await this.#load(graph), inputs: new Set(graph.inputs.map(({ name }) => name)) };
  }

  async #load(graph: Graph): Promise<Session> {
    const { threads, spinning } = this.#options;
    const options = {
      ...{ threads, device: this.#device, cpuFallback: true },
      ...(spinning === undefined ? {} : { spinning }),
      ...(this.#profile === undefined ? {} : { profile: `${this.#profile}-${this.#profiles++}` }),
      shared: { weights: this.#weights.shared, names: this.#weights.namesIn(graph) },
    };
    return await this.#device.turn(async () => {
      await this.#weights.shared.upload();
      return await Session.create(serializeGraph(graph), options);
    });
  }

  /** Closes the sessions with adapters; the next run with some creates its own. Call it when no run is in progress. */
  async forgetAdapted(): Promise<void> {
    this.#plan = new Map();
    const loading = [...this.#adapted.values()].map((adapted) => adapted.catch(() => null));
    this.#adapted.clear();
    const sessions = await Promise.all(loading);
    await this.#device.turn(async () => {
      for (const adapted of sessions) adapted?.session[Symbol.dispose]();
    });
  }

  /** Call it when no run is in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    await released(this.#dispose());
  }

  async #dispose(): Promise<void> {
    await this.forgetAdapted();
    const plain = await this.#plain?.catch(() => null);
    await this.#device.turn(async () => {
      plain?.[Symbol.dispose]();
      this.#stacks[Symbol.dispose]();
      if (!this.#options.weights) this.#weights[Symbol.dispose]();
    });
  }
}

/** Rows of one input, one after the other. */
export function joined(rows: readonly (TaskTensor | undefined)[]): Tensor {
  const [first] = rows;
  assert(first, "a row has every input");
  const tensor = Tensor.zeros(first.type, rows.length === 1 ? first.shape : [rows.length, ...first.shape.slice(1)]);
  const size = first.data.length;
  for (const [row, part] of rows.entries()) {
    assert(part?.data.length === size, "rows of a batch have the same shape");
    copy(tensor.data, part.data, row * size);
  }
  return tensor;
}

/** Both have the same element type: the engine has checked the inputs. */
function copy(to: TaskData, from: TaskData, at: number): void {
  if (to instanceof BigInt64Array) to.set(from as BigInt64Array, at);
  else to.set(from as Exclude<TaskData, BigInt64Array>, at);
}
