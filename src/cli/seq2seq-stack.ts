/** Everything that serves an encoder-decoder, opened together: graphs, adapters, engine, gateway. */

import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { hasCode, LorikeetError } from "../base/errors.js";
import {
  type OpenedGraphs,
  openGraphs,
  type StartedEncoderDecoder,
  startEncoderDecoder,
} from "../engine/seq2seq/start.js";
import { SequenceEngine } from "../engine/sequence-engine.js";
import { refusalsOf } from "../engine/task/start.js";
import { createGateway, type Gateway } from "../gateway/gateway.js";
import { taskTargetsOf } from "../model/task/adapter-targets.js";
import { type GenerationRules, readGenerationRules } from "../model/task/generation-rules.js";
import type { TaskModel } from "../model/task/open.js";
import { readTextHead } from "../model/task/text-head.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device } from "../runtime/device/device.js";
import { loadTokenizer } from "../text/tokenizer/tokenizer.js";
import type { LoadedTokenizer } from "../text/types.js";
import { type DeviceFacts, describeDevice } from "./device.js";
import { usableThreads } from "./machine.js";
import { formatBytes } from "./options/units.js";
import { noAdapters } from "./serve/no-adapters.js";
import { joinTask, type TaskAdapterTier } from "./serve/task-adapter-tier.js";
import { isStopped, type TaskPlan, type TaskStackOptions, tooSlow } from "./task-stack.js";
import { UsageError } from "./usage.js";
import { readVersion } from "./version.js";

/** Disposing of it stops the engine and closes everything that was opened for it. */
export interface Seq2SeqStack extends AsyncDisposable {
  readonly name: string;
  readonly model: TaskModel;
  readonly rules: GenerationRules;
  readonly tokenizer: LoadedTokenizer | null;
  readonly adapters: TaskAdapterTier | null;
  readonly device: Device;
  /** The device as banner, log and metrics describe it. */
  readonly deviceFacts: DeviceFacts;
  readonly threads: number;
  readonly started: StartedEncoderDecoder;
  readonly gateway: Gateway;
}

/** Tokens of a source and of an answer where neither the model nor an option bounds them. */
const usualLength = 512;

/** Throws what opening the graphs, the adapters and the tokenizer throws, after closing everything that was opened. */
export async function openSeq2SeqStack(
  options: TaskStackOptions,
  { model, device: choice }: TaskPlan,
): Promise<Seq2SeqStack> {
  const { settings } = options;
  const name = options.servedName ?? model.names[0];
  const threads = settings.threads ?? usableThreads();
  const signal = AbortSignal.timeout(options.trialTimeoutMs);
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const rules = await readGenerationRules(model.folder);
    const tokenizer = await loadTokenizer(model.folder, templateOf(options));
    closers.push(async () => tokenizer?.close());
    options.progress("trying the model", 0, 1);
    const graphs = await openGraphs({ model, threads, maxBatch: settings.maxBatch, signal });
    let isStarted = false;
    closers.push(async () => (isStarted ? undefined : graphs[Symbol.asyncDispose]()));
    options.progress("trying the model", 1, 1);
    const adapters = await openAdapters(options, model, graphs, name);
    closers.push(async () => adapters?.[Symbol.asyncDispose]());
    const limits = limitsOf(options, rules);
    checkMemory(options, graphs, limits);
    const started = await startEncoderDecoder(
      {
        ...settings,
        ...{ model, rules, limits, signal, adapters: adapters?.cache ?? null },
        ...{ logger: options.logger, progress: options.progress },
        ...(options.observerOf && { observer: options.observerOf(name) }),
      },
      graphs,
    );
    isStarted = true;
    closers.push(() => started.engine.close());
    const parts = { name, model, rules, tokenizer, adapters, started, limits, probes: graphs.probes };
    const gateway = await gatewayOver(options, parts);
    const opened = { name, model, rules, tokenizer, adapters, threads, started, gateway };
    return { ...opened, device: cpu, deviceFacts: describeDevice(choice), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    if (isStopped(error)) throw tooSlow(name, options.trialTimeoutMs, error);
    if (hasCode(error, "runtime_failed")) {
      throw new LorikeetError("model_unsupported", `The model ${name} cannot run. ${error.message}`, { cause: error });
    }
    throw error;
  }
}

interface GatewayParts extends Pick<Seq2SeqStack, "name" | "model" | "rules" | "tokenizer" | "adapters" | "started"> {
  readonly limits: ReturnType<typeof limitsOf>;
  readonly probes: OpenedGraphs["probes"];
}

