/** One rank class of the adapter bank: a stack of places, each holding one adapter padded to the class's rank, in fp32. */
import type { HostAdapter, HostSite } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { blocksOf, tilesOf } from "../model/rank-tiles.js";
import { loraA, loraB, type SiteGroup } from "../model/serving-adapters.js";
import { Tensor } from "../runtime/tensor.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../tensor/half.js";

/** Bytes that one adapter takes at a rank. */
export function placeBytes(groups: readonly SiteGroup[], rank: number): number {
  let elements = 0;
  for (const group of groups) {
    elements += group.inFeatures * group.parts.length * rank;
    for (const part of group.parts) elements += rank * part.outFeatures;
  }
  return elements * 4;
}

interface Stack {
  readonly tensor: Tensor<"float32">;
  /** Elements of one place. */
  readonly stride: number;
}

/** A tensor of one place: the module path's name, and which part of the stack it is. */
interface Piece {
  readonly name: string;
  readonly stack: Stack;
  readonly start: number;
  readonly shape: readonly number[];
}

export class BankClass {
  readonly rank: number;
  readonly places: number;
  readonly #groups: readonly SiteGroup[];
  readonly #stacks = new Map<string, Stack>();
  readonly #pieces: Piece[] = [];
  readonly #views = new Map<string, Tensor<"float32">>();

  /** Memory is taken lazily: a place that was never written costs nothing. */
  constructor(groups: readonly SiteGroup[], places: number, rank: number) {
    this.rank = rank;
    this.places = places;
    this.#groups = groups;
    const { tiles, columns } = tilesOf(rank);
    for (const { key, inFeatures, parts } of groups) {
      const a = this.#stack(loraA(key, 0), [places, parts.length, tiles, inFeatures, columns]);
      const shape = tiles === 1 ? [inFeatures, columns] : [tiles, inFeatures, columns];
      for (const [i, { path, outFeatures }] of parts.entries()) {
        this.#pieces.push({ name: loraA(path, 0), stack: a, start: i * inFeatures * rank, shape });
        const b = this.#stack(loraB(path, 0), [places, 1, rank, outFeatures]);
        this.#pieces.push({ name: loraB(path, 0), stack: b, start: 0, shape: [rank, outFeatures] });
      }
    }
  }

