/** The entry point of a conversion thread: runs the tasks that it receives, one at a time, and answers each. */

import { openSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { assert, LorikeetError } from "../../base/errors.js";
import type { Answer } from "./pool.js";
import { type ConvertTask, runTask } from "./task.js";

const port = parentPort;
assert(port, "the conversion worker runs as a thread");
const output = openSync(String(workerData), "r+");

port.on("message", (task: ConvertTask) => port.postMessage(answer(task)));

/** Errors lose their class between threads, so their fields are sent instead. */
function answer(task: ConvertTask): Answer {
  try {
    return { ok: true, result: runTask(task, output) };
  } catch (error) {
    if (error instanceof LorikeetError) return { ok: false, code: error.code, message: error.message };
    const systemCode = error instanceof Error && "code" in error ? String(error.code) : undefined;
    const message = error instanceof Error ? error.message : String(error);
    return { ok: false, message, ...(systemCode === undefined ? {} : { systemCode }) };
  }
}
