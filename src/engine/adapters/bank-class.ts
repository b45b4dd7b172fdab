/** One rank class of the adapter bank: a stack of places, each holding one adapter padded to the class's rank, in fp32. */

import type { HostAdapter, HostModule } from "../../adapter/types.js";
import { at, float32At, last } from "../../base/list.js";
import { loraA, loraB, type ModuleGroup } from "../../model/serving/adapters.js";
import { blocksOf, tilesOf } from "../../model/serving/rank-tiles.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { DeviceRows, DeviceTensor } from "../../runtime/device/device.js";
import { sliceElements, widen } from "./slices.js";

/** Bytes that one adapter takes at a rank. */
export function placeBytes(groups: readonly ModuleGroup[], rank: number): number {
  let elements = 0;
  for (const group of groups) {
    elements += group.inFeatures * group.parts.length * rank;
    for (const part of group.parts) elements += rank * part.outFeatures;
  }
  return elements * 4;
}

/** Names an input of the graph for the class that a step has in one of its places for classes. */
type InputName = (rankClass: number) => string;

interface Stack {
  readonly input: InputName;
  /** [places, ...] */
  readonly shape: readonly number[];
}

/** A tensor of one place: the name of its input in the graphs for one adapter, and which part of the stack it is. */
interface Piece {
  readonly name: string;
  /** Name of the stack. */
  readonly stack: string;
  readonly start: number;
  readonly shape: readonly number[];
}

export class BankClass {
  readonly rank: number;
  readonly places: number;
  readonly #groups: readonly ModuleGroup[];
  readonly #rows: DeviceRows;
  readonly #stacks = new Map<string, Stack>();
  readonly #pieces: Piece[] = [];
  readonly #views = new Map<string, DeviceTensor>();

  private constructor(groups: readonly ModuleGroup[], places: number, rank: number) {
    this.rank = rank;
    this.places = places;
    this.#groups = groups;
    this.#rows = cpu.rows(places);
  }

  /** Memory is taken lazily: a place that was never written costs nothing. Even so large buffers take time: `pause` is awaited between them. */
  static async create(
    groups: readonly ModuleGroup[],
    places: number,
    rank: number,
    pause: () => Promise<void> = async () => {},
  ): Promise<BankClass> {
    const created = new BankClass(groups, places, rank);
    for (const group of groups) {
      created.#addGroup(group);
      await pause();
    }
    return created;
  }

