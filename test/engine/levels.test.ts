/** Accuracy levels of products over int8 and int4 blocks: at 0 a card has the CPU's numbers, at 4 each rounds activations in its own way. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { at } from "../../src/base/list.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { webgpu } from "../support/device.js";
import { relativeDistance } from "../support/relative-distance.js";
import { argmax, continueTexts, openModel } from "../support/served-model.js";

const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-levels-"));
after(() => rm(cacheDirectory, { recursive: true }));

const prompt = Array.from({ length: 16 }, (_, i) => (i * 997 + 11) % 4096);
const count = 8;

interface Answer {
  /** Of each step, behind the same text everywhere. */
  readonly logits: Float32Array;
  readonly tokens: readonly number[];
}

/** The prompt and the tokens of `forced`, or those that are the likeliest. */
async function answer(
  device: Device,
  dtype: "int8" | "int4",
  accuracyLevel: 0 | 4,
  forced?: readonly number[],
): Promise<Answer> {
  const form = { arithmetic: { accuracyLevel }, device };
  const model = await openModel("models/bookworm-7m", { dtype, pack: true }, cacheDirectory, form);
  const { vocabSize } = model.config;
  const logits = new Float32Array(count * vocabSize);
  const tokens: number[] = [];
  await continueTexts(model, [{ prompt, adapter: null }], count, (all, _, step) => {
    const row = all.subarray(0, vocabSize);
    logits.set(row, step * vocabSize);
    tokens.push(argmax(row));
    return forced ? at(forced, step) : at(tokens, step);
  });
  return { logits, tokens };
}

for (const dtype of ["int8", "int4"] as const) {
  test(`${dtype} blocks: level 0 gives the CPU's tokens on a card, level 4 numbers near them`, {
    skip: webgpu.skip,
  }, async () => {
    const { device } = webgpu;
    assert.ok(device);
    const expected = await answer(cpu, dtype, 0);
    const exact = await answer(device, dtype, 0);
    assert.deepEqual(exact.tokens, expected.tokens);
    assert.ok(relativeDistance(exact.logits, expected.logits) <= 1e-4);

    const rounded = await answer(device, dtype, 4, expected.tokens);
    const error = relativeDistance(rounded.logits, expected.logits);
    assert.ok(error > 1e-4 && error <= 0.05, `level 4 is ${error} away`);
    const agreeing = rounded.tokens.filter((token, step) => token === expected.tokens[step]).length;
    assert.ok(agreeing >= count - 2, `${agreeing} of ${count} tokens agree`);
  });
}
