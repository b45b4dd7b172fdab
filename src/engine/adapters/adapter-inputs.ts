/** The inputs of a step that its rows' adapters give: their memory in the bank, and which row reads which place of it. */

import type { HostTable } from "../../adapter/types.js";
import { float32At } from "../../base/list.js";
import type { TargetModule } from "../../model/blueprint.js";
import { type AdapterAxis, gainNames, indexNames, normNames } from "../../model/serving/adapters.js";
import { embeddingDelta } from "../../model/serving/graph.js";
import { stackedInputs } from "../../model/serving/stacked-adapters.js";
import { Tensor } from "../../runtime/tensor.js";
import type { BoundInputs, InputSink } from "../bound-inputs.js";
import { hasGains } from "../special.js";
import type { StepBuffers } from "../step-buffers.js";
import type { StepSession } from "../step-sessions.js";
import type { AdapterBank, BankHold } from "./bank.js";
import type { BankClass } from "./bank-class.js";
import { groupRows } from "./groups.js";
import type { Bank } from "./pool.js";
import { StackedBank } from "./stacked-bank.js";
import { embedsOf } from "./tables.js";
import { addTokenRow, TokenRows } from "./token-rows.js";

export interface AdapterInputsOptions {
  readonly hiddenSize: number;
  /** A head that is tied to the embeddings, which adapters may change; null if it has weights of its own. */
  readonly tiedHead: TargetModule | null;
  /** No row's bits depend on its neighbours: adapter groups have at least two members. */
  readonly exact: boolean;
}

export class AdapterInputs {
  readonly #options: AdapterInputsOptions;
  readonly #buffers: StepBuffers;
  readonly #tokenRows: TokenRows;

  constructor(options: AdapterInputsOptions, buffers: StepBuffers) {
    this.#options = options;
    this.#buffers = buffers;
    this.#tokenRows = new TokenRows(options.hiddenSize);
  }

  /** What adapters add to the embedding of each token: few numbers, so they are computed here, and no table is copied into the graph. */
  bindEmbeddings(bound: BoundInputs, adapters: readonly (BankHold | null)[], tokenOf: (row: number) => number): void {
    if (!bound.takes(embeddingDelta)) return;
    const { hiddenSize } = this.#options;
    const delta = this.#buffers.of("embeddings", "float32", [adapters.length, hiddenSize]);
    delta.data.fill(0);
    for (const [row, hold] of adapters.entries()) {
      if (!hold || !embedsOf(hold)) continue;
      const own = delta.data.subarray(row * hiddenSize, (row + 1) * hiddenSize);
      if (hold.embedding) addRow(hold.embedding, tokenOf(row), own);
      for (const tokens of hold.tokens ?? []) if (tokens.inEmbeddings) addTokenRow(tokens, tokenOf(row), own);
    }
    bound.input(embeddingDelta, delta);
  }

  /** The adapters of a step's rows, as its session takes them. */
  bind(
    bound: BoundInputs,
    bank: Bank,
    { mode, classes, inBlocks }: StepSession,
    adapters: readonly (BankHold | null)[],
    logitRows: number,
  ): void {
    if (bank instanceof StackedBank) {
      const [first = null] = adapters;
      if (mode === "picked" && first) this.#bindPicked(bound, bank, first);
      return;
    }
    this.#tokenRows.bind(bound, adapters.slice(0, logitRows));
    const [first = null] = adapters;
    if (first && (mode === "single" || mode === "tiled")) {
      const { rankClass, place, gain, adaptsTiedHead = false } = first;
      const head = adaptsTiedHead ? bank.head(rankClass) : null;
      for (const [name, tensor] of bank.memory(rankClass).place(place)) bound.input(name, tensor);
      for (const [name, tensor] of head?.place(place) ?? []) bound.input(name, tensor);
      if (gain === null) return;
      for (const [name, tensor] of bank.gains.layers.row(gain)) bound.input(name, tensor);
      for (const [name, tensor] of head ? bank.gains.head.row(gain) : []) bound.input(name, tensor);
      return;
    }
    for (const [slot, rankClass] of classes.entries()) {
      this.#bindClass(bound, bank, { slot, rankClass, inBlocks }, adapters, logitRows);
    }
    if (hasGains(adapters)) this.#bindGains(bound, bank, adapters, logitRows);
    this.#bindNorms(bound, bank, { tokens: adapters, logit_rows: adapters.slice(0, logitRows) });
  }

