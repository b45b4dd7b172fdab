/** Divides the memory for the KV cache into slots and tokens, and rejects settings that do not fit. Allocates nothing. */

import { kvLayout, longestContext } from "../engine/kv-cache.js";
import { formatBytes } from "./options/units.js";
import { UsageError } from "./usage.js";

export interface KvRequest {
  readonly maxBatch: number;
  /** null: what the model supports, or what fits into memory. */
  readonly maxContext: number | null;
  /** Maximum tokens that will be requested; used without --max-context. */
  readonly neededContext: number;
  /** null: half of the memory left by the weights. */
  readonly kvBytes: number | null;
  readonly memoryBytes: number;
  readonly weightBytes: number;
}

export interface KvPlan {
  readonly maxBatch: number;
  readonly maxContext: number;
  /** Size of the whole cache. */
  readonly bytes: number;
}

/** Shorter contexts are useless. */
const leastContext = 16;

export interface KvShape {
  /** Keys and values of all layers for one token. */
  readonly kvBytesPerToken: number;
  /** What a slot holds whatever the length of its text. */
  readonly stateBytesPerSlot: number;
  readonly maxPositions: number;
}

/** Throws a UsageError with the conflicting options and all numbers. */
export function planKvCache(shape: KvShape, request: KvRequest): KvPlan {
  const { maxBatch, maxContext } = request;
  if (maxContext !== null && maxContext > shape.maxPositions) {
    throw new UsageError([
      `--max-context ${maxContext} is more than the ${shape.maxPositions} tokens that the model supports.`,
    ]);
  }
  const bytesOf = (context: number): number => {
    const { slots, capacity } = kvLayout(maxBatch, context);
    return slots * (shape.kvBytesPerToken * capacity + shape.stateBytesPerSlot);
  };
  const budget = request.kvBytes ?? Math.max(0, Math.floor((request.memoryBytes - request.weightBytes) / 2));
  const forTokens = budget - shape.stateBytesPerSlot * kvLayout(maxBatch, 1).slots;
  const longest = longestContext(maxBatch, Math.floor(forTokens / shape.kvBytesPerToken));
  const wide = Math.min(shape.maxPositions, Math.max(leastContext, request.neededContext));
  const context = maxContext ?? Math.min(wide, longest);
  if (context <= longest && context >= Math.min(leastContext, shape.maxPositions)) {
    return { maxBatch, maxContext: context, bytes: bytesOf(context) };
  }
  const wanted = maxContext ?? Math.min(leastContext, shape.maxPositions);
  const allowed =
    request.kvBytes === null
      ? `${formatBytes(budget)} is half of the memory left by the weights`
      : `--kv-bytes allows ${formatBytes(budget)}`;
  throw new UsageError([
    `--max-batch ${maxBatch} slots of ${wanted} tokens need ${formatBytes(bytesOf(wanted))} for the KV cache, but ${allowed}: lower --max-batch or --max-context, or raise --kv-bytes.`,
  ]);
}
