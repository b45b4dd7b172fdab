/** Runs prefill chunks and decode steps: fills the inputs, binds what changed, calls the session. Knows no request. */

import type { HostTable } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { at, float32At } from "../base/list.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph } from "../graph/types.js";
import type { TargetModule } from "../model/blueprint.js";
import { filterReach, hasMemory, tiedHead } from "../model/modules.js";
import { type AdapterMode, gainNames, indexNames, type ModuleGroup } from "../model/serving/adapters.js";
import { buildServingGraph, embeddingDelta, hiddenName, logitsName } from "../model/serving/graph.js";
import { oneSum, paddedRank, tileColumns } from "../model/serving/rank-tiles.js";
import { rotationFactor } from "../model/serving/rotary.js";
import { stackedInputs } from "../model/serving/stacked-adapters.js";
import type { Arithmetic, ServingTarget } from "../model/serving/target.js";
import type { DecoderConfig } from "../model/types.js";
import type { WeightSource } from "../model/weights.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device, DeviceTensor } from "../runtime/device/device.js";
import { released } from "../runtime/device/lost.js";
import { canMap } from "../runtime/mapping.js";
import { Session, type SessionOptions, SharedWeights } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { shareWeights } from "../weights/sharing.js";
import { type AdapterBank, type BankHold, rankClasses } from "./adapters/bank.js";
import type { BankClass } from "./adapters/bank-class.js";
import { groupRows } from "./adapters/groups.js";
import type { Bank } from "./adapters/pool.js";
import { StackedBank } from "./adapters/stacked-bank.js";
import { BoundInputs } from "./bound-inputs.js";
import { captureFor } from "./capture.js";
import { CardDecode, type DecodeOutputs, StepInputs } from "./card-decode.js";
import { DeviceCopies } from "./device-copies.js";
import type { KvCache } from "./kv-cache.js";
import { OutputRows } from "./output-rows.js";
import { RotaryInputs } from "./rotary-inputs.js";
import {
  type AdapterKind,
  combinations,
  hasGains,
  isOnly,
  isPlain,
  kindOf,
  plain,
  type Special,
  specialKey,
  specialOf,
  union,
} from "./special.js";

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
  /** Where the steps run. Default: the CPU. */
  readonly device?: Device;
  /** What they compute in. Default: float32. */
  readonly arithmetic?: Arithmetic;
}

/** One row of a decode step; a dummy has no adapter and its logits are ignored. */
export interface DecodeRow<Hold = BankHold> {
  readonly token: number;
  /** Tokens already in the slot: the new one is written behind them. */
  readonly length: number;
  readonly adapter: Hold | null;
  /** Its slot's states do not take the token in: of a dummy, and of a token that is decoded again. */
  readonly keepsStates?: boolean;
}

export interface PrefillChunk<Hold = BankHold> {
  readonly slot: number;
  readonly start: number;
  /** Tokens of the whole text that the chunk is part of. */
  readonly length: number;
  readonly tokens: readonly number[];
  /** The output of every token; else of the last one only. */
  readonly allRows: boolean;
  /** What the head computes, or what it would read. Default: logits. */
  readonly output?: PrefillOutput;
  /** The only token that may follow. For encoder-decoders alone. */
  readonly firstId?: number;
  readonly adapter: Hold | null;
}

export type PrefillOutput = "logits" | "hidden";

/** A session and its bindings for decode steps and prefill chunks. */
interface Variant {
  readonly session: Session;
  /** Names of the graph's inputs. */
  readonly inputs: ReadonlySet<string>;
  readonly bindings: Map<string, BoundInputs>;
}

/** What takes the inputs of a step: a binding, or a list of them. */
interface InputSink {
  input(name: string, tensor: Tensor | DeviceTensor): void;
}

/** A session that decodes on a card. */
interface Card {
  readonly decode: CardDecode;
  readonly inputs: ReadonlySet<string>;
}

const cardKey = (mode: AdapterMode, gains: boolean): string => `${mode} ${gains}`;

