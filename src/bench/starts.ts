/** Measures how long a request waits for its adapter: from host memory while fifteen others decode, and from disk. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { weightFiles } from "../adapter/format.js";
import type { AdapterRecord } from "../adapter/types.js";
import { deferred } from "../base/async.js";
import { assert } from "../base/errors.js";
import { at } from "../base/list.js";
import { median } from "../base/median.js";
import { type Engine, greedy, type SequenceHandle } from "../engine/types.js";
import { maxRows, slotTokens } from "./plan.js";
import type { Series } from "./series.js";
import type { BenchStack } from "./stack.js";
import type { StepLog } from "./step-log.js";

export const startIds = {
  host: "start/host/waited",
  hostAllowed: "start/host/step and 1.5 copies",
  step: "start/host/step",
  copy: "start/copy",
  disk: "start/disk/waited",
  read: "start/disk/read",
} as const;

export class StartBench {
  readonly #stack: BenchStack;
  readonly #log: StepLog;
  readonly #records: readonly AdapterRecord[];
  #turn = 0;

  constructor(stack: BenchStack, log: StepLog) {
    this.#stack = stack;
    this.#log = log;
    this.#records = stack.adapters?.store.list() ?? [];
    assert(this.#records.length > maxRows, "there are more adapters than places in the active set");
  }

  /** Runs the benchmark. The engine is idle before and after. */
  async run(samples: number): Promise<Series[]> {
    const copyMs = this.#copyMs();
    const [waited, stepMs] = await this.#fromHost(samples);
    const [fromDisk, reads] = await this.#fromDisk(samples);
    const ms = (id: string, values: readonly number[]): Series => ({ id, unit: "ms", samples: values });
    return [
      ms(startIds.copy, copyMs),
      ms(startIds.step, [stepMs]),
      ms(startIds.host, waited),
      ms(startIds.hostAllowed, [stepMs + 1.5 * median(copyMs)]),
      ms(startIds.disk, fromDisk),
      ms(startIds.read, reads),
    ];
  }

  /** Milliseconds to copy an adapter's bytes between buffers that are already in use. */
  #copyMs(): number[] {
    const source = new Float32Array(at(this.#records, 0).bytes / 4).fill(1);
    const target = new Float32Array(source.length).fill(0);
    return Array.from({ length: 9 }, () => timed(() => target.set(source)));
  }

  async #fromHost(samples: number): Promise<[waitedMs: number[], stepMs: number]> {
    const cache = this.#cache;
    for (const { weightsDigest } of this.#records) (await cache.acquire(weightsDigest)).release();
    const { engine } = this.#stack.started;
    const busy = Array.from({ length: maxRows - 1 }, () => submit(engine, null, slotTokens - 8));
    const followed = busy.map(follow);
    try {
      await Promise.all(followed.map(({ started }) => started));
      this.#log.clear();
      await this.#log.until(samples + 2);
      const stepMs = median(this.#log.decodeIntervals());
      const waited: number[] = [];
      for (let i = 0; i < samples; i++) waited.push(await this.#waited(this.#next()));
      return [waited, stepMs];
    } finally {
      for (const sequence of busy) sequence.end("cancelled");
      await Promise.all(followed.map(({ ended }) => ended));
    }
  }

  /** Alternates between reading the file and requesting the adapter; both find the file in the page cache. */
  async #fromDisk(samples: number): Promise<[waitedMs: number[], readMs: number[]]> {
    const waited: number[] = [];
    const reads: number[] = [];
    for (let i = -1; i < samples; i++) {
      const record = this.#next();
      this.#cache.forget(record.weightsDigest);
      const file = join(await this.#store.folder(record.digest), weightFiles[0]);
      const started = performance.now();
      await readFile(file);
      const readMs = performance.now() - started;
      const waitedMs = await this.#waited(record);
      if (i < 0) continue; // the first read is cold
      reads.push(readMs);
      waited.push(waitedMs);
    }
    return [waited, reads];
  }

  /** Milliseconds from submission to admission, when the adapter is active and a slot is held. */
  async #waited({ weightsDigest }: AdapterRecord): Promise<number> {
    const { engine } = this.#stack.started;
    assert(!engine.stats().activeAdapters.includes(weightsDigest), "a measured adapter is not in the active set yet");
    const sequence = submit(engine, weightsDigest, 1);
    let queueMs = Number.NaN;
    for await (const event of sequence) {
      if (event.type === "admitted") queueMs = event.queueMs;
      if (event.type === "finish" && event.reason !== "length") {
        throw event.error ?? new Error(`A start of the benchmark ended with ${event.reason}.`);
      }
    }
    return queueMs;
  }

  /** The next adapter in rotation, which the active set, an LRU, never holds. */
  #next(): AdapterRecord {
    const active = new Set(this.#stack.started.engine.stats().activeAdapters);
    for (let tries = 0; tries < this.#records.length; tries++) {
      const record = this.#records[this.#turn++ % this.#records.length];
      if (record && !active.has(record.weightsDigest)) return record;
    }
    throw new Error("Every adapter of the benchmark is in the active set.");
  }

  get #cache() {
    assert(this.#stack.adapters, "the stack has adapters");
    return this.#stack.adapters.cache;
  }

  get #store() {
    assert(this.#stack.adapters, "the stack has adapters");
    return this.#stack.adapters.store;
  }
}

function submit(engine: Engine, adapter: string | null, maxTokens: number): SequenceHandle {
  return engine.submit({
    promptIds: [1, 2],
    maxTokens,
    sampling: greedy,
    stopIds: [],
    adapter,
    promptLogprobs: null,
  });
}

/** Reads a sequence to its end. `started` resolves with its first token, or with its end if there was none. */
function follow(sequence: SequenceHandle): { readonly started: Promise<void>; readonly ended: Promise<void> } {
  const started = deferred<void>();
  const read = async (): Promise<void> => {
    for await (const event of sequence) if (event.type === "token") started.resolve();
    started.resolve();
  };
  return { started: started.promise, ended: read() };
}

function timed(work: () => void): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}
