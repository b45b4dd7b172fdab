/**
 * How fast this machine reads memory: every thread reads 8 bytes of each 64-byte line of a large array of its own, at the
 * same time; the lines come whole. Owns its threads.
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface ReadTestOptions {
  readonly threads: number;
  /** Of all arrays together: many times what the caches hold. */
  readonly bytes: number;
}

const lineBytes = 64;
/** A pass reads its array so often: telling threads to begin takes a while. */
const sweeps = 2;
const passesOfSample = 4;

export const readTestMethod =
  "each thread sums one float64 of every 64-byte line of its own array, all threads at once; best of four passes a round";

export class ReadTest implements AsyncDisposable {
  readonly #workers: readonly Worker[];
  /** Read by all threads together in a pass. */
  readonly #passBytes: number;

  private constructor(workers: readonly Worker[], passBytes: number) {
    this.#workers = workers;
    this.#passBytes = passBytes;
  }

  /** Starts the threads and lets each touch its array. */
  static async start({ threads, bytes }: ReadTestOptions): Promise<ReadTest> {
    const share = Math.max(lineBytes, Math.floor(bytes / threads / lineBytes) * lineBytes);
    const workers = Array.from({ length: threads }, () => new Worker(reader, { eval: true, workerData: share }));
    await Promise.all(workers.map((worker) => once(worker, "message")));
    return new ReadTest(workers, share * threads * sweeps);
  }

  /** Bytes a second of the best of a few passes. */
  async sample(): Promise<number> {
    let best = 0;
    for (let pass = 0; pass < passesOfSample; pass++) {
      const done = Promise.all(this.#workers.map((worker) => once(worker, "message")));
      const started = performance.now();
      for (const worker of this.#workers) worker.postMessage(sweeps);
      await done;
      best = Math.max(best, (this.#passBytes * 1000) / (performance.now() - started));
    }
    return best;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** One sum, one load a line: any more arithmetic and it is the adding that is measured. */
const reader = `
const { parentPort, workerData } = require("node:worker_threads");
const values = new Float64Array(workerData / 8).fill(1);
function sum() {
  let total = 0;
  for (let i = 0; i < values.length; i += 8) total += values[i];
  return total;
}
parentPort.on("message", (sweeps) => {
  let total = 0;
  for (let sweep = 0; sweep < sweeps; sweep++) total += sum();
  parentPort.postMessage(total);
});
parentPort.postMessage(sum());
`;
