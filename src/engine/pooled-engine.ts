/**
 * A decoder as a task engine: rows of token ids in, one vector of each out. They wait, take turns and hold slots as texts that are
 * generated do, and leave their slot after the prompt.
 */

import { deferred } from "../base/async.js";
import { assert, LorikeetError } from "../base/errors.js";
import type { PoolingMode } from "../model/task/text-head.js";
import type {
  TaskEngine,
  TaskJob,
  TaskPort,
  TaskRequest,
  TaskResult,
  TaskSignature,
  TaskTensor,
} from "./task/types.js";
import { type Engine, type EngineEvent, type EngineStats, greedy } from "./types.js";

export interface PooledOptions {
  readonly engine: Engine;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** How the hidden states of a text become one vector. */
  readonly mode: PoolingMode;
}

const axes = ["batch", "length"] as const;

export class PooledEngine implements TaskEngine {
  readonly limits: Engine["limits"];
  readonly signature: TaskSignature;
  readonly #engine: Engine;
  readonly #mode: PoolingMode;

  constructor({ engine, vocabSize, hiddenSize, mode }: PooledOptions) {
    this.#engine = engine;
    this.#mode = mode;
    this.limits = engine.limits;
    const input = (name: string, limit: number | null): TaskPort => ({ name, type: "int64", shape: axes, limit });
    this.signature = {
      inputs: [input("input_ids", vocabSize), input("attention_mask", null)],
      outputs: [{ name: "sentence_embedding", type: "float32", shape: ["batch", hiddenSize], limit: null }],
      isBatched: true,
    };
  }

  async outputsOf(): Promise<readonly TaskPort[]> {
    return this.signature.outputs;
  }

  /** What the engine refuses rejects the job. */
  submit(request: TaskRequest): TaskJob {
    const admitted = deferred<void>();
    const result = deferred<TaskResult>();
    const fail = (cause: unknown): void => {
      admitted.reject(cause);
      result.reject(cause);
    };
    admitted.promise.catch(() => {});
    this.#start(request, () => admitted.resolve(), result.resolve).catch(fail);
    return { admitted: admitted.promise, result: result.promise };
  }

  /** Resolves when the row has ended. */
  async #start(
    { inputs, adapter, signal }: TaskRequest,
    admit: () => void,
    answer: (result: TaskResult) => void,
  ): Promise<void> {
    const promptIds = tokensOf(inputs.get("input_ids"), inputs.get("attention_mask"));
    const pooling = { mode: this.#mode, place: promptIds.length - 1 };
    await this.#engine.preparePooling();
    const sequence = this.#engine.submit({
      promptIds,
      pooling,
      ...{ maxTokens: 0, sampling: greedy, stopIds: [], promptLogprobs: null, adapter },
      ...(signal && { signal }),
    });
    let vector: Float32Array | null = null;
    for await (const event of sequence) {
      if (event.type === "admitted") admit();
      if (event.type === "pooled") vector = event.vector;
      if (event.type !== "finish") continue;
      throwIfFailed(event);
      assert(vector, "a row that ended well was pooled");
      const output: TaskTensor = { type: "float32", shape: [1, vector.length], data: vector };
      answer({
        outputs: new Map([["sentence_embedding", output]]),
        queueMs: event.timings.queueMs,
        labels: null,
      });
    }
  }

  stats(): EngineStats {
    return this.#engine.stats();
  }

  drain(graceMs: number): Promise<void> {
    return this.#engine.drain(graceMs);
  }

  close(graceMs?: number): Promise<void> {
    return this.#engine.close(graceMs);
  }
}

/** A row's tokens without padding. */
function tokensOf(ids: TaskTensor | undefined, mask: TaskTensor | undefined): number[] {
  assert(ids && mask, "a row was checked against the signature");
  const tokens = Array.from(ids.data, Number).filter((_, place) => Number(mask.data[place]) !== 0);
  if (tokens.length > 0) return tokens;
  throw new LorikeetError("invalid_value", "A text has no tokens; one or more are allowed.", { param: "input" });
}

function throwIfFailed({ reason, error }: Extract<EngineEvent, { type: "finish" }>): void {
  if (reason === "error") throw error ?? new LorikeetError("internal", "The engine ended a row without a reason.");
  if (reason === "cancelled") throw new LorikeetError("cancelled", "The request was cancelled.");
  if (reason === "shutdown") {
    throw new LorikeetError("draining", "The server is shutting down and ended this request.");
  }
}
