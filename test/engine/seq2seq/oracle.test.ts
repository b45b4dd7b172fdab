/**
 * Translations of rows with different adapters, and without one, in batches that rows join and leave: each row has what PEFT computes
 * with its adapter, and the same tokens as alone.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { at } from "../../../src/base/list.js";
import { type EngineEvent, type EngineRequest, greedy } from "../../../src/engine/types.js";
import type { Tensor } from "../../../src/runtime/tensor.js";
import { readExpectedTensors } from "../../support/task-models.js";
import {
  type StartedTranslation,
  separateDecoders,
  startTranslation,
  translationAdapters,
  translationModel,
} from "../../support/translation-model.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-seq2seq-"));
after(() => rmSync(temporary, { recursive: true }));

const tolerance = 2e-5;
const vocabSize = 200;
const rows = [0, 1, 2, 3];

type Finish = Extract<EngineEvent, { type: "finish" }>;

interface Answer {
  readonly ids: readonly number[];
  /** [tokens, vocabulary], if they were asked for. */
  readonly logprobs: readonly Float64Array[];
  readonly end: Finish;
}

async function answer({ engine }: StartedTranslation, request: EngineRequest): Promise<Answer> {
  const ids: number[] = [];
  const logprobs: Float64Array[] = [];
  let end: Finish | null = null;
  for await (const event of engine.submit(request)) {
    if (event.type === "finish") end = event;
    if (event.type !== "token") continue;
    ids.push(event.id);
    const all = new Float64Array(vocabSize);
    for (const { id, logprob } of event.logprob?.top ?? []) all[id] = logprob;
    logprobs.push(all);
  }
  assert.ok(end, "a sequence ends");
  return { ids, logprobs, end };
}

function requestFor(
  promptIds: readonly number[],
  adapter: string | null,
  more: Partial<EngineRequest> = {},
): EngineRequest {
  return { promptIds, maxTokens: 16, sampling: greedy, stopIds: [], adapter, promptLogprobs: null, ...more };
}

/** A row's source without padding. */
function sourceOf(inputs: ReadonlyMap<string, Tensor>, row: number): number[] {
  const [ids, mask] = ["input_ids", "attention_mask"].map((name) => Array.from(rowOf(inputs.get(name), row), Number));
  return (ids ?? []).filter((_, i) => mask?.[i] === 1);
}

function rowOf(tensor: Tensor | undefined, row: number): ArrayLike<number | bigint> {
  assert.ok(tensor);
  const size = tensor.data.length / (tensor.shape[0] ?? 1);
  return tensor.data.subarray(row * size, (row + 1) * size);
}

/** log-softmax of one token's logits. */
function normalized(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit - most), 0));
  return logits.map((logit) => logit - most - sum);
}

function assertAnswer(
  { ids, logprobs }: Answer,
  expected: ReadonlyMap<string, Tensor>,
  row: number,
  label: string,
): void {
  const greedyIds = Array.from(rowOf(expected.get("greedy_ids"), row), Number).slice(1);
  assert.deepEqual(ids, greedyIds, label);
  const logits = Array.from(rowOf(expected.get("logits"), row), Number);
  const largest = logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [token, found] of logprobs.entries()) {
    const wanted = normalized(logits.slice(token * vocabSize, (token + 1) * vocabSize));
    const error = wanted.reduce((most, value, i) => Math.max(most, Math.abs(value - at(found, i))), 0);
    assert.ok(error <= tolerance * largest, `${label}, token ${token}: ${error / largest}`);
  }
}

async function close({ engine, leases }: StartedTranslation): Promise<void> {
  engine.check();
  assert.deepEqual([engine.stats().running, engine.stats().waiting, leases()], [0, 0, 0]);
  await engine.close();
}

for (const layout of ["a merged decoder", "a file for each of the decoder's graphs"]) {
  test(`${layout}: rows with every adapter and with none, in one batch, have PEFT's tokens and logits`, async () => {
    const folder = layout === "a merged decoder" ? translationModel : await separateDecoders(temporary);
    const started = await startTranslation(folder);
    assert.deepEqual([started.reason, started.rowsIndependent], [null, true]);
    const base = await readExpectedTensors("marian");
    const expected = [base];
    for (const name of translationAdapters) expected.push(await readExpectedTensors(join("marian", "adapters", name)));
    const sampling = { ...greedy, logprobs: vocabSize };
    for (let turn = 0; turn <= translationAdapters.length; turn++) {
      const chosen = rows.map((row) => (row + turn) % expected.length);
      const answers = await Promise.all(
        rows.map((row) => {
          const adapter = started.adapters[at(chosen, row) - 1]?.digest ?? null;
          return answer(started, requestFor(sourceOf(base, row), adapter, { sampling }));
        }),
      );
      for (const row of rows) {
        const label = `row ${row} with ${translationAdapters[at(chosen, row) - 1] ?? "no adapter"}`;
        assertAnswer(at(answers, row), expected[at(chosen, row)] ?? new Map(), row, label);
      }
    }
    await close(started);
  });
}
