/** Encodes texts in a worker thread. Connections take turns, measured in characters. */

import { assert } from "../../base/errors.js";
import { startThread } from "../../base/threads.js";
import { type Thread, WorkerQueue } from "../../base/worker-queue.js";
import type { EncodeReply, EncodeRequest } from "./encode-worker.js";
import type { EncodeRules, TokenizerFiles } from "./encoder.js";
import type { SpanTokens } from "./span-encoder.js";

export interface OffloadOptions {
  /** How long an abandoned text may occupy the thread before the thread is terminated. */
  readonly abandonedMs?: number;
  /** Starts the thread; for tests. */
  readonly start?: () => Thread<EncodeRequest, EncodeReply>;
}

/** Characters of one turn. */
const turnCharacters = 2048;

export class Offload implements AsyncDisposable {
  readonly #queue: WorkerQueue<EncodeRequest, EncodeReply>;

  constructor(files: TokenizerFiles, { abandonedMs, start }: OffloadOptions = {}) {
    this.#queue = new WorkerQueue({
      turn: turnCharacters,
      noun: "text",
      done: "encoded",
      abandonedMs,
      start:
        start ?? (() => startThread(import.meta.url, "encode-worker", { workerData: files, name: "lorikeet-encode" })),
    });
  }

  /** Number of waiting texts, including the one being encoded. */
  get pending(): number {
    return this.#queue.pending;
  }

  /** @throws LorikeetError `cancelled` if the signal aborts or `close` is called first, `internal` if the worker fails. */
  async encode(request: EncodeRules & { text: string }, signal?: AbortSignal, connection?: object): Promise<number[]> {
    const reply = await this.#queue.run(request, request.text.length, signal, connection);
    assert("ids" in reply, "a text is encoded to ids");
    return Array.from(reply.ids);
  }

  /** The tokens of a text with their places. Throws as `encode` does. */
  async encodeSpans(text: string, signal?: AbortSignal, connection?: object): Promise<SpanTokens> {
    const reply = await this.#queue.run({ text, spans: true }, text.length, signal, connection);
    assert("spans" in reply, "a text is encoded to tokens with their places");
    return reply.spans;
  }

  /** Terminates the worker, even in the middle of a text, and rejects every waiting text. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