async function gatewayOver(options: TaskStackOptions, parts: GatewayParts): Promise<Gateway> {
  const { name, model, rules, tokenizer, adapters, started, limits, probes } = parts;
  const { vocabSize } = probes;
  const maxTokens = Math.min(rules.maxTokens ?? limits.maxGenerated, limits.maxGenerated);
  const { own, cache, mixtures } = adapters ?? noAdapters();
  return createGateway({
    engine: started.engine,
    tokenizer,
    model: {
      ...{ names: [name], vocabSize, stopIds: rules.endIds, bosId: null },
      fingerprint: await fingerprintOf(model, options),
      generationDefaults: rules.defaults,
      source: {
        ...{ task: model.task, maxTokens, settings: rules, repetitionPenalty: rules.repetitionPenalty },
        forcedEndId: rules.forcedEndId,
        startIds: rules.firstId === null ? [rules.startId] : [rules.startId, rules.firstId],
      },
    },
    rows: {
      engine: new SequenceEngine({
        engine: started.engine,
        vocabSize: probes.sourceVocabSize ?? vocabSize,
        ...{ maxTokens, stopIds: rules.endIds, padId: rules.padId },
        ...{ repetitionPenalty: rules.repetitionPenalty, forcedEndId: rules.forcedEndId },
      }),
      version: readVersion(),
      head: await readTextHead(model.folder, []),
      // Texts are answered with text, by other routes.
      ...{ tokenizer: null, preprocessor: null, task: model.task },
    },
    ...{ store: own, cache, mixtures },
    options: options.gateway,
    ...(options.uploads && { uploads: options.uploads }),
    logger: options.logger,
  });
}

const templateOf = ({ settings: { chatTemplate }, maxTemplateSteps }: TaskStackOptions) => ({
  chatTemplateFile: chatTemplate ?? undefined,
  ...(maxTemplateSteps !== undefined && { renderLimits: { maxSteps: maxTemplateSteps } }),
});

function limitsOf({ settings }: TaskStackOptions, rules: GenerationRules) {
  const { maxBatch, maxQueue, maxContext } = settings;
  const bounded = (own: number | null): number => {
    const length = own ?? maxContext ?? usualLength;
    return maxContext === null ? length : Math.min(length, maxContext);
  };
  return {
    ...{ maxBatch, maxQueue },
    maxAdapterQueue: settings.maxAdapterQueue ?? Math.ceil((maxQueue * 7) / 8),
    maxContext: bounded(rules.maxSource),
    maxGenerated: bounded(rules.maxTarget),
  };
}

/** Throws a UsageError if the keys and values of all slots could take more than --kv-bytes. */
function checkMemory(
  { settings: { kvBytes } }: TaskStackOptions,
  { probes }: OpenedGraphs,
  { maxBatch, maxContext, maxGenerated }: ReturnType<typeof limitsOf>,
): void {
  const { source, target } = probes.tokenBytes;
  const found = maxBatch * (source * maxContext + target * maxGenerated);
  if (kvBytes === null || found <= kvBytes) return;
  throw new UsageError([
    `--max-batch ${maxBatch} slots of ${maxContext} source and ${maxGenerated} generated tokens need ${formatBytes(found)} for keys and values, but --kv-bytes allows ${formatBytes(kvBytes)}: lower --max-batch or --max-context, or raise --kv-bytes.`,
  ]);
}

async function openAdapters(
  { adapters, settings }: TaskStackOptions,
  { path, modules, names, task }: TaskModel,
  graphs: OpenedGraphs,
  name: string,
): Promise<TaskAdapterTier | null> {
  if (adapters === null) return null;
  const budget = { cacheBytes: settings.adapterCacheBytes, activeBytes: settings.activeAdapterBytes };
  // A head of another size would give another vocabulary.
  const targets = taskTargetsOf(modules, refusalsOf(modules, graphs)).map((target) => ({ ...target, isOutput: false }));
  return await joinTask(adapters, name, { path, names, modules, targets, task }, budget);
}

/** A hash of the files and of the options that affect answers. */
async function fingerprintOf(
  { opened }: TaskModel,
  { settings: { generationConfig } }: TaskStackOptions,
): Promise<string> {
  const files: unknown[] = [];
  for (const { path, label } of opened) {
    const { size, mtimeNs } = await stat(path, { bigint: true });
    files.push([label, String(size), String(mtimeNs)]);
  }
  const parts = JSON.stringify([readVersion(), files, generationConfig]);
  return `fp_${createHash("sha256").update(parts).digest("hex").slice(0, 12)}`;
}
