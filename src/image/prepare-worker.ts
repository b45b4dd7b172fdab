/** The worker thread that decodes and prepares pictures, one at a time. */

import { parentPort, workerData } from "node:worker_threads";
import { type ErrorDetails, LorikeetError } from "../base/errors.js";
import type { WorkerFault } from "../base/worker-queue.js";
import type { PreprocessPlan } from "./plan.js";
import { type PreparedImage, prepareImage } from "./prepare.js";

export interface PrepareData {
  readonly plan: PreprocessPlan;
  readonly maxPixels: number;
}

/** A fault of the picture, as data: errors lose their class between threads. */
export interface RefusedImage {
  readonly refused: { readonly code: LorikeetError["code"]; readonly message: string } & Pick<
    ErrorDetails,
    "found" | "allowed"
  >;
}

export type PrepareReply = { readonly image: PreparedImage } | RefusedImage;

const { plan, maxPixels }: PrepareData = workerData;

parentPort?.on("message", async (bytes: Uint8Array) => {
  const reply = await answer(bytes);
  parentPort?.postMessage(reply, "image" in reply ? [reply.image.pixels.buffer, reply.image.mask.buffer] : []);
});

async function answer(bytes: Uint8Array): Promise<PrepareReply | WorkerFault> {
  try {
    return { image: await prepareImage(bytes, plan, maxPixels) };
  } catch (error) {
    if (!(error instanceof LorikeetError)) return { fault: error instanceof Error ? error.message : String(error) };
    const { code, message, found, allowed } = error;
    return { refused: { code, message, found, allowed } };
  }
}
