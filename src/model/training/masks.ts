/** Blocks of queries along a row: the keys that each block meets, the masks over them, and splitting and joining tensors by block. */
import { at, zip } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Dim, Value } from "../../graph/types.js";

export interface BlockInputs {
  /** int64 [rows, length] each. */
  readonly positions: Value;
  readonly segments: Value;
  /** int64 [blocks]: tokens of each block of queries, which sum to length. */
  readonly blocks: Value;
}

/** Added to hidden scores: its exponential is 0 and, unlike infinity, differences of it are finite. */
const hidden = -1e30;

const blockTokens = 128;
const maxBlocks = 8;

/** The number of blocks in a graph for rows of up to `maxLength` tokens. Blocks save at most half the work. */
export const attentionBlocks = (maxLength: number): number =>
  Math.min(maxBlocks, Math.max(1, Math.ceil(maxLength / blockTokens)));

/**
 * The tokens of each of `blocks` blocks of a row: as few blocks as `blockTokens` allows, of nearly equal size. In a short row the
 * first blocks are empty and meet no keys: an empty block with keys would need sums over nothing, which ONNX Runtime leaves undefined.
 */
export function blockSizes(length: number, blocks: number): Int32Array {
  const used = Math.min(blocks, Math.max(1, Math.ceil(length / blockTokens)));
  const size = Math.floor(length / used);
  const longer = blocks - (length - size * used);
  return Int32Array.from({ length: blocks }, (_, i) => (i < blocks - used ? 0 : size + (i >= longer ? 1 : 0)));
}

/** Queries are [rows, heads, length*group, .], keys and values [rows, heads, length, .]. Position i of a row does not see later positions. */
export class TrainingMasks {
  readonly #op: Ops;
  readonly #inputs: BlockInputs;
  readonly #group: number;
  readonly #count: number;
  readonly #masks = new Map<number | null, readonly Value[]>();
  /** int64, created outside of any layer: queries of each block; tokens before each block's end; tokens of the blocks up to it. */
  readonly #querySizes: Value;
  readonly #ends: readonly Value[];
  readonly #sizes: readonly Value[];

  constructor(op: Ops, inputs: BlockInputs, group: number) {
    this.#op = op;
    this.#inputs = inputs;
    this.#group = group;
    const { blocks } = inputs;
    this.#count = Number(blocks.shape[0]);
    this.#querySizes = group === 1 ? blocks : op.mul(blocks, op.like(blocks, group));
    this.#sizes = Array.from({ length: this.#count }, (_, i) => op.slice(blocks, 0, 0, i + 1));
    this.#ends = this.#sizes.map((sizes) => op.sum(sizes, [0]));
  }

  /** Queries of each block: [rows, heads, queries.i, .]. */
  partQueries(op: Ops, x: Value, axis = 2): Value[] {
    if (this.#count === 1) return [x];
    const outputs = Array.from({ length: this.#count }, (_, i) => ({
      type: x.type,
      shape: x.shape.with(axis, this.#queries(i)),
    }));
    return op.builder.node("Split", [x, this.#querySizes], outputs, { axis });
  }

  joinQueries(op: Ops, parts: readonly Value[]): Value {
    return joined(op, parts, dimProduct(["length", this.#group]));
  }

  /** The keys that a block meets: those before its end. */
  seenKeys(op: Ops, x: Value, block: number, axis = 2): Value {
    if (block === this.#count - 1) return x;
    const list = (value: number): Value => op.builder.constant("int64", [1], [value]);
    const shape = x.shape.with(axis, this.#keys(block));
    return op.one("Slice", [x, list(0), at(this.#ends, block), list(axis)], x.type, shape);
  }

  /** The sum of the blocks' contributions to their keys: [rows, heads, length, .]. */
  addKeys(op: Ops, parts: readonly Value[]): Value {
    const sums: Value[] = [];
    parts.forEach((part, i) => {
      const pieces = this.#piecesOf(op, part, i);
      pieces.forEach((piece, j) => {
        const sum = sums[j];
        sums[j] = sum ? op.add(sum, piece) : piece;
      });
    });
    return joined(op, sums, "length");
  }

  /** Block i's contribution to its keys, split where the blocks end. */
  #piecesOf(op: Ops, part: Value, i: number): Value[] {
    if (i === 0) return [part];
    const outputs = Array.from({ length: i + 1 }, (_, j) => ({
      type: part.type,
      shape: part.shape.with(2, j === 0 ? this.#keys(0) : `block.${j}`),
    }));
    return op.builder.node("Split", [part, at(this.#sizes, i)], outputs, { axis: 2 });
  }

  /** For each block 0 where a query sees a key, else `hidden`, [rows, 1, queries.i, keys.i]: its own segment, no later position, inside the window. */
  of(window: number | null): readonly Value[] {
    const known = this.#masks.get(window);
    if (known) return known;
    const op = this.#op;
    const { positions, segments } = this.#inputs;
    const perQuery = (x: Value): Value[] =>
      this.partQueries(op, this.#spread(x), 1).map((part) => op.unsqueeze(part, 2));
    const masks = zip(perQuery(positions), perQuery(segments)).map(([from, own], i) => {
      const there = op.unsqueeze(this.seenKeys(op, positions, i, 1), 1);
      const same = op.compare("Equal", own, op.unsqueeze(this.seenKeys(op, segments, i, 1), 1));
      let seen = op.binary("And", same, op.compare("GreaterOrEqual", from, there));
      if (window !== null) {
        seen = op.binary("And", seen, op.compare("Less", from, op.add(there, op.like(there, window))));
      }
      const mask = op.where(seen, op.builder.scalar("float32", 0), op.builder.scalar("float32", hidden));
      return op.unsqueeze(mask, 1);
    });
    this.#masks.set(window, masks);
    return masks;
  }

  /** [rows, length] to [rows, length*group]: each token once per query head of a key head. */
  #spread(x: Value): Value {
    if (this.#group === 1) return x;
    const op = this.#op;
    const wide = op.expand(op.unsqueeze(x, 2), ["rows", "length", this.#group]);
    return op.reshape(wide, ["rows", dimProduct(["length", this.#group])]);
  }

  #queries = (block: number): Dim => (this.#count === 1 ? dimProduct(["length", this.#group]) : `queries.${block}`);
  #keys = (block: number): Dim => (block === this.#count - 1 ? "length" : `keys.${block}`);
}

function joined(op: Ops, parts: readonly Value[], size: Dim): Value {
  const first = at(parts, 0);
  if (parts.length === 1) return first;
  return op.one("Concat", parts, first.type, first.shape.with(2, size), { axis: 2 });
}
