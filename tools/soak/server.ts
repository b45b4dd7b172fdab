/** The server of a soak test: a separate process that reports on request what it holds. */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { silent } from "../../src/base/log.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { basesOfModels } from "../../src/cli/serve/base-settings.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { openService } from "../../src/cli/serve/service.js";

/** What must be equal before and after. */
export interface Holdings {
  readonly connections: number;
  readonly sockets: number;
  readonly running: number;
  readonly waiting: number;
  readonly busySlots: number;
  readonly leases: number;
  readonly inFlight: number;
  /** Reported by the system; 0 if it is not available. */
  readonly fileHandles: number;
  readonly timersAndHandles: number;
}

export interface SoakReport {
  readonly holdings: Holdings;
  readonly rssBytes: number;
  readonly heapBytes: number;
  /** Uncaught errors. */
  readonly crashes: number;
}

const flags: Record<string, string> = JSON.parse(process.argv[2] ?? "{}");
const settings = resolveSettings(serveOptions, { flags, environment: {}, file: {} });
const service = await openService(settings, basesOfModels(settings), silent, () => {});
const port = service.open();
let crashes = 0;
process.on("uncaughtException", (error) => {
  crashes++;
  console.error(error);
});

async function report(): Promise<SoakReport> {
  const { stack, server, metrics } = service;
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.();
    await sleep(20);
  }
  stack.started.engine.check();
  const { engine, cache } = stack.gateway.stats();
  const { rss, heapUsed } = process.memoryUsage();
  const sockets = await metrics.sockets.get();
  return {
    holdings: {
      connections: server.connections,
      sockets: sockets.values[0]?.value ?? 0,
      running: engine.running,
      waiting: engine.waiting,
      busySlots: engine.slots.decoding + engine.slots.prefilling,
      leases: cache.leased,
      inFlight: stack.gateway.adapters
        .list()
        .reduce((sum, { activity }) => sum + activity.waiting + activity.running, 0),
      fileHandles: process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0,
      timersAndHandles: process.getActiveResourcesInfo().filter((kind) => kind !== "Timeout").length,
    },
    rssBytes: rss,
    heapBytes: heapUsed,
    crashes,
  };
}

process.on("message", (message) => {
  if (message === "report") void report().then((value) => process.send?.(value));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ port });
