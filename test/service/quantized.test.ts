/**
 * The running server with int8 and int4 weights: every family, its base and all of its adapters in one batch, over HTTP, against
 * fp32 on the weights that the integers stand for.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import { at, zip } from "../../src/base/list.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { planServing } from "../../src/engine/start.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { type Choice, complete, type Logprobs, only } from "../support/client.js";
import { dequantizedCheckpoint } from "../support/dequantized.js";
import { onlyWhenLong } from "../support/long.js";
import { adapterFolder, adapterNames, families, oracleRoot, readExpected } from "../support/oracle.js";
import { continueTexts, type OpenedModel, openModel } from "../support/served-model.js";
import { openService } from "../support/service.js";

const vocabSize = 320;
const answerLength = 24;
/**
 * Adapters are fp32 and the weights are the same: what differs is that eight bits hold the activations. These models are 64 wide,
 * with weights ten times as large as a trained model's. With VNNI, weights use all eight bits too: the largest error seen is 7.2e-2.
 */
const bounds = { relativeError: 8e-2, nats: 0.4, share: 7 / 8 };
/** Its texts are longer than the server lets a context of this model become. */
const tooShort = "llama-dynamic-short";

type Dtype = "int8" | "int4";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lorikeet-quantized-service-"));
});
after(() => rm(folder, { recursive: true, force: true }));

interface Answer {
  readonly model: string;
  readonly prompt: readonly number[];
  /** The prompt, scored. */
  readonly scored: Choice;
  readonly generated: Choice;
}

/** Each with every id's log-probability at each token. */
async function ask(url: string, model: string, prompt: readonly number[]): Promise<Answer> {
  const body = { model, prompt, return_token_ids: true, logprobs: vocabSize };
  const [scored, generated] = await Promise.all([
    complete(url, { ...body, max_tokens: 0, echo: true }),
    complete(url, { ...body, max_tokens: answerLength, temperature: 0, ignore_eos: true }),
  ]);
  return { model, prompt, scored: only(scored), generated: only(generated) };
}

/** What the server says of the base and every adapter of a family, all at once. */
async function askAll(family: string, dtype: Dtype, cacheDir: string): Promise<Answer[]> {
  const root = join(oracleRoot, family);
  const flags = { model: root, adapters: join(root, "adapters"), servedModelName: "base", maxLogprobs: `${vocabSize}` };
  await using service = await openService({ ...flags, dtype, cacheDir });
  const answers = await Promise.all(
    ["base", ...adapterNames(family)].map(async (model) => {
      const { inputIds } = await readExpected(model === "base" ? root : adapterFolder(family, model));
      return ask(service.url, model, inputIds);
    }),
  );
  await service.assertIdle();
  return answers;
}

/** fp32 over the weights of a server that keeps its converted weights in `cacheDirectory`. */
async function openReference(family: string, dtype: Dtype, cacheDirectory: string): Promise<OpenedModel> {
  const checkpoint = await openCheckpoint(join(oracleRoot, family));
  const plan = await planServing(checkpoint, { dtype, threads: 1 });
  const prepared = await prepareWeights(checkpoint, plan, { cacheDirectory });
  const dequantized = join(cacheDirectory, "dequantized");
  await mkdir(dequantized);
  await dequantizedCheckpoint(checkpoint, prepared.weights, dequantized);
  await prepared.close();
  return openModel(dequantized);
}

interface ExpectedRows {
  /** The logits after each token of the prompt. */
  readonly read: readonly Float32Array[];
  /** The logits before each token of the answer. */
  readonly decoded: readonly Float32Array[];
}

