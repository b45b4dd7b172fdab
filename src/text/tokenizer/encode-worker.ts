/** The worker thread that encodes long texts: builds its own encoder from the same bytes, then encodes one text at a time. */

import { parentPort, workerData } from "node:worker_threads";
import type { WorkerFault } from "../../base/worker-queue.js";
import { createEncoder, type EncodeRules, parseFiles, type TokenizerFiles } from "./encoder.js";
import { createSpanEncoder, type SpanTokens } from "./span-encoder.js";

/** The messages between `offload.ts` and the worker. */
export interface EncodeRequest extends Partial<EncodeRules> {
  readonly text: string;
  /** Asks for tokens with their places, without special tokens. */
  readonly spans?: true;
}

export type EncodeReply = { readonly ids: Uint32Array<ArrayBuffer> } | { readonly spans: SpanTokens };

const files: TokenizerFiles = workerData;
const { definition, config } = parseFiles(files);
let encode: ReturnType<typeof createEncoder> | null = null;
let encodeSpans: ReturnType<typeof createSpanEncoder> | null = null;

function answer({ text, spans, addSpecialTokens = false, continues }: EncodeRequest): EncodeReply {
  if (spans) {
    encodeSpans ??= createSpanEncoder(definition);
    return { spans: encodeSpans(text) };
  }
  encode ??= createEncoder(definition, config);
  return { ids: Uint32Array.from(encode(text, { addSpecialTokens, continues })) };
}

parentPort?.on("message", (request: EncodeRequest) => {
  let reply: EncodeReply | WorkerFault;
  try {
    reply = answer(request);
  } catch (error) {
    reply = { fault: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(reply, transferable(reply));
});

function transferable(reply: EncodeReply | WorkerFault): ArrayBuffer[] {
  if ("ids" in reply) return [reply.ids.buffer];
  return "spans" in reply ? Object.values(reply.spans).map(({ buffer }: Int32Array<ArrayBuffer>) => buffer) : [];
}
