/** Keys and values of all slots: one buffer a layer and kind, written in place by the attention kernel. */
import { cacheKinds, pastInput, presentOutput } from "../model/serving/cache-names.js";
import { Tensor } from "../runtime/tensor.js";

export interface KvShape {
  readonly layers: number;
  readonly slots: number;
  readonly kvHeads: number;
  /** Tokens a slot holds. */
  readonly capacity: number;
  readonly headDim: number;
}

/** Keys or values of one layer, to be bound as the graph's past and as its present. */
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

export const kvBytesPerToken = (shape: Omit<KvShape, "slots" | "capacity">): number =>
  shape.layers * 2 * shape.kvHeads * shape.headDim * 4;

export class KvCache {
  readonly #shape: KvShape;
  readonly #buffers: KvView;
  readonly #views = new Map<string, KvView>();

  constructor(shape: KvShape) {
    this.#shape = shape;
    const { slots, kvHeads, capacity, headDim } = shape;
    this.#buffers = Array.from({ length: shape.layers }, (_, layer) =>
      cacheKinds.map((kind) => ({
        past: pastInput(layer, kind),
        present: presentOutput(layer, kind),
        tensor: Tensor.zeros("float32", [slots, kvHeads, capacity, headDim]),
      })),
    ).flat();
  }

  /** Slots [first, first + rows), sharing memory. Views are built once. */
  view(first: number, rows: number): KvView {
    const key = `${first}+${rows}`;
    let view = this.#views.get(key);
    if (!view) {
      view = this.#buffers.map((buffer) => ({ ...buffer, tensor: buffer.tensor.rows(first, rows) }));
      this.#views.set(key, view);
    }
    return view;
  }

  /** Copies the first `tokens` tokens of a slot to another. */
  copy(from: number, to: number, tokens: number): void {
    const { kvHeads, capacity, headDim } = this.#shape;
    for (const { data } of this.#buffers.map(({ tensor }) => tensor)) {
      for (let head = 0; head < kvHeads; head++) {
        const source = (from * kvHeads + head) * capacity * headDim;
        const target = (to * kvHeads + head) * capacity * headDim;
        data.copyWithin(target, source, source + tokens * headDim);
      }
    }
  }

  get bytesPerToken(): number {
    return kvBytesPerToken(this.#shape);
  }
}
