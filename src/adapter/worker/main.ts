/** The adapter worker's thread: runs checks and loads, and transfers their memory. */

import { parentPort } from "node:worker_threads";
import { checkAdapter, loadAdapter } from "../format.js";
import type { HostAdapter } from "../types.js";
import { type JobReply, type JobRequest, packError } from "./messages.js";

const port = parentPort;
if (!port) throw new Error("worker-main runs in a worker thread only");

port.on("message", async ({ id, kind, folder, modules, options }: JobRequest) => {
  try {
    if (kind === "check") {
      const value = await checkAdapter(folder, modules, options);
      port.postMessage({ id, kind, value } satisfies JobReply);
    } else {
      const value = await loadAdapter(folder, modules, options);
      port.postMessage({ id, kind, value } satisfies JobReply, buffersOf(value));
    }
  } catch (error) {
    port.postMessage({ id, kind: "error", error: packError(error) } satisfies JobReply);
  }
});

function buffersOf({ modules }: HostAdapter): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const { a, b, magnitude = a } of modules.values()) {
    for (const { buffer } of [a, b, magnitude]) if (buffer instanceof ArrayBuffer) buffers.add(buffer);
  }
  return [...buffers];
}
