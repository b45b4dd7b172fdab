/**
 * The task benchmark: what a batch takes in the task engine, without adapters, with one and with eight, beside plain ONNX Runtime on the CPU
 * over the same file.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { HostTaskAdapter, HostTaskModule } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { valueAt } from "../base/list.js";
import type { Progress } from "../base/log.js";
import { probeModel, type StartedTask, startTaskEngine } from "../engine/task/start.js";
import type { TaskTensor } from "../engine/task/types.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph } from "../graph/types.js";
import { manifestName } from "../model/task/manifest.js";
import { openTaskModel } from "../model/task/open.js";
import type { TaskModule } from "../model/task/target-modules.js";
import { takesProduct } from "../model/task/weighted-nodes.js";
import type { Device } from "../runtime/device/device.js";
import { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { elementCount } from "../tensor/shape.js";
import { type Contender, interleave } from "./interleave.js";
import { ratioOf, type Series, type Spread, spreadOf } from "./series.js";
import { type EncoderSize, encoderGraph, miniLm, type ResidualSize, residualGraph, resNet18 } from "./task-graphs.js";

export interface TaskBenchOptions {
  readonly threads: number;
  readonly rank: number;
  /** Of the engine. The plain session runs on the CPU. Dispose of it after the run. */
  readonly device: Device;
  /** Few samples of tiny models: a smoke test, not a measurement. */
  readonly quick: boolean;
  readonly progress?: Progress;
}

/** What runs: the file's own graph, or rows of the engine with this many different adapters, eight for `distinct`. */
const adapterSets = ["session", "none", "one", "distinct"] as const;
export type AdapterSet = (typeof adapterSets)[number];

export interface TaskCell {
  readonly model: string;
  readonly rows: number;
  readonly adapters: AdapterSet;
  readonly ms: Spread;
  /** Over the plain session, round by round. */
  readonly ratio: Spread;
  readonly samples: readonly number[];
  /** The largest ratio to the plain session that is aimed at; null: none is stated. */
  readonly aim: number | null;
}

export interface TaskReport {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  /** Of the engine. */
  readonly device: Pick<Device, "kind" | "name" | "software">;
  readonly threads: number;
  readonly rank: number;
  readonly effort: { readonly rounds: number; readonly warmups: number };
  readonly models: readonly { readonly name: string; readonly parameters: number; readonly adapted: number }[];
  readonly cells: readonly TaskCell[];
}

interface BenchModel {
  readonly name: string;
  readonly graph: Graph;
  /** Of one adapter, over the plain session. */
  readonly aim: number;
}

const tinyEncoder: EncoderSize = { layers: 1, width: 32, heads: 2, inner: 64, vocabulary: 100, length: 8 };
const tinyResidual: ResidualSize = { stages: [4, 8], image: 32, labels: 10 };

function modelsOf(quick: boolean): BenchModel[] {
  const encoder = quick ? tinyEncoder : miniLm;
  const name = `encoder, ${encoder.layers} layers of ${encoder.width}, ${encoder.length} tokens`;
  return [
    { name, graph: encoderGraph(encoder), aim: 1.15 },
    {
      name: quick ? "tiny ResNet" : "ResNet-18 at 224",
      graph: residualGraph(quick ? tinyResidual : resNet18),
      aim: 1.4,
    },
  ];
}

const distinctAdapters = 8;
const batchesOf = ({ kind }: Pick<Device, "kind">): number[] => (kind === "cpu" ? [1, 8] : [1, 8, 32]);

export async function runTaskBench(options: TaskBenchOptions): Promise<TaskReport> {
  const effort = options.quick ? { rounds: 2, warmups: 1 } : { rounds: 15, warmups: 3 };
  const { kind, name, software } = options.device;
  const cells: TaskCell[] = [];
  const models: TaskReport["models"][number][] = [];
  for (const model of modelsOf(options.quick)) {
    await using bench = await openBench(model.graph, options);
    const parameters = model.graph.initializers.reduce(
      (sum, { value }) => sum + value.shape.reduce<number>((product, size) => product * Number(size), 1),
      0,
    );
    models.push({ name: model.name, parameters, adapted: bench.adapted });
    for (const rows of batchesOf(options.device)) {
      const sets = adapterSets.filter((set) => rows > 1 || set !== "distinct");
      const contenders = sets.map((set): Contender => ({ id: set, unit: "ms", sample: () => bench.time(rows, set) }));
      const what = `${model.name}, batch ${rows}`;
      const series = await interleave(contenders, {
        ...effort,
        what,
        ...(options.progress && { progress: options.progress }),
      });
      const plain = series.find(({ id }) => id === "session");
      assert(plain, "the plain session is measured");
      cells.push(
        ...series.map((each) => cellOf({ ...model, aim: kind === "cpu" ? model.aim : null }, rows, each, plain)),
      );
    }
  }
  return {
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), node: process.version },
    ...{ device: { kind, name, software }, threads: options.threads, rank: options.rank, effort, models, cells },
  };
}

