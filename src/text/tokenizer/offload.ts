/** Encodes texts in worker threads, huge ones in a thread of their own: no other text waits for them. Connections take turns, measured in characters. */

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
/** A text with more takes a large part of a second or longer. */
const hugeCharacters = 2 ** 16;

type Queue = WorkerQueue<EncodeRequest, EncodeReply>;

export class Offload implements AsyncDisposable {
  readonly #usual: Queue;
  readonly #huge: Queue;

  constructor(files: TokenizerFiles, { abandonedMs, start }: OffloadOptions = {}) {
    const queue = (name: string): Queue =>
      new WorkerQueue({
        turn: turnCharacters,
        noun: "text",
        done: "encoded",
        abandonedMs,
        start: start ?? (() => startThread(import.meta.url, "encode-worker", { workerData: files, name })),
      });
    this.#usual = queue("lorikeet-encode");
    this.#huge = queue("lorikeet-encode-huge");
  }

  /** Number of waiting texts, including those being encoded. */
  get pending(): number {
    return this.#usual.pending + this.#huge.pending;
  }

  /** @throws LorikeetError `cancelled` if the signal aborts or `close` is called first, `internal` if the worker fails. */
  async encode(request: EncodeRules & { text: string }, signal?: AbortSignal, connection?: object): Promise<number[]> {
    const reply = await this.#run(request, signal, connection);
    assert("ids" in reply, "a text is encoded to ids");
    return Array.from(reply.ids);
  }

  /** The tokens of a text with their places. Throws as `encode` does. */
  async encodeSpans(text: string, signal?: AbortSignal, connection?: object): Promise<SpanTokens> {
    const reply = await this.#run({ text, spans: true }, signal, connection);
    assert("spans" in reply, "a text is encoded to tokens with their places");
    return reply.spans;
  }

  #run(request: EncodeRequest, signal?: AbortSignal, connection?: object): Promise<EncodeReply> {
    const { length } = request.text;
    return (length > hugeCharacters ? this.#huge : this.#usual).run(request, length, signal, connection);
  }

  /** Terminates the workers, even in the middle of a text, and rejects every waiting text. */
  async close(): Promise<void> {
    await Promise.all([this.#usual.close(), this.#huge.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
