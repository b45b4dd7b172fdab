/**
 * The running server against PyTorch: every family, its base and all of its adapters at once, over HTTP and WebSocket, each with
 * its own greedy tokens and the log-probabilities of its prompt.
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../src/tensor/safetensors-write.js";
import {
  type Completion,
  complete,
  frameTokens,
  type Logprobs,
  only,
  SocketClient,
  stream,
  tokensOf,
} from "../support/client.js";
import { adapterFolder, adapterNames, type Expected, families, oracleRoot, readExpected } from "../support/oracle.js";
import { openService } from "../support/service.js";

const vocabSize = 320;
const alternatives = 5;
const tolerance = 1e-4;

/** Log-probabilities of every id by one row of logits. */
function logprobsOf(logits: Float32Array, row: number): number[] {
  const values = [...logits.subarray(row * vocabSize, (row + 1) * vocabSize)];
  const largest = Math.max(...values);
  const norm = largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  return values.map((value) => value - norm);
}

function near(found: number | null | undefined, expected: number | undefined, what: string): void {
  const difference = Math.abs((found ?? Number.NaN) - (expected ?? Number.NaN));
  assert.ok(difference <= tolerance, `${what}: ${found} is not ${expected}`);
}

/** The alternatives are the likeliest, each with its own value, and hold the token itself. */
function checkAlternatives(found: Logprobs["top_logprobs"][number] | undefined, expected: number[], own: number): void {
  const table = Object.entries(found ?? {}).map(([token, value]) => [
    Number(/^token_id:(\d+)$/.exec(token)?.[1]),
    value,
  ]);
  const ids = new Set(table.map(([id]) => id));
  assert.ok(ids.has(own) && ids.size >= alternatives, `${ids.size} alternatives`);
  for (const [id = -1, value] of table) near(value, expected[id], `alternative ${id}`);
  const least = [...expected].sort((a, b) => b - a)[alternatives - 1] ?? 0;
  const better = table.filter(([id, value = 0]) => id !== own || value >= least);
  for (const [id = -1, value = 0] of better)
    assert.ok(value >= least - tolerance, `alternative ${id} is among the best`);
}

function checkScores(answer: Completion, expected: Expected): void {
  const { logprobs, token_ids, prompt_token_ids } = only(answer);
  assert.deepEqual([prompt_token_ids, token_ids], [expected.inputIds, []]);
  assert.equal(logprobs?.token_logprobs.length, expected.inputIds.length);
  assert.equal(logprobs?.token_logprobs[0], null);
  for (const [i, id] of expected.inputIds.entries()) {
    assert.equal(logprobs?.tokens[i], `token_id:${id}`);
    if (i === 0) continue;
    const row = logprobsOf(expected.logits, i - 1);
    near(logprobs?.token_logprobs[i], row[id], `log-probability of token ${i}`);
    checkAlternatives(logprobs?.top_logprobs[i], row, id);
  }
}

/** Its texts are longer than the server lets a context of this model become: engine/oracle.test.ts holds it. */
const tooShort = "llama-dynamic-short";

for (const family of families.filter((name) => name !== tooShort)) {
  test(`${family}: the base and every adapter, all at once, answer with PyTorch's tokens and log-probabilities`, async () => {
    const root = join(oracleRoot, family);
    await using service = await openService({ model: root, adapters: join(root, "adapters"), servedModelName: "base" });
    using socket = await SocketClient.open(service.url);
    const models = ["base", ...adapterNames(family)];
    const isStepped = (await readExpected(root)).decodeLogits !== null;

    const check = async (model: string): Promise<void> => {
      const expected = await readExpected(model === "base" ? root : adapterFolder(family, model));
      const answer = expected.greedyIds.slice(expected.inputIds.length);
      const ask = { model, prompt: expected.inputIds, return_token_ids: true };
      const greedy = { ...ask, max_tokens: answer.length, temperature: 0, ignore_eos: true };
      const [whole, streamed, frames, scores, scored] = await Promise.all([
        complete(service.url, { ...greedy, logprobs: 0 }),
        tokensOf(stream(service.url, greedy)),
        socket.ask(model, greedy),
        complete(service.url, { ...ask, max_tokens: 0, echo: true, logprobs: alternatives }),
        complete(service.url, { ...ask, prompt: expected.greedyIds, max_tokens: 0, echo: true, logprobs: 0 }),
      ]);
      assert.deepEqual(only(whole).token_ids, answer);
      assert.deepEqual(streamed, answer);
      assert.deepEqual(frameTokens(frames), answer);
      checkScores(scores, expected);
      // What decoding says of each token is what reading the whole text at once says of it, unless rotations depend on its length.
      const read = only(scored).logprobs?.token_logprobs.slice(expected.inputIds.length) ?? [];
      const { decodeLogits } = expected;
      const said = decodeLogits ? answer.map((id, i) => logprobsOf(decodeLogits, i)[id]) : read;
      if (isStepped && !decodeLogits) return;
      for (const [i, value] of only(whole).logprobs?.token_logprobs.entries() ?? [])
        near(value, said[i] ?? 0, `token ${i}`);
    };
    await Promise.all(models.map(check));
    await service.assertIdle();
  });
}

/** The oracle's GPT-2 with the first of its learned positions only. */
async function writeShortened(folder: string, positions: number): Promise<void> {
  const source = join(oracleRoot, "gpt2");
  const config = JSON.parse(await readFile(join(source, "config.json"), "utf8"));
  await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, n_positions: positions }));
  await using file = await SafetensorsFile.open(join(source, "model.safetensors"));
  const tensors: TensorToWrite[] = [];
  for (const [name, { shape }] of file.tensors) {
    const data = await file.readFloat32(name);
    const isTable = name.endsWith("wpe.weight");
    const [rows = 0, ...rest] = shape;
    const width = data.length / rows;
    tensors.push({
      name,
      dtype: "F32",
      shape: isTable ? [positions, ...rest] : shape,
      data: isTable ? data.slice(0, positions * width) : data,
    });
  }
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
}

for (const positions of [32, 33]) {
  test(`gpt2: a model of ${positions} learned positions starts and uses all of them`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "lorikeet-positions-"));
    t.after(() => rm(folder, { recursive: true }));
    await writeShortened(folder, positions);
    await using service = await openService({ model: folder, servedModelName: "base", maxContext: `${positions}` });
    const { inputIds, greedyIds } = await readExpected(join(oracleRoot, "gpt2"));
    const whole = greedyIds.slice(0, positions);
    const ask = { model: "base", return_token_ids: true, logprobs: 0 };
    const greedy = { temperature: 0, ignore_eos: true, max_tokens: positions - inputIds.length };
    const generated = only(await complete(service.url, { ...ask, ...greedy, prompt: inputIds }));
    assert.deepEqual(generated.token_ids, whole.slice(inputIds.length));
    const scored = only(await complete(service.url, { ...ask, prompt: whole, max_tokens: 0, echo: true }));
    const read = scored.logprobs?.token_logprobs.slice(inputIds.length) ?? [];
    for (const [i, value] of generated.logprobs?.token_logprobs.entries() ?? [])
      near(value, read[i] ?? 0, `token ${i}`);
    await service.assertIdle();
  });
}
