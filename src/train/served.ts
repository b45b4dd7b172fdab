/** A model or adapter in the serving engine: scores and greedy answers, as token ids. */
import { loadAdapter } from "../adapter/format.js";
import type { AdapterSource, HostAdapter } from "../adapter/types.js";
import { Semaphore } from "../base/async.js";
import { assert, LorikeetError } from "../base/errors.js";
import type { Progress } from "../base/log.js";
import { foldMagnitudes } from "../engine/adapters/dora-gains.js";
import { type BaseDtype, type StartOptions, startEngine } from "../engine/start.js";
import { type Engine, type EngineEvent, type EngineRequest, greedy } from "../engine/types.js";
import { storedModules } from "../model/modules.js";
import type { Checkpoint } from "../model/types.js";
import type { Device } from "../runtime/device/device.js";
import { WeightNorms } from "../weights/norms.js";

export interface ServedOptions {
  readonly checkpoint: Checkpoint;
  /** Where the engine runs; its owner disposes of it later. Default: the CPU. */
  readonly device?: Device;
  /** As in `StartOptions`. */
  readonly cacheType?: StartOptions["cacheType"];
  readonly activationType?: StartOptions["activationType"];
  readonly dtype: BaseDtype;
  readonly threads: number;
  readonly maxContext: number;
  readonly maxBatch: number;
  /** A PEFT folder; null: only the base model. */
  readonly adapter: string | null;
  readonly cacheDirectory?: string;
  readonly progress?: Progress;
}

export interface Served extends AsyncDisposable {
  /** Digest of the adapter; null without one. */
  readonly digest: string | null;
  /** Log-probability of each id, given those before it; 0 for the first. */
  score(ids: readonly number[], options?: ServedCall): Promise<Float64Array>;
  /** Greedy tokens up to the first stop id (excluded), or `maxTokens`. */
  generate(
    ids: readonly number[],
    maxTokens: number,
    stopIds: readonly number[],
    options?: ServedCall,
  ): Promise<number[]>;
}

export interface ServedCall {
  /** false: use the base model. */
  readonly adapter?: boolean;
  readonly signal?: AbortSignal;
}

/** Starts an engine. Throws what loading the adapter throws. */
export async function startServed(
  options: ServedOptions,
  maxQueue = options.maxBatch,
): Promise<{ readonly engine: Engine; readonly adapter: HostAdapter | null }> {
  const { checkpoint, dtype, threads, maxContext, maxBatch } = options;
  const adapter = options.adapter === null ? null : await load(options.adapter, checkpoint, threads);
  const { engine } = await startEngine({
    checkpoint,
    dtype,
    threads,
    maxBatch,
    maxContext,
    maxQueue,
    maxStallMs: 1000,
    activeAdapterBytes: 2 ** 32,
    exact: true,
    spinning: false,
    adapters: adapter && sourceOf(adapter),
    ...(options.device === undefined ? {} : { device: options.device }),
    ...(options.cacheType === undefined ? {} : { cacheType: options.cacheType }),
    ...(options.activationType === undefined ? {} : { activationType: options.activationType }),
    ...(options.cacheDirectory === undefined ? {} : { cacheDirectory: options.cacheDirectory }),
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  });
  return { engine, adapter };
}

/** As `startServed`, for scores of tokens and greedy answers. */
export async function openServed(options: ServedOptions): Promise<Served> {
  const { maxContext, maxBatch } = options;
  const { engine, adapter } = await startServed(options);
  const turns = new Semaphore(maxBatch);
  const run = (
    call: ServedCall,
    request: Omit<EngineRequest, "adapter" | "sampling" | "signal">,
  ): Promise<EngineEvent[]> =>
    turns.run(async () => {
      const digest = call.adapter === false ? null : (adapter?.digest ?? null);
      // The engine never stops listening to a signal, so each sequence gets its own.
      const controller = new AbortController();
      const abort = (): void => controller.abort();
      call.signal?.throwIfAborted();
      call.signal?.addEventListener("abort", abort, { once: true });
      try {
        const { signal } = controller;
        return await collect(engine.submit({ ...request, adapter: digest, sampling: greedy, signal }));
      } finally {
        call.signal?.removeEventListener("abort", abort);
      }
    });
  return {
    digest: adapter?.digest ?? null,
    async score(ids, call = {}) {
      const events = await run(call, { promptIds: ids, maxTokens: 0, stopIds: [], promptLogprobs: 0 });
      const prompt = events.find((event) => event.type === "prompt");
      assert(prompt, "a request for the prompt's log-probabilities gets them");
      return Float64Array.from(prompt.logprobs, (entry, i) => {
        assert(entry !== null || i === 0, "every token of a prompt but the first has a log-probability");
        return entry === null ? 0 : entry.logprob;
      });
    },
    async generate(ids, maxTokens, stopIds, call = {}) {
      const room = Math.min(maxTokens, maxContext - ids.length);
      if (room < 1) return [];
      const events = await run(call, { promptIds: ids, maxTokens: room, stopIds, promptLogprobs: null });
      return events.flatMap((event) => (event.type === "token" ? [event.id] : []));
    },
    [Symbol.asyncDispose]: () => engine.close(),
  };
}

async function load(folder: string, checkpoint: Checkpoint, threads: number): Promise<HostAdapter> {
  await using norms = new WeightNorms(checkpoint, { threads });
  const options = { baseNames: checkpoint.names };
  return await foldMagnitudes(await loadAdapter(folder, storedModules(checkpoint), options), norms, folder);
}

/** All events. Throws the sequence's error, or `cancelled`. */
async function collect(sequence: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const events: EngineEvent[] = [];
  for await (const event of sequence) {
    if (event.type === "finish" && event.error) throw event.error;
    if (event.type === "finish" && event.reason === "cancelled") throw cancelled();
    events.push(event);
  }
  return events;
}

export function sourceOf(adapter: HostAdapter): AdapterSource {
  return { acquire: async () => ({ adapter, from: "host", loadMs: 0, release: () => {} }), prefetch: () => {} };
}

const cancelled = (): LorikeetError => new LorikeetError("cancelled", "The evaluation was cancelled.");
