/** Dropout masks: a pure function of seed, step, run and target module. */
import { Tensor } from "../runtime/tensor.js";
import { elementCount } from "../tensor/shape.js";
import { Draws, purposes } from "./random.js";

/** A mask input of the training graph: for the head, a row per label; otherwise, a row per token. */
export interface MaskedModule {
  readonly name: string;
  readonly width: number;
  readonly rows: "tokens" | "labels";
}

export interface MaskPlace {
  readonly seed: number;
  readonly step: number;
  /** The run within the step. */
  readonly run: number;
}

/** Bool masks [rows, width], true with probability 1 - `dropout` (in 2^-16ths). */
export function dropoutMasks(
  modules: readonly MaskedModule[],
  dropout: number,
  sizes: { readonly tokens: number; readonly labels: number },
  { seed, step, run }: MaskPlace,
): Map<string, Tensor> {
  const masks = new Map<string, Tensor>();
  for (const [i, { name, width, rows }] of modules.entries()) {
    masks.set(name, dropoutMask([sizes[rows], width], dropout, { seed, step, run, module: i }));
  }
  return masks;
}

/** A bool mask, true with probability 1 - `dropout` (in 2^-16ths). */
export function dropoutMask(
  shape: readonly number[],
  dropout: number,
  { seed, step, run, module }: MaskPlace & { readonly module: number },
): Tensor {
  const bound = Math.round(dropout * 65_536);
  const data = new Uint8Array(elementCount(shape));
  const draws = new Draws(seed, purposes.dropout, step, run, module);
  for (let j = 0; j < data.length; j += 2) {
    const word = draws.word();
    data[j] = word >>> 16 >= bound ? 1 : 0;
    if (j + 1 < data.length) data[j + 1] = (word & 0xffff) >= bound ? 1 : 0;
  }
  return Tensor.from("bool", shape, data);
}