function cellOf(
  { name, aim }: Pick<TaskCell, "aim"> & Pick<BenchModel, "name">,
  rows: number,
  series: Series,
  plain: Series,
): TaskCell {
  const adapters = valueAt(new Map(adapterSets.map((set) => [set as string, set])), series.id);
  return {
    ...{ model: name, rows, adapters, samples: series.samples },
    ms: spreadOf(series.samples),
    ratio: ratioOf(series, plain),
    aim: adapters === "one" ? aim : null,
  };
}

interface Bench extends AsyncDisposable {
  /** Modules that adapters change. */
  readonly adapted: number;
  /** Milliseconds of one batch. */
  time(rows: number, set: AdapterSet): Promise<number>;
}

async function openBench(graph: Graph, { threads, rank, device }: TaskBenchOptions): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-bench-tasks-"));
  try {
    const path = join(folder, "model.onnx");
    const file = serializeGraph(graph);
    await writeFile(path, file);
    await writeFile(join(folder, manifestName), JSON.stringify({ foldedNorms: false }));
    const model = await openTaskModel(path);
    const modules = model.modules.filter(({ kind }) => kind !== "table" && takesProduct(kind));
    const maxBatch = Math.max(...batchesOf(device));
    const made = Array.from({ length: distinctAdapters }, (_, index) => randomAdapter(modules, rank, index));
    const adapters = new Map(made.map((adapter) => [adapter.digest, adapter]));
    const source = {
      prefetch: () => {},
      acquire: async (digest: string) => {
        return { adapter: valueAt(adapters, digest), from: "host" as const, loadMs: 0, release: () => {} };
      },
    };
    const probe = await probeModel(model, { threads, imageSize: null });
    const limits = { maxBatch, maxQueue: 4 * maxBatch, activeAdapterBytes: 2 ** 31 };
    const started = await startTaskEngine({ ...limits, model, threads, device, adapters: source }, probe);
    const session = await Session.create(file, { threads, spinning: false });
    return {
      adapted: modules.length,
      time: (rows, set) =>
        set === "session" ? timeSession(session, graph, rows) : timeEngine(started, graph, rows, set),
      async [Symbol.asyncDispose]() {
        session[Symbol.dispose]();
        await started.engine.close();
        await rm(folder, { recursive: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true });
    throw error;
  }
}

async function timeSession(session: Session, graph: Graph, rows: number): Promise<number> {
  using binding = session.bind();
  for (const value of graph.inputs) {
    const { type, shape, data } = inputOf(value, rows);
    binding.input(value.name, Tensor.over(type, shape, data.buffer));
  }
  for (const { name } of graph.outputs) binding.outputToHost(name);
  const begin = performance.now();
  await session.run(binding);
  binding.outputs();
  return performance.now() - begin;
}

async function timeEngine(
  { engine }: StartedTask,
  graph: Graph,
  rows: number,
  set: Exclude<AdapterSet, "session">,
): Promise<number> {
  const inputs = new Map(graph.inputs.map((value) => [value.name, inputOf(value, 1)]));
  const begin = performance.now();
  const jobs = Array.from({ length: rows }, (_, row) => {
    const adapter = set === "none" ? null : digestOf(set === "one" ? 0 : row % distinctAdapters);
    return engine.submit({ inputs, adapter });
  });
  await Promise.all(jobs.map(({ result }) => result));
  return performance.now() - begin;
}

/** Ids of small numbers, a mask of ones, pixels of a wave. */
function inputOf({ name, type, shape }: Graph["inputs"][number], rows: number): TaskTensor {
  const sizes = [rows, ...shape.slice(1).map(Number)];
  const count = elementCount(sizes);
  if (type === "float32") {
    return { type, shape: sizes, data: Float32Array.from({ length: count }, (_, i) => Math.sin(i)) };
  }
  const idOf = (i: number): bigint => (name === "input_ids" ? BigInt(i % 97) : 1n);
  return { type: "int64", shape: sizes, data: BigInt64Array.from({ length: count }, (_, i) => idOf(i)) };
}

const digestOf = (index: number): string => `random ${index}`;

/** A LoRA on each of the modules. */
function randomAdapter(modules: readonly TaskModule[], rank: number, index: number): HostTaskAdapter {
  const none = { magnitude: null, addedBias: null, bias: null, whole: null };
  const values = (count: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => 0.02 * Math.sin(1 + i * (index + 1)));
  const hosts = modules.map(({ path, inFeatures, outFeatures, kernel }): [string, HostTaskModule] => {
    const window = elementCount(kernel);
    return [path, { rank, a: values(rank * inFeatures * window), b: values(rank * outFeatures), ...none }];
  });
  return { digest: digestOf(index), rank, bytes: 0, labels: null, modules: new Map(hosts) };
}
