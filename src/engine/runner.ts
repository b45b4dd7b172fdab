/** Runs prefill chunks and decode steps: fills the inputs, binds what changed, runs the session. Knows no request. */

import { assert } from "../base/errors.js";
import { at } from "../base/list.js";
import type { TargetModule } from "../model/blueprint.js";
import { filterReach, hasMemory } from "../model/modules.js";
import type { ModuleGroup } from "../model/serving/adapters.js";
import { hiddenName, logitsName } from "../model/serving/graph.js";
import { rotationFactor } from "../model/serving/rotary.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device } from "../runtime/device/device.js";
import type { Tensor } from "../runtime/tensor.js";
import { AdapterInputs } from "./adapters/adapter-inputs.js";
import type { BankHold } from "./adapters/bank.js";
import type { Bank } from "./adapters/pool.js";
import { StackedBank } from "./adapters/stacked-bank.js";
import { BoundInputs, type InputSink } from "./bound-inputs.js";
import { type DecodeOutputs, StepInputs } from "./card-decode.js";
import { DeviceCopies } from "./device-copies.js";
import type { KvCache } from "./kv-cache.js";
import { OutputRows } from "./output-rows.js";
import { RotaryInputs } from "./rotary-inputs.js";
import { type AdapterKind, hasGains } from "./special.js";
import { StepBuffers } from "./step-buffers.js";
import { StepSessions, type StepSessionsOptions, type Variant } from "./step-sessions.js";

export interface RunnerOptions extends StepSessionsOptions {
  /** Rows of the largest step. */
  readonly maxRows: number;
  /** A step must have an even number of rows: the caller pads with rows of idle slots. */
  readonly evenRows: boolean;
}

/** One row of a decode step; a dummy has no adapter and its logits are ignored. */
export interface DecodeRow<Hold = BankHold> {
  readonly token: number;
  /** Tokens already in the slot: the new one is written after them. */
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

export class Runner {
  readonly #options: RunnerOptions;
  readonly #device: Device;
  readonly #sessions: StepSessions;
  readonly #buffers = new StepBuffers();
  readonly #adapters: AdapterInputs;
  readonly #filterReach: number | null;
  readonly #hasMemory: boolean;
  readonly #rotary: RotaryInputs;
  readonly #copies: DeviceCopies;
  readonly #outputs: Readonly<Record<PrefillOutput, OutputRows>>;

  private constructor(options: RunnerOptions, sessions: StepSessions) {
    const { config, capacity, maxRows, exact } = options;
    this.#options = options;
    this.#device = options.device ?? cpu;
    this.#sessions = sessions;
    this.#adapters = new AdapterInputs(
      { hiddenSize: config.hiddenSize, tiedHead: sessions.tiedHead, exact },
      this.#buffers,
    );
    this.#copies = new DeviceCopies(this.#device);
    this.#filterReach = filterReach(config);
    this.#hasMemory = hasMemory(config);
    this.#outputs = {
      logits: new OutputRows(this.#device, config.vocabSize, maxRows),
      hidden: new OutputRows(this.#device, config.hiddenSize, maxRows),
    };
    this.#rotary = new RotaryInputs(config.ropes, capacity, (rope) => rotationFactor(config, rope));
  }

  /** Throws what opening the sessions throws. */
  static async create(options: RunnerOptions): Promise<Runner> {
    return new Runner(options, await StepSessions.create(options));
  }

  /** Adapted linears by the input that they share. */
  get groups(): readonly ModuleGroup[] {
    return this.#sessions.groups;
  }

  /** A head that is tied to the embeddings, which adapters may change on the CPU; null if it has weights of its own. */
  get tiedHead(): TargetModule | null {
    return this.#sessions.tiedHead;
  }

  /** Whether decode steps replay captured kernels; null on the CPU, where nothing is captured. */
  get replays(): boolean | null {
    return this.#sessions.replays;
  }

  set replays(replays: boolean) {
    this.#sessions.replays = replays;
  }

  /** To be awaited before rows have this adapter, or none, and this output: opens the sessions that the first of their kind needs. */
  prepare(adapter: AdapterKind | null, output: PrefillOutput = "logits"): Promise<void> {
    if (output === "hidden") return this.#sessions.prepareHidden(adapter);
    return adapter ? this.#sessions.prepare(adapter) : Promise.resolve();
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
    const step = this.#sessions.pick(adapters, bank);
    const { variant } = step;
    const bound = this.#bound(variant, "decode");
    await this.#bindRows(bound, variant.inputs, rows);
    bound.cache(await cache.rows(count));
    this.#adapters.bindEmbeddings(bound, adapters, (row) => at(rows, row).token);
    this.#adapters.bind(bound, bank, step, adapters, count);
    return this.#run(variant, bound, "logits", count);
  }

