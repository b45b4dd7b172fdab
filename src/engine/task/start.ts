/** Puts a task engine together: the graph, how its rows lie, its sessions, its bank and a self-test, in that order. */

import type { AdapterSource, HostTaskAdapter } from "../../adapter/types.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger, Progress } from "../../base/log.js";
import type { Graph } from "../../graph/types.js";
import type { RowLayout } from "../../model/task/adapted-node.js";
import { type BlockPlan, planBlocks } from "../../model/task/blocked/plan.js";
import type { TaskModel } from "../../model/task/open.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { takesProduct, type WeightedNode } from "../../model/task/weighted-nodes.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { Device } from "../../runtime/device/device.js";
import type { EngineObserver } from "../types.js";
import { TaskBank } from "./bank.js";
import { probeBlocks } from "./block-probe.js";
import { openOnCard } from "./card-check.js";
import { BatchingEngine } from "./engine.js";
import { headsOf, widthsOf } from "./output-widths.js";
import { type ProbeOptions, probeRows, type RowProbe } from "./row-probe.js";
import { adaptedRowsIndependent, rowsIndependent } from "./row-test.js";
import { TaskRunner } from "./runner.js";
import { tableEntries } from "./trial-inputs.js";
import type { TaskPort, TaskSignature } from "./types.js";

export interface TaskStartOptions {
  readonly model: TaskModel;
  readonly threads: number;
  readonly maxBatch: number;
  readonly maxQueue: number;
  /** null: seven eighths of `maxQueue`. */
  readonly maxAdapterQueue?: number | null;
  /** fp32 bytes of the adapters that a run can use. */
  readonly activeAdapterBytes: number;
  readonly adapters: AdapterSource<HostTaskAdapter> | null;
  /** Default: the CPU. */
  readonly device?: Device;
  /** Throws `device_unavailable` for a card that runs the model no faster than the CPU. */
  readonly cardMustGain?: boolean;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
  readonly progress?: Progress;
  /** Stops the trial runs when they take too long. */
  readonly signal?: AbortSignal;
}

export interface StartedTask {
  readonly engine: BatchingEngine;
  readonly probe: RowProbe;
  /** Whether a row has the same bits alone and among others, as measured; null if rows run alone. */
  readonly rowsIndependent: boolean | null;
}

/** The only graph of a model that is served. Throws `model_unsupported` for a model of several. */
export function servedGraph({ opened, task }: TaskModel): Graph {
  const graphs = opened.flatMap((file) => file.graphs);
  const [only] = graphs;
  if (only && graphs.length === 1) return only.graph;
  const message = `The model has the task ${task} and ${graphs.length} graphs (${graphs.map(({ label }) => label).join(", ")}); models of one graph are served.`;
  throw new LorikeetError("model_unsupported", message, { found: graphs.length, allowed: 1 });
}

/** Modules that adapters cannot change here, each with a clause that says why. */
export function refusalsOf(
  modules: readonly TaskModule[],
  { layouts }: Pick<RowProbe, "layouts">,
): Map<TaskModule, string> {
  const refused = new Map<TaskModule, string>();
  for (const module of modules) {
    for (const { target } of module.uses) {
      const layout = layouts.get(target);
      if (target.weight.value.type !== "float32") {
        refused.set(module, `has weights of type ${target.weight.value.type}; float32 is allowed`);
      } else if (typeof layout === "object") refused.set(module, `cannot be adapted: ${layout.refusal}`);
    }
  }
  return refused;
}

/** Finds how the rows of a model's graph lie. Throws what ONNX Runtime throws for a graph that it cannot load. */
export function probeModel(model: TaskModel, options: ProbeOptions): Promise<RowProbe> {
  const targets = model.modules.flatMap(({ uses }) => uses.map(({ target }) => target));
  return probeRows(servedGraph(model), targets, options);
}

