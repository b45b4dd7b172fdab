/**
 * Runs an encoder-decoder: the encoder and the first token of one sequence at a time, and further tokens of all sequences whose keys
 * and values have the same shapes. What a row computes with depends on its own lengths alone, never on its neighbours.
 */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Graph } from "../../graph/types.js";
import type { EncoderDecoder } from "../../model/task/encoder-decoder.js";
import type { GenerationRules } from "../../model/task/generation-rules.js";
import type { DecodeRow, PrefillChunk } from "../runner.js";
import type { SlotMemory, StepRunner } from "../steps.js";
import type { TaskBank } from "../task/bank.js";
import type { RunRow, TaskRunner } from "../task/runner.js";
import type { Stacks } from "../task/stacks.js";
import type { TaskTensor } from "../task/types.js";
import type { TaskHold } from "./held-adapters.js";
import { layoutInputs, padded } from "./past-layout.js";
import { idsTensor, sourceLength } from "./source.js";
import { forbidTokens, type NextPlace } from "./text-rules.js";

export interface EncoderDecoderRunnerOptions {
  readonly graphs: EncoderDecoder;
  readonly encoder: TaskRunner;
  readonly first: TaskRunner;
  readonly next: TaskRunner;
  readonly bank: TaskBank;
  readonly rules: GenerationRules;
  readonly vocabSize: number;
  readonly maxSource: number;
  /** Rows of one run. */
  readonly maxRows: number;
  /** Rows with texts of different lengths share a run: the graph for further tokens takes a mask and positions. */
  readonly isRagged: boolean;
}

/** What a sequence keeps between two tokens. */
interface SlotState {
  /** Inputs of the graph for the next token, apart from that token. */
  readonly inputs: ReadonlyMap<string, TaskTensor>;
  /** Tokens of its own text in them. */
  readonly ids: readonly number[];
  /** Whether the text's first token was given. */
  readonly hasFirst: boolean;
  /** Rows of the same text can run together. */
  readonly shape: string;
}

interface Row {
  readonly slot: number;
  readonly token: number;
  readonly adapter: TaskHold | null;
  readonly state: SlotState;
}

export class EncoderDecoderRunner implements StepRunner<HostTaskAdapter, TaskHold>, SlotMemory {
  readonly #options: EncoderDecoderRunnerOptions;
  readonly #slots = new Map<number, SlotState>();
  #logits = new Float32Array(0);

  constructor(options: EncoderDecoderRunnerOptions) {
    this.#options = options;
  }

  async prepare(adapter: HostTaskAdapter | null): Promise<void> {
    if (adapter) await this.#options.bank.prepare(adapter);
  }

