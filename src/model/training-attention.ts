/** Causal attention from plain products: query heads that share a key head lie under one another as rows of one product. */
import type { Ops } from "../graph/ops.js";
import { dimProduct } from "../graph/shape.js";
import type { Value } from "../graph/types.js";
import type { DecoderConfig } from "./types.js";

interface AttentionInputs {
  /** int64 [rows, length] each. */
  readonly ids: Value;
  readonly positions: Value;
  readonly segments: Value;
  /** cos and sin [positions, rotaryDim / 2]. */
  readonly rotary: readonly [Value, Value] | null;
}

/** Added to what may not be seen: e to it is 0, and unlike infinity it survives a difference. */
const hidden = -1e30;

export class TrainingAttention {
  readonly #op: Ops;
  readonly #config: DecoderConfig;
  readonly #inputs: AttentionInputs;
  readonly #masks = new Map<number | null, Value>();
  readonly #shapes = new Map<number, Value>();

  constructor(op: Ops, config: DecoderConfig, inputs: AttentionInputs) {
    this.#op = op;
    this.#config = config;
    this.#inputs = inputs;
  }

  /** q [tokens, heads*headDim], k and v [tokens, kvHeads*headDim] to [tokens, heads*headDim]. */
  apply(layer: number, q: Value, k: Value, v: Value): Value {
    const op = this.#op;
    const { headCount, kvHeadCount, headDim, attentionScale, attentionSoftcap } = this.#config;
    const group = headCount / kvHeadCount;
    const [tokens = 1] = q.shape;
    const queries = this.#queries(op.scale(this.#rotate(q, headCount), attentionScale), group); // [rows, kv, group*length, d]
    const keys = op.transpose(this.#heads(this.#rotate(k, kvHeadCount)), [0, 2, 3, 1]); // [rows, kv, d, length]
    const values = op.transpose(this.#heads(this.#rows(v)), [0, 2, 1, 3]); // [rows, kv, length, d]
    let scores = op.matMul(queries, keys);
    if (attentionSoftcap !== null) {
      scores = op.scale(op.tanh(op.scale(scores, 1 / attentionSoftcap)), attentionSoftcap);
    }
    const apart = op.reshape(scores, ["rows", kvHeadCount, group, "length", "length"]);
    const seen = op.softmax(op.add(apart, this.#mask(this.#config.windows[layer] ?? null)));
    const mixed = op.matMul(op.reshape(seen, scores.shape), values); // [rows, kv, group*length, d]
    const parted = op.reshape(mixed, ["rows", kvHeadCount, group, "length", headDim]);
    const back = op.transpose(parted, [0, 3, 1, 2, 4]); // [rows, length, kv, group, d]
    const width = headCount * headDim;
    return op.reshape(back, [tokens, width], op.builder.constant("int64", [2], [-1, width]));
  }

  /** [tokens, width] as [rows, length, width]. */
  #rows(x: Value): Value {
    const width = Number(x.shape[1]);
    return this.#op.reshape(x, ["rows", "length", width], this.#rowShape(width));
  }

  #rowShape(width: number): Value {
    const op = this.#op;
    const known = this.#shapes.get(width);
    if (known) return known;
    const made = op.concat([op.shapeOf(this.#inputs.ids), op.builder.constant("int64", [1], [width])], 0);
    this.#shapes.set(width, made);
    return made;
  }

  /** [rows, length, heads*d] as [rows, length, heads, d]. */
  #heads(x: Value): Value {
    const { headDim } = this.#config;
    return this.#op.reshape(x, ["rows", "length", Number(x.shape[2]) / headDim, headDim]);
  }

  #queries(q: Value, group: number): Value {
    const op = this.#op;
    const { kvHeadCount, headDim } = this.#config;
    const apart = op.reshape(q, ["rows", "length", kvHeadCount, group, headDim]);
    const turned = op.transpose(apart, [0, 2, 3, 1, 4]);
    return op.reshape(turned, ["rows", kvHeadCount, dimProduct([group, "length"]), headDim]);
  }

  /** Positions applied: [tokens, heads*d] to [rows, length, heads*d]. */
  #rotate(x: Value, heads: number): Value {
    const rows = this.#rows(x);
    const { positions, rotary } = this.#inputs;
    const { rope, headDim } = this.#config;
    if (!rotary || !rope) return rows;
    const part = rope.rotaryDim === headDim ? {} : { num_heads: heads, rotary_embedding_dim: rope.rotaryDim };
    return this.#op.one("RotaryEmbedding", [rows, positions, ...rotary], x.type, rows.shape, part, "com.microsoft");
  }

  /** 0 where a token may look, [rows, 1, 1, length, length]: its own segment, no later position, inside the window. */
  #mask(window: number | null): Value {
    const known = this.#masks.get(window);
    if (known) return known;
    const op = this.#op;
    const { positions, segments } = this.#inputs;
    const from = (x: Value): Value => op.unsqueeze(x, 2);
    const to = (x: Value): Value => op.unsqueeze(x, 1);
    const same = op.compare("Equal", from(segments), to(segments));
    let seen = op.binary("And", same, op.compare("GreaterOrEqual", from(positions), to(positions)));
    if (window !== null) {
      const reach = op.add(to(positions), op.like(positions, window));
      seen = op.binary("And", seen, op.compare("Less", from(positions), reach));
    }
    const mask = op.where(seen, op.builder.scalar("float32", 0), op.builder.scalar("float32", hidden));
    const made = op.unsqueeze(op.unsqueeze(mask, 1), 1);
    this.#masks.set(window, made);
    return made;
  }
}
