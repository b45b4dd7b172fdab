/** Opens what training and evaluating a task model share: the graph, its target modules, and what reads its data. */

import { readdir } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import type { RowProbe } from "../../engine/task/row-probe.js";
import { probeModel, refusalsOf, servedGraph } from "../../engine/task/start.js";
import type { Graph } from "../../graph/types.js";
import { loadImagePreprocessor } from "../../image/preprocessor.js";
import { taskTargetsOf } from "../../model/task/adapter-targets.js";
import { detectorOf } from "../../model/task/detector.js";
import { isEncoderDecoder } from "../../model/task/encoder-decoder.js";
import { readGenerationRules } from "../../model/task/generation-rules.js";
import { readImageSize } from "../../model/task/image-size.js";
import { joinGraphs } from "../../model/task/joined-graph.js";
import { openTaskModel, type TaskModel } from "../../model/task/open.js";
import { poolsTexts, readTextHead } from "../../model/task/text-head.js";
import { takesProduct } from "../../model/task/weighted-nodes.js";
import { loadRowTokenizer } from "../../text/tokenizer/row-tokenizer.js";
import { chooseTask, openSetup, type TrainedTask } from "../../train/tasks/setups/open.js";
import type { TaskSetup } from "../../train/tasks/setups/setup.js";
import type { BaseModuleFacts } from "../../train/tasks/targets.js";

export interface TaskBaseOptions {
  /** null: the model's. */
  readonly task: TrainedTask | null;
  readonly maxLength: number | null;
  readonly threads: number;
  readonly signal: AbortSignal;
  /** Whether every weight is trained, so that modules may share none that only happen to be equal. */
  readonly ownConstants?: boolean;
}

export interface TaskBase extends AsyncDisposable {
  readonly model: TaskModel;
  readonly task: TrainedTask;
  readonly graph: Graph;
  /** How the rows of a served batch lie; null for an encoder and a decoder. */
  readonly probe: RowProbe | null;
  readonly modules: readonly BaseModuleFacts[];
  readonly setup: TaskSetup;
  /** Tokens of the longest text that the model takes; null: it takes none, or no file says. */
  readonly maxLength: number | null;
  readonly parameters: number;
  /** The most common number of inputs of a module: decides the default learning rate. */
  readonly hiddenSize: number;
  /** Whether the graph has batch normalizations. */
  readonly hasNorms: boolean;
}

/** Throws what opening the model's files throws, and `model_unsupported` for tasks that are not trained. */
export async function openTaskBase(path: string, options: TaskBaseOptions): Promise<TaskBase> {
  const model = await openTaskModel(path, { ownConstants: options.ownConstants ?? false });
  const isPair = isEncoderDecoder(model);
  const task = chooseTask(model.task, options.task, isPair);
  const joined = isPair ? joinGraphs(model) : null;
  const graph = joined?.graph ?? servedGraph(model);
  const names = await readdir(model.folder);
  const probe = isPair ? null : await probeBatches(model, names, options);
  const tokenizer = await loadRowTokenizer(model.folder);
  const preprocessor = await loadImagePreprocessor(model.folder);
  const close = async (): Promise<void> => {
    await tokenizer?.close();
    await preprocessor?.close();
  };
  try {
    const all = joined?.modules ?? model.modules;
    const targets = taskTargetsOf(all, probe ? refusalsOf(all, probe) : new Map());
    const modules = all.flatMap((module, i): BaseModuleFacts[] => {
      const target = targets[i];
      return target ? [{ module, target }] : [];
    });
    const isWhole = !poolsTexts(graph);
    const head = await readTextHead(model.folder, names, { manifest: model.manifest, isWhole });
    const { maxLength } = options;
    return {
      ...{ model, task, graph, probe, modules },
      setup: openSetup(task, {
        ...{ graph, tokenizer, preprocessor, head, maxLength },
        detector: detectorOf(model.architecture, model.manifest),
        generation: isPair ? await readGenerationRules(model.folder) : null,
      }),
      maxLength: tokenizer?.maxLength ?? null,
      parameters: countParameters(graph),
      hiddenSize: commonWidth(modules),
      hasNorms: graph.nodes.some(({ op }) => op === "BatchNormalization") || modules.some(isFolded),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Throws `model_unsupported` for a model that runs one row at a time. */
async function probeBatches(
  model: TaskModel,
  names: readonly string[],
  { threads, signal }: TaskBaseOptions,
): Promise<RowProbe> {
  const probe = await probeModel(model, { threads, imageSize: await readImageSize(model.folder, names), signal });
  if (probe.isBatched) return probe;
  const message = `The model runs one row at a time, because ${probe.reason}; only models with batches are trained.`;
  throw new LorikeetError("model_unsupported", message, { param: "--model" });
}

const isFolded = ({ module }: BaseModuleFacts): boolean => module.foldedNorm.kind === "measured";

function countParameters({ initializers }: Graph): number {
  return initializers
    .filter(({ value }) => value.type === "float32")
    .reduce((sum, { value }) => sum + value.shape.reduce<number>((count, size) => count * Number(size), 1), 0);
}

function commonWidth(modules: readonly BaseModuleFacts[]): number {
  const counts = new Map<number, number>();
  for (const { module } of modules) {
    if (module.kind !== "table" && takesProduct(module.kind))
      counts.set(module.inFeatures, (counts.get(module.inFeatures) ?? 0) + 1);
  }
  const [width = 64] = [...counts].sort(([a, many], [b, more]) => more - many || b - a)[0] ?? [];
  return width;
}