/** The session that a step runs, and how it takes its adapters. */
interface StepVariant {
  readonly mode: AdapterMode;
  readonly variant: Variant;
  readonly classes: readonly number[];
  readonly inBlocks: boolean;
}

/** One adapter for all rows, or one or two rank classes mixed with rows without an adapter; a step runs the leanest that fits. */
const modes: readonly AdapterMode[] = [
  "none",
  "single",
  "tiled",
  ...Array.from({ length: rankClasses }, (_, i) => i + 1),
];

/** On a card adapters lie side by side. Decode steps take any mix of them, prompts one. */
const cardModes = { decode: ["none", "masked"], prefill: ["none", "picked"] } as const;

const modesOf = ({ capabilities }: Device): readonly AdapterMode[] =>
  capabilities.hostMemory ? modes : cardModes.prefill;

/** The form of the graphs on a device. */
function targetOf({ device = cpu, arithmetic = {} }: RunnerOptions): ServingTarget {
  const { hostMemory, softcap } = device.capabilities;
  return hostMemory ? arithmetic : { ...arithmetic, plainAttention: softcap ? "none" : "softcap", int64: false };
}

export class Runner {
  readonly #options: RunnerOptions;
  readonly #device: Device;
  readonly #variants: ReadonlyMap<AdapterMode, Variant>;
  readonly #special = new Map<string, Variant>();
  /** Graphs without the head, created when the first request needs one. */
  readonly #hidden = new Map<string, Variant>();
  /** On a card, where only prompts run the variants. */
  readonly #cards = new Map<string, Card>();
  #replays = true;
  /** What adapters so far have needed. */
  #had: Special = plain;
  #opening: Promise<void> = Promise.resolve();
  readonly #shared: SharedWeights | null;
  readonly #buffers = new Map<string, Tensor>();
  readonly #filterReach: number | null;
  readonly #hasMemory: boolean;
  readonly #rotary: RotaryInputs;
  readonly #copies: DeviceCopies;
  readonly #outputs: Readonly<Record<PrefillOutput, OutputRows>>;
  /** Adapted linears by the input that they share. */
  readonly groups: readonly ModuleGroup[];
  /** A head that is tied to the embeddings, which adapters may change on the CPU; null if it has weights of its own. */
  readonly tiedHead: TargetModule | null;

