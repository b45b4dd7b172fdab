/**
 * What slots hold of their texts: keys and values, one buffer a layer and kind, written in place by the attention kernel, and
 * beside them the states of layers without attention.
 */
import { cacheKinds, pastInput, presentOutput } from "../model/serving/cache-names.js";
import type { CacheShape } from "../model/serving/cache-shape.js";
import { kvBytesPerToken, stateBytesPerSlot } from "../model/serving/cache-shape.js";
import { Tensor } from "../runtime/tensor.js";

export interface KvShape extends CacheShape {
  readonly slots: number;
  /** Tokens a slot holds. */
  readonly capacity: number;
}

/** Keys, values or states of one layer, to be bound as the graph's past and as its present. */
export interface KvBuffer {
  readonly past: string;
  readonly present: string;
  readonly tensor: Tensor<"float32">;
}

/** The buffers of some slots. */
export type KvView = readonly KvBuffer[];

/** Rows of up to this many tokens are padded behind the last one. */
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
  readonly #tokens: KvView;
  readonly #states: KvView;
  readonly #views = new Map<string, KvView>();

  constructor(shape: KvShape) {
    this.#shape = shape;
    const { slots, kvHeads, capacity, headDim } = shape;
    this.#tokens = shape.layers.flatMap((layer) =>
      cacheKinds.map((kind) => ({
        past: pastInput(layer, kind),
        present: presentOutput(layer, kind),
        tensor: Tensor.zeros("float32", [slots, kvHeads, capacity, headDim]),
      })),
    );
    this.#states = shape.states.map(({ past, present, shape: state }) => ({
      past,
      present,
      tensor: Tensor.zeros("float32", [slots, ...state]),
    }));
  }

  /** Slots [first, first + rows), sharing memory. Views are built once. */
  view(first: number, rows: number): KvView {
    const key = `${first}+${rows}`;
    let view = this.#views.get(key);
    if (!view) {
      const buffers = [...this.#tokens, ...this.#states];
      view = buffers.map((buffer) => ({ ...buffer, tensor: buffer.tensor.rows(first, rows) }));
      this.#views.set(key, view);
    }
    return view;
  }

  /** Copies the first `tokens` tokens of a slot to another, and its states, which are those behind its last token. */
  copy(from: number, to: number, tokens: number): void {
    const { kvHeads, capacity, headDim } = this.#shape;
    for (const { data } of this.#tokens.map(({ tensor }) => tensor)) {
      for (let head = 0; head < kvHeads; head++) {
        const source = (from * kvHeads + head) * capacity * headDim;
        const target = (to * kvHeads + head) * capacity * headDim;
        data.copyWithin(target, source, source + tokens * headDim);
      }
    }
    for (const { tensor } of this.#states) {
      const size = tensor.data.length / this.#shape.slots;
      tensor.data.copyWithin(to * size, from * size, (from + 1) * size);
    }
  }

  /** Sets a slot's states to what they are before the first token of a text. */
  reset(slot: number): void {
    for (const { tensor } of this.#states) {
      const size = tensor.data.length / this.#shape.slots;
      tensor.data.fill(0, slot * size, (slot + 1) * size);
    }
  }

  /** Tokens of a slot that may be moved within so many bytes. */
  tokensWithin(bytes: number): number {
    return (bytes - stateBytesPerSlot(this.#shape)) / this.bytesPerToken;
  }

  get bytesPerToken(): number {
    return kvBytesPerToken(this.#shape);
  }
}
