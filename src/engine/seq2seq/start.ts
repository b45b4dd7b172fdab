/** Puts the engine of an encoder-decoder together: its graphs' sessions, how their rows lie, a self-test, and the step loop. */

import type { AdapterSource, HostTaskAdapter } from "../../adapter/types.js";
import type { Logger, Progress } from "../../base/log.js";
import type { RowLayout } from "../../model/task/adapted-node.js";
import { type EncoderDecoder, encoderDecoderOf } from "../../model/task/encoder-decoder.js";
import type { GenerationRules } from "../../model/task/generation-rules.js";
import type { TaskModel } from "../../model/task/open.js";
import { takesProduct, type WeightedNode } from "../../model/task/weighted-nodes.js";
import { ContinuousEngine } from "../engine.js";
import { TaskBank } from "../task/bank.js";
import { GraphWeights } from "../task/graph-weights.js";
import type { FoundLayout } from "../task/row-layout.js";
import { adaptedRowsIndependent, rowsIndependent } from "../task/row-test.js";
import { TaskRunner } from "../task/runner.js";
import { refusalsOf } from "../task/start.js";
import type { EngineLimits, EngineObserver } from "../types.js";
import { type GraphProbes, probeGraphs } from "./graph-probe.js";
import { HeldAdapters, type TaskHold } from "./held-adapters.js";
import { EncoderDecoderRunner } from "./runner.js";

export interface OpenOptions {
  readonly model: TaskModel;
  readonly threads: number;
  readonly maxBatch: number;
  /** Stops the trial runs when they take too long. */
  readonly signal?: AbortSignal;
}

type Part = "encoder" | "first" | "next";
const parts = ["encoder", "first", "next"] as const;

/** An encoder-decoder whose graphs are loaded and understood. */
export interface OpenedGraphs extends AsyncDisposable {
  readonly graphs: EncoderDecoder;
  readonly runners: Readonly<Record<Part, TaskRunner>>;
  readonly probes: GraphProbes;
  /** Of all graphs. */
  readonly layouts: ReadonlyMap<WeightedNode, FoundLayout>;
}

/** Loads the graphs and tries them. Throws `model_unsupported`, `cancelled`, and what ONNX Runtime throws. */
export async function openGraphs({ model, threads, maxBatch, signal }: OpenOptions): Promise<OpenedGraphs> {
  const graphs = encoderDecoderOf(model);
  const ofEncoder = new GraphWeights();
  const ofDecoder = new GraphWeights();
  const weights = {
    encoder: ofEncoder,
    first: ofDecoder,
    // Names of another file may mean other weights.
    next: graphs.sharesWeights ? ofDecoder : new GraphWeights(),
  };
  const layouts = { encoder: newLayouts(), first: newLayouts(), next: newLayouts() };
  const open = (part: Part, graph = graphs[part]): TaskRunner =>
    new TaskRunner({
      ...{ graph, layouts: layouts[part], weights: weights[part] },
      ...{ isBatched: true, maxBatch, threads, spinning: false },
    });
  const runners = { encoder: open("encoder"), first: open("first"), next: open("next") };
  const close = async (): Promise<void> => {
    for (const part of parts) await runners[part][Symbol.asyncDispose]();
    for (const each of new Set(Object.values(weights))) each[Symbol.dispose]();
  };
  try {
    for (const part of parts) await runners[part].open();
    const options = { threads, ...(signal && { signal }) };
    const { modules } = model;
    const probes = await probeGraphs({ graphs, modules, runners, open: (graph) => open("next", graph) }, options);
    const { ragged } = probes;
    if (ragged) {
      await runners.next[Symbol.asyncDispose]();
      runners.next = ragged.runner;
    }
    for (const part of parts) {
      for (const [target, layout] of probes[part].layouts) {
        if (typeof layout === "string") layouts[part].set(target, layout);
      }
    }
    const found = new Map(parts.flatMap((part) => [...probes[part].layouts]));
    const served = ragged ? { ...graphs, next: ragged.graph } : graphs;
    return { graphs: served, runners, probes, layouts: found, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

const newLayouts = (): Map<WeightedNode, RowLayout> => new Map();

export interface StartOptions {
  readonly model: TaskModel;
  readonly rules: GenerationRules;
  /** `maxContext`: tokens of a source. */
  readonly limits: EngineLimits & Required<Pick<EngineLimits, "maxGenerated">>;
  /** fp32 bytes of the adapters that steps can use at once. */
  readonly activeAdapterBytes: number;
  readonly maxStallMs: number;
  readonly adapters: AdapterSource<HostTaskAdapter> | null;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

export interface StartedEncoderDecoder {
  readonly engine: ContinuousEngine<HostTaskAdapter, TaskHold>;
  /** Why rows of different sequences do not run together; null if they do. */
  readonly reason: string | null;
  /** Whether rows with texts of different lengths share a run. */
  readonly isRagged: boolean;
  /** Whether a row has the same bits alone and among others, as measured; null if rows run alone. */
  readonly rowsIndependent: boolean | null;
  /** Bytes of keys and values when every slot is full. */
  readonly kvBytes: number;
}

/** Takes over the opened graphs, which close with the engine. */
export async function startEncoderDecoder(options: StartOptions, opened: OpenedGraphs): Promise<StartedEncoderDecoder> {
  const { model, rules, limits, observer, logger, progress, signal } = options;
  const { graphs, runners, probes } = opened;
  const { reason, trial } = probes.next;
  const isRagged = probes.ragged !== null;
  progress?.("testing rows", 0, 1);
  const refused = refusalsOf(model.modules, opened);
  const able = model.modules.filter(
    (module) => takesProduct(module.kind) && !refused.has(module) && module.foldedNorm.kind !== "unknown",
  );
  const isBatched = reason === null && trial !== null;
  const independent =
    isBatched && limits.maxBatch > 1
      ? (await rowsIndependent(runners.next, trial, limits.maxBatch, signal)) &&
        (options.adapters === null ||
          (await adaptedRowsIndependent(runners.next, trial, limits.maxBatch, able, null, signal)))
      : null;
  progress?.("testing rows", 1, 1);
  const bank = new TaskBank({
    modules: model.modules,
    maxPlaces: limits.maxBatch,
    maxBytes: options.activeAdapterBytes,
  });
  const runner = new EncoderDecoderRunner({
    ...{ graphs, ...runners, bank, rules },
    ...{ vocabSize: probes.vocabSize, maxSource: limits.maxContext, maxRows: isBatched ? limits.maxBatch : 1 },
    isRagged,
  });
  const engine = new ContinuousEngine<HostTaskAdapter, TaskHold>({
    runner,
    cache: runner,
    bank: new HeldAdapters(bank),
    adapters: options.adapters,
    vocabSize: probes.vocabSize,
    promptVocabSize: probes.sourceVocabSize ?? probes.vocabSize,
    encodesPrompts: true,
    startIds: [rules.startId],
    evenRows: false,
    rereadLength: null,
    limits,
    maxStallMs: options.maxStallMs,
    maxChunk: limits.maxContext,
    prefillRate: firstRate,
    ...(observer && { observer }),
    ...(logger && { logger }),
    dispose: async () => opened[Symbol.asyncDispose](),
  });
  const { source, target } = probes.tokenBytes;
  const kvBytes = limits.maxBatch * (source * limits.maxContext + target * limits.maxGenerated);
  return { engine, reason, isRagged, rowsIndependent: independent, kvBytes };
}

/** Source tokens a second, until the engine has measured its own. */
const firstRate = 1000;