  private constructor(
    options: RunnerOptions,
    variants: ReadonlyMap<AdapterMode, Variant>,
    shared: SharedWeights | null,
    groups: readonly ModuleGroup[],
  ) {
    this.#options = options;
    this.#device = options.device ?? cpu;
    this.#copies = new DeviceCopies(this.#device);
    this.#variants = variants;
    this.#shared = shared;
    this.groups = groups;
    this.#filterReach = filterReach(options.config);
    this.#hasMemory = hasMemory(options.config);
    const { config, capacity, maxRows } = options;
    this.tiedHead = tiedHead(config);
    this.#outputs = {
      logits: new OutputRows(this.#device, config.vocabSize, maxRows),
      hidden: new OutputRows(this.#device, config.hiddenSize, maxRows),
    };
    this.#rotary = new RotaryInputs(config.ropes, capacity, (rope) => rotationFactor(config, rope));
  }

  /** Creates a session for each way of using adapters; they share the weights. */
  static async create(options: RunnerOptions): Promise<Runner> {
    const { config, weights, capacity, device = cpu } = options;
    const shared = canMap() ? new SharedWeights(device.capabilities.hostMemory ? null : device) : null;
    const built = modesOf(device).map((adapters) => ({
      adapters,
      ...buildServingGraph({ config, weights, capacity, adapters, target: targetOf(options) }),
    }));
    const variants = new Map<AdapterMode, Variant>();
    const runner = new Runner(options, variants, shared, built.at(-1)?.groups ?? []);
    try {
      for (const { adapters, graph } of built) {
        variants.set(adapters, await device.turn(() => openVariant(graph, options, shared)));
      }
      for (const mode of device.capabilities.hostMemory ? [] : cardModes.decode) await runner.#openCard(mode, false);
      return runner;
    } catch (error) {
      await released(runner[Symbol.asyncDispose]());
      throw error;
    }
  }

  async #openCard(mode: AdapterMode, gains: boolean): Promise<void> {
    const key = cardKey(mode, gains);
    if (this.#cards.has(key)) return;
    const { config, session, capacity } = this.#options;
    const target = targetOf(this.#options);
    const { vocabSize } = config;
    const forms = { vocabSize, capacity, capture: captureFor(config, this.#device.capabilities) };
    const { graph } = buildServingGraph({ ...this.#options, adapters: mode, gains, target, outputs: "both" });
    const names = this.#shared ? shareWeights(graph, this.#shared) : [];
    await this.#device.turn(async () => {
      await this.#shared?.upload();
      const shared = this.#shared ? { shared: { weights: this.#shared, names } } : {};
      const decode = await CardDecode.create(this.#device, graph, forms, { ...session, ...shared });
      decode.replays &&= this.#replays;
      this.#cards.set(key, { decode, inputs: new Set(graph.inputs.map(({ name }) => name)) });
    });
  }

  /**
   * To be awaited before rows have this adapter, or none, and this output: creates the sessions that the first of their kind needs.
   */
  prepare(adapter: AdapterKind | null, output: PrefillOutput = "logits"): Promise<void> {
    if (output === "hidden") return this.#prepareHidden(adapter);
    return adapter ? this.#prepareSpecial(adapter) : Promise.resolve();
  }

  #prepareHidden(adapter: AdapterKind | null): Promise<void> {
    const { mode, special } = this.#hiddenForm(adapter);
    const key = specialKey(mode, special);
    if (this.#hidden.has(key)) return Promise.resolve();
    const opened = this.#opening.then(async () => {
      if (this.#hidden.has(key)) return;
      const form = { adapters: mode, ...special, target: targetOf(this.#options), outputs: "hidden" } as const;
      const { graph } = buildServingGraph({ ...this.#options, ...form });
      this.#hidden.set(key, await this.#device.turn(() => openVariant(graph, this.#options, this.#shared)));
    });
    this.#opening = opened.catch(() => undefined);
    return opened;
  }

  /** Any adapter fits a rank class, so these need no graphs for one adapter of few ranks. */
  #hiddenForm(adapter: AdapterKind | null): { readonly mode: AdapterMode; readonly special: Special } {
    if (!adapter) return { mode: "none", special: plain };
    const { hostMemory } = this.#device.capabilities;
    const inBlocks = hostMemory && this.#needsBlocks(adapter.rank);
    const embeds = hostMemory && adapter.embedding !== undefined;
    return { mode: hostMemory ? 1 : "picked", special: { ...plain, gains: adapter.hasGains, inBlocks, embeds } };
  }

  #prepareSpecial(adapter: AdapterKind): Promise<void> {
    const { hasGains: gains, rank } = adapter;
    if (!this.#device.capabilities.hostMemory) return this.#prepareStacked(gains);
    const own: Special = {
      gains,
      inBlocks: this.#needsBlocks(rank),
      embeds: adapter.embedding !== undefined,
      adaptsTiedHead: this.tiedHead !== null && adapter.modules?.has(this.tiedHead.path) === true,
    };
    if (isPlain(own)) return Promise.resolve();
    this.#had = union(this.#had, own);
    const alone = paddedRank(rank) <= tileColumns ? "single" : "tiled";
    const opened = this.#opening.then(async () => {
      if (isOnly(own, ["gains", "adaptsTiedHead"])) await this.#openSpecial(alone, own);
      // Rows of all kinds meet in a step.
      for (const mode of modes.filter((each) => typeof each === "number")) {
        for (const special of combinations(this.#had)) await this.#openSpecial(mode, special);
      }
    });
    this.#opening = opened.catch(() => undefined);
    return opened;
  }

  /** Whether decode steps replay captured kernels; null on the CPU, where nothing is captured. */
  get replays(): boolean | null {
    const [card] = this.#cards.values();
    return card?.decode.replays ?? null;
  }

  set replays(replays: boolean) {
    this.#replays = replays;
    for (const { decode } of this.#cards.values()) decode.replays = replays && decode.canCapture;
  }

  #prepareStacked(gains: boolean): Promise<void> {
    if (!gains) return Promise.resolve();
    const opened = this.#opening.then(async () => {
      await this.#openSpecial("picked", { ...plain, gains });
      await this.#openCard("masked", gains);
    });
    this.#opening = opened.catch(() => undefined);
    return opened;
  }

  async #openSpecial(adapters: AdapterMode, special: Special): Promise<void> {
    const key = specialKey(adapters, special);
    if (this.#special.has(key)) return;
    const { graph } = buildServingGraph({ ...this.#options, adapters, ...special, target: targetOf(this.#options) });
    this.#special.set(key, await this.#device.turn(() => openVariant(graph, this.#options, this.#shared)));
  }

  #needsBlocks(rank: number): boolean {
    return this.#options.exact && rank > oneSum;
  }

  /** One token for each row; slot i is row i. Returns logits [rows, vocab], valid until the next call. */
  decode(rows: readonly DecodeRow[], cache: KvCache, bank: Bank): Promise<Float32Array> {
    return this.#device.turn(() => this.#decode(rows, cache, bank));
  }

  /** `decode` for rows of which the likeliest token is all that is wanted: a card sends those [rows], unless a row's logits are not finite. */
  decodeLikeliest(rows: readonly DecodeRow[], cache: KvCache, bank: Bank): Promise<Float32Array | readonly number[]> {
    return this.#device.turn(async () => {
      if (!(bank instanceof StackedBank)) return await this.#decode(rows, cache, bank);
      const outputs = await this.#decodeOnCard(rows, cache, bank);
      return (await outputs.tokens()) ?? (await this.#logitsFrom(outputs, rows.length));
    });
  }

  #logitsFrom(outputs: DecodeOutputs, rows: number): Promise<Float32Array> {
    return outputs.logits(this.#outputs.logits.of(rows).here);
  }

  async #decode(rows: readonly DecodeRow[], cache: KvCache, bank: Bank): Promise<Float32Array> {
    const count = rows.length;
    assert(!this.#options.evenRows || count % 2 === 0, "a step of an exact quantized base has an even number of rows");
    if (bank instanceof StackedBank) {
      return await this.#logitsFrom(await this.#decodeOnCard(rows, cache, bank), count);
    }
    const adapters = rows.map((row) => row.adapter);
    const step = this.#variantFor(adapters, bank);
    const { variant } = step;
    const bound = this.#bound(variant, "decode");
    await this.#bindRows(bound, variant.inputs, rows);
    bound.cache(await cache.rows(count));
    this.#bindEmbeddings(bound, variant, adapters, (row) => at(rows, row).token);
    this.#bindAdapters(bound, bank, step, adapters, count);
    return this.#run(variant, bound, "logits", count);
  }

  async #decodeOnCard(rows: readonly DecodeRow[], cache: KvCache, bank: StackedBank): Promise<DecodeOutputs> {
    const count = rows.length;
    const adapters = rows.map((row) => row.adapter);
    const gains = hasGains(adapters);
    const used = new Set(adapters.flatMap((hold) => (hold ? [hold.place] : [])));
    const key = cardKey(used.size > 0 ? "masked" : "none", gains);
    const card = this.#cards.get(key);
    assert(card, `there is a session for ${key}, and an adapter is prepared before rows have it`);
    const bound = new StepInputs();
    await this.#bindRows(bound, card.inputs, rows);
    bound.cache(await cache.rows(count));
    if (used.size > 0) this.#bindStacked(bound, bank, adapters);
    return await card.decode.run({
      shape: `${count} ${used.size > 0 ? bank.inputsKey(used, gains) : ""}`,
      rows: count,
      stack: used.size > 0 ? bank.version : null,
      ...bound,
      keepStates: (all) => this.#bindStates(bound, [count, 1], (row) => (all || at(rows, row).keepsStates ? 0 : 1)),
    });
  }

  /** Tokens, lengths and positions of a step that decodes. */
  async #bindRows(bound: InputSink, names: ReadonlySet<string>, rows: readonly DecodeRow[]): Promise<void> {
    const count = rows.length;
    const longest = Math.max(...rows.map((row) => row.length));
    const lengths = this.#ints("lengths", count, (i) => at(rows, i).length);
    const ids = this.#ints("ids", count, (i) => at(rows, i).token);
    this.#bindTokens(bound, ids, [count, 1], longest + 1);
    bound.input("seqlens_k", lengths);
    if (names.has("positions")) bound.input("positions", lengths);
    for (const [name, tensor] of this.#rotary.stepped()) bound.input(name, await this.#copies.of(tensor));
    const logitRows = this.#ints("rows", count, (i) => i);
    bound.input("logit_rows", logitRows);
    this.#bindStates(bound, [count, 1], (row) => (at(rows, row).keepsStates ? 0 : 1));
  }

  /** Writes a chunk of one slot. Returns logits [1 or tokens, vocab], or hidden states [1 or tokens, hidden], valid until the next call. */
  prefill(chunk: PrefillChunk, cache: KvCache, bank: Bank): Promise<Float32Array> {
    return this.#device.turn(() => this.#prefill(chunk, cache, bank));
  }

  async #prefill(chunk: PrefillChunk, cache: KvCache, bank: Bank): Promise<Float32Array> {
    const { output = "logits" } = chunk;
    const real = chunk.tokens.length;
    // A lone or odd token would take another kernel: what pads is overwritten by the next tokens.
    const count = Math.max(2, real + (real % 2));
    assert(chunk.start + count <= this.#options.capacity, "a padded chunk fits its slot");
    const adapters = new Array<BankHold | null>(count).fill(chunk.adapter);
    const step = output === "hidden" ? this.#hiddenVariant(chunk.adapter) : this.#variantFor(adapters, bank);
    const { variant } = step;
    const bound = this.#bound(variant, "prefill");
    const ids = this.#ints("ids", count, (i) => at(chunk.tokens, Math.min(i, real - 1)));
    this.#bindTokens(bound, ids, [1, count], chunk.start + count);
    bound.input(
      "seqlens_k",
      this.#ints("lengths", 1, () => chunk.start + count - 1),
    );
    for (const [name, tensor] of this.#rotary.whole(chunk.length)) bound.input(name, await this.#copies.of(tensor));
    if (variant.inputs.has("positions")) {
      const last = this.#options.config.maxPositions - 1;
      bound.input(
        "positions",
        this.#ints("positions", count, (i) => Math.min(chunk.start + i, last)),
      );
    }
    // Scored prompts keep to even numbers of rows too.
    const logitRows = chunk.allRows ? count : 1;
    bound.input(
      "logit_rows",
      this.#ints("rows", logitRows, (i) => (chunk.allRows ? i : real - 1)),
    );
    this.#bindStates(bound, [1, count], () => real);
    bound.cache(await cache.enter(chunk.slot, chunk.start));
    this.#bindEmbeddings(bound, variant, adapters, (i) => at(chunk.tokens, Math.min(i, real - 1)));
    this.#bindAdapters(bound, bank, step, adapters, logitRows);
    const found = await this.#run(variant, bound, output, logitRows);
    return chunk.allRows ? found.subarray(0, (found.length / logitRows) * real) : found;
  }

  #hiddenVariant(hold: BankHold | null): StepVariant {
    const { mode, special } = this.#hiddenForm(hold && kindOf(hold));
    const variant = this.#hidden.get(specialKey(mode, special));
    assert(variant, "hidden states are prepared before a chunk asks for them");
    return { mode, variant, classes: hold ? [hold.rankClass] : [], inBlocks: special.inBlocks };
  }

  /** The leanest session for these rows, and the bank class of each of its class inputs. */
  #variantFor(adapters: readonly (BankHold | null)[], bank: Bank): StepVariant {
    if (bank instanceof StackedBank) return this.#stackedVariant(adapters);
    const { exact } = this.#options;
    const [first = null] = adapters;
    const classes = [...new Set(adapters.flatMap((hold) => (hold ? [hold.rankClass] : [])))].sort();
    const special = specialOf(adapters, (rank) => this.#needsBlocks(rank));
    const { inBlocks } = special;
    let mode: AdapterMode = classes.length === 0 ? "none" : classes.length;
    if (first !== null && !inBlocks && adapters.every((hold) => hold?.digest === first.digest)) {
      const { rank } = bank.memory(first.rankClass);
      // A lone row would take another kernel: where bits matter it runs as a group of two. In a sum of several parts Gemm's C would be the first.
      if (!exact || (adapters.length > 1 && rank <= oneSum)) mode = rank <= tileColumns ? "single" : "tiled";
    }
    if (isPlain(special)) {
      const variant = this.#variants.get(mode);
      assert(variant, `there is a session for the mode ${mode}`);
      return { mode, variant, classes, inBlocks };
    }
    // A small adapter in a class of larger ones may lack the session for one adapter of that rank: a class does as well.
    if (!this.#special.has(specialKey(mode, special))) mode = classes.length;
    const variant = this.#special.get(specialKey(mode, special));
    assert(variant, "an adapter is prepared before rows have it");
    return { mode, variant, classes, inBlocks };
  }

  #stackedVariant(adapters: readonly (BankHold | null)[]): StepVariant {
    const mode = adapters.some((hold) => hold !== null) ? "picked" : "none";
    const gains = hasGains(adapters);
    const variant = gains ? this.#special.get(specialKey(mode, { ...plain, gains })) : this.#variants.get(mode);
    assert(variant, `there is a session for the mode ${mode}, and an adapter is prepared before rows have it`);
    return { mode, variant, classes: [], inBlocks: false };
  }

  #bound(variant: Variant, kind: string): BoundInputs {
    let bound = variant.bindings.get(kind);
    if (!bound) {
      bound = new BoundInputs(variant.session.bind(), variant.inputs, !this.#device.capabilities.hostMemory);
      variant.bindings.set(kind, bound);
    }
    return bound;
  }

  #bindTokens(bound: InputSink, ids: Tensor, shape: readonly [number, number], total: number): void {
    bound.input("input_ids", ids);
    const sizes = this.#buffer("shape", "int64", [3]);
    sizes.data.set([BigInt(shape[0]), BigInt(shape[1]), -1n]);
    bound.input("attention_shape", sizes);
    bound.input(
      "total_sequence_length",
      this.#ints("total", 1, () => total),
    );
  }

  /**
   * The states of a row take in the first `taken` of its tokens: a window then holds the last of those and of the ones before,
   * and a memory skips the others.
   */
  #bindStates(bound: InputSink, [rows, length]: readonly [number, number], taken: (row: number) => number): void {
    const reach = this.#filterReach;
    if (reach !== null) {
      const places = this.#buffer("windows", "int64", [rows, reach, 1]);
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < reach; i++) places.data[row * reach + i] = BigInt(taken(row) + i);
      }
      bound.input("window_places", places);
    }
    if (!this.#hasMemory) return;
    const flags = this.#buffer("taken", "float32", [rows * length, 1]);
    for (let i = 0; i < rows * length; i++) flags.data[i] = i % length < taken(Math.floor(i / length)) ? 1 : 0;
    bound.input("taken", flags);
  }

  /** What adapters add to the embedding of each token: few numbers, so they are computed here, and no table is copied into the graph. */
  #bindEmbeddings(
    bound: BoundInputs,
    { inputs }: Variant,
    adapters: readonly (BankHold | null)[],
    tokenOf: (row: number) => number,
  ): void {
    if (!inputs.has(embeddingDelta)) return;
    const { hiddenSize } = this.#options.config;
    const delta = this.#buffer("embeddings", "float32", [adapters.length, hiddenSize]);
    delta.data.fill(0);
    for (const [row, hold] of adapters.entries()) {
      if (hold?.embedding)
        addRow(hold.embedding, tokenOf(row), delta.data.subarray(row * hiddenSize, (row + 1) * hiddenSize));
    }
    bound.input(embeddingDelta, delta);
  }

