/** Trained rows of single tokens in host memory: how each differs from the base's, in tiles as the engine multiplies by them. */

import { open } from "node:fs/promises";
import { assert } from "../../base/errors.js";
import { at, float32At } from "../../base/list.js";
import { tileColumns } from "../../model/serving/rank-tiles.js";
import { tokenTileElements } from "../../model/serving/token-rows.js";
import type { HostTokens } from "../types.js";
import { readBase } from "./copies.js";
import { isMatrixDtype, widen } from "./layout.js";
import type { TokenPlan } from "./module-plan.js";

/** Elements of the base that are read at a time. */
const bandElements = 1 << 20;

/** `rows`: [tokens, dim], as in the file. Reads the base's rows of these tokens alone, and leaves out those that equal them. */
export async function hostTokens(plan: TokenPlan, rows: Float32Array): Promise<HostTokens> {
  const { ids, stored, inEmbeddings, inHead } = plan;
  assert(stored && isMatrixDtype(stored.dtype), "a checked row of a table has its place in the base");
  const dim = at(stored.shape, 1);
  const order = ids.map((_, i) => i).sort((left, right) => at(ids, left) - at(ids, right));
  const changed: number[] = [];
  const kept: Float32Array[] = [];
  await using handle = await open(stored.file);
  for (let place = 0; place < order.length; ) {
    const first = at(ids, at(order, place));
    const most = Math.min(order.length - place, Math.max(1, Math.floor(bandElements / dim)));
    let count = 1;
    while (count < most && at(ids, at(order, place + count)) === first + count) count++;
    const base = widen(stored.dtype, await readBase(handle, stored, stored.dtype, first * dim, (first + count) * dim));
    for (let row = 0; row < count; row++) {
      const i = at(order, place + row);
      const difference = rows.slice(i * dim, (i + 1) * dim);
      for (let k = 0; k < dim; k++) difference[k] = float32At(difference, k) - float32At(base, row * dim + k);
      if (difference.every((value) => value === 0)) continue;
      changed.push(at(ids, i));
      kept.push(difference);
    }
    place += count;
  }
  const tiles = new Float32Array(tokenTileElements(changed.length, dim));
  for (const [place, difference] of kept.entries()) {
    const start = Math.floor(place / tileColumns) * dim * tileColumns + (place % tileColumns);
    for (let k = 0; k < dim; k++) tiles[start + k * tileColumns] = float32At(difference, k);
  }
  return { ids: Int32Array.from(changed), tiles, inEmbeddings, inHead };
}
