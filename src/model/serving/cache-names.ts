/** Names of the graph's inputs and outputs for keys and values: both are bound to the same memory. */

export const cacheKinds = ["key", "value"] as const;
export type CacheKind = (typeof cacheKinds)[number];

export const pastInput = (layer: number, kind: CacheKind): string => `past.${layer}.${kind}`;
export const presentOutput = (layer: number, kind: CacheKind): string => `present.${layer}.${kind}`;
