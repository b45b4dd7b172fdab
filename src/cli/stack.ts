/** Opens everything that a running model consists of: checkpoint, tokenizer, adapters, engine and gateway. */

import { readdir } from "node:fs/promises";
import type { UploadLimits } from "../adapter/upload/upload.js";
import type { Logger, Progress } from "../base/log.js";
import { PooledEngine } from "../engine/pooled-engine.js";
import { type StartedEngine, startEngine } from "../engine/start.js";
import type { EngineObserver } from "../engine/types.js";
import { VectorLayers } from "../engine/vector-layers.js";
import { createGateway, type Gateway } from "../gateway/gateway.js";
import type { GatewayOptions } from "../gateway/options.js";
import type { TaskModelParts } from "../gateway/tasks/task-gateway.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import { cacheShape, kvBytesPerToken, stateBytesPerSlot } from "../model/serving/cache-shape.js";
import type { PoolingMode } from "../model/task/sentence-modules.js";
import { readTextHead, type TextHead } from "../model/task/text-head.js";
import { readVectorPlan } from "../model/task/vector-graph.js";
import type { Checkpoint } from "../model/types.js";
import type { DeviceChoice } from "../runtime/device/choose.js";
import type { Device } from "../runtime/device/device.js";
import { openDevice } from "../runtime/device/open.js";
import { type FolderTokenizer, loadTokenizer } from "../text/tokenizer/tokenizer.js";
import type { LoadedTokenizer } from "../text/types.js";
import { chooseFor, type DeviceFacts, describeDevice, memoryFor, onCardOrCpu } from "./device.js";
import { systemFingerprint } from "./fingerprint.js";
import { chooseHalves, floatDtypes, type Halves, settleHalves } from "./halves.js";
import { type KvPlan, planKvCache } from "./kv-plan.js";
import { usableThreads } from "./machine.js";
import type { EngineSettings } from "./options/engine-options.js";
import { requireFile, requireFolder, requireNoFile } from "./options/paths.js";
import { choosePrecision, type Precision } from "./precision.js";
import { AdapterFolder, type AdapterFolderOptions } from "./serve/adapter-folder.js";
import { type AdapterTier, joinDecoder } from "./serve/adapter-tier.js";
import { noAdapters } from "./serve/no-adapters.js";
import { UsageError } from "./usage.js";
import { readVersion } from "./version.js";

export interface StackOptions {
  readonly settings: EngineSettings;
  /** null: the model folder's name. */
  readonly servedName: string | null;
  /** The folder of adapters, its own or one that other bases share; null: none. */
  readonly adapters: AdapterFolder | AdapterFolderOptions | null;
  readonly gateway: Partial<GatewayOptions>;
  readonly uploads?: UploadLimits;
  readonly maxTemplateSteps?: number;
  readonly observerOf?: (base: string) => EngineObserver;
  /** How texts become vectors; null: as the model's files say, else the last token's. */
  readonly pooling?: PoolingMode | null;
  /** Maximum tokens of a sequence. Slots need not be larger, even if the model allows more. */
  readonly neededContext?: number;
  /** Of several bases: what this one's KV cache may take of the host's memory without --kv-bytes. */
  readonly kvShare?: number;
  readonly logger: Logger;
  readonly progress: Progress;
}

/** Decided before anything is opened or allocated. */
export interface StackPlan {
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly precision: Precision;
  readonly kv: KvPlan;
  readonly halves: Halves;
  readonly device: DeviceChoice;
}

/** Disposing of it stops the engine and closes everything that was opened for it. */
export interface Stack extends AsyncDisposable {
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: LoadedTokenizer | null;
  readonly adapters: AdapterTier | null;
  readonly precision: Precision;
  readonly device: Device;
  /** The device as banner, log and metrics describe it. */
  readonly deviceFacts: DeviceFacts;
  readonly threads: number;
  readonly started: StartedEngine;
  readonly gateway: Gateway;
}

type PlanOptions = Omit<StackOptions, "logger" | "progress">;

/** Checks the settings against disk, model, device and memory. Throws a UsageError, `device_unavailable`, or what opening the model throws. */
export async function planStack(options: PlanOptions): Promise<StackPlan> {
  const survey = await surveyStack(options);
  return { ...survey, kv: planSlots(options, survey) };
}

