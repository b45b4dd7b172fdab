/**
 * Attention from single operators, over a cache that the attention kernel has just written. Keys in the cache are rotated. Queries
 * are rotated too, and have their scale unless the rotation gives it.
 */
import type { Ops } from "../../graph/ops.js";
import type { Dim, Value } from "../../graph/types.js";
import type { Attention } from "../blueprint.js";
import type { DecoderConfig } from "../types.js";
import type { StepInputs } from "./step-inputs.js";
import type { CacheType } from "./target.js";

/** A score that no other leaves a share. */
const unseen = -60_000;
/** Larger values are cut to it. */
const largest = { float32: 1e30, float16: 60_000 } as const;

export interface PlainAttentionOptions {
  readonly config: DecoderConfig;
  /** Tokens that a slot holds. */
  readonly capacity: number;
  readonly cacheType: CacheType;
  /** Read slots whole, so that shapes do not change with the texts; else up to the longest row. */
  readonly wholeSlots: boolean;
}

export class PlainAttention {
  readonly #op: Ops;
  readonly #options: PlainAttentionOptions;
  readonly #inputs: StepInputs;
  /** Tokens of a slot that are read. */
  readonly #span: Dim;
  readonly #groupTokens: Dim;
  readonly #visible = new Map<number | null, Value>();
  #places: { readonly own: Value; readonly all: Value } | null = null;

  constructor(op: Ops, options: PlainAttentionOptions, inputs: StepInputs) {
    this.#op = op;
    this.#options = options;
    this.#inputs = inputs;
    this.#span = options.wholeSlots ? options.capacity : "span";
    const { headCount, kvHeadCount } = options.config;
    this.#groupTokens = headCount === kvHeadCount ? "row_tokens" : "group_tokens";
  }

  /** Values as the cache may hold them: after a text lie those of an earlier one, whose share of 0 must come to 0. */
  finite(values: Value): Value {
    const limit = largest[this.#options.cacheType];
    const [low, high] = [this.#op.like(values, -limit), this.#op.like(values, limit)];
    return this.#op.one("Clip", [values, low, high], values.type, values.shape);
  }

  /** Queries [rows, row_tokens, heads*headDim] over keys and values [rows, kvHeads, capacity, headDim]: [tokens, heads*headDim]. */
  build({ softcap, window }: Attention, queries: Value, keys: Value, values: Value): Value {
    const op = this.#op;
    const { headCount, kvHeadCount, headDim } = this.#options.config;
    const group = headCount / kvHeadCount;
    // Products in the type of the cache, what lies between them in float32.
    const all = op.cast(this.#scores(op.cast(queries, keys.type), keys), "float32");
    const capped = softcap === null ? all : op.scale(op.tanh(op.scale(all, 1 / softcap)), softcap);
    const seen = op.where(this.#visibleTo(window), capped, op.like(capped, unseen));
    const found = op.matMul(op.cast(op.softmax(seen), values.type), this.#read(values)); // [rows, kvHeads, group tokens, headDim]
    const apart = this.#regroup(found, ["rows", kvHeadCount, group, "row_tokens", headDim], [0, 0, group, -1, headDim]);
    return this.#inputs.byToken(op.cast(op.transpose(apart, [0, 3, 1, 2, 4]), queries.type), headCount * headDim);
  }

  /** The scores of the queries of a group of heads, one after the other, against the keys that they share. */
  #scores(queries: Value, keys: Value): Value {
    const op = this.#op;
    const { headCount, kvHeadCount: kv, headDim } = this.#options.config;
    const group = headCount / kv;
    const apart = this.#regroup(queries, ["rows", "row_tokens", kv, group, headDim], [0, 0, kv, group, headDim]);
    // What is smaller is turned: the query of each row, or the keys of a prompt.
    if (this.#options.wholeSlots) {
      const turned = op.transpose(apart, [0, 2, 4, 3, 1]);
      const columns = this.#regroup(turned, ["rows", kv, headDim, this.#groupTokens], [0, 0, 0, -1]);
      return op.transpose(op.matMul(this.#read(keys), columns), [0, 1, 3, 2]);
    }
    const turned = op.transpose(apart, [0, 2, 3, 1, 4]);
    const rows = this.#regroup(turned, ["rows", kv, this.#groupTokens, headDim], [0, 0, -1, headDim]);
    return op.matMul(rows, op.transpose(this.#read(keys), [0, 1, 3, 2]));
  }

  #regroup(x: Value, shape: readonly Dim[], sizes: readonly number[]): Value {
    return this.#op.reshape(x, shape, this.#op.builder.constant("int64", [sizes.length], sizes));
  }

  /** The tokens of slots [rows, kvHeads, capacity, headDim] that a step reads. */
  #read(slots: Value): Value {
    if (this.#options.wholeSlots) return slots;
    const list = (value: number): Value => this.#op.builder.constant("int32", [1], [value]);
    const inputs = [slots, list(0), this.#inputs.total, list(2)];
    return this.#op.one("Slice", inputs, slots.type, slots.shape.with(2, this.#span));
  }

  /** Which tokens of a slot each query may see: [rows, 1, group tokens, span]. Layers with the same window share it. */
  #visibleTo(window: number | null): Value {
    const known = this.#visible.get(window);
    if (known) return known;
    const op = this.#op;
    const { own, all } = this.#tokenPlaces();
    const past = op.compare("LessOrEqual", all, own);
    const near =
      window === null
        ? past
        : op.binary("And", past, op.compare("Less", op.sub(own, op.builder.scalar("int32", window)), all));
    this.#visible.set(window, near);
    return near;
  }

  /** Where in its slot each query's token lies, [rows, 1, group tokens, 1], and the places of a slot, [span]. */
  #tokenPlaces(): { readonly own: Value; readonly all: Value } {
    if (this.#places) return this.#places;
    const op = this.#op;
    const { config, capacity, wholeSlots } = this.#options;
    const tokens = this.#inputs.positionColumns;
    const heads = Array.from({ length: config.headCount / config.kvHeadCount }, () => tokens);
    const grouped =
      heads.length === 1 ? tokens : op.one("Concat", heads, "int32", ["rows", this.#groupTokens, 1], { axis: 1 });
    const { total } = this.#inputs;
    const [first, step] = [op.builder.scalar("int32", 0), op.builder.scalar("int32", 1)];
    const whole = Array.from({ length: capacity }, (_, place) => place);
    const all = wholeSlots
      ? op.builder.constant("int32", [capacity], whole)
      : op.one("Range", [first, total, step], "int32", [this.#span]);
    this.#places = { own: op.unsqueeze(grouped, 1), all };
    return this.#places;
  }
}
