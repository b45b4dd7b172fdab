/** Folders as places of stores, and processes that write to them: see writer.ts. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AdapterStore } from "../../../src/adapter/store/store.js";
import { namesIn } from "../../../src/base/durable.js";
import { tryLockFile } from "../../../src/runtime/file-lock.js";
import type { JobEnd, StorePlace } from "../../support/store-contract.js";
import type { Job } from "./writer.js";

/** A folder that is there. */
export function folderPlace(directory: string): StorePlace {
  const inside = (name: string): Promise<string[]> => namesIn(join(directory, ".store", name));
  return {
    open: (options) => AdapterStore.open({ directory, tryLock: tryLockFile, ...options }),
    elsewhere: (job) => ending(start({ directory, ...job })),
    async leftovers(openStores) {
      const users = await inside("users");
      return [
        ...(await inside("tmp")),
        ...(users.length > openStores ? users : []),
        ...(await inside("notes")).filter((file) => !users.includes(file)),
        ...(await inside("names")).filter((file) => !/^[0-9a-f]{64}\.json$/.test(file)),
        ...(await inside("locks")).filter((file) => !/^[0-9]+$/.test(file)),
      ];
    },
  };
}

/** Starts writer.ts with a job; `under` is a command that runs it. */
export function start(job: Job, { under = [] }: { readonly under?: readonly string[] } = {}): ChildProcess {
  const extension = extname(fileURLToPath(import.meta.url)); // .ts under a loader, .js when compiled
  const writer = fileURLToPath(new URL(`./writer${extension}`, import.meta.url));
  const loader = extension === ".ts" ? ["--import", "tsx"] : [];
  const [command = "", ...args] = [...under, process.execPath, ...loader, writer, JSON.stringify(job)];
  return spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
}

/** How a process ended. */
export async function ending(child: ChildProcess): Promise<JobEnd> {
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on("close", (...result) => resolve(result)),
  );
  if (signal === null) assert.equal(code, 0, "the writer ended well");
  return { signal, done: text === "" ? null : JSON.parse(text).done };
}
