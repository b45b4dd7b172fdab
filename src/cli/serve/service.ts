/** Opens the service of `serve`: the bases, their metrics, and the server in front. */

import type { Logger, Progress } from "../../base/log.js";
import type { FineTuningFolder } from "../../jobs/folder.js";
import { openLevelStore } from "../../records/level-store.js";
import { memoryStore } from "../../records/memory-store.js";
import type { RecordStore } from "../../records/store.js";
import { type BaseDevice, Metrics } from "../../server/metrics/metrics.js";
import { createServer, type LorikeetServer } from "../../server/server.js";
import { openFineTuning, openTuningFolder } from "../jobs/open-fine-tuning.js";
import { requireNoFile } from "../options/paths.js";
import { UsageError } from "../usage.js";
import { recordBoundsOf, serverOptionsOf } from "./mapping.js";
import { type BaseStack, type OpenedBases, planBases } from "./opened-bases.js";
import type { BaseSettings, ServeSettings } from "./options.js";

/** Disposing of it stops listening, stops the engines and closes everything else. */
export interface Service extends AsyncDisposable {
  readonly stacks: OpenedBases["stacks"];
  /** The first. */
  readonly stack: BaseStack;
  /** Of several bases; null for one. */
  readonly memory: OpenedBases["memory"];
  readonly server: LorikeetServer;
  readonly metrics: Metrics;
  /** Starts serving requests and scanning for adapters. Returns the port. */
  open(): number;
  /** Stops fine-tuning jobs at a checkpoint; the next server continues them. */
  stopJobs(): Promise<void>;
}

/** Checks the settings, starts listening (alive, not ready) and loads the bases. Throws what listening and opening the bases throw. */
export async function openService(
  settings: ServeSettings,
  bases: readonly BaseSettings[],
  logger: Logger,
  progress: Progress,
  apiKeys: readonly string[] = [],
): Promise<Service> {
  const options = serverOptionsOf(settings, bases);
  const metrics = new Metrics({ ...options, namesBases: bases.length > 1 });
  const server = createServer({ logger, options, metrics, apiKeys });
  let records: RecordStore | null = null;
  let folder: FineTuningFolder | null = null;
  const opening = async () => {
    const open = await planBases({ settings, bases, metrics, logger, progress });
    checkTogether(settings);
    records = await openRecords(settings);
    folder = await openTuningFolder(settings);
    const { port } = await listen(server, settings);
    const [model, ...others] = bases.map((base) => base.model);
    logger.info({ model: others.length === 0 ? model : [model, ...others], host: settings.host, port }, "loading");
    return { port, records, folder, opened: await open() };
  };
  const {
    port,
    opened,
    records: kept,
    folder: tuningFolder,
  } = await opening().catch(async (error: unknown) => {
    await server.close();
    await records?.[Symbol.asyncDispose]();
    await folder?.[Symbol.asyncDispose]();
    throw error;
  });
  const { stacks, folder: adapters, memory } = opened;
  const tuning =
    tuningFolder && openFineTuning(tuningFolder, opened, settings, bases, { logger, sharesRows: apiKeys.length === 0 });
  return {
    ...{ stacks, stack: stacks[0], memory, server, metrics },
    open: () => {
      metrics.describeDevices(stacks.map(deviceOf));
      server.open(opened.bases, kept, tuning?.fineTuning);
      adapters?.store.start();
      tuning?.start().catch((error: unknown) => logger.error({ err: error }, "Fine-tuning jobs cannot be started"));
      return port;
    },
    stopJobs: async () => tuning?.stop(),
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await tuning?.[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await kept[Symbol.asyncDispose]();
    },
  };
}

const deviceOf = ({ name, device, deviceFacts }: BaseStack): BaseDevice => ({
  base: name,
  labels: deviceFacts,
  allocated: () => device.allocatedBytes,
});

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
