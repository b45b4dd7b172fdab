/**
 * Translations of rows with different adapters, and without one, in batches that rows join and leave: each row has what PEFT computes
 * with its adapter, and the same tokens as alone.
 */

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, test } from "node:test";
import { at } from "../../../src/base/list.js";
import { RandomStream } from "../../../src/engine/sampling/random.js";
import { type EngineEvent, type EngineRequest, greedy } from "../../../src/engine/types.js";
import type { Tensor } from "../../../src/runtime/tensor.js";
import { readExpectedTensors, taskRoot } from "../../support/task-models.js";
import {
  type StartedTranslation,
  separateDecoders,
  startTranslation,
  t5Model,
  translationModel,
} from "../../support/translation-model.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-seq2seq-"));
after(() => rmSync(temporary, { recursive: true }));

const tolerance = 2e-5;
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
    const top = event.logprob?.top ?? [];
    const all = new Float64Array(top.length);
    for (const { id, logprob } of top) all[id] = logprob;
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
  const vocabSize = at(expected.get("logits")?.shape ?? [], 2);
  for (const [token, found] of logprobs.entries()) {
    const wanted = normalized(logits.slice(token * vocabSize, (token + 1) * vocabSize));
    const error = wanted.reduce((most, value, i) => Math.max(most, Math.abs(value - at(found, i))), 0);
    assert.ok(error <= tolerance * largest, `${label}, token ${token}: ${error / largest}`);
  }
}

function assertIdle({ engine, leases }: StartedTranslation): void {
  engine.check();
  assert.deepEqual([engine.stats().running, engine.stats().waiting, leases()], [0, 0, 0]);
}

interface Case {
  readonly name: string;
  readonly start: () => Promise<StartedTranslation>;
  /** The folder of the expected tensors. */
  readonly expected: string;
  /** Whether rows with texts of different lengths share a run. */
  readonly isRagged: boolean;
  /** Each gives the rows other adapters; default: as many as there are. */
  readonly turns?: number;
}

/** One engine for several tests: each start tries every graph. */
const marian = startTranslation(translationModel, { maxBatch: 6 });
after(async () => (await marian).engine.close());

const cases: readonly Case[] = [
  { name: "a merged decoder", start: () => marian, expected: translationModel, isRagged: true },
  {
    name: "a file for each graph, with another softmax",
    start: async () => startTranslation(await separateDecoders(temporary)),
    expected: translationModel,
    isRagged: false,
    turns: 1,
  },
  { name: "T5", start: () => startTranslation(t5Model), expected: t5Model, isRagged: true },
];

for (const { name, start, expected: source, isRagged, turns } of cases) {
  test(`${name}: rows with every adapter and with none, in one batch, have PEFT's tokens and logits`, async () => {
    const started = await start();
    assert.deepEqual([started.reason, started.rowsIndependent, started.isRagged], [null, true, isRagged]);
    const base = await readExpectedTensors(relative(taskRoot, source));
    const names = readdirSync(join(source, "adapters")).sort();
    const expected = [base];
    for (const each of names) {
      expected.push(await readExpectedTensors(relative(taskRoot, join(source, "adapters", each))));
    }
    const sampling = { ...greedy, logprobs: at(base.get("logits")?.shape ?? [], 2) };
    for (let turn = 0; turn < (turns ?? expected.length); turn++) {
      const chosen = rows.map((row) => (row + turn) % expected.length);
      const answers = await Promise.all(
        rows.map((row) => {
          const adapter = started.adapters[at(chosen, row) - 1]?.digest ?? null;
          return answer(started, requestFor(sourceOf(base, row), adapter, { sampling }));
        }),
      );
      for (const row of rows) {
        const label = `row ${row} with ${names[at(chosen, row) - 1] ?? "no adapter"}`;
        assertAnswer(at(answers, row), expected[at(chosen, row)] ?? new Map(), row, label);
      }
    }
    assertIdle(started);
    if (started !== (await marian)) await started.engine.close();
  });
}

test("rows that join and leave at random times have the tokens that they have alone", async () => {
  const started = await marian;
  const random = new RandomStream(11);
  let drawn = 0;
  const upTo = (most: number): number => {
    random.seek(drawn++);
    return Math.floor(random.next() * most);
  };
  const requests = Array.from({ length: 14 }, (_, index) => {
    const ids = Array.from({ length: 3 + upTo(40) }, () => 3 + upTo(190));
    const adapter = started.adapters[upTo(started.adapters.length + 1)]?.digest ?? null;
    const sampling = index % 2 === 0 ? greedy : { ...greedy, temperature: 1.5, seed: index };
    return requestFor(ids, adapter, { maxTokens: 1 + upTo(24), sampling });
  });
  const together = await Promise.all(
    requests.map(async (request) => {
      for (let turns = upTo(40); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      return await answer(started, request);
    }),
  );
  for (const [index, request] of requests.entries()) {
    const alone = await answer(started, request);
    assert.deepEqual(at(together, index).ids, alone.ids, `sequence ${index}`);
    assert.equal(alone.end.reason, "length");
  }
  assertIdle(started);
});

test("a sequence that is cancelled, or whose reader leaves, ends alone and gives everything back", async () => {
  const started = await marian;
  const { engine } = started;
  const source = [3, 12, 109, 50, 22, 0];
  const digest = started.adapters[0]?.digest ?? null;
  const leaving = new AbortController();
  const [cancelled, other] = [
    answer(started, requestFor(source, digest, { maxTokens: 48, signal: leaving.signal })),
    answer(started, requestFor(source, null)),
  ];
  let count = 0;
  for await (const event of engine.submit(requestFor(source, digest, { maxTokens: 48 }))) {
    if (event.type === "token" && ++count === 3) break;
  }
  leaving.abort();
  assert.equal((await cancelled).end.reason, "cancelled");
  const alone = await answer(started, requestFor(source, null));
  assert.deepEqual((await other).ids, alone.ids);
  assert.throws(
    () =>
      engine.submit(
        requestFor(
          Array.from({ length: 49 }, () => 3),
          null,
        ),
      ),
    /reads at most 48/,
  );
  assert.throws(() => engine.submit(requestFor(source, null, { maxTokens: 49 })), /generates at most 48/);
  assert.throws(() => engine.submit(requestFor([200], null)), /the vocabulary has 0 to 199/);
  assertIdle(started);
});

test("adapters take turns where --active-adapter-bytes has room for one, and each row keeps its own", async () => {
  const roomy = await marian;
  const source = [3, 12, 109, 50, 22, 0];
  const expected: (readonly number[])[] = [];
  const short = { maxTokens: 4 };
  for (const { digest } of roomy.adapters) expected.push((await answer(roomy, requestFor(source, digest, short))).ids);
  const bytes = roomy.engine.stats().activeAdapterBytes / 7; // a place: there are six, and the base's
  const narrow = await startTranslation(translationModel, { activeAdapterBytes: bytes });
  const found = await Promise.all(
    narrow.adapters.map(({ digest }) => answer(narrow, requestFor(source, digest, short))),
  );
  assert.deepEqual(
    found.map(({ ids }) => ids),
    expected,
  );
  assertIdle(narrow);
  await narrow.engine.close();
});