/** The plan without the slots, which depend on the memory that other bases leave. */
export async function surveyStack(options: PlanOptions): Promise<Omit<StackPlan, "kv">> {
  const { settings } = options;
  if (settings.model === null) throw new UsageError(["--model <model> is required (or LORIKEET_MODEL)."]);
  await requireFolder("--model", settings.model);
  const { directory = null } = options.adapters ?? {};
  if (directory !== null) await requireFolder("--adapters", directory);
  if (options.gateway.loraPathRoot) await requireFolder("--lora-path-root", options.gateway.loraPathRoot);
  if (settings.chatTemplate !== null) await requireFile("--chat-template", settings.chatTemplate);
  if (settings.cacheDir !== null) await requireNoFile("--cache-dir", settings.cacheDir);
  const checkpoint = await openCheckpoint(settings.model);
  const precision = choosePrecision(checkpoint.parameterCount, settings);
  const device = await chooseFor(settings);
  const halves = chooseHalves(settings, device, precision.dtype);
  return { name: options.servedName ?? checkpoint.names[0], checkpoint, precision, halves, device };
}

/** Throws a UsageError. */
export function planSlots(
  {
    settings,
    neededContext = Number.POSITIVE_INFINITY,
    kvShare,
  }: Pick<StackOptions, "settings" | "neededContext" | "kvShare">,
  { checkpoint: { config }, precision, device, halves }: Omit<StackPlan, "name" | "kv">,
): KvPlan {
  const shape = cacheShape(config, halves);
  return planKvCache(
    {
      kvBytesPerToken: kvBytesPerToken(shape),
      stateBytesPerSlot: stateBytesPerSlot(shape),
      maxPositions: config.maxPositions,
    },
    {
      ...settings,
      neededContext,
      memoryBytes:
        kvShare !== undefined && device.kind === "cpu"
          ? precision.bytes + 2 * kvShare
          : memoryFor(device, settings.activeAdapterBytes),
      weightBytes: precision.bytes,
    },
  );
}

/**
 * With `--device auto` the CPU takes over, with a warning, where the card that was found does not work. Throws what `planStack` and the
 * opening functions throw, after closing everything that was opened.
 */
export async function openStack(options: StackOptions, plan?: StackPlan): Promise<Stack> {
  const planned = plan ?? (await planStack(options));
  return await onCardOrCpu(options, planned.device, async (device) => {
    if (device === planned.device) return await openPlanned(options, planned);
    const onCpu = { ...options, settings: { ...options.settings, device: "cpu" as const } };
    return await openPlanned(onCpu, { ...(await planStack(onCpu)), device });
  });
}

