/**
 * Measures this machine's read bandwidth: all threads at once read 8 bytes of each 64-byte line of their own large arrays. Memory
 * is read in whole lines.
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface ReadTestOptions {
  readonly threads: number;
  /** The size of all arrays together: many times that of the caches. */
  readonly bytes: number;
}

const lineBytes = 64;
/** How often a pass reads its array, since starting the threads takes a while. */
const sweeps = 2;
const passesOfSample = 4;

export const readTestMethod =
  "each thread sums one float64 of every 64-byte line of its own array, all threads at once; best of four passes per round";

export class ReadTest implements AsyncDisposable {
  readonly #workers: readonly Worker[];
  /** Bytes that all threads together read in a pass. */
  readonly #passBytes: number;

  private constructor(workers: readonly Worker[], passBytes: number) {
    this.#workers = workers;
    this.#passBytes = passBytes;
  }

  /** Starts the threads; each initializes its array. */
  static async start({ threads, bytes }: ReadTestOptions): Promise<ReadTest> {
    const share = Math.max(lineBytes, Math.floor(bytes / threads / lineBytes) * lineBytes);
    const workers = Array.from({ length: threads }, () => new Worker(reader, { eval: true, workerData: share }));
    await Promise.all(workers.map((worker) => once(worker, "message")));
    return new ReadTest(workers, share * threads * sweeps);
  }

  /** Bytes per second of the best of a few passes. */
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

/** One sum and one load per line: with more arithmetic the additions would be measured. */
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
