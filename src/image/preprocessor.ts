/** Prepares pictures for a model in a worker thread, as the model's folder says. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LorikeetError } from "../base/errors.js";
import { isObject, type Json } from "../base/json.js";
import { startThread } from "../base/threads.js";
import { WorkerQueue } from "../base/worker-queue.js";
import { describePlan, invalidPlan, type PreprocessPlan } from "./plan.js";
import type { PreparedImage } from "./prepare.js";
import type { PrepareData, PrepareReply } from "./prepare-worker.js";
import { readProcessorConfig } from "./processor-config.js";
import { readTimmConfig } from "./timm-config.js";

export interface ImageLimits {
  /** Pixels of a picture, checked before it is decoded. */
  readonly maxPixels: number;
  /** Pictures that wait, with the one in work. */
  readonly maxPending: number;
}

export const defaultImageLimits: ImageLimits = { maxPixels: 33_554_432, maxPending: 64 };

export interface PrepareOptions {
  /** Cancels the preparation; it rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** The client's connection: pictures of different connections take turns. */
  readonly connection?: object | undefined;
}

export interface ImagePreprocessor {
  readonly plan: PreprocessPlan;
  /** The steps, for people. */
  readonly description: string;
  /** Pictures that wait, with the one in work. */
  readonly pending: number;
  /** Throws `image_invalid`, `image_unsupported`, `image_too_large`, or `image_queue_full` when too many wait. */
  prepare(bytes: Uint8Array, options?: PrepareOptions): Promise<PreparedImage>;
  close(): Promise<void>;
}

/**
 * Reads preprocessor_config.json, processor_config.json or timm's config.json of a folder; null if none tells what to do with pictures.
 * @throws LorikeetError `model_invalid` or `model_unsupported`.
 */
export async function readPlan(folder: string): Promise<PreprocessPlan | null> {
  const config = (await readJsonIfThere(folder, "preprocessor_config.json")) ?? (await readNested(folder));
  if (config) return readProcessorConfig(config);
  return readTimmConfig((await readJsonIfThere(folder, "config.json")) ?? {});
}

/** Returns null where `readPlan` does, and throws what it throws. */
export async function loadImagePreprocessor(
  folder: string,
  limits: ImageLimits = defaultImageLimits,
): Promise<ImagePreprocessor | null> {
  const plan = await readPlan(folder);
  return plan && new ThreadPreprocessor(plan, limits);
}

async function readNested(folder: string): Promise<Json | null> {
  const nested = (await readJsonIfThere(folder, "processor_config.json"))?.image_processor;
  return isObject(nested) ? nested : null;
}

async function readJsonIfThere(folder: string, name: string): Promise<Json | null> {
  let text: string;
  try {
    text = await readFile(join(folder, name), "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return null;
    throw new LorikeetError("model_invalid", `${name} cannot be read.`, { param: name, cause });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new LorikeetError("model_invalid", `${name} is not valid JSON.`, { param: name, cause });
  }
  throw invalidPlan(name, "must hold a JSON object");
}

/** Bytes of one turn: about a small photograph. */
const turnBytes = 262_144;
/** A large photograph takes a second; a thread takes a tenth to start. */
const abandonedMs = 3_000;

class ThreadPreprocessor implements ImagePreprocessor {
  readonly plan: PreprocessPlan;
  readonly description: string;
  readonly #queue: WorkerQueue<Uint8Array, PrepareReply>;
  readonly #maxPending: number;

  constructor(plan: PreprocessPlan, { maxPixels, maxPending }: ImageLimits) {
    this.plan = plan;
    this.description = describePlan(plan);
    this.#maxPending = maxPending;
    const workerData: PrepareData = { plan, maxPixels };
    this.#queue = new WorkerQueue<Uint8Array, PrepareReply>({
      turn: turnBytes,
      noun: "image",
      done: "prepared",
      abandonedMs,
      start: () => startThread(import.meta.url, "prepare-worker", { workerData, name: "lorikeet-image" }),
    });
  }

  get pending(): number {
    return this.#queue.pending;
  }

  async prepare(bytes: Uint8Array, { signal, connection }: PrepareOptions = {}): Promise<PreparedImage> {
    const allowed = this.#maxPending;
    if (this.#queue.pending >= allowed) {
      const message = `${this.#queue.pending} images wait to be prepared; at most ${allowed} may.`;
      throw new LorikeetError("image_queue_full", message, { found: this.#queue.pending, allowed });
    }
    const reply = await this.#queue.run(bytes, bytes.length, signal, connection);
    if ("image" in reply) return reply.image;
    const { code, message, ...details } = reply.refused;
    throw new LorikeetError(code, message, { param: "image", ...details });
  }

  close(): Promise<void> {
    return this.#queue.close();
  }
}
