/** The worker thread that encodes long texts: builds its own encoder from the same bytes, then encodes one text at a time. */

import { parentPort, workerData } from "node:worker_threads";
import { createEncoder, type EncodeRules, parseFiles, type TokenizerFiles } from "./encoder.js";

/** The messages between `offload.ts` and the worker. */
export interface EncodeRequest extends EncodeRules {
  readonly text: string;
}

export type EncodeReply = { readonly ids: Uint32Array<ArrayBuffer> } | { readonly fault: string };

const files: TokenizerFiles = workerData;
const { definition, config } = parseFiles(files);
const encode = createEncoder(definition, config);

parentPort?.on("message", ({ text, ...rules }: EncodeRequest) => {
  let reply: EncodeReply;
  try {
    reply = { ids: Uint32Array.from(encode(text, rules)) };
  } catch (error) {
    reply = { fault: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(reply, "ids" in reply ? [reply.ids.buffer] : []);
});
