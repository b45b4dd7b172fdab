/** An oracle's base as the runner serves it, without an engine: prompts in chunks, steps of any rows, greedy tokens of a batch. */

import { at } from "../../src/base/list.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { openPool } from "../../src/engine/adapters/pool.js";
import { KvCache } from "../../src/engine/kv-cache.js";
import { type DecodeRow, Runner } from "../../src/engine/runner.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { layerNorms, rereadLength } from "../../src/model/modules.js";
import { cacheShape } from "../../src/model/serving/cache-shape.js";
import type { Arithmetic } from "../../src/model/serving/target.js";
import type { Device } from "../../src/runtime/device/device.js";
import { type PlanOptions, planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { testArithmetic, testDevice } from "./device.js";
import type { Expected } from "./oracle.js";

const capacity = 64;
const slots = 4;

/** Quantized weights are kept in `cacheDirectory`. */
export async function openModel(
  directory: string,
  options: PlanOptions = { dtype: "fp32" },
  cacheDirectory?: string,
  {
    arithmetic = testArithmetic,
    device = testDevice,
  }: { readonly arithmetic?: Arithmetic; readonly device?: Device } = {},
) {
  const checkpoint = await openCheckpoint(directory);
  const { config, tensors } = checkpoint;
  const rawTables = device.capabilities.halfTables;
  const plan = planWeights(config, tensors, { ...options, rawTables });
  const { weights } = await prepareWeights(checkpoint, plan, cacheDirectory === undefined ? {} : { cacheDirectory });
  const session = { threads: 1 };
  const runner = await Runner.create({
    config,
    weights,
    capacity,
    maxRows: slots,
    session,
    exact: true,
    evenRows: false,
    device,
    arithmetic,
  });
  const cache = await device.turn(
    async () => new KvCache({ ...cacheShape(config, arithmetic), slots, capacity }, device),
  );
  const { activationType: type = "float32" } = arithmetic;
  const bank = openPool({
    groups: runner.groups,
    tiedHead: runner.tiedHead,
    norms: layerNorms(config),
    places: slots,
    maxBytes: 1 << 26,
    device,
    type,
  });
  const { vocabSize } = config;

  const prefill = async (
    slot: number,
    ids: number[],
    chunks: number[],
    adapter: BankHold | null,
    length = ids.length,
  ) => {
    const logits = new Float32Array(ids.length * vocabSize);
    let start = 0;
    for (const size of chunks) {
      const tokens = ids.slice(start, start + size);
      logits.set(
        await runner.prefill({ slot, start, tokens, length, allRows: true, adapter }, cache, bank),
        start * vocabSize,
      );
      start += size;
    }
    return logits;
  };
  const decode = (rows: readonly DecodeRow[]) => runner.decode(rows, cache, bank);
  return { checkpoint, config, weights, runner, cache, bank, prefill, decode };
}

export type OpenedModel = Awaited<ReturnType<typeof openModel>>;

/** A text in one chunk, or where the device's kernel is wrong for long ones in several. */
function chunksOf(tokens: number): number[] {
  const longest = testDevice.capabilities.longChunks ? tokens : 24;
  return Array.from({ length: Math.ceil(tokens / longest) }, (_, i) => Math.min(longest, tokens - i * longest));
}

export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if ((row[i] as number) > (row[best] as number)) best = i;
  return best;
}

/**
 * Continues several texts in one batch, prompts in two chunks: `next` chooses each token from the logits before it. Returns the texts
 * with `count` new tokens.
 */
export async function continueTexts(
  model: OpenedModel,
  texts: readonly { readonly prompt: readonly number[]; readonly adapter: BankHold | null }[],
  count: number,
  next: (logits: Float32Array, text: number, step: number) => number,
): Promise<number[][]> {
  const { vocabSize } = model.config;
  const out: number[][] = [];
  for (const [slot, { prompt, adapter }] of texts.entries()) {
    const logits = await model.prefill(slot, [...prompt], [14, prompt.length - 14], adapter);
    out.push([...prompt, next(logits.subarray((prompt.length - 1) * vocabSize), slot, 0)]);
  }
  // As the engine does: the keys and values of all but the newest token, computed anew as of a text that holds it too.
  const reread = (rereadLength(model.config) ?? -1) + 1;
  const rereadAll = async (): Promise<void> => {
    for (const [slot, { adapter }] of texts.entries()) {
      const ids = at(out, slot);
      await model.prefill(slot, ids.slice(0, -1), chunksOf(ids.length - 1), adapter, ids.length);
    }
  };
  for (let step = 1; step < count; step++) {
    const logits = await model.decode(
      texts.map(({ adapter }, slot) => ({
        token: at(out, slot).at(-1) ?? 0,
        length: at(out, slot).length - 1,
        adapter,
      })),
    );
    const rowOf = (slot: number): Float32Array => logits.subarray(slot * vocabSize, (slot + 1) * vocabSize);
    const picked = out.map((_, slot) => next(rowOf(slot), slot, step));
    for (const [slot, id] of picked.entries()) at(out, slot).push(id);
    if (out[0]?.length === reread) await rereadAll();
  }
  return out;
}

/** Greedy tokens of several sequences in one batch: each prompt and 24 tokens. */
export const greedy = (model: OpenedModel, rows: readonly { expected: Expected; adapter: BankHold | null }[]) =>
  continueTexts(
    model,
    rows.map(({ expected, adapter }) => ({ prompt: expected.inputIds, adapter })),
    24,
    argmax,
  );

/** The share of PyTorch's greedy tokens that are the likeliest here too, each behind PyTorch's own text before it. */
export async function agreement(
  model: OpenedModel,
  rows: readonly { expected: Expected; adapter: BankHold | null }[],
): Promise<number> {
  const texts = rows.map(({ expected, adapter }) => ({ prompt: expected.inputIds, adapter }));
  const agreed: boolean[] = [];
  await continueTexts(model, texts, 24, (logits, text, step) => {
    const { expected } = at(rows, text);
    const id = at(expected.greedyIds, expected.inputIds.length + step);
    agreed.push(argmax(logits.subarray(0, model.config.vocabSize)) === id);
    return id;
  });
  return agreed.filter(Boolean).length / agreed.length;
}
