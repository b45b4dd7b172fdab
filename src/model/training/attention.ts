/**
 * Causal attention from plain products, with a custom gradient. Query heads that share a key head are rows of one product, and a
 * block of queries meets only the keys up to its end.
 */
import { at, zip } from "../../base/list.js";
import type { CustomGradient } from "../../graph/gradient.js";
import type { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Dim, Value } from "../../graph/types.js";
import type { Attention } from "../blueprint.js";
import type { DecoderConfig } from "../types.js";
import { type BlockInputs, TrainingMasks } from "./masks.js";

export interface AttentionInputs extends BlockInputs {
  /** int64 [rows, length]. */
  readonly ids: Value;
  /** cos and sin [positions, rotaryDim / 2] of each rope. */
  readonly rotary: readonly (readonly [Value, Value])[];
}

/** What attention reports to the graph. */
export interface AttentionNotes {
  readonly custom: CustomGradient[];
  /** Names of values that are expensive to recompute for their size. */
  readonly costly: Set<string>;
}

/** What a block of queries keeps for its gradient. */
interface Block {
  readonly queries: Value;
  /** tanh of the scores, if they have a softcap. */
  readonly tanh: Value | null;
  readonly shares: Value;
}

export class TrainingAttention {
  readonly #op: Ops;
  readonly #config: DecoderConfig;
  readonly #inputs: AttentionInputs;
  readonly #masks: TrainingMasks;
  readonly #notes: AttentionNotes;
  /** [rows, length, width] as tensors, by width: created here, outside of any layer. */
  readonly #shapes: ReadonlyMap<number, Value>;

  constructor(op: Ops, config: DecoderConfig, inputs: AttentionInputs, notes: AttentionNotes) {
    this.#op = op;
    this.#config = config;
    this.#inputs = inputs;
    this.#masks = new TrainingMasks(op, inputs, config.headCount / config.kvHeadCount);
    this.#notes = notes;
    const { headCount, kvHeadCount, headDim } = config;
    this.#shapes = new Map([headCount * headDim, kvHeadCount * headDim].map((width) => [width, this.#rowShape(width)]));
  }

  /** q [tokens, heads*headDim], k and v [tokens, kvHeads*headDim] to [tokens, heads*headDim]. */
  apply(attention: Attention, q: Value, k: Value, v: Value): Value {
    const { headCount, kvHeadCount } = this.#config;
    const op = this.#op;
    const queries = this.#toKeyHeads(op, this.#rotate(attention, q, headCount));
    const keys = this.#toKeyHeads(op, this.#rotate(attention, k, kvHeadCount));
    const values = this.#toKeyHeads(op, this.#rows(op, v));
    const masks = this.#masks.of(attention.window);
    for (const { name } of [keys, values]) this.#notes.costly.add(name);
    const parts = zip(this.#masks.partQueries(op, queries), masks);
    const blocks = parts.map(([part, mask], i) => this.#block(attention, part, keys, mask, i));
    const mixed = blocks.map(({ shares }, i) => op.matMul(shares, this.#masks.seenKeys(op, values, i)));
    const result = this.#fromKeyHeads(op, this.#masks.joinQueries(op, mixed), at(q.shape, 0));
    this.#notes.custom.push({
      inputs: [queries, keys, values],
      outputs: [result],
      vjp: (by, [gradient], _, forwardOf) =>
        gradient
          ? this.#gradients(by, gradient, { attention, queries: blocks, keys, values, result }, forwardOf)
          : [null, null, null],
    });
    return result;
  }

  /** P = softmax(scale Q Kᵀ + mask), with the softcap applied before the mask. */
  #block({ scale, softcap }: Attention, queries: Value, keys: Value, mask: Value, i: number): Block {
    const op = this.#op;
    const scores = op.fusedMatMul(queries, this.#masks.seenKeys(op, keys, i), { transB: true, alpha: scale });
    const tanh = softcap === null ? null : op.tanh(op.scale(scores, 1 / softcap));
    const capped = tanh && softcap !== null ? op.scale(tanh, softcap) : scores;
    return { queries, tanh, shares: op.softmax(op.add(capped, mask)) };
  }

  /**
   * O = P V: dV = Pᵀ G, dS = P (G Vᵀ - D) with D = Σ P (G Vᵀ) = Σ G O of each query (as in arXiv:2205.14135), then
   * dQ = scale dS K and dK = scale dSᵀ Q. The gradients of keys and values are sums over the blocks that see them.
   */
  #gradients(
    op: Ops,
    gradient: Value,
    forward: {
      readonly attention: Attention;
      readonly queries: readonly Block[];
      readonly keys: Value;
      readonly values: Value;
      readonly result: Value;
    },
    forwardOf: (value: Value) => Value,
  ): Value[] {
    const { scale: alpha } = forward.attention;
    const [keys, values] = [forwardOf(forward.keys), forwardOf(forward.values)];
    const arrived = this.#masks.partQueries(op, this.#toKeyHeads(op, this.#rows(op, gradient)));
    const sums = this.#masks.partQueries(op, this.#headSums(op, op.mul(gradient, forwardOf(forward.result))));
    const parts = zip(forward.queries, zip(arrived, sums)).map(([block, [g, sum]], i) => {
      const shares = forwardOf(block.shares);
      const through = op.fusedMatMul(g, this.#masks.seenKeys(op, values, i), { transB: true });
      const flat = op.mul(shares, op.sub(through, sum));
      const slope = block.tanh ? this.#slope(op, flat, forwardOf(block.tanh)) : flat;
      return {
        dq: op.fusedMatMul(slope, this.#masks.seenKeys(op, keys, i), { alpha }),
        dk: op.fusedMatMul(slope, forwardOf(block.queries), { transA: true, alpha }),
        dv: op.fusedMatMul(shares, g, { transA: true }),
      };
    });
    return [
      this.#masks.joinQueries(
        op,
        parts.map(({ dq }) => dq),
      ),
      this.#masks.addKeys(
        op,
        parts.map(({ dk }) => dk),
      ),
      this.#masks.addKeys(
        op,
        parts.map(({ dv }) => dv),
      ),
    ];
  }

