/**
 * Trained rows of a head, those of single tokens: each adds the product of its difference from the base's with the hidden state to the
 * logit of its token. They are multiplied in tiles, as A of an adapter is, so that a row's bits do not depend on its neighbours; the
 * results go to single logits, so that no matrix over the vocabulary is needed.
 */

import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import { tileColumns } from "./rank-tiles.js";

export const tokenInputs = {
  /** Float32 [tiles, hidden, columns], of all adapters of a step. */
  tiles: "token_tiles",
  /** The logit rows that each tile is multiplied with, any row where there are fewer: int32 [tiles, members]. */
  members: "token_members",
  /** Where the changed logits find their products, as (tile, member, column): int64 [changed, 3]. */
  products: "token_products",
  /** Those logits, each once, as (row, token): int64 [changed, 2]. */
  places: "token_places",
} as const;

/** The tiles of so many tokens. */
export const tokenTiles = (tokens: number): number => Math.ceil(tokens / tileColumns);

export const tokenTileElements = (tokens: number, dim: number): number => tokenTiles(tokens) * dim * tileColumns;

/** Bytes of the trained rows of so many tokens, with their ids. */
export const tokenTileBytes = (tokens: number, dim: number): number => 4 * (tokenTileElements(tokens, dim) + tokens);

/** Adds what trained rows change to the logits [rows, vocab] of the hidden states `x` [rows, hidden]. */
export function addTokenRows(op: Ops, x: Value, logits: Value): Value {
  const { builder } = op;
  const [, hidden = 0] = x.shape;
  const [count, members, changed] = ["tiles.tokens", "members.tokens", "changed.tokens"];
  const tiles = builder.input(tokenInputs.tiles, "float32", [count, hidden, tileColumns]);
  const rows = op.gather(x, builder.input(tokenInputs.members, "int32", [count, members]));
  const each = op.one("MatMul", [rows, tiles], "float32", [count, members, tileColumns]);
  const products = builder.input(tokenInputs.products, "int64", [changed, 3]);
  const own = op.one("GatherND", [each, products], "float32", [changed]);
  const places = builder.input(tokenInputs.places, "int64", [changed, 2]);
  return op.one("ScatterND", [logits, places, own], "float32", logits.shape, { reduction: "add" });
}
