/** Trained rows of single tokens, as steps take them: what a token's embedding gains, and the rows of the head of a step's adapters side by side. */

import type { HostTokens } from "../../adapter/types.js";
import { at, float32At } from "../../base/list.js";
import { tileColumns } from "../../model/serving/rank-tiles.js";
import { tokenInputs, tokenTiles } from "../../model/serving/token-rows.js";
import { Tensor } from "../../runtime/tensor.js";
import type { BoundInputs } from "../bound-inputs.js";
import type { BankHold } from "./bank.js";
import { headTokens } from "./tables.js";

/** Adds the difference of a token's row from the base's, if it is a trained one. */
export function addTokenRow({ ids, tiles }: HostTokens, token: number, row: Float32Array): void {
  const place = placeOf(ids, token);
  if (place < 0) return;
  const start = Math.floor(place / tileColumns) * row.length * tileColumns + (place % tileColumns);
  for (let i = 0; i < row.length; i++) row[i] = float32At(row, i) + float32At(tiles, start + i * tileColumns);
}

/** -1: it is not among them. */
function placeOf(ids: Int32Array, token: number): number {
  let [first, end] = [0, ids.length];
  while (first < end) {
    const middle = (first + end) >> 1;
    if ((ids[middle] as number) < token) first = middle + 1;
    else end = middle;
  }
  return ids[first] === token ? first : -1;
}

/** An adapter of a step: its first tile among all, and the logit rows that have it. */
interface Part {
  readonly tokens: HostTokens;
  readonly firstTile: number;
  readonly rows: number[];
}

interface Made<Found> {
  readonly key: string;
  readonly found: Found;
}

interface Indices {
  readonly members: Tensor;
  readonly products: Tensor;
  readonly places: Tensor;
}

/** What the last step had is kept: the next one mostly has the same rows. */
export class TokenRows {
  readonly #hiddenSize: number;
  #tiles: Made<Tensor> | null = null;
  #indices: Made<Indices> | null = null;

  constructor(hiddenSize: number) {
    this.#hiddenSize = hiddenSize;
  }

  /** `adapters`: of the rows whose logits are needed. */
  bind(bound: BoundInputs, adapters: readonly (BankHold | null)[]): void {
    if (!bound.takes(tokenInputs.tiles)) return;
    const parts = new Map<string, Part>();
    let count = 0;
    for (const [row, hold] of adapters.entries()) {
      const tokens = hold && headTokens(hold);
      if (!tokens) continue;
      const known = parts.get(hold.digest);
      if (known) known.rows.push(row);
      else {
        parts.set(hold.digest, { tokens, firstTile: count, rows: [row] });
        count += tokenTiles(tokens.ids.length);
      }
    }
    const key = [...parts.keys()].join(" ");
    const rowsKey = `${key} ${[...parts.values()].map(({ rows }) => rows.join()).join(" ")}`;
    const all = [...parts.values()];
    if (this.#tiles?.key !== key) this.#tiles = { key, found: this.#sideBySide(all, count) };
    if (this.#indices?.key !== rowsKey) this.#indices = { key: rowsKey, found: indicesOf(all, count) };
    const { members, products, places } = this.#indices.found;
    bound.input(tokenInputs.tiles, this.#tiles.found);
    bound.input(tokenInputs.members, members);
    bound.input(tokenInputs.products, products);
    bound.input(tokenInputs.places, places);
  }

  /** Of one adapter its own memory, of several a copy. */
  #sideBySide(parts: readonly Part[], count: number): Tensor {
    const shape = [count, this.#hiddenSize, tileColumns];
    const [first, ...others] = parts;
    if (first && others.length === 0) return Tensor.from("float32", shape, first.tokens.tiles);
    const all = Tensor.zeros("float32", shape);
    for (const { tokens, firstTile } of parts) {
      all.data.set(tokens.tiles, firstTile * this.#hiddenSize * tileColumns);
    }
    return all;
  }
}

function indicesOf(parts: readonly Part[], count: number): Indices {
  // A lone row would take another kernel than one of several.
  const members = Math.max(2, ...parts.map(({ rows }) => rows.length));
  const rowsOf = new Int32Array(count * members);
  const changed = parts.reduce((sum, { tokens, rows }) => sum + tokens.ids.length * rows.length, 0);
  const products = new BigInt64Array(changed * 3);
  const places = new BigInt64Array(changed * 2);
  let next = 0;
  for (const { tokens, firstTile, rows } of parts) {
    for (let tile = firstTile; tile < firstTile + tokenTiles(tokens.ids.length); tile++) {
      for (let i = 0; i < members; i++) rowsOf[tile * members + i] = rows[i] ?? at(rows, 0);
    }
    for (const [member, row] of rows.entries()) {
      for (const [place, id] of tokens.ids.entries()) {
        const tile = firstTile + Math.floor(place / tileColumns);
        products.set([BigInt(tile), BigInt(member), BigInt(place % tileColumns)], next * 3);
        places.set([BigInt(row), BigInt(id)], next * 2);
        next++;
      }
    }
  }
  return {
    members: Tensor.from("int32", [count, members], rowsOf),
    products: Tensor.from("int64", [changed, 3], products),
    places: Tensor.from("int64", [changed, 2], places),
  };
}
