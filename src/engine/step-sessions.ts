/** A decoder's sessions: one for each way of using adapters. Opens those that adapters need, and picks the leanest for a step. Binds nothing. */

import { assert } from "../base/errors.js";
import { serializeGraph } from "../graph/serialize.js";
import type { Graph } from "../graph/types.js";
import type { TargetModule } from "../model/blueprint.js";
import { tiedHead } from "../model/modules.js";
import type { AdapterMode, ModuleGroup } from "../model/serving/adapters.js";
import { buildServingGraph } from "../model/serving/graph.js";
import { oneSum, paddedRank, tileColumns } from "../model/serving/rank-tiles.js";
import type { Arithmetic, ServingTarget } from "../model/serving/target.js";
import type { DecoderConfig } from "../model/types.js";
import type { WeightSource } from "../model/weights.js";
import { cpu } from "../runtime/device/cpu.js";
import type { Device } from "../runtime/device/device.js";
import { released } from "../runtime/device/lost.js";
import { canMap } from "../runtime/mapping.js";
import { Session, type SessionOptions, SharedWeights } from "../runtime/session.js";
import { shareWeights } from "../weights/sharing.js";
import { type BankHold, rankClasses } from "./adapters/bank.js";
import type { Bank } from "./adapters/pool.js";
import { StackedBank } from "./adapters/stacked-bank.js";
import { embedsOf, headTokens } from "./adapters/tables.js";
import type { BoundInputs } from "./bound-inputs.js";
import { captureFor } from "./capture.js";
import { CardDecode } from "./card-decode.js";
import {
  type AdapterKind,
  combined,
  hasGains,
  isOnly,
  isPlain,
  kindOf,
  plain,
  type Special,
  specialKey,
  specialOf,
} from "./special.js";

export interface StepSessionsOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightSource;
  readonly capacity: number;
  readonly session: SessionOptions;
  /** No row's bits depend on its neighbours: adapter groups have at least two members, and where kernels need it rows are even. */
  readonly exact: boolean;
  /** Where the steps run. Default: the CPU. */
  readonly device?: Device;
  /** What they compute in. Default: float32. */
  readonly arithmetic?: Arithmetic;
}

/** A session and its bindings for decode steps and prefill chunks. */
export interface Variant {
  readonly session: Session;
  /** Names of the graph's inputs. */
  readonly inputs: ReadonlySet<string>;
  readonly bindings: Map<string, BoundInputs>;
}

/** A session that decodes on a card. */
export interface Card {
  readonly decode: CardDecode;
  readonly inputs: ReadonlySet<string>;
}

const cardKey = (mode: AdapterMode, gains: boolean): string => `${mode} ${gains}`;

/** The session that a step runs, and how it takes its adapters. */
export interface StepSession {
  readonly mode: AdapterMode;
  readonly variant: Variant;
  /** The bank's class for each of its class inputs. */
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
function targetOf({ device = cpu, arithmetic = {} }: StepSessionsOptions): ServingTarget {
  const { hostMemory, softcap } = device.capabilities;
  return hostMemory ? arithmetic : { ...arithmetic, plainAttention: softcap ? "none" : "softcap", int64: false };
}

export class StepSessions implements AsyncDisposable, Disposable {
  readonly #options: StepSessionsOptions;
  readonly #device: Device;
  readonly #variants: ReadonlyMap<AdapterMode, Variant>;
  readonly #special = new Map<string, Variant>();
  /** Graphs without the head, created when the first request needs one. */
  readonly #hidden = new Map<string, Variant>();
  /** On a card, where only prompts run the variants. */
  readonly #cards = new Map<string, Card>();
  #replays = true;
  /** What rows of adapters so far may need together. */
  #had: readonly Special[] = [];
  #opening: Promise<void> = Promise.resolve();
  readonly #shared: SharedWeights | null;
  /** Adapted linears by the input that they share. */
  readonly groups: readonly ModuleGroup[];
  /** A head that is tied to the embeddings, which adapters may change on the CPU; null if it has weights of its own. */
  readonly tiedHead: TargetModule | null;

  private constructor(
    options: StepSessionsOptions,
    variants: ReadonlyMap<AdapterMode, Variant>,
    shared: SharedWeights | null,
    groups: readonly ModuleGroup[],
  ) {
    this.#options = options;
    this.#device = options.device ?? cpu;
    this.#variants = variants;
    this.#shared = shared;
    this.groups = groups;
    this.tiedHead = tiedHead(options.config);
  }

  /** Opens a session for each way of using adapters; they share the weights. */
  static async create(options: StepSessionsOptions): Promise<StepSessions> {
    const { config, weights, capacity, device = cpu } = options;
    const shared = canMap() ? new SharedWeights(device.capabilities.hostMemory ? null : device) : null;
    const built = modesOf(device).map((adapters) => ({
      adapters,
      ...buildServingGraph({ config, weights, capacity, adapters, target: targetOf(options) }),
    }));
    const variants = new Map<AdapterMode, Variant>();
    const sessions = new StepSessions(options, variants, shared, built.at(-1)?.groups ?? []);
    try {
      for (const { adapters, graph } of built) {
        variants.set(adapters, await device.turn(() => openVariant(graph, options, shared)));
      }
      for (const mode of device.capabilities.hostMemory ? [] : cardModes.decode) await sessions.#openCard(mode, false);
      return sessions;
    } catch (error) {
      await released(sessions[Symbol.asyncDispose]());
      throw error;
    }
  }