  #addGroup({ key, inFeatures, parts }: ModuleGroup): void {
    const { rank } = this;
    const { tiles, columns } = tilesOf(rank);
    const a = this.#stack((rankClass) => loraA(key, rankClass), [parts.length, tiles, inFeatures, columns]);
    const shape = tiles === 1 ? [inFeatures, columns] : [tiles, inFeatures, columns];
    for (const [i, { path, outFeatures }] of parts.entries()) {
      this.#pieces.push({ name: loraA(path, 0), stack: a, start: i * inFeatures * rank, shape });
      const b = this.#stack((rankClass) => loraB(path, rankClass), [1, rank, outFeatures]);
      this.#pieces.push({ name: loraB(path, 0), stack: b, start: 0, shape: [rank, outFeatures] });
    }
  }

  #stack(input: InputName, row: readonly number[]): string {
    const name = input(0);
    this.#rows.add(name, "float32", row);
    this.#stacks.set(name, { input, shape: [this.places, ...row] });
    return name;
  }

  /** Places [first, first + count) of every input, named as that class of the graph; `inBlocks` in the shapes that those graphs take. */
  *view(
    first: number,
    count: number,
    { rankClass = 0, inBlocks = false }: { readonly rankClass?: number; readonly inBlocks?: boolean } = {},
  ): IterableIterator<readonly [string, DeviceTensor]> {
    const { blocks, width } = blocksOf(this.rank);
    for (const [name, { input, shape: own }] of this.#stacks) {
      const make = (): DeviceTensor => {
        const rows = this.#rows.view(name, first, count);
        if (!inBlocks) return rows;
        // A's [places, parts, tiles, in, columns] or B's [places, 1, rank, out].
        const shape =
          own.length === 5
            ? [count, at(own, 1), blocks, at(own, 2) / blocks, at(own, 3), at(own, 4)]
            : [count, blocks, width, last(own)];
        return rows.as(shape);
      };
      yield [input(rankClass), this.#viewed(`${name}|${first}|${count}|${inBlocks}`, make)];
    }
  }

  /** One place, a tensor for each part's A and B, named as the graphs for one adapter name them. */
  *place(place: number): IterableIterator<readonly [string, DeviceTensor]> {
    for (const { name, stack, start, shape } of this.#pieces) {
      const make = () => this.#rows.view(stack, place, 1).as(shape, start);
      yield [name, this.#viewed(`${name}|${place}`, make)];
    }
  }

  #viewed(key: string, make: () => DeviceTensor): DeviceTensor {
    const view = this.#views.get(key) ?? make();
    this.#views.set(key, view);
    return view;
  }

  /** Copies an adapter into a place; `pause` is awaited every so many numbers, so that the event loop stays free. */
  async write(place: number, adapter: HostAdapter, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      for (const [i, part] of parts.entries()) {
        const module = adapter.modules.get(part.path);
        await this.#writeA(this.#partOfA(key, place, i, inFeatures), module, inFeatures, pause);
        await this.#writeB(this.#at(loraB(part.path, 0), place), module, part.outFeatures, pause);
      }
    }
  }

  /** The same from another place or class, whose rank is at most this one's. */
  async copyFrom(source: BankClass, from: number, to: number, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      for (const [i, part] of parts.entries()) {
        const a = this.#partOfA(key, to, i, inFeatures);
        await copyTiles(source.#partOfA(key, from, i, inFeatures), source.rank, a, this.rank, inFeatures, pause);
        const b = this.#at(loraB(part.path, 0), to);
        await copyInSlices(source.#at(loraB(part.path, 0), from), b, pause);
      }
    }
  }

  #at(name: string, place: number): Float32Array {
    return this.#rows.layout(name, "float32", place, 1);
  }

  #partOfA(key: string, place: number, part: number, inFeatures: number): Float32Array {
    const size = inFeatures * this.rank;
    return this.#at(loraA(key, 0), place).subarray(part * size, (part + 1) * size);
  }

  /** A of one part: [in, own rank] into [tiles, in, columns], then zeros. */
  async #writeA(
    target: Float32Array,
    module: HostModule | undefined,
    inFeatures: number,
    pause: () => Promise<void>,
  ): Promise<void> {
    const own = module?.rank ?? 0;
    const { tiles, columns } = tilesOf(this.rank);
    const band = Math.max(1, Math.floor(sliceElements / this.rank));
    for (let first = 0; first < inFeatures; first += band) {
      const end = Math.min(inFeatures, first + band);
      const source = module ? widen(module, module.a, first * own, end * own) : noValues;
      if (tiles === 1 && own === columns) target.set(source, first * own);
      else fillTiles(target, source, { first, end, own, tiles, columns, inFeatures });
      await pause();
    }
  }

  /** B: the first rows of [rank, out]; the scale that is still open is applied. */
  async #writeB(
    target: Float32Array,
    module: HostModule | undefined,
    columns: number,
    pause: () => Promise<void>,
  ): Promise<void> {
    const own = (module?.rank ?? 0) * columns;
    const scale = module?.scale ?? 1;
    for (let first = 0; first < own; first += sliceElements) {
      const end = Math.min(own, first + sliceElements);
      const source = module ? widen(module, module.b, first, end) : noValues;
      if (scale === 1) target.set(source, first);
      else for (let i = 0; i < source.length; i++) target[first + i] = float32At(source, i) * scale;
      await pause();
    }
    await copyInSlices(noValues, target.subarray(own), pause);
  }
}

const noValues = new Float32Array(0);
/** Rows [first, end) of A, given as [end - first, own]. */
function fillTiles(
  target: Float32Array,
  source: Float32Array,
  at: Readonly<Record<"first" | "end" | "own" | "tiles" | "columns" | "inFeatures", number>>,
): void {
  const { first, end, own, tiles, columns, inFeatures } = at;
  for (let tile = 0; tile < tiles; tile++) {
    const column = tile * columns;
    const real = Math.max(0, Math.min(columns, own - column));
    for (let row = first; row < end; row++) {
      const read = (row - first) * own + column;
      const write = (tile * inFeatures + row) * columns;
      for (let i = 0; i < real; i++) target[write + i] = float32At(source, read + i);
      for (let i = real; i < columns; i++) target[write + i] = 0;
    }
  }
}

/** One part's A from a class of rank `from` to one of rank `to`, at least as large. */
async function copyTiles(
  source: Float32Array,
  from: number,
  target: Float32Array,
  to: number,
  inFeatures: number,
  pause: () => Promise<void>,
): Promise<void> {
  if (from === to) {
    await copyInSlices(source, target, pause);
    return;
  }
  const [old, next] = [tilesOf(from), tilesOf(to)];
  const band = Math.max(1, Math.floor(sliceElements / to));
  for (let first = 0; first < inFeatures; first += band) {
    const end = Math.min(inFeatures, first + band);
    for (let column = 0; column < to; column++) {
      const oldTile = Math.floor(column / old.columns) * inFeatures;
      const newTile = Math.floor(column / next.columns) * inFeatures;
      for (let row = first; row < end; row++) {
        const value = column < from ? float32At(source, (oldTile + row) * old.columns + (column % old.columns)) : 0;
        target[(newTile + row) * next.columns + (column % next.columns)] = value;
      }
    }
    await pause();
  }
}

/** The source, then zeros. */
async function copyInSlices(source: Float32Array, target: Float32Array, pause: () => Promise<void>): Promise<void> {
  for (let first = 0; first < target.length; first += sliceElements) {
    const end = Math.min(target.length, first + sliceElements);
    const own = Math.min(Math.max(first, source.length), end);
    target.set(source.subarray(first, own), first);
    target.fill(0, own, end);
    await pause();
  }
}
