/** Everything that serves a task model, opened together: model, adapters, engine, gateway. */

import { readdir } from "node:fs/promises";
import type { UploadLimits } from "../adapter/upload/upload.js";
import { hasCode, LorikeetError } from "../base/errors.js";
import type { Logger, Progress } from "../base/log.js";
import type { RowProbe } from "../engine/task/row-probe.js";
import { probeModel, refusalsOf, type StartedTask, servedGraph, startTaskEngine } from "../engine/task/start.js";
import type { EngineObserver } from "../engine/types.js";
import type { GatewayOptions } from "../gateway/options.js";
import { createTaskGateway, type TaskGateway } from "../gateway/tasks/task-gateway.js";
import { type ImageLimits, loadImagePreprocessor } from "../image/preprocessor.js";
import { taskTargetsOf } from "../model/task/adapter-targets.js";
import { detectorOf } from "../model/task/detector.js";
import { isEncoderDecoder } from "../model/task/encoder-decoder.js";
import { readImageSize } from "../model/task/image-size.js";
import { openTaskModel, type TaskModel } from "../model/task/open.js";
import type { PoolingMode } from "../model/task/sentence-modules.js";
import { poolsTexts, readTextHead, type TextHead } from "../model/task/text-head.js";
import type { DeviceChoice } from "../runtime/device/choose.js";
import type { Device } from "../runtime/device/device.js";
import { openDevice } from "../runtime/device/open.js";
import { loadRowTokenizer } from "../text/tokenizer/row-tokenizer.js";
import { chooseForTask, type DeviceFacts, describeDevice, onCardOrCpu } from "./device.js";
import { usableThreads } from "./machine.js";
import type { EngineSettings } from "./options/engine-options.js";
import { flagName } from "./options/names.js";
import type { AdapterFolder } from "./serve/adapter-folder.js";
import { noAdapters } from "./serve/no-adapters.js";
import { joinTask, type TaskAdapterTier } from "./serve/task-adapter-tier.js";
import { UsageError } from "./usage.js";
import { readVersion } from "./version.js";

export interface TaskStackOptions {
  readonly settings: EngineSettings;
  /** null: the model folder's name. */
  readonly servedName: string | null;
  /** The folder of adapters, which other bases may share; null: none. */
  readonly adapters: AdapterFolder | null;
  readonly gateway: Partial<GatewayOptions>;
  readonly uploads?: UploadLimits;
  readonly images: ImageLimits;
  /** How texts become vectors; null: as the model's files say. */
  readonly pooling?: PoolingMode | null;
  /** Of chat templates, where a model has one. */
  readonly maxTemplateSteps?: number;
  /** Time for the trial runs at start. */
  readonly trialTimeoutMs: number;
  readonly observerOf?: (base: string) => EngineObserver;
  readonly logger: Logger;
  readonly progress: Progress;
}

/** Decided before anything is opened. */
export interface TaskPlan {
  readonly model: TaskModel;
  readonly device: DeviceChoice;
}

/** Disposing of it stops the engine and closes everything that was opened for it. */
export interface TaskStack extends AsyncDisposable {
  readonly name: string;
  readonly model: TaskModel;
  readonly adapters: TaskAdapterTier | null;
  readonly device: Device;
  /** The device as banner, log and metrics describe it. */
  readonly deviceFacts: DeviceFacts;
  readonly threads: number;
  readonly started: StartedTask;
  readonly head: TextHead;
  readonly gateway: TaskGateway;
}

const typeOptions = ["dtype", "headDtype", "activationDtype", "kvCacheDtype"] as const;

type TypeSettings = Pick<EngineSettings, (typeof typeOptions)[number]>;

/** Types are those of the ONNX file. What `forDecoders` has is meant for other bases. */
const typeFaults = (settings: TypeSettings, forDecoders: TypeSettings | null): string[] =>
  typeOptions.flatMap((name) => {
    const type = settings[name];
    if (type === "auto" || type === "fp32" || forDecoders?.[name] === type) return [];
    return [`--${flagName(name)} ${type} is for decoders; a task model has the types of its ONNX file.`];
  });

/** `forDecoders`: settings of a server that also has a decoder. Throws a UsageError for all settings that the model does not take, `device_unavailable`, and `model_unsupported` for several graphs that are not an encoder-decoder. */
export async function planTaskStack({
  settings,
  pooling = null,
  forDecoders = null,
}: Pick<TaskStackOptions, "settings" | "pooling"> & { readonly forDecoders?: TypeSettings | null }): Promise<TaskPlan> {
  const model = await openTaskModel(settings.model ?? "", { pooling });
  const pools = poolsVectors(model);
  const faults = [
    ...typeFaults(settings, forDecoders),
    ...(pooling === null || pools ? [] : [poolingFault(pooling, foundOutputs(model))]),
  ];
  const device = await chooseForTask(model, settings).catch((error: unknown): never => {
    const isFault = error instanceof UsageError || error instanceof LorikeetError;
    throw isFault && faults.length > 0 ? new UsageError([...faults, error.message]) : error;
  });
  if (faults.length > 0) throw new UsageError(faults);
  return { model, device };
}

