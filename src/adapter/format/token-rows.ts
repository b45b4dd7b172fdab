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

/** `rows`: [tokens, dim], as in the file. Reads the base's rows of these tokens alone. */
export async function hostTokens(plan: TokenPlan, rows: Float32Array): Promise<HostTokens> {
  const { ids, stored, inEmbeddings, inHead } = plan;
  assert(stored && isMatrixDtype(stored.dtype), "a checked row of a table has its place in the base");
  const dim = at(stored.shape, 1);
  const tiles = new Float32Array(tokenTileElements(ids.length, dim));
  const order = ids.map((_, i) => i).sort((left, right) => at(ids, left) - at(ids, right));
  await using handle = await open(stored.file);
  for (const [place, i] of order.entries()) {
    const first = at(ids, i) * dim;
    const own = widen(stored.dtype, await readBase(handle, stored, stored.dtype, first, first + dim));
    const start = Math.floor(place / tileColumns) * dim * tileColumns + (place % tileColumns);
    for (let k = 0; k < dim; k++) tiles[start + k * tileColumns] = float32At(rows, i * dim + k) - float32At(own, k);
  }
  return { ids: Int32Array.from(order, (i) => at(ids, i)), tiles, inEmbeddings, inHead };
}