  /** The place of each row's adapter, and the stacks. */
  bindStacked(bound: InputSink, bank: StackedBank, adapters: readonly (BankHold | null)[]): void {
    const places = this.#buffers.of("places", "int32", [adapters.length, 1]);
    for (const [row, hold] of adapters.entries()) places.data[row] = hold?.place ?? -1;
    bound.input(stackedInputs.places, places);
    const used = new Set(adapters.flatMap((hold) => (hold ? [hold.place] : [])));
    for (const [name, tensor] of bank.inputs(used, hasGains(adapters))) bound.input(name, tensor);
  }

  /** One adapter for all rows. */
  #bindPicked(bound: BoundInputs, bank: StackedBank, hold: BankHold): void {
    const { first, count } = bank.tilesOf(hold.place);
    const tiles = this.#buffers.ints("tiles", count, (i) => first + i);
    bound.input(stackedInputs.tiles, tiles);
    const gains = hasGains([hold]);
    if (gains) {
      const place = this.#buffers.of("place", "int32", []);
      place.data[0] = hold.place;
      bound.input(stackedInputs.place, place);
    }
    for (const [name, tensor] of bank.stacks(gains)) bound.input(name, tensor);
  }

  /** Which rows have other norms, and where those are. */
  #bindNorms(
    bound: BoundInputs,
    bank: AdapterBank,
    rowsOf: Readonly<Record<AdapterAxis, readonly (BankHold | null)[]>>,
  ): void {
    if (!bound.takes(normNames("logit_rows").rows)) return;
    for (const [name, tensor] of bank.gains.norms.inputs()) bound.input(name, tensor);
    for (const axis of ["tokens", "logit_rows"] as const) {
      const changed = rowsOf[axis].flatMap((hold, row) =>
        hold?.norms === undefined ? [] : [{ row, place: hold.norms }],
      );
      bindRows(bound, normNames(axis), changed);
    }
  }

  /** Which rows have DoRA, and where their gains are. */
  #bindGains(bound: BoundInputs, bank: AdapterBank, adapters: readonly (BankHold | null)[], logitRows: number): void {
    for (const [name, tensor] of bank.gains.layers.inputs()) bound.input(name, tensor);
    if (bound.takes(gainNames("logit_rows").rows)) {
      for (const [name, tensor] of bank.gains.head.inputs()) bound.input(name, tensor);
    }
    for (const axis of ["tokens", "logit_rows"] as const) {
      const taken = axis === "tokens" ? adapters : this.#headRows(adapters, logitRows);
      const gained = taken.flatMap((hold, row) => (hold && hold.gain !== null ? [{ row, place: hold.gain }] : []));
      bindRows(bound, gainNames(axis), gained);
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
    if (this.#options.tiedHead) bindStack(bank.head(rankClass), windowOf(ofHead));
    this.#bindIndices(bound, names, ofHead, this.#options.tiedHead ? windowOf(ofHead) : window, inBlocks);
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

  /** The adapters of the rows whose logits are needed, null where one leaves a tied head alone. */
  #headRows(adapters: readonly (BankHold | null)[], logitRows: number): (BankHold | null)[] {
    const rows = adapters.slice(0, logitRows);
    return this.#options.tiedHead ? rows.map((hold) => (hold?.adaptsTiedHead ? hold : null)) : rows;
  }
}

function bindRows(
  bound: BoundInputs,
  names: ReturnType<typeof gainNames>,
  found: readonly { readonly row: number; readonly place: number }[],
): void {
  const indices = (values: number[]) => Tensor.from("int64", [values.length, 1], BigInt64Array.from(values, BigInt));
  bound.fresh(names.rows, indices(found.map(({ row }) => row)));
  bound.fresh(names.places, indices(found.map(({ place }) => place)));
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