/** The reference's logits of the texts that the server read and wrote. */
async function expectedRows(
  family: string,
  reference: OpenedModel,
  answers: readonly Answer[],
): Promise<ExpectedRows[]> {
  const adapters: (BankHold | null)[] = [];
  for (const { model } of answers) {
    if (model === "base") adapters.push(null);
    else {
      const adapter = await loadAdapter(adapterFolder(family, model), targetModules(reference.config), {});
      adapters.push(await reference.bank.acquire(adapter));
    }
  }
  const texts = zip(answers, adapters).map(([{ prompt }, adapter]) => ({ prompt, adapter }));
  const decoded: Float32Array[][] = answers.map(() => []);
  await continueTexts(reference, texts, answerLength, (logits, i, step) => {
    at(decoded, i).push(logits.slice(0, vocabSize));
    return at(at(answers, i).generated.token_ids ?? [], step);
  });
  const all: ExpectedRows[] = [];
  for (const [{ prompt, adapter }, rows] of zip(texts, decoded)) {
    const logits = (await reference.prefill(0, [...prompt], [prompt.length], adapter)).slice();
    const read = prompt.map((_, row) => logits.subarray(row * vocabSize, (row + 1) * vocabSize));
    all.push({ read, decoded: rows });
  }
  return all;
}

/** The log-probabilities of every id, as they were answered. */
function distribution(table: Logprobs["top_logprobs"][number]): Float64Array {
  const entries = Object.entries(table ?? {});
  assert.equal(entries.length, vocabSize);
  const values = new Float64Array(vocabSize).fill(Number.NaN);
  for (const [token, value] of entries) values[Number(/^token_id:(\d+)$/.exec(token)?.[1])] = value;
  return values;
}

/** Without the constant by which logits and log-probabilities differ. */
function centred(values: ArrayLike<number>): number[] {
  const all = Array.from(values);
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  return all.map((value) => value - mean);
}

function relativeError(tables: Logprobs["top_logprobs"], expected: readonly Float32Array[]): number {
  let [error, size] = [0, 0];
  for (const [table, logits] of zip(tables, expected)) {
    for (const [found, exact] of zip(centred(distribution(table)), centred(logits))) {
      error += (found - exact) ** 2;
      size += exact ** 2;
    }
  }
  return Math.sqrt(error / size);
}

/** How much less likely than the best token each token of an answer is to the reference, in nats. */
const regrets = ({ generated }: Answer, { decoded }: ExpectedRows): number[] =>
  zip(generated.token_ids ?? [], decoded).map(([id, logits]) => Math.max(...logits) - at(logits, id));

function check(answer: Answer, expected: ExpectedRows): void {
  const { model, prompt, scored, generated } = answer;
  assert.deepEqual(scored.prompt_token_ids, prompt);
  const { top_logprobs: read, token_logprobs } = scored.logprobs ?? assert.fail("the prompt is scored");
  for (const [i, id] of prompt.entries()) {
    if (i > 0) assert.equal(token_logprobs[i], read[i]?.[`token_id:${id}`], `${model}: token ${i} of the prompt`);
  }
  const { top_logprobs: said } = generated.logprobs ?? assert.fail("the answer is scored");
  for (const [id, table] of zip(generated.token_ids ?? [], said)) {
    assert.equal(
      Math.max(...distribution(table)),
      table?.[`token_id:${id}`],
      `${model}: the likeliest token is chosen`,
    );
  }
  const errors = [relativeError(read.slice(1), expected.read.slice(0, -1)), relativeError(said, expected.decoded)];
  for (const error of errors) assert.ok(error <= bounds.relativeError, `${model}: relative error ${error}`);
  const worst = Math.max(...regrets(answer, expected));
  assert.ok(worst <= bounds.nats, `${model}: a token is ${worst} nats from the best`);
}

for (const [i, family] of families.filter((name) => name !== tooShort).entries()) {
  for (const [j, dtype] of (["int8", "int4"] as const).entries()) {
    const effort = i % 2 === j ? {} : onlyWhenLong;
    test(
      `${family}, ${dtype}: the base and every adapter, all at once, answer as fp32 does on the dequantized weights`,
      effort,
      async () => {
        const cache = join(folder, family, dtype);
        const answers = await askAll(family, dtype, cache);
        const reference = await openReference(family, dtype, cache);
        const expected = await expectedRows(family, reference, answers);
        reference.runner[Symbol.dispose]();
        for (const [answer, rows] of zip(answers, expected)) check(answer, rows);
        const all = zip(answers, expected).flatMap(([answer, rows]) => regrets(answer, rows));
        const share = all.filter((regret) => regret === 0).length / all.length;
        assert.ok(share >= bounds.share, `only ${share} of the greedy tokens are the reference's`);
      },
    );
  }
}
