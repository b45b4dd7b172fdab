/**
 * A decoder as a task engine: rows of token ids in, one vector of each out. They wait, take turns and hold slots as texts that are
 * generated do, and leave their slot after the prompt.
 */

import type { AdapterSource } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import type { PoolingMode } from "../model/task/sentence-modules.js";
import type { DecoderConfig } from "../model/types.js";
import type {
  TaskEngine,
  TaskJob,
  TaskPort,
  TaskRequest,
  TaskResult,
  TaskSignature,
  TaskTensor,
} from "./task/types.js";
import { eventsOfRow, jobOf, tokenPorts, tokensOf } from "./token-rows.js";
import type { Engine, EngineEvent, EngineStats } from "./types.js";
import type { VectorLayers } from "./vector-layers.js";

export interface PooledOptions {
  readonly engine: Engine;
  readonly config: Pick<DecoderConfig, "vocabSize" | "hiddenSize" | "padId" | "classifier">;
  /** How the hidden states of a text become one vector; several are joined. */
  readonly modes: readonly PoolingMode[];
  /** What the vector passes then; null: nothing. */
  readonly layers?: VectorLayers | null;
  readonly adapters: AdapterSource | null;
}

export class PooledEngine implements TaskEngine {
  readonly limits: Engine["limits"];
  readonly signature: TaskSignature;
  readonly #engine: Engine;
  readonly #modes: readonly PoolingMode[];
  readonly #layers: VectorLayers | null;
  readonly #padId: number | null;
  readonly #adapters: AdapterSource | null;

  constructor({ engine, config, modes, layers = null, adapters }: PooledOptions) {
    const { vocabSize, hiddenSize, padId, classifier } = config;
    this.#engine = engine;
    this.#modes = modes;
    this.#layers = layers;
    this.#padId = padId;
    this.#adapters = adapters;
    this.limits = engine.limits;
    this.signature = {
      inputs: tokenPorts(vocabSize),
      outputs: [
        output("sentence_embedding", layers?.size ?? hiddenSize * modes.length),
        ...(classifier ? [scoresPort(classifier.outFeatures)] : []),
      ],
      isBatched: true,
    };
  }

  async outputsOf(adapter: string | null): Promise<readonly TaskPort[]> {
    const { outputs } = this.signature;
    if (adapter === null || !this.#adapters) return outputs;
    const lease = await this.#adapters.acquire(adapter);
    const { head } = lease.adapter;
    lease.release();
    return head ? [...outputs.filter(({ name }) => name !== scoresName), scoresPort(head.outFeatures)] : outputs;
  }

  /** What the engine refuses rejects the job. */
  submit(request: TaskRequest): TaskJob {
    return jobOf((admit) => this.#run(request, admit));
  }

  async #run(request: TaskRequest, admit: () => void): Promise<TaskResult> {
    const promptIds = tokensOf(request.inputs);
    const pooling = { modes: this.#modes, place: classifiedPlace(promptIds, this.#padId) };
    await this.#engine.preparePooling();
    const own = { promptIds, pooling, maxTokens: 0, stopIds: [] };
    let pooled: Extract<EngineEvent, { type: "pooled" }> | null = null;
    let queueMs = 0;
    for await (const event of eventsOfRow(this.#engine, request, own, admit)) {
      if (event.type === "pooled") pooled = event;
      if (event.type === "finish") queueMs = event.timings.queueMs;
    }
    assert(pooled, "a row that ended well was pooled");
    const { vector, scores, labels } = pooled;
    const whole = this.#layers ? await this.#layers.run(vector) : vector;
    const outputs = new Map([["sentence_embedding", rowOf(whole)]]);
    if (scores) outputs.set(scoresName, rowOf(scores));
    return { outputs, queueMs, labels };
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

const scoresName = "logits";

const output = (name: string, size: number): TaskPort => ({
  ...{ name, type: "float32", shape: ["batch", size], limit: null },
});

const scoresPort = (labels: number): TaskPort => output(scoresName, labels);

const rowOf = (data: Float32Array): TaskTensor => ({ type: "float32", shape: [1, data.length], data });

/** transformers classifies by the last token that is not the one that pads, wherever it stands. */
export function classifiedPlace(ids: readonly number[], padId: number | null): number {
  return padId === null
    ? ids.length - 1
    : Math.max(
        0,
        ids.findLastIndex((id) => id !== padId),
      );
}