async function openPlanned(options: StackOptions, plan: StackPlan): Promise<Stack> {
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    return { ...(await open(options, plan, closers)), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Closers = (() => Promise<void>)[];

async function open(
  options: StackOptions,
  plan: StackPlan,
  closers: Closers,
): Promise<Omit<Stack, keyof AsyncDisposable>> {
  const { name, checkpoint, precision, device: choice } = plan;
  const { settings, logger } = options;
  const tokenizer = await loadTokenizer(checkpoint.directory, {
    chatTemplateFile: settings.chatTemplate ?? undefined,
    ...(options.maxTemplateSteps === undefined ? {} : { renderLimits: { maxSteps: options.maxTemplateSteps } }),
  });
  if (tokenizer?.templateFault) logger.warn({ code: tokenizer.templateFault.code }, tokenizer.templateFault.message);
  closers.push(async () => tokenizer?.close());
  const adapters = await openAdapters(options, checkpoint, name, closers);
  const threads = settings.threads ?? usableThreads();
  const device = await openDevice(choice, { maxTurnMs: settings.deviceTimeout });
  closers.push(async () => device[Symbol.dispose]());
  const halves = await settleHalves(settings, precision.dtype, device, checkpoint.config);
  const kv = halves.cacheType === plan.halves.cacheType ? plan.kv : planSlots(options, { ...plan, halves });
  const vectors = await openVectors(checkpoint, options);
  closers.push(async () => vectors.layers?.[Symbol.asyncDispose]());
  const started = await startEngine({
    ...settings,
    ...precision,
    ...kv,
    ...halves,
    ...(settings.cacheDir === null ? {} : { cacheDirectory: settings.cacheDir }),
    ...(options.observerOf && { observer: options.observerOf(name) }),
    device,
    checkpoint,
    threads,
    adapters: adapters?.cache ?? null,
    progress: options.progress,
    logger,
  });
  closers.push(() => started.engine.close());
  const dtypes = { kvCacheDtype: floatDtypes[halves.cacheType], activationDtype: floatDtypes[halves.activationType] };
  const fingerprinted = { ...settings, device: device.kind, ...dtypes };
  const { own, cache, mixtures } = adapters ?? noAdapters();
  const gateway = createGateway({
    engine: started.engine,
    tokenizer,
    model: {
      names: [name],
      generates: checkpoint.config.classifier === undefined,
      vocabSize: checkpoint.config.vocabSize,
      stopIds: checkpoint.config.stopIds,
      bosId: checkpoint.config.bosId,
      fingerprint: await systemFingerprint(checkpoint, precision, fingerprinted, tokenizer),
      generationDefaults: checkpoint.generationDefaults,
    },
    rows: rowsOf(vectors, checkpoint, started, tokenizer, adapters),
    ...{ store: own, cache, mixtures },
    options: options.gateway,
    ...(options.uploads === undefined ? {} : { uploads: options.uploads }),
    logger,
  });
  const deviceFacts = describeDevice(choice, {
    longestChunk: started.maxChunk,
    ...dtypes,
    ...(device.kind === "cpu" ? {} : { fp16: device.capabilities.float16 }),
  });
  return { name, checkpoint, tokenizer, adapters, precision, device, deviceFacts, threads, started, gateway };
}

interface Vectors {
  readonly head: TextHead;
  readonly modes: readonly PoolingMode[];
  readonly layers: VectorLayers | null;
}

/** How the decoder's states become vectors. */
async function openVectors(
  { config, directory }: Checkpoint,
  { pooling = null }: Pick<StackOptions, "pooling">,
): Promise<Vectors> {
  const head = await readTextHead(directory, await readdir(directory), { usual: "last", asked: pooling });
  if ("refusal" in head.pooling) return { head, modes: ["last"], layers: null };
  const modes = head.pooling;
  if (head.layers.length === 0) return { head, modes, layers: null };
  const plan = await readVectorPlan(directory, { pooling: modes, layers: head.layers });
  return { head, modes, layers: await VectorLayers.open(plan, config.hiddenSize * modes.length) };
}

/** The decoder as a model that gives vectors, and scores of labels. */
function rowsOf(
  { head, modes, layers }: Vectors,
  { config }: Checkpoint,
  { engine }: StartedEngine,
  tokenizer: FolderTokenizer | null,
  adapters: AdapterTier | null,
): TaskModelParts {
  return {
    engine: new PooledEngine({ engine, config, modes, layers, adapters: adapters?.cache ?? null }),
    version: readVersion(),
    tokenizer: tokenizer?.rows(engine.limits.maxContext) ?? null,
    head,
    preprocessor: null,
    platform: "lorikeet_safetensors",
    task: config.classifier ? "text-classification" : "feature-extraction",
  };
}

async function openAdapters(
  { adapters, settings }: StackOptions,
  checkpoint: Checkpoint,
  name: string,
  closers: Closers,
): Promise<AdapterTier | null> {
  if (adapters === null) return null;
  const folder = adapters instanceof AdapterFolder ? adapters : new AdapterFolder(adapters);
  const budget = { cacheBytes: settings.adapterCacheBytes, activeBytes: settings.activeAdapterBytes };
  const close = async (): Promise<void> => (folder === adapters ? undefined : await folder[Symbol.asyncDispose]());
  try {
    const tier = await joinDecoder(folder, name, checkpoint, budget);
    closers.push(async () => tier[Symbol.asyncDispose](), close);
    return tier;
  } catch (error) {
    await close();
    throw error;
  }
}
