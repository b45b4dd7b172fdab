/** A task model and its adapter in the serving engine: outputs of rows, their loss and their metrics. */

import { loadTaskAdapter } from "../../adapter/format.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { at, float32At } from "../../base/list.js";
import type { RowProbe } from "../../engine/task/row-probe.js";
import { startTaskEngine } from "../../engine/task/start.js";
import type { TaskEngine, TaskTensor, TaskData as TensorData } from "../../engine/task/types.js";
import { GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import { serializeGraph } from "../../graph/serialize.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { TaskModel } from "../../model/task/open.js";
import { Session } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";
import { shownPlace } from "../data/faults.js";
import type { Evaluation } from "../trainable.js";
import type { TaskBatch } from "./trainable.js";
import { type Outputs, outputOf, type TaskInputs, type TaskObjective } from "./types.js";

export interface ServedTaskOptions {
  readonly model: TaskModel;
  readonly probe: RowProbe;
  readonly targets: readonly TaskTarget[];
  /** A PEFT folder; null: only the base. */
  readonly adapter: string | null;
  readonly threads: number;
}

export interface ServedTask extends AsyncDisposable {
  /** Digest of the adapter's weights; null without one. */
  readonly digest: string | null;
  readonly engine: TaskEngine;
}

/** Starts an engine. Throws what loading the adapter throws. */
export async function openServedTask(options: ServedTaskOptions): Promise<ServedTask> {
  const { model, probe, targets, threads } = options;
  const adapter = options.adapter === null ? null : await loadTaskAdapter(options.adapter, targets);
  const { engine } = await startTaskEngine(
    {
      ...{ model, threads },
      maxBatch: servedRows,
      maxQueue: 4096,
      maxAdapterQueue: 4096,
      activeAdapterBytes: 2 ** 32,
      adapters: adapter && {
        acquire: async () => ({ adapter, from: "host", loadMs: 0, release: () => {} }),
        prefetch: () => {},
      },
    },
    probe,
  );
  return { digest: adapter?.digest ?? null, engine, [Symbol.asyncDispose]: () => engine.close() };
}

const servedRows = 8;

export interface EvaluateServed {
  readonly inputs: TaskInputs<unknown>;
  readonly objective: TaskObjective<unknown>;
  readonly batches: readonly TaskBatch[];
  readonly signal: AbortSignal;
  readonly progress?: (done: number, total: number) => void;
  /** Throws `runtime_failed` for a row that the model computes no numbers for. Default: figures may be NaN. */
  readonly needsNumbers?: boolean;
}

/** The mean loss and the metrics of rows, from the engine's outputs. */
export async function evaluateServed(
  { engine, digest }: Pick<ServedTask, "digest"> & { readonly engine: RowEngine },
  { inputs, objective, batches, signal, progress, needsNumbers = false }: EvaluateServed,
): Promise<Evaluation> {
  const total = batches.flat().reduce((sum, { target }) => sum + objective.count(target), 0);
  const meter = objective.meter();
  let loss = 0;
  for (const [i, batch] of batches.entries()) {
    signal.throwIfAborted();
    progress?.(i, batches.length);
    const feeds = await inputs.feeds(
      batch.map(({ source }) => source),
      batch.length,
    );
    const outputs = await outputsOf(engine, digest, feeds, signal);
    if (needsNumbers)
      for (const name of objective.outputs) checkNumbers(outputOf(outputs, name), name, batch, digest !== null);
    const targets = batch.map(({ target }) => target);
    const context = { inputs: feeds, predict: async () => outputs };
    const more = await objective.feeds(targets, batch.length, 1 / Math.max(total, 1), context);
    loss += await lossOf(objective, outputs, new Map([...feeds, ...more]));
    meter.add(outputs, targets, feeds);
  }
  return { loss, metrics: meter.metrics() };
}

/** What runs rows. */
type RowEngine = Pick<TaskEngine, "signature" | "submit">;

/** -Infinity is a logit that rules its label out. */
function checkNumbers({ data, shape: [rows = 1] }: Tensor, name: string, batch: TaskBatch, isAdapted: boolean): void {
  const index = Array.prototype.findIndex.call(data, (value: number) => !(value < Number.POSITIVE_INFINITY));
  if (index < 0) return;
  // The parts of a row run as rows of their own: first the first part of every row.
  const row = Math.floor((index * rows) / data.length) % batch.length;
  const place = shownPlace(at(batch, row).place);
  const found = Number(data[index]);
  const message = `The model computed ${found} in ${name} of ${place}${isAdapted ? "; the adapter's weights may be too large" : ""}.`;
  throw new LorikeetError("runtime_failed", message, { param: "--data", found });
}

/** Each row is a request of its own. */
async function outputsOf(
  engine: RowEngine,
  adapter: string | null,
  feeds: ReadonlyMap<string, Tensor>,
  signal: AbortSignal,
): Promise<Outputs> {
  if (!engine.signature.isBatched) return joined([await resultOf(engine, adapter, feeds, signal)]);
  const [first] = feeds.values();
  const rows = first?.shape[0] ?? 0;
  const results = Array.from({ length: rows }, (_, row) => {
    const inputs = [...feeds].map(([name, tensor]) => [name, tensor.rows(row, 1)] as const);
    return resultOf(engine, adapter, new Map(inputs), signal);
  });
  return joined(await Promise.all(results));
}

async function resultOf(
  engine: RowEngine,
  adapter: string | null,
  inputs: ReadonlyMap<string, TaskTensor>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, TaskTensor>> {
  // The engine never stops listening to a signal, so each row gets its own.
  signal.throwIfAborted();
  return (await engine.submit({ inputs, adapter }).result).outputs;
}

/** Float outputs of rows, one after the other. */
function joined(rows: readonly ReadonlyMap<string, TaskTensor>[]): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  for (const [name, { type, shape, data }] of at(rows, 0)) {
    if (type !== "float32") continue;
    const tensor = Tensor.zeros("float32", [rows.length * (shape[0] ?? 1), ...shape.slice(1)]);
    for (const [row, outputs] of rows.entries()) {
      const part = outputs.get(name)?.data ?? data;
      tensor.data.set(part as Exclude<TensorData, BigInt64Array>, row * data.length);
    }
    found.set(name, tensor);
  }
  return found;
}

/** The loss alone, as a graph over the outputs. */
async function lossOf(
  { outputs: names, inputs: read = [], loss }: TaskObjective<unknown>,
  outputs: Outputs,
  feeds: ReadonlyMap<string, Tensor>,
): Promise<number> {
  const builder = new GraphBuilder("loss");
  const values = names.map((name) => {
    const shape = outputs.get(name)?.shape ?? [];
    return [name, builder.input(name, "float32", shape)] as const;
  });
  const inputs = read.map((name) => {
    const tensor = feeds.get(name);
    assert(tensor, `the model has the input ${name}`);
    return [name, builder.input(name, tensor.type, tensor.shape)] as const;
  });
  builder.output(loss(new Ops(builder), new Map(values), new Map(inputs)));
  const graph = builder.build();
  using session = await Session.create(serializeGraph(graph), { threads: 1 });
  using binding = session.bind();
  for (const { name } of graph.inputs) {
    const tensor = outputs.get(name) ?? feeds.get(name);
    if (tensor) binding.input(name, tensor);
  }
  for (const { name } of graph.outputs) binding.outputToHost(name);
  await session.run(binding);
  return float32At(at(binding.outputs(), 0).data as Float32Array, 0);
}