  /** To be awaited before rows have this adapter: opens the sessions that the first of its kind needs. */
  prepare(adapter: AdapterKind): Promise<void> {
    const { hasGains: gains, rank } = adapter;
    if (!this.#device.capabilities.hostMemory) return this.#prepareStacked(gains);
    const own: Special = {
      gains,
      inBlocks: this.#needsBlocks(rank),
      embeds: embedsOf(adapter),
      adaptsTiedHead: this.tiedHead !== null && adapter.modules?.has(this.tiedHead.path) === true,
      trainsTokens: headTokens(adapter) !== undefined,
      changesNorms: adapter.changesNorms === true,
    };
    if (isPlain(own)) return Promise.resolve();
    this.#had = combined(this.#had, own);
    const alone = paddedRank(rank) <= tileColumns ? "single" : "tiled";
    return this.#inTurn(async () => {
      if (isOnly(own, ["gains", "adaptsTiedHead"])) await this.#openSpecial(alone, own);
      // Rows of all kinds meet in a step.
      for (const mode of modes.filter((each) => typeof each === "number")) {
        for (const special of this.#had) await this.#openSpecial(mode, special);
      }
    });
  }

  /** To be awaited before hidden states of rows with this adapter, or without any, are asked for. */
  prepareHidden(adapter: AdapterKind | null): Promise<void> {
    const { mode, special } = this.#hiddenForm(adapter);
    const key = specialKey(mode, special);
    if (this.#hidden.has(key)) return Promise.resolve();
    return this.#inTurn(async () => {
      if (this.#hidden.has(key)) return;
      const form = { adapters: mode, ...special, target: targetOf(this.#options), outputs: "hidden" } as const;
      const { graph } = buildServingGraph({ ...this.#options, ...form });
      this.#hidden.set(key, await this.#device.turn(() => openVariant(graph, this.#options, this.#shared)));
    });
  }

  /** The session for hidden states of a row; only after `prepareHidden`. */
  pickHidden(hold: BankHold | null): StepSession {
    const { mode, special } = this.#hiddenForm(hold && kindOf(hold));
    const variant = this.#hidden.get(specialKey(mode, special));
    assert(variant, "hidden states are prepared before a chunk asks for them");
    return { mode, variant, classes: hold ? [hold.rankClass] : [], inBlocks: special.inBlocks };
  }

  /** The leanest session for these rows. */
  pick(adapters: readonly (BankHold | null)[], bank: Bank): StepSession {
    if (bank instanceof StackedBank) return this.#pickStacked(adapters);
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

  /** The session in which a card decodes these rows. */
  card(adapters: readonly (BankHold | null)[]): Card {
    const key = cardKey(adapters.some((hold) => hold !== null) ? "masked" : "none", hasGains(adapters));
    const card = this.#cards.get(key);
    assert(card, `there is a session for ${key}, and an adapter is prepared before rows have it`);
    return card;
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

  /** Until no session is being opened. */
  opened(): Promise<void> {
    return this.#opening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opening;
    await this.#device.turn(async () => this[Symbol.dispose]());
  }

  /** Only while no session is being opened and nothing else uses the device. */
  [Symbol.dispose](): void {
    const variants = [...this.#variants.values(), ...this.#special.values(), ...this.#hidden.values()];
    for (const { session } of variants) session[Symbol.dispose]();
    for (const { decode } of this.#cards.values()) decode[Symbol.dispose]();
    this.#shared?.[Symbol.dispose]();
  }

  #pickStacked(adapters: readonly (BankHold | null)[]): StepSession {
    const mode = adapters.some((hold) => hold !== null) ? "picked" : "none";
    const gains = hasGains(adapters);
    const variant = gains ? this.#special.get(specialKey(mode, { ...plain, gains })) : this.#variants.get(mode);
    assert(variant, `there is a session for the mode ${mode}, and an adapter is prepared before rows have it`);
    return { mode, variant, classes: [], inBlocks: false };
  }

  /** Any adapter fits a rank class, so these need no graphs for one adapter of few ranks. */
  #hiddenForm(adapter: AdapterKind | null): { readonly mode: AdapterMode; readonly special: Special } {
    if (!adapter) return { mode: "none", special: plain };
    const { hostMemory } = this.#device.capabilities;
    const inBlocks = hostMemory && this.#needsBlocks(adapter.rank);
    const embeds = hostMemory && embedsOf(adapter);
    const changesNorms = hostMemory && adapter.changesNorms === true;
    return {
      mode: hostMemory ? 1 : "picked",
      special: { ...plain, gains: adapter.hasGains, inBlocks, embeds, changesNorms },
    };
  }

  #prepareStacked(gains: boolean): Promise<void> {
    if (!gains) return Promise.resolve();
    return this.#inTurn(async () => {
      await this.#openSpecial("picked", { ...plain, gains });
      await this.#openCard("masked", gains);
    });
  }

  /** Sessions open one after the other, so that each finds what was opened and which weights were uploaded before it. */
  #inTurn(open: () => Promise<void>): Promise<void> {
    const opened = this.#opening.then(open);
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

  async #openCard(mode: AdapterMode, gains: boolean): Promise<void> {
    const key = cardKey(mode, gains);
    if (this.#cards.has(key)) return;
    const { config, session } = this.#options;
    const target = targetOf(this.#options);
    const { vocabSize } = config;
    const forms = { vocabSize, capture: captureFor(config, this.#device.capabilities) };
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
}

/** In a turn of the device. */
async function openVariant(
  graph: Graph,
  { session: options, device = cpu }: StepSessionsOptions,
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