  async #decodeOnCard(rows: readonly DecodeRow[], cache: KvCache, bank: StackedBank): Promise<DecodeOutputs> {
    const count = rows.length;
    const adapters = rows.map((row) => row.adapter);
    const gains = hasGains(adapters);
    const used = new Set(adapters.flatMap((hold) => (hold ? [hold.place] : [])));
    const card = this.#sessions.card(adapters);
    const bound = new StepInputs();
    await this.#bindRows(bound, card.inputs, rows);
    bound.cache(await cache.rows(count));
    if (used.size > 0) this.#adapters.bindStacked(bound, bank, adapters);
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
    const lengths = this.#buffers.ints("lengths", count, (i) => at(rows, i).length);
    const ids = this.#buffers.ints("ids", count, (i) => at(rows, i).token);
    this.#bindTokens(bound, ids, [count, 1], longest + 1);
    bound.input("seqlens_k", lengths);
    if (names.has("positions")) bound.input("positions", lengths);
    for (const [name, tensor] of this.#rotary.stepped()) bound.input(name, await this.#copies.of(tensor));
    const logitRows = this.#buffers.ints("rows", count, (i) => i);
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
    const step = output === "hidden" ? this.#sessions.pickHidden(chunk.adapter) : this.#sessions.pick(adapters, bank);
    const { variant } = step;
    const bound = this.#bound(variant, "prefill");
    const ids = this.#buffers.ints("ids", count, (i) => at(chunk.tokens, Math.min(i, real - 1)));
    this.#bindTokens(bound, ids, [1, count], chunk.start + count);
    bound.input(
      "seqlens_k",
      this.#buffers.ints("lengths", 1, () => chunk.start + count - 1),
    );
    for (const [name, tensor] of this.#rotary.whole(chunk.length)) bound.input(name, await this.#copies.of(tensor));
    if (variant.inputs.has("positions")) {
      const last = this.#options.config.maxPositions - 1;
      bound.input(
        "positions",
        this.#buffers.ints("positions", count, (i) => Math.min(chunk.start + i, last)),
      );
    }
    // Scored prompts keep to even numbers of rows too.
    const logitRows = chunk.allRows ? count : 1;
    bound.input(
      "logit_rows",
      this.#buffers.ints("rows", logitRows, (i) => (chunk.allRows ? i : real - 1)),
    );
    this.#bindStates(bound, [1, count], () => real);
    bound.cache(await cache.enter(chunk.slot, chunk.start));
    this.#adapters.bindEmbeddings(bound, adapters, (i) => at(chunk.tokens, Math.min(i, real - 1)));
    this.#adapters.bind(bound, bank, step, adapters, logitRows);
    const found = await this.#run(variant, bound, output, logitRows);
    return chunk.allRows ? found.subarray(0, (found.length / logitRows) * real) : found;
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
    const sizes = this.#buffers.of("shape", "int64", [3]);
    sizes.data.set([BigInt(shape[0]), BigInt(shape[1]), -1n]);
    bound.input("attention_shape", sizes);
    bound.input(
      "total_sequence_length",
      this.#buffers.ints("total", 1, () => total),
    );
  }

  /**
   * The states of a row take in the first `taken` of its tokens: a window then holds the last of those and of the ones before,
   * and a memory skips the others.
   */
  #bindStates(bound: InputSink, [rows, length]: readonly [number, number], taken: (row: number) => number): void {
    const reach = this.#filterReach;
    if (reach !== null) {
      const places = this.#buffers.of("windows", "int64", [rows, reach, 1]);
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < reach; i++) places.data[row * reach + i] = BigInt(taken(row) + i);
      }
      bound.input("window_places", places);
    }
    if (!this.#hasMemory) return;
    const flags = this.#buffers.of("taken", "float32", [rows * length, 1]);
    for (let i = 0; i < rows * length; i++) flags.data[i] = i % length < taken(Math.floor(i / length)) ? 1 : 0;
    bound.input("taken", flags);
  }

  async #run(variant: Variant, bound: BoundInputs, output: PrefillOutput, count: number): Promise<Float32Array> {
    const rows = this.#outputs[output].of(count);
    bound.output(output === "hidden" ? hiddenName : logitsName, rows.there);
    await variant.session.run(bound.binding);
    return await this.#outputs[output].read(rows);
  }

  /** Waits for sessions that are being opened. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions.opened();
    await this.#device.turn(async () => this[Symbol.dispose]());
  }

  /** Only while no session is being opened and nothing else uses the device. */
  [Symbol.dispose](): void {
    this.#sessions[Symbol.dispose]();
    this.#copies[Symbol.dispose]();
    for (const rows of Object.values(this.#outputs)) rows[Symbol.dispose]();
  }
}
