/** An encoder-decoder as a task engine: rows of a source's token ids in, the greedy answer's ids out. */

import type { TaskEngine, TaskJob, TaskPort, TaskRequest, TaskResult, TaskSignature } from "./task/types.js";
import { eventsOfRow, jobOf, tokenPorts, tokensOf } from "./token-rows.js";
import { type Engine, type EngineStats, greedy } from "./types.js";

export interface SequenceOptions {
  readonly engine: Engine;
  /** Of sources. */
  readonly vocabSize: number;
  /** Tokens of an answer. */
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
  /** As the model's files say. */
  readonly repetitionPenalty: number;
  /** As `EngineRequest` has it; null: none. */
  readonly forcedEndId: number | null;
  /** Fills answers that end earlier. */
  readonly padId: number;
}

export class SequenceEngine implements TaskEngine {
  readonly limits: Engine["limits"];
  readonly signature: TaskSignature;
  readonly #options: SequenceOptions;

  constructor(options: SequenceOptions) {
    this.#options = options;
    this.limits = options.engine.limits;
    const sequences: TaskPort = { name: "sequences", type: "int64", shape: ["batch", options.maxTokens], limit: null };
    this.signature = { inputs: tokenPorts(options.vocabSize), outputs: [sequences], isBatched: true };
  }

  async outputsOf(): Promise<readonly TaskPort[]> {
    return this.signature.outputs;
  }

  /** What the engine refuses rejects the job. */
  submit(request: TaskRequest): TaskJob {
    return jobOf((admit) => this.#run(request, admit));
  }

  async #run(request: TaskRequest, admit: () => void): Promise<TaskResult> {
    const { engine, maxTokens, stopIds, padId, repetitionPenalty, forcedEndId } = this.#options;
    const sampling = { ...greedy, repetitionPenalty };
    const data = new BigInt64Array(maxTokens).fill(BigInt(padId));
    let [count, queueMs] = [0, 0];
    const forced = forcedEndId === null ? {} : { forcedEndId };
    const own = { promptIds: tokensOf(request.inputs), maxTokens, stopIds, sampling, ...forced };
    for await (const event of eventsOfRow(engine, request, own, admit)) {
      if (event.type === "token") data[count++] = BigInt(event.id);
      if (event.type === "finish") queueMs = event.timings.queueMs;
    }
    const outputs = new Map([["sequences", { type: "int64", shape: [1, maxTokens], data } as const]]);
    return { outputs, queueMs, labels: null };
  }

  stats(): EngineStats {
    return this.#options.engine.stats();
  }

  drain(graceMs: number): Promise<void> {
    return this.#options.engine.drain(graceMs);
  }

  close(graceMs?: number): Promise<void> {
    return this.#options.engine.close(graceMs);
  }
}
