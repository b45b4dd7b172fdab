/** Names of the graph's inputs and outputs for what a sequence keeps between steps: both are bound to the same memory. */

export const cacheKinds = ["key", "value"] as const;

/** Keys and values; the `window` of a convolution, the tokens before the next one that it reads; the `memory` of linear attention. */
export type CacheKind = (typeof cacheKinds)[number] | "window" | "memory";

export const pastInput = (layer: number, kind: CacheKind): string => `past.${layer}.${kind}`;
export const presentOutput = (layer: number, kind: CacheKind): string => `present.${layer}.${kind}`;
