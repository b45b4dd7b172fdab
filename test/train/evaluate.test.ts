/** How labels are judged: by all trained tokens, including the end token, and every label after the same prompt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLabelTemplate } from "../../src/train/data/encode.js";
import { chooseLabels, prefersChosen } from "../../src/train/evaluate.js";
import type { Served } from "../../src/train/served.js";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";

/** A model that says `likely` after any prompt, and what else there is with little chance; `asked` are its rows. */
function served(likely: string): Served & { readonly asked: number[][] } {
  const asked: number[][] = [];
  return {
    asked,
    digest: null,
    async score(ids) {
      asked.push([...ids]);
      const text = [...Buffer.from(likely), eosId];
      const start = ids.lastIndexOf(":".charCodeAt(0)) + 1;
      return Float64Array.from(ids, (id, i) => (i < start ? -1 : Math.log(id === text[i - start] ? 0.9 : 0.1)));
    },
    generate: async () => [],
    async [Symbol.asyncDispose]() {},
  };
}

const options = (labels: readonly string[], length = 64) => ({
  labels,
  length,
  encoding: {
    tokenizer: byteTokenizer(),
    endId: eosId,
    bosId: null,
    labelTemplate: parseLabelTemplate("{text}:{label}"),
  },
});

for (const likely of ["1", "10", "100"]) {
  test(`of labels that begin with each other, ${likely} is chosen where the model says it`, async () => {
    const [choice] = await chooseLabels(
      served(likely),
      [{ text: "a", label: likely }],
      options(["1", "10", "100", "2"]),
    );
    assert.deepEqual([choice?.label, choice?.choice], [likely, likely]);
    const count = likely.length + 1; // and the end token
    assert.ok(Math.abs((choice?.scores[likely] ?? 0) - count * Math.log(0.9)) < 1e-12, JSON.stringify(choice?.scores));
  });
}

test("pairs are right where the chosen answer is likelier, and rewarded where it has gained more", () => {
  const scores = [
    { chosen: -1, rejected: -2 },
    { chosen: -5, rejected: -2 },
    { chosen: -3, rejected: -3 },
  ];
  const base = [
    { chosen: 0, rejected: -2 },
    { chosen: -9, rejected: -2 },
    { chosen: -3, rejected: -3 },
  ];
  assert.deepEqual(prefersChosen(scores), [true, false, false]);
  assert.deepEqual(prefersChosen(scores, base), [false, true, false]);
});

test("a text too long for its labels is cut alike for all of them", async () => {
  const model = served("yes");
  await chooseLabels(model, [{ text: "x".repeat(40), label: "yes" }], options(["y", "yes", "certainly"], 20));
  const ends = ["y", "yes", "certainly"].map((label) => [...Buffer.from(label), eosId]);
  assert.deepEqual(
    model.asked.map((ids, i) => ids.slice(-(ends[i]?.length ?? 0))),
    ends,
  );
  const prompts = model.asked.map((ids, i) => ids.slice(0, ids.length - (ends[i]?.length ?? 0)));
  assert.equal(Math.max(...model.asked.map(({ length }) => length)), 20);
  for (const prompt of prompts) assert.deepEqual(prompt, prompts[0]);
});
