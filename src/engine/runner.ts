/** Runs prefill chunks and decode steps: fills the inputs, binds what changed, calls the session. Knows no request. */
import type { HostAdapter } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph } from "../graph/types.js";
import { paddedRank, tileColumns } from "../model/rank-tiles.js";
import { buildServingGraph } from "../model/serving.js";
import {
  type AdapterAxis,
  type AdapterMode,
  gainNames,
  indexNames,
  type SiteGroup,
} from "../model/serving-adapters.js";
import type { DecoderConfig } from "../model/types.js";
import type { WeightSource } from "../model/weights.js";
import { canMap } from "../runtime/mapping.js";
import { Session, type SessionOptions, SharedWeights } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { type AdapterBank, type BankHold, rankClasses } from "./bank.js";
import { BoundInputs } from "./bound-inputs.js";
import { groupRows } from "./groups.js";
import type { KvCache } from "./kv-cache.js";
import { shareWeights } from "./shared-weights.js";

export interface RunnerOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightSource;
  readonly capacity: number;
  /** Rows of the largest step. */
  readonly maxRows: number;
  readonly session: SessionOptions;
  /** No row's bits depend on its neighbours: adapter groups have at least two members, and where kernels need it rows are even. */
  readonly exact: boolean;
  /** A step must have an even number of rows: the caller pads with rows of idle slots. */
  readonly evenRows: boolean;
}

/** One row of a decode step; a dummy has no adapter and its logits are ignored. */
export interface DecodeRow {
  readonly token: number;
  /** Tokens already in the slot: the new one is written behind them. */
  readonly length: number;
  readonly adapter: BankHold | null;
}

export interface PrefillChunk {
  readonly slot: number;
  readonly start: number;
  readonly tokens: readonly number[];
  /** Logits of every token; else of the last one only. */
  readonly allLogits: boolean;
  readonly adapter: BankHold | null;
}

/** A session and its bindings for decode steps and prefill chunks. */
interface Variant {
  readonly session: Session;
  readonly bindings: Map<string, BoundInputs>;
}

/** One adapter for all rows, or one or two rank classes mixed with bare rows; the leanest that does is run. */
const modes: readonly AdapterMode[] = [
  "none",
  "single",
  "tiled",
  ...Array.from({ length: rankClasses }, (_, i) => i + 1),
];

/** Up to this rank a product over it is one sum; longer ones are cut, and Gemm's C would come first among the parts. */
const oneSum = 128;

export class Runner {
  readonly #options: RunnerOptions;
  readonly #variants: ReadonlyMap<AdapterMode, Variant>;
  /** For steps with rows of DoRA: made with the first such adapters. */
  readonly #gained = new Map<AdapterMode, Variant>();
  #making: Promise<void> = Promise.resolve();
  readonly #shared: SharedWeights | null;
  readonly #buffers = new Map<string, Tensor>();
  /** [i]: the first i + 1 rows. */
  #logits: Tensor<"float32">[] = [];
  /** Adapted linears by the input that they share. */
  readonly groups: readonly SiteGroup[];

  private constructor(
    options: RunnerOptions,
    variants: ReadonlyMap<AdapterMode, Variant>,
    shared: SharedWeights | null,
    groups: readonly SiteGroup[],
  ) {
    this.#options = options;
    this.#variants = variants;
    this.#shared = shared;
    this.groups = groups;
  }

  /** Makes a session for each way of using adapters; they share the weights. */
  static async create(options: RunnerOptions): Promise<Runner> {
    const { config, weights, capacity } = options;
    const shared = canMap() ? new SharedWeights() : null;
    const variants = new Map<AdapterMode, Variant>();
    let groups: readonly SiteGroup[] = [];
    for (const adapters of modes) {
      const built = buildServingGraph({ config, weights, capacity, adapters });
      variants.set(adapters, await openVariant(built.graph, options, shared));
      groups = built.groups;
    }
    return new Runner(options, variants, shared, groups);
  }

