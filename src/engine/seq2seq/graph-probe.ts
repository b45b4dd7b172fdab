/**
 * Finds how the rows of an encoder-decoder's graphs lie. Its graphs are tried one after the other, each with what the one before it
 * computed.
 */

import { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Graph } from "../../graph/types.js";
import type { EncoderDecoder } from "../../model/task/encoder-decoder.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import type { Tensor } from "../../runtime/tensor.js";
import { probeRows, probeRowsWith, probeSeeds, type RowProbe } from "../task/row-probe.js";
import { joined, type TaskRunner } from "../task/runner.js";
import { type Trial, tableEntries } from "../task/trial-inputs.js";
import type { TaskTensor } from "../task/types.js";
import { type RaggedGraph, type Row, tryRagged } from "./ragged.js";
import { idsTensor } from "./source.js";

export interface GraphProbes {
  readonly encoder: RowProbe;
  readonly first: RowProbe;
  readonly next: RowProbe;
  /** What computes further tokens of rows with texts of different lengths; null: only rows of one length can share a run. */
  readonly ragged: RaggedGraph | null;
  /** Of the logits. */
  readonly vocabSize: number;
  /** Ids that the encoder looks up; null if it looks up none. */
  readonly sourceVocabSize: number | null;
  /** Bytes of a source token and of a generated one in keys and values. */
  readonly tokenBytes: { readonly source: number; readonly target: number };
}

interface ProbedGraphs {
  readonly graphs: EncoderDecoder;
  readonly modules: readonly TaskModule[];
  readonly runners: { readonly encoder: TaskRunner; readonly first: TaskRunner; readonly next: TaskRunner };
  /** A runner of another graph over the weights of `next`. */
  readonly open: (graph: Graph) => TaskRunner;
}

/** Throws `model_unsupported` for graphs that do not fit together, and what ONNX Runtime throws for those that it cannot load. */
export async function probeGraphs(
  { graphs, modules, runners, open }: ProbedGraphs,
  options: { readonly threads: number; readonly signal?: AbortSignal },
): Promise<GraphProbes> {
  const { encoder, first, next } = graphs;
  checkInputs(encoder, ["input_ids", "attention_mask"]);
  const read = ["input_ids", "encoder_attention_mask", "encoder_hidden_states"];
  checkInputs(first, read);
  checkInputs(next, [...read, ...graphs.fixed.keys(), ...graphs.growing.keys()]);
  const encoderProbe = await probeRows(encoder, targetsIn(encoder, modules), { ...options, imageSize: null });
  if (!encoderProbe.trial)
    throw new LorikeetError("model_unsupported", "The model's encoder did not run with trial inputs.");
  const sources = probeSeeds.map((seed) => encoderProbe.trial?.of([seed]) ?? new Map());
  const begins: Row[] = [];
  for (const [seed, source] of sources.entries()) {
    const [encoded] = await runners.encoder.run([{ inputs: source, place: 0 }], null, options.signal);
    const hidden = encoded?.get(encoder.outputs[0]?.name ?? "");
    const mask = source.get("attention_mask");
    const tokens = trialTokens(first, seed, 2);
    begins.push(
      rowOf(first, [
        ...(hidden ? [["encoder_hidden_states", hidden] as const] : []),
        ...(mask ? [["encoder_attention_mask", mask] as const] : []),
        tokens,
      ]),
    );
  }
  const firstProbe = await probeRowsWith(first, targetsIn(first, modules), new RecordedTrial(begins), options);
  const steps: Row[] = [];
  let logits: TaskTensor | undefined;
  for (const [seed, begin] of begins.entries()) {
    const [begun] = await runners.first.run([{ inputs: begin, place: 0 }], null, options.signal);
    logits = begun?.get("logits");
    const past = [...graphs.fixed, ...graphs.growing].flatMap(([name, present]) => {
      const tensor = begun?.get(present);
      return tensor ? [[name, tensor] as const] : [];
    });
    steps.push(rowOf(next, [...begin, ...past, trialTokens(next, seed + 1, 1)]));
  }
  const { signal } = options;
  const ragged = await tryRagged({ graphs, next: runners.next, steps, open, ...(signal && { signal }) });
  const nextProbe = await probeNext(ragged, next, modules, steps, options);
  if (logits?.type !== "float32" || logits.shape.length !== 3) {
    const found = logits ? `${logits.type} [${logits.shape.join(", ")}]` : "missing";
    throw new LorikeetError(
      "model_unsupported",
      `The model's logits are ${found}; float32 [rows, tokens, vocabulary] is allowed.`,
    );
  }
  const bytesOf = (names: Iterable<string>): number =>
    [...names].reduce((sum, name) => {
      const tensor = steps[0]?.get(name);
      return sum + (tensor ? tensor.data.byteLength / (tensor.shape[2] ?? 1) : 0);
    }, 0);
  return {
    encoder: encoderProbe,
    first: firstProbe,
    next: nextProbe,
    ragged,
    vocabSize: at(logits.shape, 2),
    sourceVocabSize: tableEntries(encoder).get("input_ids") ?? null,
    tokenBytes: { source: bytesOf(graphs.fixed.keys()), target: bytesOf(graphs.growing.keys()) },
  };
}

