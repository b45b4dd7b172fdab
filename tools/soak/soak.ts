/**
 * A soak test of the server: thousands of mixed requests over loopback, many of them abandoned, stalled, cut or invalid. Exits with
 * 1 unless everything is released and memory does not grow after the first tenth. Stops by itself.
 *
 *     npm run soak [requests]
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { packTar } from "../../src/adapter/upload/upload.js";
import { type SoakTarget, seededRandom, soakVisits, tarsOf } from "./clients.js";
import type { SoakReport } from "./server.js";

const wanted = Number(process.argv[2] ?? 5_000);
const warmUp = Math.max(1, Math.min(500, wanted / 10));
const atOnce = 24;
const limitMs = 30 * 60_000;
const settleMs = 60_000;
const allowedGrowth = 40 * 2 ** 20;

const flags = {
  model: "models/bookworm-7m",
  port: "0",
  maxContext: "256",
  activeAdapterBytes: "12M",
  adapterCacheBytes: "8M",
  slowReaderTimeout: "1s",
  lingerTimeout: "300ms",
  pingInterval: "2s",
  maxUploadsPerAddress: "0",
  logLevel: "silent",
};

const folder = await mkdtemp(join(tmpdir(), "lorikeet-soak-"));
try {
  await cp("adapters", folder, { recursive: true });
  process.exitCode = (await soak()) ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function soak(): Promise<boolean> {
  const entry = fileURLToPath(new URL("./server.js", import.meta.url));
  const child = fork(entry, [JSON.stringify({ ...flags, adapters: folder })], { execArgv: ["--expose-gc"] });
  const [started]: { port: number }[] = await once(child, "message");
  const port = started?.port ?? 0;
  const report = async (): Promise<SoakReport> => {
    const answered = once(child, "message");
    child.send("report");
    const [value]: SoakReport[] = await answered;
    if (!value) throw new Error("the server does not report");
    return value;
  };
  const target: SoakTarget = {
    port,
    models: ["bookworm-7m", ...(await folders())],
    names: Array.from({ length: 8 }, (_, i) => `soak${i}`),
    freshTar: tarsOf(await buffer(packTar("adapters/plays"))),
  };
  const visit = soakVisits(target, seededRandom(7));
  const counts = new Map<string, number>();
  const faults: string[] = [];
  const until = performance.now() + limitMs;
  const run = async (visits: number): Promise<void> => {
    let left = visits;
    const worker = async (): Promise<void> => {
      while (left-- > 0 && performance.now() < until) {
        const what = await visit().catch((error: unknown) => {
          faults.push(error instanceof Error ? error.message : String(error));
          return "fault";
        });
        counts.set(what, (counts.get(what) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  };
  const settle = async (before?: SoakReport): Promise<SoakReport> => {
    for (const name of target.names)
      await fetch(`http://127.0.0.1:${port}/v1/adapters/${name}`, {
        method: "DELETE",
        headers: { connection: "close" },
      });
    const end = performance.now() + settleMs;
    for (;;) {
      const now = await report();
      if (isIdle(now) && (!before || differences(before, now).length === 0)) return now;
      if (performance.now() > end) return now;
      await sleep(250);
    }
  };
  await run(warmUp);
  const before = await settle();
  print("after the first requests", before);
  const startedAt = performance.now();
  await run(wanted - warmUp);
  console.log(`${wanted - warmUp} requests in ${Math.round((performance.now() - startedAt) / 1000)} s`);
  const after = await settle(before);
  print("after all", after);
  for (const [what, count] of [...counts].sort()) console.log(`${String(count).padStart(6)}  ${what}`);
  child.disconnect();
  const wrong = [
    ...faults.map((fault) => `a client failed: ${fault}`),
    ...differences(before, after),
    ...(isIdle(after) ? [] : ["something was not released"]),
    ...(after.crashes > 0 ? [`${after.crashes} uncaught errors`] : []),
    ...(after.rssBytes - before.rssBytes > allowedGrowth ? ["resident memory has grown by more than 40 MB"] : []),
    ...(performance.now() > until ? ["the time was up before all requests were sent"] : []),
  ];
  for (const what of wrong.slice(0, 20)) console.log(`WRONG: ${what}`);
  return wrong.length === 0;
}

async function folders(): Promise<string[]> {
  const entries = await readdir("adapters", { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Nothing runs, waits or is open. */
function isIdle({ holdings }: SoakReport): boolean {
  const { connections, sockets, running, waiting, busySlots, leases, inFlight } = holdings;
  return connections + sockets + running + waiting + busySlots + leases + inFlight === 0;
}

function differences(before: SoakReport, after: SoakReport): string[] {
  const now = new Map<string, number>(Object.entries(after.holdings));
  return Object.entries(before.holdings).flatMap(([what, count]) =>
    now.get(what) === count ? [] : [`${what}: ${count} before, ${now.get(what)} after`],
  );
}

function print(when: string, { holdings, rssBytes, heapBytes, crashes }: SoakReport): void {
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  console.log(
    `${when}: resident ${mb(rssBytes)}, heap ${mb(heapBytes)}, crashes ${crashes}, ${JSON.stringify(holdings)}`,
  );
}