  /** To be awaited before rows have this adapter: the first of DoRA brings sessions that nobody needs without one. */
  prepare({ dora, rank }: Pick<HostAdapter, "dora" | "rank">): Promise<void> {
    if (!dora) return Promise.resolve();
    const alone = paddedRank(rank) <= tileColumns ? "single" : "tiled";
    const wanted = modes.filter((mode) => typeof mode === "number" || mode === alone);
    const made = this.#making.then(() => this.#openGained(wanted));
    this.#making = made.catch(() => undefined);
    return made;
  }

  async #openGained(wanted: readonly AdapterMode[]): Promise<void> {
    for (const adapters of wanted) {
      if (this.#gained.has(adapters)) continue;
      const { graph } = buildServingGraph({ ...this.#options, adapters, dora: true });
      this.#gained.set(adapters, await openVariant(graph, this.#options, this.#shared));
    }
  }

  /** One token for each row; slot i is row i. Returns logits [rows, vocab], valid until the next call. */
  async decode(rows: readonly DecodeRow[], cache: KvCache, bank: AdapterBank): Promise<Float32Array> {
    const count = rows.length;
    assert(!this.#options.evenRows || count % 2 === 0, "a step of an exact quantized base has an even number of rows");
    const adapters = rows.map((row) => row.adapter);
    const { mode, variant, classes } = this.#variantFor(adapters, bank);
    const bound = this.#bound(variant, "decode");
    const longest = Math.max(...rows.map((row) => row.length));
    const ids = this.#ints("ids", count, (i) => (rows[i] as DecodeRow).token);
    this.#bindTokens(bound, ids, [count, 1], longest + 1);
    bound.input(
      "seqlens_k",
      this.#ints("lengths", count, (i) => (rows[i] as DecodeRow).length),
    );
    if (this.#learnedPositions)
      bound.input(
        "positions",
        this.#ints("positions", count, (i) => (rows[i] as DecodeRow).length),
      );
    bound.input(
      "logit_rows",
      this.#ints("rows", count, (i) => i),
    );
    bound.cache(cache.view(0, count));
    this.#bindAdapters(bound, bank, mode, classes, adapters, count);
    return this.#run(variant, bound, count);
  }

  /** Writes a chunk of one slot. Returns logits [1 or tokens, vocab], valid until the next call. */
  async prefill(chunk: PrefillChunk, cache: KvCache, bank: AdapterBank): Promise<Float32Array> {
    const real = chunk.tokens.length;
    // A lone or odd token would take another kernel: what pads is overwritten by the next tokens.
    const count = Math.max(2, real + (real % 2));
    assert(chunk.start + count <= this.#options.capacity, "a padded chunk fits its slot");
    const adapters = new Array<BankHold | null>(count).fill(chunk.adapter);
    const { mode, variant, classes } = this.#variantFor(adapters, bank);
    const bound = this.#bound(variant, "prefill");
    const ids = this.#ints("ids", count, (i) => chunk.tokens[Math.min(i, real - 1)] as number);
    this.#bindTokens(bound, ids, [1, count], chunk.start + count);
    bound.input(
      "seqlens_k",
      this.#ints("lengths", 1, () => chunk.start + count - 1),
    );
    if (this.#learnedPositions) {
      const last = this.#options.config.maxPositions - 1;
      bound.input(
        "positions",
        this.#ints("positions", count, (i) => Math.min(chunk.start + i, last)),
      );
    }
    // Scored prompts keep to even numbers of rows too.
    const logitRows = chunk.allLogits ? count : 1;
    bound.input(
      "logit_rows",
      this.#ints("rows", logitRows, (i) => (chunk.allLogits ? i : real - 1)),
    );
    bound.cache(cache.view(chunk.slot, 1));
    this.#bindAdapters(bound, bank, mode, classes, adapters, logitRows);
    const logits = await this.#run(variant, bound, logitRows);
    return chunk.allLogits ? logits.subarray(0, real * this.#options.config.vocabSize) : logits;
  }

  /** The leanest session for these rows, and the bank class that stands behind each of its class inputs. */
  #variantFor(
    adapters: readonly (BankHold | null)[],
    bank: AdapterBank,
  ): { mode: AdapterMode; variant: Variant; classes: number[] } {
    const { exact } = this.#options;
    const [first = null] = adapters;
    const classes = [...new Set(adapters.flatMap((hold) => (hold ? [hold.rankClass] : [])))].sort();
    let mode: AdapterMode = classes.length === 0 ? "none" : classes.length;
    if (first !== null && adapters.every((hold) => hold?.digest === first.digest)) {
      const { rank } = bank.memory(first.rankClass);
      // A lone row would take another kernel: where bits matter it runs as a group of two.
      if (!exact || (adapters.length > 1 && rank <= oneSum)) mode = rank <= tileColumns ? "single" : "tiled";
    }
    if (!hasGains(adapters)) return { mode, variant: this.#variants.get(mode) as Variant, classes };
    // A small adapter in a class of larger ones may lack the session for one adapter of that rank: a class does as well.
    if (!this.#gained.has(mode)) mode = classes.length;
    const variant = this.#gained.get(mode);
    assert(variant, "an adapter of DoRA is prepared before rows have it");
    return { mode, variant, classes };
  }

  #bound(variant: Variant, kind: string): BoundInputs {
    let bound = variant.bindings.get(kind);
    if (!bound) {
      bound = new BoundInputs(variant.session.bind());
      variant.bindings.set(kind, bound);
    }
    return bound;
  }

  #bindTokens(bound: BoundInputs, ids: Tensor, shape: readonly [number, number], total: number): void {
    bound.input("input_ids", ids);
    const sizes = this.#buffer("shape", "int64", [3]);
    sizes.data.set([BigInt(shape[0]), BigInt(shape[1]), -1n]);
    bound.input("attention_shape", sizes);
    bound.input(
      "total_sequence_length",
      this.#ints("total", 1, () => total),
    );
  }

  #bindAdapters(
    bound: BoundInputs,
    bank: AdapterBank,
    mode: AdapterMode,
    classes: readonly number[],
    adapters: readonly (BankHold | null)[],
    logitRows: number,
  ): void {
    const [first = null] = adapters;
    if (first && (mode === "single" || mode === "tiled")) {
      for (const [name, tensor] of bank.memory(first.rankClass).place(first.place)) bound.input(name, tensor);
      for (const [name, tensor] of first.gain === null ? [] : bank.gains.row(first.gain)) bound.input(name, tensor);
      return;
    }
    for (const [slot, rankClass] of classes.entries()) {
      this.#bindClass(bound, bank, slot, rankClass, adapters, logitRows);
    }
    if (hasGains(adapters)) this.#bindGains(bound, bank, adapters, logitRows);
  }

  /** Which rows have DoRA, and where their gains are. */
  #bindGains(bound: BoundInputs, bank: AdapterBank, adapters: readonly (BankHold | null)[], logitRows: number): void {
    for (const [name, tensor] of bank.gains.inputs()) bound.input(name, tensor);
    const axes = this.#adaptedHead ? (["tokens", "logit_rows"] as const) : (["tokens"] as const);
    for (const axis of axes) {
      const taken = axis === "tokens" ? adapters : adapters.slice(0, logitRows);
      const gained = taken.flatMap((hold, row) => (hold && hold.gain !== null ? [{ row, place: hold.gain }] : []));
      const indices = (values: number[]) =>
        Tensor.from("int64", [values.length, 1], BigInt64Array.from(values, BigInt));
      const names = gainNames(axis);
      bound.fresh(names.rows, indices(gained.map(({ row }) => row)));
      bound.fresh(names.places, indices(gained.map(({ place }) => place)));
    }
  }

  /** The stack of one class and which rows read which place of it. */
  #bindClass(
    bound: BoundInputs,
    bank: AdapterBank,
    slot: number,
    rankClass: number,
    adapters: readonly (BankHold | null)[],
    logitRows: number,
  ): void {
    const own = adapters.map((hold) => (hold?.rankClass === rankClass ? hold.place : -1));
    const used = own.filter((place) => place >= 0);
    const first = Math.min(...used);
    const count = Math.max(...used) - first + 1;
    for (const [name, tensor] of bank.memory(rankClass).view(first, count)) {
      bound.input(`${name}.${slot}`, tensor);
    }
    const rows = own.map((place) => (place < 0 ? -1 : place - first));
    this.#bindIndices(bound, "tokens", slot, rows, count);
    if (this.#adaptedHead) this.#bindIndices(bound, "logit_rows", slot, rows.slice(0, logitRows), count);
  }

  #bindIndices(bound: BoundInputs, axis: AdapterAxis, slot: number, rows: readonly number[], groups: number): void {
    const { members, toGroups, products, rows: taken } = groupRows(rows, groups, this.#options.exact ? 2 : 1);
    const names = indexNames(axis, slot);
    bound.fresh(names.toGroups, Tensor.from("int32", [groups, 1, 1, members], toGroups));
    bound.fresh(names.products, Tensor.from("int64", [taken.length, 3], products));
    bound.fresh(names.rows, Tensor.from("int64", [taken.length, 1], taken));
  }

  async #run(variant: Variant, bound: BoundInputs, logitRows: number): Promise<Float32Array> {
    const { vocabSize } = this.#options.config;
    const logits = this.#logitsOf(logitRows, vocabSize);
    bound.output("logits", logits);
    await variant.session.run(bound.binding);
    return logits.data;
  }

  /** Rows of the one logits buffer, which grows to what was asked for most. */
  #logitsOf(rows: number, vocabSize: number): Tensor<"float32"> {
    if ((this.#logits[0]?.data.buffer.byteLength ?? 0) < rows * vocabSize * 4) {
      const size = Math.max(rows, this.#options.maxRows);
      const whole = Tensor.zeros("float32", [size, vocabSize]);
      this.#logits = Array.from({ length: size }, (_, i) => whole.rows(0, i + 1));
    }
    return this.#logits[rows - 1] as Tensor<"float32">;
  }

  #ints(name: string, count: number, value: (i: number) => number): Tensor<"int32"> {
    const tensor = this.#buffer(name, "int32", [count]);
    for (let i = 0; i < count; i++) tensor.data[i] = value(i);
    return tensor;
  }

  #buffer<T extends "int32" | "int64">(name: string, type: T, shape: readonly number[]): Tensor<T> {
    const key = `${name}[${shape}]`;
    let tensor = this.#buffers.get(key);
    if (!tensor) {
      tensor = Tensor.zeros(type, shape);
      this.#buffers.set(key, tensor);
    }
    return tensor as Tensor<T>;
  }

  get #learnedPositions(): boolean {
    return this.#options.config.rope === null;
  }

  get #adaptedHead(): boolean {
    return !this.#options.config.tiedHead;
  }

  /** Waits for sessions that are being made, which use the same weights. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#making;
    this[Symbol.dispose]();
  }

  /** Only while no session is being made. */
  [Symbol.dispose](): void {
    for (const { session } of [...this.#variants.values(), ...this.#gained.values()]) session[Symbol.dispose]();
    this.#shared?.[Symbol.dispose]();
  }
}

const hasGains = (adapters: readonly (BankHold | null)[]): boolean =>
  adapters.some((hold) => hold !== null && hold.gain !== null);

async function openVariant(
  graph: Graph,
  { session: options }: RunnerOptions,
  shared: SharedWeights | null,
): Promise<Variant> {
  const names = shared ? shareWeights(graph, shared) : [];
  const session = await Session.create(serializeGraph(graph), {
    ...options,
    ...(shared ? { shared: { weights: shared, names } } : {}),
  });
  return { session, bindings: new Map() };
}
