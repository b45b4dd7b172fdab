/** Names of the graph's inputs and outputs for what a sequence keeps between steps: both are bound to the same memory. */

export const cacheKinds = ["key", "value"] as const;

/** Keys and values; a `window` holds the tokens before the next one that a convolution reads. */
export type CacheKind = (typeof cacheKinds)[number] | "window";

export const pastInput = (layer: number, kind: CacheKind): string => `past.${layer}.${kind}`;
export const presentOutput = (layer: number, kind: CacheKind): string => `present.${layer}.${kind}`;
