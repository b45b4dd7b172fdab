/** Runs batches of a task model: the plain graph for rows without adapters, and graphs with stacks for rows with them. */

import { assert } from "../../base/errors.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { Graph } from "../../graph/types.js";
import { type AdaptedNode, needsRowCount, type RowLayout } from "../../model/task/adapted-node.js";
import { adapterRows, adaptGraph } from "../../model/task/serving-graph.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import { Session, SharedWeights } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";
import { type StackPlan, type Stacks, sameParts } from "./stacks.js";
import type { TaskData, TaskTensor } from "./types.js";

export interface RunRow {
  readonly inputs: ReadonlyMap<string, TaskTensor>;
  /** Of its adapter; 0 without stacks. */
  readonly place: number;
}

export interface RunnerOptions {
  readonly graph: Graph;
  readonly layouts: ReadonlyMap<WeightedNode, RowLayout>;
  readonly isBatched: boolean;
  readonly maxBatch: number;
  readonly threads: number;
  readonly spinning?: boolean;
}

/** Smaller initializers are copied into each session: ONNX Runtime folds them into other constants. */
const leastSharedBytes = 4096;

export class TaskRunner implements AsyncDisposable {
  readonly #options: RunnerOptions;
  readonly #shared = new SharedWeights();
  readonly #sharedNames: ReadonlySet<string>;
  #plain: Promise<Session> | null = null;
  /** Graphs with the parts of this plan, by their number of rows (null: any). */
  #plan: StackPlan = new Map();
  readonly #adapted = new Map<number | null, Promise<Session>>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    const names = options.graph.initializers.flatMap(({ value, data }) => {
      const bytes = data.kind === "inline" ? data.bytes.byteLength : data.byteLength;
      if (value.type !== "float32" || bytes < leastSharedBytes) return [];
      const shape = value.shape.map(Number);
      if (data.kind === "external") this.#shared.add(value.name, value.type, shape, data);
      else this.#shared.hold(value.name, Tensor.over(value.type, shape, Uint8Array.from(data.bytes).buffer));
      return [value.name];
    });
    this.#sharedNames = new Set(names);
  }

  /** The plain graph, loaded. Throws what ONNX Runtime throws for a model that it cannot load. */
  async open(): Promise<void> {
    await this.#plainSession();
  }

  /** Outputs by name, for each row in order. `stacks`: null for rows without adapters. `signal` stops it: `cancelled`. */
  async run(rows: readonly RunRow[], stacks: Stacks | null, signal?: AbortSignal): Promise<Map<string, TaskTensor>[]> {
    const count = this.#rowCount(rows.length, stacks);
    const session = await (stacks ? this.#adaptedSession(stacks, count) : this.#plainSession());
    const first = rows[0];
    assert(first, "a run has a row");
    // Rows that only fill up the batch are like its first one, without an adapter.
    const filled = Array.from({ length: count ?? rows.length }, (_, i) => rows[i] ?? { ...first, place: 0 });
    using binding = session.bind();
    for (const { name } of this.#options.graph.inputs)
      binding.input(name, joined(filled.map(({ inputs }) => inputs.get(name))));
    if (stacks) {
      for (const [name, tensor] of stacks.tensors) binding.input(name, tensor);
      const places = BigInt64Array.from(filled, ({ place }) => BigInt(place));
      binding.input(adapterRows, Tensor.from("int64", [filled.length], places));
    }
    const { outputs } = this.#options.graph;
    for (const { name } of outputs) binding.outputToHost(name);
    await session.run(binding, signal);
    const found = binding.outputs();
    return rows.map(
      (_, row) => new Map(outputs.map(({ name }, i) => [name, this.#rowOf(found[i] as Tensor, row)] as const)),
    );
  }

  #rowOf(tensor: Tensor, row: number): TaskTensor {
    const { type, shape, data } = tensor;
    if (!this.#options.isBatched) return { type, shape, data };
    const size = data.length / (shape[0] as number);
    return { type, shape: [1, ...shape.slice(1)], data: data.subarray(row * size, (row + 1) * size) };
  }

  /** The number of rows of the graph that runs; null: as many as there are. */
  #rowCount(rows: number, stacks: Stacks | null): number | null {
    if (!stacks || !needsRowCount(this.#nodesOf(stacks.plan))) return null;
    let count = 1;
    while (count < rows) count *= 2;
    return Math.min(count, this.#options.maxBatch);
  }

  #nodesOf(plan: StackPlan): AdaptedNode[] {
    return [...plan.values()].flatMap(({ module, ...parts }) =>
      module.uses.flatMap(({ graph, target }): AdaptedNode[] => {
        const layout = graph.graph === this.#options.graph ? this.#options.layouts.get(target) : undefined;
        return layout ? [{ path: module.path, target, layout, parts }] : [];
      }),
    );
  }

  #plainSession(): Promise<Session> {
    this.#plain ??= this.#load(this.#options.graph);
    return this.#plain;
  }

  async #adaptedSession({ plan }: Stacks, rows: number | null): Promise<Session> {
    if (!sameParts(plan, this.#plan)) {
      await this.forgetAdapted();
      this.#plan = plan;
    }
    const known = this.#adapted.get(rows);
    if (known) return known;
    const made = this.#load(adaptGraph(this.#options.graph, this.#nodesOf(plan), rows));
    this.#adapted.set(rows, made);
    made.catch(() => this.#adapted.delete(rows));
    return made;
  }

  async #load(graph: Graph): Promise<Session> {
    const { threads, spinning } = this.#options;
    const names = graph.initializers.flatMap(({ value: { name } }) => (this.#sharedNames.has(name) ? [name] : []));
    return Session.create(serializeGraph(graph), {
      threads,
      ...(spinning === undefined ? {} : { spinning }),
      shared: { weights: this.#shared, names },
    });
  }

  /** Closes the sessions with adapters; the next run with some creates its own. Call it when no run is in progress. */
  async forgetAdapted(): Promise<void> {
    this.#plan = new Map();
    const sessions = [...this.#adapted.values()];
    this.#adapted.clear();
    for (const session of sessions) (await session.catch(() => null))?.[Symbol.dispose]();
  }

  /** Call it when no run is in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.forgetAdapted();
    (await this.#plain?.catch(() => null))?.[Symbol.dispose]();
    this.#shared[Symbol.dispose]();
  }
}

/** Rows of one input, one after the other. */
function joined(rows: readonly (TaskTensor | undefined)[]): Tensor {
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