  #bindAdapters(
    bound: BoundInputs,
    bank: Bank,
    { mode, classes, inBlocks }: StepVariant,
    adapters: readonly (BankHold | null)[],
    logitRows: number,
  ): void {
    if (bank instanceof StackedBank) {
      const [first = null] = adapters;
      if (mode === "picked" && first) this.#bindPicked(bound, bank, first);
      return;
    }
    const [first = null] = adapters;
    if (first && (mode === "single" || mode === "tiled")) {
      const { rankClass, place, gain, adaptsTiedHead = false } = first;
      const head = adaptsTiedHead ? bank.head(rankClass) : null;
      for (const [name, tensor] of bank.memory(rankClass).place(place)) bound.input(name, tensor);
      for (const [name, tensor] of head?.place(place) ?? []) bound.input(name, tensor);
      if (gain === null) return;
      for (const [name, tensor] of bank.gains.row(gain)) bound.input(name, tensor);
      for (const [name, tensor] of head ? bank.headGains.row(gain) : []) bound.input(name, tensor);
      return;
    }
    for (const [slot, rankClass] of classes.entries()) {
      this.#bindClass(bound, bank, { slot, rankClass, inBlocks }, adapters, logitRows);
    }
    if (hasGains(adapters)) this.#bindGains(bound, bank, adapters, logitRows);
  }

  /** One adapter for all rows. */
  #bindPicked(bound: BoundInputs, bank: StackedBank, hold: BankHold): void {
    const { first, count } = bank.tilesOf(hold.place);
    const tiles = this.#ints("tiles", count, (i) => first + i);
    bound.input(stackedInputs.tiles, tiles);
    const gains = hasGains([hold]);
    if (gains) {
      const place = this.#buffer("place", "int32", []);
      place.data[0] = hold.place;
      bound.input(stackedInputs.place, place);
    }
    for (const [name, tensor] of bank.stacks(gains)) bound.input(name, tensor);
  }

  /** The place of each row's adapter, and the stacks. */
  #bindStacked(bound: InputSink, bank: StackedBank, adapters: readonly (BankHold | null)[]): void {
    const places = this.#buffer("places", "int32", [adapters.length, 1]);
    for (const [row, hold] of adapters.entries()) places.data[row] = hold?.place ?? -1;
    bound.input(stackedInputs.places, places);
    const used = new Set(adapters.flatMap((hold) => (hold ? [hold.place] : [])));
    for (const [name, tensor] of bank.inputs(used, hasGains(adapters))) bound.input(name, tensor);
  }

  /** Which rows have DoRA, and where their gains are. */
  #bindGains(bound: BoundInputs, bank: AdapterBank, adapters: readonly (BankHold | null)[], logitRows: number): void {
    for (const [name, tensor] of bank.gains.inputs()) bound.input(name, tensor);
    if (bound.takes(gainNames("logit_rows").rows)) {
      for (const [name, tensor] of bank.headGains.inputs()) bound.input(name, tensor);
    }
    for (const axis of ["tokens", "logit_rows"] as const) {
      const taken = axis === "tokens" ? adapters : this.#headRows(adapters, logitRows);
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
    { slot, rankClass, inBlocks }: { readonly slot: number; readonly rankClass: number; readonly inBlocks: boolean },
    adapters: readonly (BankHold | null)[],
    logitRows: number,
  ): void {
    const placesOf = (rows: readonly (BankHold | null)[]): number[] =>
      rows.map((hold) => (hold?.rankClass === rankClass ? hold.place : -1));
    const bindStack = (memory: BankClass, { first, count }: Window): void => {
      for (const [name, tensor] of memory.view(first, count, { rankClass: slot, inBlocks })) bound.input(name, tensor);
    };
    const own = placesOf(adapters);
    const window = windowOf(own);
    bindStack(bank.memory(rankClass), window);
    this.#bindIndices(bound, indexNames("tokens", slot), own, window, inBlocks);
    const names = indexNames("logit_rows", slot);
    if (!bound.takes(names.rows)) return;
    const ofHead = placesOf(this.#headRows(adapters, logitRows));
    if (this.tiedHead) bindStack(bank.head(rankClass), windowOf(ofHead));
    this.#bindIndices(bound, names, ofHead, this.tiedHead ? windowOf(ofHead) : window, inBlocks);
  }

  #bindIndices(
    bound: BoundInputs,
    names: ReturnType<typeof indexNames>,
    places: readonly number[],
    { first, count }: Window,
    inBlocks: boolean,
  ): void {
    const groups = places.map((place) => (place < 0 ? -1 : place - first));
    const { members, toGroups, products, rows: taken } = groupRows(groups, count, this.#options.exact ? 2 : 1);
    const ones = inBlocks ? [1, 1, 1] : [1, 1];
    bound.fresh(names.toGroups, Tensor.from("int32", [count, ...ones, members], toGroups));
    bound.fresh(names.products, Tensor.from("int64", [taken.length, 3], products));
    bound.fresh(names.rows, Tensor.from("int64", [taken.length, 1], taken));
  }

  async #run(variant: Variant, bound: BoundInputs, output: PrefillOutput, count: number): Promise<Float32Array> {
    const rows = this.#outputs[output].of(count);
    bound.output(output === "hidden" ? hiddenName : logitsName, rows.there);
    await variant.session.run(bound.binding);
    return await this.#outputs[output].read(rows);
  }

  #ints(name: string, count: number, value: (i: number) => number): Tensor<"int32"> {
    const tensor = this.#buffer(name, "int32", [count]);
    for (let i = 0; i < count; i++) tensor.data[i] = value(i);
    return tensor;
  }

  #buffer<T extends "int32" | "int64" | "float32">(name: string, type: T, shape: readonly number[]): Tensor<T> {
    const key = `${name}[${shape}]`;
    let tensor = this.#buffers.get(key);
    if (!tensor) {
      tensor = Tensor.zeros(type, shape);
      this.#buffers.set(key, tensor);
    }
    return tensor as Tensor<T>;
  }

  /** The adapters of the rows whose logits are needed, null where one leaves a tied head alone. */
  #headRows(adapters: readonly (BankHold | null)[], logitRows: number): (BankHold | null)[] {
    const rows = adapters.slice(0, logitRows);
    return this.tiedHead ? rows.map((hold) => (hold?.adaptsTiedHead ? hold : null)) : rows;
  }

  /** Waits for sessions that are being created, which use the same weights. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opening;
    await this.#device.turn(async () => this[Symbol.dispose]());
  }

  /** Only while no session is being created and nothing else uses the device. */
  [Symbol.dispose](): void {
    const variants = [...this.#variants.values(), ...this.#special.values(), ...this.#hidden.values()];
    for (const { session } of variants) session[Symbol.dispose]();
    for (const { decode } of this.#cards.values()) decode[Symbol.dispose]();
    this.#copies[Symbol.dispose]();
    for (const rows of Object.values(this.#outputs)) rows[Symbol.dispose]();
    this.#shared?.[Symbol.dispose]();
  }
}

/** Neighbouring places of a bank. */
interface Window {
  readonly first: number;
  readonly count: number;
}

/** Around the places of a step's rows, -1 for none; a place that no row reads if none has one. */
function windowOf(places: readonly number[]): Window {
  const used = places.filter((place) => place >= 0);
  if (used.length === 0) return { first: 0, count: 1 };
  const first = Math.min(...used);
  return { first, count: Math.max(...used) - first + 1 };
}

/** Adds A[token] B. */
function addRow({ rank, a, b }: HostTable, token: number, row: Float32Array): void {
  for (let k = 0; k < rank; k++) {
    const factor = float32At(a, token * rank + k);
    for (let i = 0; i < row.length; i++) row[i] = float32At(row, i) + factor * float32At(b, k * row.length + i);
  }
}

/** In a turn. */
async function openVariant(
  graph: Graph,
  { session: options, device = cpu }: RunnerOptions,
  shared: SharedWeights | null,
): Promise<Variant> {
  const names = shared ? shareWeights(graph, shared) : [];
  await shared?.upload();
  const session = await Session.create(serializeGraph(graph), {
    ...options,
    device,
    ...(shared ? { shared: { weights: shared, names } } : {}),
  });
  return { session, inputs: new Set(graph.inputs.map(({ name }) => name)), bindings: new Map() };
}
