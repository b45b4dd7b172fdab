/**
 * What slots hold of their texts: keys and values, one buffer a layer and kind, written in place by the attention kernel, and
 * beside them the states of layers without attention.
 */

import { assert } from "../base/errors.js";
import { cacheKinds, pastInput, presentOutput } from "../model/serving/cache-names.js";
import type { CacheShape } from "../model/serving/cache-shape.js";
import { kvBytesPerToken, stateBytesPerSlot } from "../model/serving/cache-shape.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device, DeviceRows, DeviceTensor } from "../runtime/device/device.js";

export interface KvShape extends CacheShape {
  readonly slots: number;
  /** Tokens a slot holds. */
  readonly capacity: number;
}

/** Keys, values or states of one layer, to be bound as the graph's past and as its present. */
export interface KvBuffer {
  readonly past: string;
  readonly present: string;
  readonly tensor: DeviceTensor;
}

/** The buffers of some slots. */
export type KvView = readonly KvBuffer[];

/** Rows of up to this many tokens are padded after the last one. */
const padding = 8;

/** What is held for so many sequences of so many tokens: slots come in pairs, and each has room for padding. */
export function kvLayout(maxBatch: number, maxContext: number): Pick<KvShape, "slots" | "capacity"> {
  return { slots: maxBatch + (maxBatch % 2), capacity: Math.ceil((maxContext + padding) / 8) * 8 };
}

/** The longest context whose slots have no more than `tokens` tokens of capacity; below 1 where there is none. */
export function longestContext(maxBatch: number, tokens: number): number {
  return Math.floor(tokens / kvLayout(maxBatch, 1).slots / 8) * 8 - padding;
}

/** Bytes of the whole cache. */
export const cacheBytes = (shape: KvShape): number =>
  shape.slots * (kvBytesPerToken(shape) * shape.capacity + stateBytesPerSlot(shape));

export class KvCache {
  readonly #shape: KvShape;
  readonly #device: Device;
  readonly #tokens: DeviceRows;
  readonly #states: DeviceRows;
  readonly #names: readonly Pick<KvBuffer, "past" | "present">[];
  readonly #views = new Map<string, KvView>();
  readonly #entered = new WeakMap<ReadonlyMap<string, DeviceTensor>, KvView>();

  /** In a turn of the device. Throws `device_memory`. */
  constructor(shape: KvShape, device: Device = cpu) {
    this.#shape = shape;
    this.#device = device;
    const { slots, kvHeads, capacity, headDim, cacheType = "float32" } = shape;
    this.#tokens = device.rows(slots);
    this.#states = device.rows(slots);
    const tokens = shape.layers.flatMap((layer) =>
      cacheKinds.map((kind) => ({ past: pastInput(layer, kind), present: presentOutput(layer, kind) })),
    );
    try {
      for (const { past } of tokens) this.#tokens.add(past, cacheType, [kvHeads, capacity, headDim]);
      for (const { past, shape: state } of shape.states) this.#states.add(past, "float32", state);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#names = [...tokens, ...shape.states.map(({ past, present }) => ({ past, present }))];
  }

  /** Slots [first, first + rows), sharing memory; `first` is 0 on a device without offset views. Views are built once. */
  view(first: number, rows: number): KvView {
    const key = `${first}+${rows}`;
    const known = this.#views.get(key);
    if (known) return known;
    const states = new Set(this.#states.names);
    const view = this.#names.map(({ past, present }) => {
      const source = states.has(past) ? this.#states : this.#tokens;
      return { past, present, tensor: source.view(past, first, rows) };
    });
    this.#views.set(key, view);
    return view;
  }

  /** The first slots, to decode in. In a turn. */
  async rows(count: number): Promise<KvView> {
    await this.#tokens.settle(count);
    await this.#states.settle(count);
    return this.view(0, count);
  }

  /** A slot to compute a chunk in that begins at token `start`; the states of a new text are cleared. In a turn. */
  async enter(slot: number, start: number): Promise<KvView> {
    if (start === 0) await this.#states.clear(slot);
    const tokens = await this.#tokens.enter(slot, start === 0);
    const states = await this.#states.enter(slot, false);
    const known = this.#entered.get(tokens);
    if (known) return known;
    const all = new Map([...tokens, ...states]);
    const view = this.#names.map(({ past, present }) => {
      const tensor = all.get(past);
      assert(tensor, `the slot has ${past}`);
      return { past, present, tensor };
    });
    this.#entered.set(tokens, view);
    return view;
  }

  /** Copies the first `tokens` tokens of a slot to another, and its states, which are those after its last token. */
  copy(from: number, to: number, tokens: number): Promise<void> {
    return this.#device.turn(async () => {
      await this.#tokens.copy(from, to, { axis: 2, count: tokens });
      await this.#states.copy(from, to);
    });
  }

  /** Tokens of a slot that may be moved within so many bytes. */
  tokensWithin(bytes: number): number {
    return (bytes - stateBytesPerSlot(this.#shape)) / this.bytesPerToken;
  }

  get bytesPerToken(): number {
    return kvBytesPerToken(this.#shape);
  }

  /** In a turn. */
  [Symbol.dispose](): void {
    this.#tokens[Symbol.dispose]();
    this.#states[Symbol.dispose]();
  }
}