  /** Through cap tanh(s / cap): 1 - tanh². */
  #slope(op: Ops, g: Value, tanh: Value): Value {
    return op.mul(g, op.sub(op.like(tanh, 1), op.mul(tanh, tanh)));
  }

  /** [tokens, width] as [rows, length, width]. */
  #rows(op: Ops, x: Value): Value {
    const width = Number(x.shape[1]);
    return op.reshape(x, ["rows", "length", width], this.#shapes.get(width));
  }

  #rowShape(width: number): Value {
    const op = this.#op;
    return op.concat([op.shapeOf(this.#inputs.ids), op.builder.constant("int64", [1], [width])], 0);
  }

  /** [rows, length, heads*d] as [rows, kv, length*group, d]: a key head's query heads at each token are adjacent. */
  #toKeyHeads(op: Ops, x: Value): Value {
    const { headDim, kvHeadCount } = this.#config;
    const group = Number(x.shape[2]) / headDim / kvHeadCount;
    const apart = op.reshape(x, ["rows", "length", kvHeadCount, group * headDim]);
    const turned = op.transpose(apart, [0, 2, 1, 3]);
    return op.reshape(turned, ["rows", kvHeadCount, dimProduct(["length", group]), headDim]);
  }

  /** The inverse: [rows, kv, length*group, d] to [tokens, heads*d]. */
  #fromKeyHeads(op: Ops, x: Value, tokens: Dim): Value {
    const { headCount, headDim, kvHeadCount } = this.#config;
    const group = headCount / kvHeadCount;
    const apart = op.reshape(x, ["rows", kvHeadCount, "length", group * headDim]);
    const turned = op.transpose(apart, [0, 2, 1, 3]);
    const width = headCount * headDim;
    return op.reshape(turned, [tokens, width], op.builder.constant("int64", [2], [-1, width]));
  }

  /** The sum over each head of [tokens, heads*d]: [rows, kv, length*group, 1]. */
  #headSums(op: Ops, x: Value): Value {
    const { headCount, headDim, kvHeadCount } = this.#config;
    const group = headCount / kvHeadCount;
    const heads = op.reshape(this.#rows(op, x), ["rows", "length", headCount, headDim]);
    const apart = op.reshape(op.sum(heads, [3], false), ["rows", "length", kvHeadCount, group]);
    const turned = op.transpose(apart, [0, 2, 1, 3]);
    return op.reshape(turned, ["rows", kvHeadCount, dimProduct(["length", group]), 1]);
  }

  /** Applies rotary positions: [tokens, heads*d] to [rows, length, heads*d]. */
  #rotate({ rope }: Attention, x: Value, heads: number): Value {
    const op = this.#op;
    const rows = this.#rows(op, x);
    const { positions, rotary } = this.#inputs;
    if (rope === null) return rows;
    const { ropes, headDim } = this.#config;
    const { rotaryDim } = at(ropes, rope);
    const part = rotaryDim === headDim ? {} : { num_heads: heads, rotary_embedding_dim: rotaryDim };
    return op.one("RotaryEmbedding", [rows, positions, ...at(rotary, rope)], x.type, rows.shape, part, "com.microsoft");
  }
}