/** `probe`: of this model. Throws `device_unavailable` for a card that does not run it right. */
export async function startTaskEngine(options: TaskStartOptions, probe: RowProbe): Promise<StartedTask> {
  const { model, threads, maxQueue, progress, device = cpu } = options;
  const graph = servedGraph(model);
  const maxBatch = probe.isBatched ? floorPower(options.maxBatch) : 1;
  progress?.("building sessions", 0, 1);
  const layouts = new Map<WeightedNode, RowLayout>();
  for (const [target, layout] of probe.layouts) if (typeof layout === "string") layouts.set(target, layout);
  // Each session has threads of its own, and those of one would spin beside the runs of another.
  const runnerOptions = {
    ...{ graph, layouts, isBatched: probe.isBatched, maxBatch, threads, device },
    spinning: false,
  };
  const runner =
    device.kind === "cpu"
      ? new TaskRunner(runnerOptions)
      : await openOnCard({
          runner: runnerOptions,
          name: model.names[0],
          trial: probe.trial,
          modules: options.adapters === null ? [] : ableModules(model, probe),
          mustGain: options.cardMustGain ?? false,
          ...(options.signal && { signal: options.signal }),
        });
  try {
    await runner.open();
    progress?.("building sessions", 1, 1);
    const block = device.kind === "cpu" ? await probeBlocks(threads) : null;
    const blocks = block === null ? null : planBlocks(graph, model.modules, block);
    const independent = await testRows(runner, probe, maxBatch, blocks, options);
    const heads = headsOf(graph, model.modules);
    const engine = new BatchingEngine({
      runner,
      bank: new TaskBank({ modules: model.modules, maxPlaces: maxBatch, maxBytes: options.activeAdapterBytes, blocks }),
      adapters: options.adapters,
      signature: signatureOf(graph, probe),
      limits: { maxBatch, maxQueue, maxAdapterQueue: options.maxAdapterQueue ?? Math.ceil((maxQueue * 7) / 8) },
      widthsOf: (adapter) => widthsOf(heads, adapter),
      ...(options.observer && { observer: options.observer }),
      ...(options.logger && { logger: options.logger }),
      dispose: () => runner[Symbol.asyncDispose](),
    });
    return { engine, probe, rowsIndependent: independent };
  } catch (error) {
    await runner[Symbol.asyncDispose]();
    throw error;
  }
}

/** Tests rows with adapters too where there may be some. null: rows run alone. */
async function testRows(
  runner: TaskRunner,
  probe: RowProbe,
  maxBatch: number,
  blocks: BlockPlan | null,
  { model, adapters, signal }: TaskStartOptions,
): Promise<boolean | null> {
  const { isBatched, trial } = probe;
  if (!isBatched || !trial) return null;
  if (!(await rowsIndependent(runner, trial, maxBatch, signal))) return false;
  if (adapters === null) return true;
  return await adaptedRowsIndependent(runner, trial, maxBatch, ableModules(model, probe), blocks, signal);
}

/** Modules that every kind of adapter can change. */
function ableModules({ modules }: TaskModel, probe: RowProbe): TaskModule[] {
  const refused = refusalsOf(modules, probe);
  return modules.filter(
    (module) => takesProduct(module.kind) && !refused.has(module) && module.foldedNorm.kind !== "unknown",
  );
}

/** The largest power of two up to a number: graphs with adapted convolutions exist for these numbers of rows. */
const floorPower = (limit: number): number => 2 ** Math.floor(Math.log2(limit));

function signatureOf(graph: Graph, { isBatched }: RowProbe): TaskSignature {
  const { inputs, outputs } = graph;
  const entries = tableEntries(graph);
  const port = ({ name, type, shape, unknown }: Graph["inputs"][number]): TaskPort => {
    return { name, type, shape: unknown === "shape" ? null : shape, limit: entries.get(name) ?? null };
  };
  return { inputs: inputs.map(port), outputs: outputs.map(port), isBatched };
}
