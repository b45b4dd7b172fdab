/** One rank class of the adapter bank: a stack of places, each holding one adapter padded to the class's rank, in fp32. */
import type { HostAdapter, HostSite } from "../adapter/types.js";
import { assert } from "../base/errors.js";
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

export class BankClass {
  readonly rank: number;
  readonly places: number;
  readonly #groups: readonly SiteGroup[];
  readonly #stacks = new Map<string, Stack>();
  readonly #views = new Map<string, Tensor<"float32">>();

  /** Memory is taken lazily: a place that was never written costs nothing. */
  constructor(groups: readonly SiteGroup[], places: number, rank: number) {
    this.rank = rank;
    this.places = places;
    this.#groups = groups;
    for (const { key, inFeatures, parts } of groups) {
      const columns = parts.length * rank;
      this.#stack(loraA(key, 0), [places, inFeatures, columns]);
      for (const part of parts) this.#stack(loraB(part.path, 0), [places, rank, part.outFeatures]);
    }
  }

  #stack(name: string, shape: readonly [number, number, number]): void {
    this.#stacks.set(name, { tensor: Tensor.zeros("float32", shape), stride: shape[1] * shape[2] });
  }

  /** Places [first, first + count) of every input, named without the class suffix. */
  *view(first: number, count: number): IterableIterator<readonly [string, Tensor<"float32">]> {
    for (const [name, { tensor }] of this.#stacks) {
      const key = `${name}|${first}|${count}`;
      let view = this.#views.get(key);
      if (!view) {
        view = tensor.rows(first, count);
        this.#views.set(key, view);
      }
      yield [name.slice(0, -2), view];
    }
  }

  /** One place of every input, without the places axis. */
  *place(place: number): IterableIterator<readonly [string, Tensor<"float32">]> {
    for (const [name, { tensor, stride }] of this.#stacks) {
      const key = `${name}|${place}`;
      let view = this.#views.get(key);
      if (!view) {
        view = Tensor.over("float32", tensor.shape.slice(1), tensor.data.buffer, place * stride * 4);
        this.#views.set(key, view);
      }
      yield [name.slice(0, -2), view];
    }
  }

  /** Copies an adapter into a place, site by site; `pause` is awaited between sites so that nobody waits for long. */
  async write(place: number, adapter: HostAdapter, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      for (const [i, part] of parts.entries()) {
        const site = adapter.sites.get(part.path);
        this.#writeA(this.#at(loraA(key, 0), place), site, inFeatures, i, parts.length);
        this.#writeB(this.#at(loraB(part.path, 0), place), site, part.outFeatures);
      }
      await pause();
    }
  }

  /** The same from another place or class, whose rank is at most this one's. */
  async copyFrom(source: BankClass, from: number, to: number, pause: () => Promise<void>): Promise<void> {
    for (const { key, inFeatures, parts } of this.#groups) {
      const rank = source.rank;
      copyColumns(
        source.#at(loraA(key, 0), from),
        this.#at(loraA(key, 0), to),
        inFeatures,
        rank,
        this.rank,
        parts.length,
      );
      for (const part of parts) {
        const target = this.#at(loraB(part.path, 0), to);
        target.fill(0);
        target.set(source.#at(loraB(part.path, 0), from));
      }
      await pause();
    }
  }

  #at(name: string, place: number): Float32Array {
    const stack = this.#stacks.get(name);
    assert(stack, `the bank has ${name}`);
    return stack.tensor.data.subarray(place * stack.stride, (place + 1) * stack.stride);
  }

  /** A of part `part`: columns [part * rank, ...) of [in, parts * rank]. */
  #writeA(target: Float32Array, site: HostSite | undefined, rows: number, part: number, parts: number): void {
    const { rank } = this;
    const source = site ? widen(site, site.a) : noValues;
    const own = site?.rank ?? 0;
    if (parts === 1 && own === rank) {
      target.set(source);
      return;
    }
    const width = parts * rank;
    for (let row = 0, read = 0, at = part * rank; row < rows; row++, at += width) {
      for (let i = 0; i < own; i++) target[at + i] = source[read++] as number;
      for (let i = own; i < rank; i++) target[at + i] = 0;
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

function copyColumns(
  source: Float32Array,
  target: Float32Array,
  rows: number,
  from: number,
  to: number,
  parts: number,
): void {
  if (from === to) {
    target.set(source);
    return;
  }
  target.fill(0);
  for (let row = 0; row < rows; row++) {
    for (let part = 0; part < parts; part++) {
      const read = (row * parts + part) * from;
      const write = (row * parts + part) * to;
      for (let i = 0; i < from; i++) target[write + i] = source[read + i] as number;
    }
  }
}