  /** Reads a source, and gives the logits of the first token. */
  async prefill({ slot, tokens, adapter, firstId: asked }: PrefillChunk<TaskHold>): Promise<Float32Array> {
    const { graphs, encoder, first, rules, maxSource, vocabSize } = this.#options;
    const { stacks, placeOf } = await this.#place([adapter]);
    const place = placeOf(adapter);
    const length = sourceLength(tokens.length, maxSource);
    const padded = Array.from({ length }, (_, i) => tokens[i] ?? rules.padId);
    const mask = padded.map((_, i) => (i < tokens.length ? 1 : 0));
    const read = { inputs: inputsOf(graphs.encoder, { input_ids: padded, attention_mask: mask }), place };
    const encoded = at(await encoder.run([read], stacks), 0);
    const hidden = new Map([["encoder_hidden_states", tensorOf(encoded, graphs.encoder.outputs[0]?.name ?? "")]]);
    const ids = { input_ids: [rules.startId], encoder_attention_mask: mask };
    const begin = { inputs: inputsOf(graphs.first, ids, hidden), place };
    const begun = at(await first.run([begin], stacks), 0);
    const fixed = [...graphs.fixed].map(([name, present]) => [name, tensorOf(begun, present)] as const);
    const given = new Map([...hidden, ...fixed, ...this.#grown(begun, 1)]);
    const firstId = asked ?? rules.firstId;
    const text = { ids: [rules.startId], hasFirst: firstId !== null };
    this.#slots.set(slot, stateOf(inputsOf(graphs.next, { encoder_attention_mask: mask }, given), text));
    const logits = lastRow(tensorOf(begun, "logits"), vocabSize);
    if (firstId === null) forbidTokens(logits, rules, text);
    else {
      const own = logits[firstId] as number;
      logits.fill(Number.NEGATIVE_INFINITY);
      logits[firstId] = own;
    }
    return logits;
  }

  async decode(rows: readonly DecodeRow<TaskHold>[]): Promise<Float32Array> {
    const { vocabSize, maxRows } = this.#options;
    if (this.#logits.length < rows.length * vocabSize) this.#logits = new Float32Array(rows.length * vocabSize);
    const groups = new Map<string, Row[]>();
    for (const [slot, { token, adapter, keepsStates }] of rows.entries()) {
      if (keepsStates) continue;
      const state = this.#slots.get(slot);
      assert(state, "a row that decodes has read its source");
      // Rows without adapters run in the plain graph: their bits do not depend on who has one.
      const key = `${state.shape} ${adapter !== null}`;
      const group = groups.get(key) ?? [];
      group.push({ slot, token, adapter, state });
      groups.set(key, group);
    }
    for (const group of groups.values()) {
      for (let begin = 0; begin < group.length; begin += maxRows) await this.#step(group.slice(begin, begin + maxRows));
    }
    return this.#logits;
  }

  /** One token of rows of one shape. */
  async #step(rows: readonly Row[]): Promise<void> {
    const { next, graphs, rules, vocabSize } = this.#options;
    const { stacks, placeOf } = await this.#place(rows.map(({ adapter }) => adapter));
    const runs = rows.map(({ token, adapter, state }): RunRow => {
      const ids = idsTensor(graphs.next, "input_ids", [token]);
      return { inputs: new Map([...state.inputs, ["input_ids", ids]]), place: placeOf(adapter) };
    });
    const outputs = await next.run(runs, stacks);
    for (const [index, { slot, token, state }] of rows.entries()) {
      const found = at(outputs, index);
      const text = { ids: [...state.ids, token], hasFirst: state.hasFirst };
      this.#slots.set(slot, stateOf(new Map([...state.inputs, ...this.#grown(found, text.ids.length)]), text));
      const logits = this.#logits.subarray(slot * vocabSize, (slot + 1) * vocabSize);
      logits.set(lastRow(tensorOf(found, "logits"), vocabSize));
      forbidTokens(logits, rules, text);
    }
  }

  /** Keys and values of a text of so many tokens, and where they begin, as inputs of the next step. */
  #grown(outputs: ReadonlyMap<string, TaskTensor>, tokens: number): (readonly [string, TaskTensor])[] {
    const { graphs, isRagged } = this.#options;
    const grown = [...graphs.growing].map(([name, present]): readonly [string, TaskTensor] => {
      const tensor = tensorOf(outputs, present);
      return [name, isRagged ? padded(tensor, tokens) : tensor];
    });
    return isRagged ? [...grown, ...layoutInputs(tokens)] : grown;
  }

  async #place(
    holds: readonly (TaskHold | null)[],
  ): Promise<{ readonly stacks: Stacks | null; placeOf(hold: TaskHold | null): number }> {
    const adapters = new Map(holds.flatMap((hold) => (hold ? [[hold.digest, hold.adapter] as const] : [])));
    if (adapters.size === 0) return { stacks: null, placeOf: () => 0 };
    const { stacks, places } = await this.#options.bank.place([...adapters.values()]);
    const byDigest = new Map([...adapters.keys()].map((digest, index) => [digest, at(places, index)]));
    return { stacks, placeOf: (hold) => byDigest.get(hold?.digest ?? "") ?? 0 };
  }

  /** A slot's state is a reference: moving it copies nothing. */
  tokensWithin(): number {
    return Number.POSITIVE_INFINITY;
  }

  async copy(from: number, to: number): Promise<void> {
    const state = this.#slots.get(from);
    if (state) this.#slots.set(to, state);
  }
}

/** A graph's inputs, of those that are given, by its own types. */
function inputsOf(
  graph: Graph,
  ids: Readonly<Record<string, readonly number[]>>,
  tensors: ReadonlyMap<string, TaskTensor> = new Map(),
): Map<string, TaskTensor> {
  return new Map(
    graph.inputs.flatMap(({ name }): [string, TaskTensor][] => {
      const values = Object.hasOwn(ids, name) ? ids[name] : undefined;
      const tensor = values ? idsTensor(graph, name, values) : tensors.get(name);
      return tensor ? [[name, tensor]] : [];
    }),
  );
}

function stateOf(inputs: ReadonlyMap<string, TaskTensor>, { ids, hasFirst }: NextPlace): SlotState {
  return { inputs, ids, hasFirst, shape: [...inputs.values()].map(({ shape }) => shape.join()).join(";") };
}

function tensorOf(outputs: ReadonlyMap<string, TaskTensor>, name: string): TaskTensor {
  const tensor = outputs.get(name);
  assert(tensor, `the graph has the output ${name}`);
  return tensor;
}

/** The logits after the last token. */
function lastRow({ data }: TaskTensor, vocabSize: number): Float32Array {
  assert(data instanceof Float32Array, "logits are float32");
  return data.subarray(data.length - vocabSize);
}