  #stack(name: string, shape: readonly [number, ...number[]]): Stack {
    const stride = shape.slice(1).reduce((product, size) => product * size, 1);
    const stack = { tensor: Tensor.zeros("float32", shape), stride };
    this.#stacks.set(name, stack);
    return stack;
  }

  /** Places [first, first + count) of every input, named without the class suffix; `inBlocks` in the shapes that those graphs take. */
  *view(first: number, count: number, inBlocks = false): IterableIterator<readonly [string, Tensor<"float32">]> {
    const { blocks, width } = blocksOf(this.rank);
    for (const [name, { tensor }] of this.#stacks) {
      const make = (): Tensor<"float32"> => {
        const rows = tensor.rows(first, count);
        if (!inBlocks) return rows;
        const [places = 0, ...rest] = rows.shape;
        const [parts = 0, tiles = 0, inFeatures = 0, columns = 0] = rest;
        const shape =
          rest.length === 4
            ? [places, parts, blocks, tiles / blocks, inFeatures, columns]
            : [places, blocks, width, rest.at(-1) ?? 0];
        return Tensor.over("float32", shape, rows.data.buffer, rows.data.byteOffset);
      };
      yield [name.slice(0, -2), this.#viewed(`${name}|${first}|${count}|${inBlocks}`, make)];
    }
  }

  /** One place, a tensor for each part's A and B, named as the graphs for one adapter name them. */
  *place(place: number): IterableIterator<readonly [string, Tensor<"float32">]> {
    for (const { name, stack, start, shape } of this.#pieces) {
      const offset = (place * stack.stride + start) * 4;
      const make = () => Tensor.over("float32", shape, stack.tensor.data.buffer, offset);
      yield [name, this.#viewed(`${name}|${place}`, make)];
    }
  }

  #viewed(key: string, make: () => Tensor<"float32">): Tensor<"float32"> {
    const view = this.#views.get(key) ?? make();
    this.#views.set(key, view);
    return view;
  }

  /** Copies an adapter into a place, site by site; `pause` is awaited between sites so that nobody waits for long. */
  async write(place: number, adapter: HostAdapter, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      for (const [i, part] of parts.entries()) {
        const site = adapter.sites.get(part.path);
        this.#writeA(this.#partOfA(key, place, i, inFeatures), site, inFeatures);
        this.#writeB(this.#at(loraB(part.path, 0), place), site, part.outFeatures);
      }
      await pause();
    }
  }

  /** The same from another place or class, whose rank is at most this one's. */
  async copyFrom(source: BankClass, from: number, to: number, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      for (const [i, part] of parts.entries()) {
        const a = this.#partOfA(key, to, i, inFeatures);
        copyTiles(source.#partOfA(key, from, i, inFeatures), source.rank, a, this.rank, inFeatures);
        const b = this.#at(loraB(part.path, 0), to);
        b.fill(0);
        b.set(source.#at(loraB(part.path, 0), from));
      }
      await pause();
    }
  }

  #at(name: string, place: number): Float32Array {
    const stack = this.#stacks.get(name);
    assert(stack, `the bank has ${name}`);
    return stack.tensor.data.subarray(place * stack.stride, (place + 1) * stack.stride);
  }

  #partOfA(key: string, place: number, part: number, inFeatures: number): Float32Array {
    const size = inFeatures * this.rank;
    return this.#at(loraA(key, 0), place).subarray(part * size, (part + 1) * size);
  }

  /** A of one part: [in, own rank] into [tiles, in, columns], zeros behind. */
  #writeA(target: Float32Array, site: HostSite | undefined, inFeatures: number): void {
    const source = site ? widen(site, site.a) : noValues;
    const own = site?.rank ?? 0;
    const { tiles, columns } = tilesOf(this.rank);
    if (tiles === 1 && own === columns) {
      target.set(source);
      return;
    }
    for (let tile = 0, at = 0; tile < tiles; tile++) {
      const first = tile * columns;
      const real = Math.max(0, Math.min(columns, own - first));
      for (let row = 0; row < inFeatures; row++, at += columns) {
        const read = row * own + first;
        for (let i = 0; i < real; i++) target[at + i] = source[read + i] as number;
        for (let i = real; i < columns; i++) target[at + i] = 0;
      }
    }
  }

  /** B: the first rows of [rank, out]; the scale that is still open is applied. */
  #writeB(target: Float32Array, site: HostSite | undefined, columns: number): void {
    const source = site ? widen(site, site.b) : noValues;
    const own = (site?.rank ?? 0) * columns;
    const scale = site?.scale ?? 1;
    if (scale === 1) target.set(source);
    else for (let i = 0; i < own; i++) target[i] = (source[i] as number) * scale;
    target.fill(0, own);
  }
}

const noValues = new Float32Array(0);

/** fp32 values of one site; 16-bit ones are widened (exactly). */
function widen(site: HostSite, values: Float32Array | Uint16Array): Float32Array {
  if (values instanceof Float32Array) return values;
  return site.dtype === "F16" ? float16ToFloat32(values) : bfloat16ToFloat32(values);
}

/** One part's A from a class of rank `from` to one of rank `to`, at least as large. */
function copyTiles(source: Float32Array, from: number, target: Float32Array, to: number, inFeatures: number): void {
  if (from === to) {
    target.set(source);
    return;
  }
  target.fill(0);
  const [old, next] = [tilesOf(from), tilesOf(to)];
  for (let tile = 0, read = 0; tile < old.tiles; tile++) {
    for (let row = 0; row < inFeatures; row++) {
      for (let i = 0; i < old.columns; i++) {
        const column = tile * old.columns + i;
        const newTile = Math.floor(column / next.columns);
        target[(newTile * inFeatures + row) * next.columns + (column % next.columns)] = source[read++] as number;
      }
    }
  }
}
