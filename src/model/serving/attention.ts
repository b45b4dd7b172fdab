/** Attention over a KV cache that is written in place: by the fused kernel, which also rotates where it can. */
import { at } from "../../base/list.js";
import { type AttributeInput, float } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import type { ElementType, Value } from "../../graph/types.js";
import type { Attention } from "../blueprint.js";
import { growthTable, kernelRotates } from "../rope.js";
import type { DecoderConfig } from "../types.js";
import { type CacheKind, pastInput, presentOutput } from "./cache-names.js";
import { inlineTable } from "./inline-table.js";
import { PlainAttention } from "./plain-attention.js";
import { buildRotaryTables, holdsScale, type RotaryTables } from "./rotary.js";
import type { StepInputs } from "./step-inputs.js";
import type { CacheType, ServingTarget } from "./target.js";

const contrib = "com.microsoft";

export interface Attended {
  /** [tokens, heads*headDim] */
  readonly found: Value;
  /** Keys and values with the step's own. */
  readonly presents: readonly [Value, Value];
}

export class AttentionKernel {
  readonly #op: Ops;
  readonly #config: DecoderConfig;
  readonly #capacity: number;
  readonly #inputs: StepInputs;
  readonly #rotary: readonly RotaryTables[];
  /** Of keys and values. */
  readonly #type: CacheType;
  readonly #storedTables = new Map<string, Value>();
  /** Which layers do without the kernel's output. */
  readonly #isPlain: (attention: Attention) => boolean;
  readonly #plain: PlainAttention;
  #growth: Value | null = null;

  constructor(
    op: Ops,
    config: DecoderConfig,
    capacity: number,
    inputs: StepInputs,
    { plainAttention = "none", cacheType = "float32" }: ServingTarget,
  ) {
    this.#op = op;
    this.#config = config;
    this.#capacity = capacity;
    this.#inputs = inputs;
    this.#type = cacheType;
    this.#rotary = buildRotaryTables(op, config, capacity);
    this.#isPlain = ({ softcap }) => plainAttention === "all" || (plainAttention === "softcap" && softcap !== null);
    this.#plain = new PlainAttention(op, { config, capacity, cacheType, wholeSlots: plainAttention !== "all" }, inputs);
  }

  /** `k` and `v` are null if `q` holds all three side by side. */
  build(layer: number, attention: Attention, q: Value, k: Value | null, v: Value | null): Attended {
    const config = this.#config;
    const isTurned = attention.rope !== null && !kernelRotates(at(config.ropes, attention.rope), config.headDim);
    const rotary = attention.rope === null || isTurned ? null : at(this.#rotary, attention.rope);
    const { lengths, total } = this.#inputs;
    const { builder } = this.#op;
    const split = (x: Value | null): Value | null => x && this.#inputs.byRow(x);
    const turned = (x: Value | null, heads: number): Value | null =>
      x && isTurned ? this.#turned(attention, x, heads) : x;
    const isPlain = this.#isPlain(attention);
    const [query, key, value] = (isTurned || isPlain) && !k ? this.#parts(q) : [q, k, v];
    const cache = ["rows", config.kvHeadCount, this.#capacity, config.headDim];
    const type = this.#type;
    const past = (kind: CacheKind): Value => builder.input(pastInput(layer, kind), type, cache);
    const stored = (x: Value | null): Value | null => x && this.#op.cast(x, type);
    const present = (kind: CacheKind) => ({
      type,
      shape: cache,
      name: presentOutput(layer, kind),
    });
    const attributes: Record<string, AttributeInput> = {
      num_heads: config.headCount,
      kv_num_heads: config.kvHeadCount,
      scale: float(1), // see #scaled
      do_rotary: rotary ? 1 : 0,
      local_window_size: attention.window ?? undefined,
      softcap: attention.softcap === null || isPlain ? undefined : float(attention.softcap),
    };
    const width = config.headCount * config.headDim;
    const queries = turned(split(this.#scaled(attention, this.#grown(attention, query))), config.headCount) as Value;
    const [out, keys, values] = builder.node(
      "GroupQueryAttention",
      [
        stored(queries),
        stored(turned(split(key), config.kvHeadCount)),
        stored(split(isPlain && value ? this.#plain.finite(value) : value)),
        past("key"),
        past("value"),
        lengths,
        total,
        ...(rotary ?? []).map((table) => this.#storedTable(table, type)),
      ],
      [{ type, shape: ["rows", "row_tokens", width] }, present("key"), present("value")],
      attributes,
      contrib,
    ) as [Value, Value, Value];
    const presents = [keys, values] as const;
    if (!isPlain) return { found: this.#inputs.byToken(this.#op.cast(out, q.type), width), presents };
    const rotated = rotary ? this.#turned(attention, queries, config.headCount) : queries;
    return { found: this.#plain.build(attention, rotated, keys, values), presents };
  }

  /** A rotary table as kernels take it: in the type of what they turn. */
  #storedTable(table: Value, type: ElementType): Value {
    const key = `${table.name} ${type}`;
    const stored = this.#storedTables.get(key) ?? this.#op.cast(table, type);
    this.#storedTables.set(key, stored);
    return stored;
  }

  /** q, k and v side by side, as three. */
  #parts(qkv: Value): [Value, Value, Value] {
    const { headCount, kvHeadCount, headDim } = this.#config;
    const sizes = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim);
    return this.#op.split(qkv, sizes, 1) as [Value, Value, Value];
  }

  /** Queries or keys [rows, row_tokens, heads*headDim], rotated outside of the attention kernel. */
  #turned({ rope }: Attention, x: Value, heads: number): Value {
    const { ropes } = this.#config;
    const tables = at(this.#rotary, rope ?? 0);
    const { rowPositions } = this.#inputs;
    const part = { num_heads: heads, rotary_embedding_dim: at(ropes, rope ?? 0).rotaryDim };
    const own = tables.map((table) => this.#storedTable(table, x.type));
    return this.#op.one("RotaryEmbedding", [x, rowPositions, ...own], x.type, x.shape, part, contrib);
  }

  /** q of each token times the growth at its position. */
  #grown({ queryGrowth }: Attention, q: Value): Value {
    if (!queryGrowth) return q;
    const size = this.#capacity;
    const table = (): Value => inlineTable(this.#op, "attention.growth", [size], growthTable(queryGrowth, size));
    this.#growth ??= this.#op.unsqueeze(this.#op.gather(table(), this.#inputs.positions), 1);
    return this.#op.mul(q, this.#op.cast(this.#growth, q.type));
  }

  /**
   * q times the attention's scale, unless the rotation does it. The kernel takes its fast product for a single row only with a
   * scale of 1: with another one it repacks all keys of the slot for every head.
   */
  #scaled({ scale, rope }: Attention, q: Value): Value {
    if (scale === 1 || (rope !== null && holdsScale(this.#config, rope))) return q;
    const { headCount, headDim } = this.#config;
    const width = q.shape[1] as number; // of q alone, or of q, k and v side by side
    const factors = Float32Array.from({ length: width }, (_, i) => (i < headCount * headDim ? scale : 1));
    return this.#op.mul(q, this.#op.cast(inlineTable(this.#op, `attention.scale.${width}`, [width], factors), q.type));
  }
}
