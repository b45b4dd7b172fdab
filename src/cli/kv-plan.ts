/** Divides the memory for the KV cache into slots and tokens, and refuses what does not fit. Allocates nothing. */

import { kvLayout, longestContext } from "../engine/kv-cache.js";
import { formatBytes } from "./options/units.js";
import { UsageError } from "./usage.js";

export interface KvRequest {
  readonly maxBatch: number;
  /** null: as much as the model was made for and the memory holds. */
  readonly maxContext: number | null;
  /** Tokens beyond which nobody will ask; counts where --max-context is not given. */
  readonly neededContext: number;
  /** null: half of what the weights leave of the memory. */
  readonly kvBytes: number | null;
  readonly memoryBytes: number;
  readonly weightBytes: number;
}

export interface KvPlan {
  readonly maxBatch: number;
  readonly maxContext: number;
  /** Bytes of the whole cache. */
  readonly bytes: number;
}

/** A context shorter than this is of no use to anyone. */
const leastContext = 16;

export interface KvShape {
  /** Keys and values of all layers for one token of one sequence. */
  readonly kvBytesPerToken: number;
  readonly maxPositions: number;
}

/** Throws a UsageError that names the options in conflict and every number. */
export function planKvCache(shape: KvShape, request: KvRequest): KvPlan {
  const { maxBatch, maxContext } = request;
  if (maxContext !== null && maxContext > shape.maxPositions) {
    throw new UsageError([
      `--max-context ${maxContext} is more than the ${shape.maxPositions} tokens that the model was made for.`,
    ]);
  }
  const bytesOf = (context: number): number => {
    const { slots, capacity } = kvLayout(maxBatch, context);
    return shape.kvBytesPerToken * slots * capacity;
  };
  const budget = request.kvBytes ?? Math.max(0, Math.floor((request.memoryBytes - request.weightBytes) / 2));
  const longest = longestContext(maxBatch, Math.floor(budget / shape.kvBytesPerToken));
  const wide = Math.min(shape.maxPositions, Math.max(leastContext, request.neededContext));
  const context = maxContext ?? Math.min(wide, longest);
  if (context <= longest && context >= Math.min(leastContext, shape.maxPositions)) {
    return { maxBatch, maxContext: context, bytes: bytesOf(context) };
  }
  const wanted = maxContext ?? Math.min(leastContext, shape.maxPositions);
  const allowed =
    request.kvBytes === null
      ? `${formatBytes(budget)} is half of the memory that the weights leave`
      : `--kv-bytes allows ${formatBytes(budget)}`;
  throw new UsageError([
    `--max-batch ${maxBatch} slots of ${wanted} tokens need ${formatBytes(bytesOf(wanted))} for the KV cache, but ${allowed}: lower --max-batch or --max-context, or raise --kv-bytes.`,
  ]);
}
