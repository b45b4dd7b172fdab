/** What a sequence keeps between steps: keys and values of every token in layers with attention, and states of a fixed size. */
import { elementBytes } from "../../graph/types.js";
import type { DecoderConfig } from "../types.js";
import { type CacheKind, pastInput, presentOutput } from "./cache-names.js";
import type { CacheType, ServingTarget } from "./target.js";

/** A state of one layer: what a slot holds whatever the length of its text. */
export interface SlotState {
  readonly past: string;
  readonly present: string;
  readonly shape: readonly number[];
}

export interface CacheShape {
  /** The layers that have keys and values. */
  readonly layers: readonly number[];
  readonly kvHeads: number;
  readonly headDim: number;
  /** Of keys and values; states are float32. Default float32. */
  readonly cacheType?: CacheType;
  readonly states: readonly SlotState[];
}

export function cacheShape(
  { layers, kvHeadCount, headDim }: DecoderConfig,
  { cacheType = "float32" }: ServingTarget = {},
): CacheShape {
  const bodies = layers.map(({ mixer }) => mixer.body);
  const state = (layer: number, kind: CacheKind, shape: readonly number[]): SlotState => ({
    past: pastInput(layer, kind),
    present: presentOutput(layer, kind),
    shape,
  });
  return {
    layers: bodies.flatMap(({ kind }, layer) => (kind === "attention" ? [layer] : [])),
    kvHeads: kvHeadCount,
    headDim,
    cacheType,
    states: bodies.flatMap((body, layer) => {
      if (body.kind === "attention") return [];
      const window = state(layer, "window", [body.filter.width - 1, body.filter.channels]);
      if (body.kind === "convolution") return [window];
      return [window, state(layer, "memory", [body.valueHeads, body.keyDim, body.valueDim])];
    }),
  };
}

/** Bytes of the keys and values of one token. */
export const kvBytesPerToken = ({ layers, kvHeads, headDim, cacheType = "float32" }: CacheShape): number =>
  layers.length * 2 * kvHeads * headDim * elementBytes[cacheType];

/** Bytes of the states of one slot. */
export const stateBytesPerSlot = ({ states }: CacheShape): number =>
  states.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 4), 0);