/** Tables of positions that the ragged graph looks up by row take no adapters there. */
async function probeNext(
  ragged: RaggedGraph | null,
  next: Graph,
  modules: readonly TaskModule[],
  steps: readonly Row[],
  options: { readonly threads: number; readonly signal?: AbortSignal },
): Promise<RowProbe> {
  const graph = ragged?.graph ?? next;
  const targets = targetsIn(graph, modules);
  const probe = await probeRowsWith(graph, targets, new RecordedTrial(ragged?.rows ?? steps), options);
  const kept = new Set(targets);
  const replaced = targetsIn(next, modules).filter((target) => !kept.has(target));
  const refusal = "it looks up the positions of tokens";
  return { ...probe, layouts: new Map([...probe.layouts, ...replaced.map((each) => [each, { refusal }] as const)]) };
}

/** Nodes of modules that are in a graph. */
function targetsIn(graph: Graph, modules: readonly TaskModule[]): WeightedNode[] {
  const nodes = new Set(graph.nodes);
  return modules.flatMap(({ uses }) => uses.flatMap(({ target }) => (nodes.has(target.node) ? [target] : [])));
}

function checkInputs({ inputs }: Graph, known: readonly string[]): void {
  const other = inputs.find(({ name }) => !known.includes(name));
  if (!other) return;
  const message = `The model has an input ${other.name}, which is not computed; ${known.join(", ")} are.`;
  throw new LorikeetError("model_unsupported", message, { param: other.name, allowed: known });
}

/** Several tokens only where the graph takes them: an axis of one position looks like an axis of one row. */
function trialTokens(graph: Graph, seed: number, most: number): readonly [string, TaskTensor] {
  const entries = tableEntries(graph).get("input_ids") ?? 2;
  const isLong = typeof graph.inputs.find(({ name }) => name === "input_ids")?.shape[1] === "string";
  const ids = [1 + seed * 31, 2 + seed * 17].map((id) => id % entries);
  return ["input_ids", idsTensor(graph, "input_ids", ids.slice(0, isLong ? most : 1))];
}

/** Those of the tensors that are inputs of the graph; of several for one input the last. */
function rowOf({ inputs }: Graph, tensors: readonly (readonly [string, TaskTensor])[]): Row {
  const names = new Set(inputs.map(({ name }) => name));
  return new Map(tensors.filter(([name]) => names.has(name)));
}

/** Inputs that were computed before: a row for each seed. */
class RecordedTrial implements Trial {
  readonly #rows: readonly Row[];

  constructor(rows: readonly Row[]) {
    this.#rows = rows;
  }

  of(seeds: readonly number[]): Map<string, Tensor> {
    const names = [...(this.#rows[0]?.keys() ?? [])];
    return new Map(names.map((name) => [name, joined(seeds.map((seed) => at(this.#rows, seed).get(name)))]));
  }
}
