/** Opens the service of `serve`: the stack, its metrics, and the server in front. */

import type { Logger, Progress } from "../../base/log.js";
import { basesOf } from "../../gateway/bases.js";
import type { FineTuningFolder } from "../../jobs/folder.js";
import { isEncoderDecoder } from "../../model/task/encoder-decoder.js";
import { isTaskModel } from "../../model/task/folder.js";
import { openLevelStore } from "../../records/level-store.js";
import { memoryStore } from "../../records/memory-store.js";
import type { RecordStore } from "../../records/store.js";
import { type BaseDevice, Metrics } from "../../server/metrics/metrics.js";
import { createServer, type LorikeetServer } from "../../server/server.js";
import { openFineTuning, openTuningFolder } from "../jobs/open-fine-tuning.js";
import { requireNoFile } from "../options/paths.js";
import { openSeq2SeqStack, type Seq2SeqStack } from "../seq2seq-stack.js";
import { openStack, planStack, type Stack, type StackOptions } from "../stack.js";
import { openTaskStack, planTaskStack, type TaskStack } from "../task-stack.js";
import { UsageError } from "../usage.js";
import {
  gatewayOptionsOf,
  imageLimitsOf,
  recordBoundsOf,
  serverOptionsOf,
  storeLimitsOf,
  uploadLimitsOf,
  validationOf,
} from "./mapping.js";
import type { ServeSettings } from "./options.js";

/** Disposing of it stops listening, stops the engine and closes everything else. */
export interface Service extends AsyncDisposable {
  readonly stack: AnyStack;
  readonly server: LorikeetServer;
  readonly metrics: Metrics;
  /** Starts serving requests and scanning for adapters. Returns the port. */
  open(): number;
  /** Stops fine-tuning jobs at a checkpoint; the next server continues them. */
  stopJobs(): Promise<void>;
}

/** Checks the settings, starts listening (alive, not ready) and loads the model. Throws what listening, `planStack` and `openStack` throw. */
export async function openService(
  settings: ServeSettings,
  logger: Logger,
  progress: Progress,
  apiKeys: readonly string[] = [],
): Promise<Service> {
  const options = serverOptionsOf(settings);
  const metrics = new Metrics(options);
  const server = createServer({ logger, options, metrics, apiKeys });
  const stackOptions: StackOptions = {
    settings,
    servedName: settings.servedModelName,
    adapters: adaptersOf(settings, metrics),
    gateway: gatewayOptionsOf(settings),
    maxTemplateSteps: settings.maxTemplateSteps,
    pooling: settings.pooling,
    uploads: uploadLimitsOf(settings),
    observerOf: metrics.engineObserverOf,
    logger,
    progress,
  };
  let records: RecordStore | null = null;
  let folder: FineTuningFolder | null = null;
  const opening = async () => {
    const open = await planFor(settings, stackOptions);
    checkTogether(settings);
    records = await openRecords(settings);
    folder = await openTuningFolder(settings);
    const { port } = await listen(server, settings);
    logger.info({ model: settings.model, host: settings.host, port }, "loading");
    return { port, records, folder, stack: await open() };
  };
  const {
    port,
    stack,
    records: opened,
    folder: tuningFolder,
  } = await opening().catch(async (error: unknown) => {
    await server.close();
    await records?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
    throw error;
  });
  const tuning = tuningFolder && isDecoderStack(stack) ? openFineTuning(tuningFolder, [stack], settings, logger) : null;
  return {
    stack,
    server,
    metrics,
    open: () => {
      if (isDecoderStack(stack)) metrics.describeDevices([deviceOf(stack)]);
      server.open(basesOf(stack.name, stack.gateway), opened, tuning?.fineTuning);
      stack.adapters?.store.start();
      tuning?.start().catch((error: unknown) => logger.error({ err: error }, "Fine-tuning jobs cannot be started"));
      return port;
    },
    stopJobs: async () => tuning?.stop(),
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await tuning?.[Symbol.asyncDispose]();
      await stack[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    },
  };
}

const deviceOf = ({ name, device, deviceFacts }: Stack): BaseDevice => ({
  base: name,
  labels: deviceFacts,
  allocated: () => device.allocatedBytes,
});

/** Of a decoder, an encoder-decoder, or a model of one graph. */
export type AnyStack = Stack | Seq2SeqStack | TaskStack;

export const isTaskStack = (stack: AnyStack): stack is TaskStack => "signature" in stack.gateway;

export const isDecoderStack = (stack: AnyStack): stack is Stack => "checkpoint" in stack;

/** Checks the settings against the model, of either kind, and returns what opens it. */
async function planFor(settings: ServeSettings, options: StackOptions): Promise<() => Promise<AnyStack>> {
  if (settings.model !== null && (await isTaskModel(settings.model))) {
    if (settings.fineTuning !== null) {
      throw new UsageError([
        "--fine-tuning is for decoders that generate text; no other model can be trained by jobs.",
      ]);
    }
    const model = await planTaskStack(options);
    const opening = { ...options, images: imageLimitsOf(settings), trialTimeoutMs: settings.modelTrialTimeout };
    return () => (isEncoderDecoder(model) ? openSeq2SeqStack(opening, model) : openTaskStack(opening, model));
  }
  const plan = await planStack(options);
  return () => openStack(options, plan);
}

/** Throws a UsageError for options that contradict each other. */
function checkTogether(settings: ServeSettings): void {
  const faults: string[] = [];
  if (settings.socketPauseBytes > settings.socketCloseBytes) {
    faults.push(
      "--socket-pause-bytes must not exceed --socket-close-bytes: a reader is paused before its connection is closed.",
    );
  }
  if (settings.loraPathRoot !== null && settings.adapters === null) {
    faults.push("--lora-path-root needs --adapters <folder>, which stores the loaded adapters.");
  }
  if (settings.fineTuning !== null && settings.adapters === null) {
    faults.push("--fine-tuning needs --adapters <folder>, which stores the adapters that jobs train.");
  }
  if (faults.length > 0) throw new UsageError(faults);
}

/** Throws a UsageError, or LorikeetError `conflict`, `store_full` or `records_damaged`, for the folder of --response-store. */
async function openRecords(settings: ServeSettings): Promise<RecordStore> {
  const bounds = recordBoundsOf(settings);
  const folder = settings.responseStore;
  if (folder === null) return memoryStore(bounds);
  await requireNoFile("--response-store", folder);
  return openLevelStore(folder, bounds);
}

function adaptersOf(settings: ServeSettings, metrics: Metrics): StackOptions["adapters"] {
  if (settings.adapters === null) return null;
  const validation = { ...validationOf(settings), observe: metrics.validated };
  return { directory: settings.adapters, limits: storeLimitsOf(settings), validation };
}

/** An invalid host is a usage error; a port in use is not. */
async function listen(server: LorikeetServer, { host, port }: ServeSettings) {
  try {
    return await server.listen(host, port);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code !== "EADDRNOTAVAIL" && code !== "ENOTFOUND" && code !== "EINVAL") throw error;
    throw new UsageError([`--host must be an address of this machine; ${host} is not.`]);
  }
}
