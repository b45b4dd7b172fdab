/**
 * Tries whether rows with texts of different lengths can share a run: a changed graph must compute for such rows together what the file's
 * own graph computes for each of them.
 */

import { hasCode, LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { pruneGraph } from "../../graph/prune.js";
import type { Graph } from "../../graph/types.js";
import type { EncoderDecoder } from "../../model/task/encoder-decoder.js";
import { positionTables, raggedStep } from "../../model/task/ragged-step.js";
import type { TaskRunner } from "../task/runner.js";
import type { TaskTensor } from "../task/types.js";
import { layoutInputs, padded } from "./past-layout.js";

export type Row = ReadonlyMap<string, TaskTensor>;

export interface RaggedGraph {
  readonly graph: Graph;
  readonly runner: TaskRunner;
  /** Inputs that it has run with. */
  readonly rows: readonly Row[];
}

interface RaggedTrial {
  readonly graphs: EncoderDecoder;
  readonly next: TaskRunner;
  /** Inputs of `next`, whose texts have the same length. */
  readonly steps: readonly Row[];
  /** A runner of another graph over the same weights, which its user disposes of. */
  readonly open: (graph: Graph) => TaskRunner;
  readonly signal?: AbortSignal;
}

/** Relative to the largest value: kernels add up in another order where there is padding. */
const tolerance = 1e-4;
/** Rows of different lengths. */
const lengths = 3;

/** null if the graph cannot be changed so, or computes something else then. */
export async function tryRagged(trial: RaggedTrial): Promise<RaggedGraph | null> {
  const { graphs, next, steps, open, signal } = trial;
  const run = async (runner: TaskRunner, rows: readonly Row[]) =>
    await runner.run(
      rows.map((inputs) => ({ inputs, place: 0 })),
      null,
      signal,
    );
  const graph = raggedStep(graphs.next, keysOf(graphs), await findPositions(trial));
  if (!graph) return null;
  const runner = open(graph);
  try {
    const rows: Row[] = [];
    const expected: Row[] = [];
    for (const [index, step] of steps.entries()) {
      let inputs = step;
      for (let more = index % lengths; more > 0; more--) {
        const [found] = await run(next, [inputs]);
        const grown = [...graphs.growing].map(([name, present]) => [name, tensorIn(found, present)] as const);
        inputs = new Map([...inputs, ...grown]);
      }
      expected.push(at(await run(next, [inputs]), 0));
      const tokens = textLength(graphs, inputs);
      const own = [...graphs.growing.keys()].map((name) => [name, padded(tensorIn(inputs, name), tokens)] as const);
      rows.push(new Map([...inputs, ...own, ...layoutInputs(tokens)]));
    }
    const found = await run(runner, rows.slice(0, lengths));
    if (found.every((outputs, row) => agrees(graphs, outputs, at(expected, row)))) return { graph, runner, rows };
  } catch (error) {
    if (!hasCode(error, "runtime_failed")) {
      await runner[Symbol.asyncDispose]();
      throw error;
    }
  }
  await runner[Symbol.asyncDispose]();
  return null;
}

const keysOf = ({ growing }: EncoderDecoder): string[] => [...growing.keys()].filter((name) => name.endsWith(".key"));

/** Tables whose index is one number that grows with the text, and what it is for an empty one. */
async function findPositions({ graphs, steps, open, signal }: RaggedTrial) {
  const tables = positionTables(graphs.next);
  if (tables.length === 0) return [];
  const names = new Set(tables.map(({ index }) => index));
  const values = graphs.next.nodes.flatMap(({ outputs }) => outputs.filter(({ name }) => names.has(name)));
  const outputs = values.map((value) => ({ ...value, unknown: "type" as const }));
  await using runner = open(pruneGraph({ ...graphs.next, outputs }));
  const step = at(steps, 0);
  const [found] = await runner.run([{ inputs: step, place: 0 }], null, signal);
  const tokens = textLength(graphs, step);
  return tables.flatMap((table) => {
    const data = found?.get(table.index)?.data;
    return data?.length === 1 ? [{ ...table, offset: Number(data[0]) - tokens }] : [];
  });
}

function textLength({ growing }: EncoderDecoder, inputs: Row): number {
  const [name = ""] = growing.keys();
  return at(tensorIn(inputs, name).shape, 2);
}

function tensorIn(tensors: Row | undefined, name: string): TaskTensor {
  const tensor = tensors?.get(name);
  if (tensor) return tensor;
  throw new LorikeetError("model_unsupported", `The model's decoder computes no ${name}.`, { param: name });
}

/** Whether the logits, and the keys and values of the new token, are as expected. */
function agrees({ growing }: EncoderDecoder, found: Row, expected: Row): boolean {
  const isNear = (left: ArrayLike<number | bigint>, right: ArrayLike<number | bigint>): boolean => {
    const values = Array.from(right, Number);
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return (
      left.length === values.length &&
      values.every((value, i) => Math.abs(value - Number(left[i])) <= tolerance * largest)
    );
  };
  const isNewNear = (name: string): boolean =>
    isNear(padded(tensorIn(found, name), 1).data, padded(tensorIn(expected, name), 1).data);
  return (
    isNear(tensorIn(found, "logits").data, tensorIn(expected, "logits").data) && [...growing.values()].every(isNewNear)
  );
}
