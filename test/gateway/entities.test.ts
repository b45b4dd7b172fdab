/** Entities of texts, held to transformers' pipeline: test/fixtures/task-entities.py wrote what it gives. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Json } from "../../src/base/json.js";
import { type Aggregation, entitiesOf } from "../../src/gateway/tasks/entities.js";
import { scoredTokens } from "../../src/gateway/tasks/scored-tokens.js";
import { loadRowTokenizer } from "../../src/text/tokenizer/row-tokenizer.js";

interface Fixture {
  readonly labels: readonly string[];
  readonly cases: readonly {
    readonly folder: string;
    readonly text: string;
    readonly logits: readonly (readonly number[])[];
    readonly expected: Readonly<Record<Aggregation, readonly Json[]>>;
  }[];
}

const { labels, cases }: Fixture = JSON.parse(readFileSync("test/fixtures/text/entities.json", "utf8"));

for (const { folder, text, logits, expected } of cases) {
  test(`${folder}: ${JSON.stringify(text)}`, async () => {
    const tokenizer = await loadRowTokenizer(join("test/fixtures/tasks", folder));
    assert.ok(tokenizer);
    after(() => tokenizer.close());
    const row = await tokenizer.encodeRow({ text });
    const shape = [1, logits.length, labels.length];
    const tensor = { type: "float32", shape, data: Float32Array.from(logits.flat()) } as const;
    const tokens = scoredTokens(row, tensor, text, tokenizer);
    for (const [aggregation, wanted] of Object.entries(expected) as [Aggregation, readonly Json[]][]) {
      const join = (words: readonly string[]): string => tokenizer.joinTokens(words);
      const found = entitiesOf(tokens, { aggregation, labels, ignored: ["O"], join });
      const without = ({ score: _, ...others }: Json): Json => others;
      assert.deepEqual(found.map(without), wanted.map(without), aggregation);
      for (const [index, { score }] of found.entries())
        assert.ok(Math.abs(Number(score) - Number(wanted[index]?.score)) < 1e-6, `${aggregation} ${index}`);
    }
  });
}