/** Whether `--pooling` changes what the model answers. Throws as `planTaskStack` does. */
export const poolsVectors = (model: TaskModel): boolean =>
  !isEncoderDecoder(model) && (model.addsVectors || poolsTexts(servedGraph(model)));

/** `found`: a clause that says what the models give instead. */
export const poolingFault = (pooling: PoolingMode, found: string): string =>
  `--pooling ${pooling} is for models that give a vector for each token of a text (last_hidden_state); ${found}.`;

function foundOutputs({ task, opened }: TaskModel): string {
  const outputs = opened.flatMap(({ graphs }) => graphs.flatMap(({ graph }) => graph.outputs.map(({ name }) => name)));
  const shown = [...new Set(outputs)].slice(0, shownOutputs).join(", ");
  return `this one${task === "tensors" ? "" : `, for ${task},`} has the outputs ${shown}`;
}

const shownOutputs = 4;

/**
 * With `--device auto` the CPU takes over, with a warning, where the card that was found does not run the model. Throws what probing and
 * starting the engine throw, after closing everything that was opened.
 */
export async function openTaskStack(options: TaskStackOptions, plan: TaskPlan): Promise<TaskStack> {
  return await onCardOrCpu(options, plan.device, (device) => openPlanned(options, { ...plan, device }));
}

async function openPlanned(options: TaskStackOptions, { model, device: choice }: TaskPlan): Promise<TaskStack> {
  const { settings, logger, observerOf, uploads } = options;
  const threads = settings.threads ?? usableThreads();
  const name = options.servedName ?? model.names[0];
  options.progress("trying the model", 0, 1);
  const names = await readdir(model.folder);
  const imageSize = await readImageSize(model.folder, names);
  const signal = AbortSignal.timeout(options.trialTimeoutMs);
  let isOnCard = false;
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const probe = await probeModel(model, { threads, imageSize, signal }).catch((cause: unknown) => {
      if (isStopped(cause)) throw cause;
      throw new LorikeetError("model_unsupported", `ONNX Runtime cannot load the model ${name}.`, { cause });
    });
    options.progress("trying the model", 1, 1);
    const isWhole = !poolsTexts(servedGraph(model));
    const { pooling: asked = null } = options;
    const head = await readTextHead(model.folder, names, { asked, manifest: model.manifest, isWhole });
    const tokenizer = await loadRowTokenizer(model.folder, settings.maxContext);
    closers.push(async () => tokenizer?.close());
    const preprocessor = await loadImagePreprocessor(model.folder, options.images);
    closers.push(async () => preprocessor?.close());
    const adapters = await openAdapters(options, model, probe, name);
    closers.push(async () => adapters?.[Symbol.asyncDispose]());
    const device = await openDevice(choice, { maxTurnMs: settings.deviceTimeout });
    closers.push(async () => device[Symbol.dispose]());
    isOnCard = device.kind !== "cpu";
    const started = await startTaskEngine(
      {
        ...settings,
        ...{ model, device, threads, logger, adapters: adapters?.cache ?? null },
        cardMustGain: settings.device === "auto",
        ...{ progress: options.progress, signal },
        ...(observerOf && { observer: observerOf(name) }),
      },
      probe,
    );
    closers.push(() => started.engine.close());
    const { own, cache, mixtures } = adapters ?? noAdapters();
    const gateway = createTaskGateway({
      engine: started.engine,
      tokenizer,
      head,
      detector: detectorOf(model.architecture, model.manifest),
      preprocessor,
      task: model.task,
      names: [name],
      maxContext: settings.maxContext,
      version: readVersion(),
      ...{ store: own, cache, mixtures },
      options: options.gateway,
      ...(uploads && { uploads }),
      logger,
    });
    const deviceFacts = describeDevice(choice);
    return {
      name,
      model,
      adapters,
      device,
      deviceFacts,
      threads,
      started,
      head,
      gateway,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    if (!isStopped(error)) throw error;
    throw tooSlow(name, options.trialTimeoutMs, error, isOnCard ? "device_unavailable" : "model_unsupported");
  }
}

export const isStopped = (cause: unknown): boolean => hasCode(cause, "cancelled");

/** `code`: `device_unavailable` where another device may be faster. */
export function tooSlow(
  name: string,
  allowed: number,
  cause: unknown,
  code: "device_unavailable" | "model_unsupported" = "model_unsupported",
): LorikeetError {
  const message = `The trial runs of the model ${name} took more than ${allowed / 1000} s (--model-trial-timeout).`;
  return new LorikeetError(code, message, { allowed, cause });
}

async function openAdapters(
  { adapters, settings }: TaskStackOptions,
  { path, modules, names, task }: TaskModel,
  probe: RowProbe,
  name: string,
): Promise<TaskAdapterTier | null> {
  if (adapters === null) return null;
  const budget = { cacheBytes: settings.adapterCacheBytes, activeBytes: settings.activeAdapterBytes };
  const targets = taskTargetsOf(modules, refusalsOf(modules, probe));
  return await joinTask(adapters, name, { path, names, modules, targets, task }, budget);
}
