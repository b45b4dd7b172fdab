/** The likeliest tokens that a serving graph gives beside its logits. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { chunkCount, likeliest, likeliestWidth, readLikeliest } from "../../../src/model/serving/likeliest.js";
import { oracleRoot, readExpected } from "../../support/oracle.js";
import { ServedGraph } from "../../support/served-graph.js";

test("likeliest tokens are those of the largest logits", async () => {
  const folder = join(oracleRoot, "llama");
  const { inputIds, logits } = await readExpected(folder);
  const vocab = logits.length / inputIds.length;
  const expected = inputIds.map((_, row) => {
    const own = logits.subarray(row * vocab, (row + 1) * vocab);
    return own.indexOf(Math.max(...own));
  });
  await using model = await ServedGraph.open(folder, { outputs: "both" });
  const outputs = await model.run({ tokens: [inputIds], starts: [0] });
  assert.deepEqual([...outputs.keys()], ["logits", likeliest]);
  const found = outputs.get(likeliest)?.data;
  assert.ok(found instanceof Float32Array);
  assert.ok(chunkCount(vocab) > 1);
  assert.deepEqual(readLikeliest(found, vocab), expected);
});

/** What the graph computes. */
function summarize(rows: readonly Float32Array[], vocabSize: number): Float32Array {
  const [chunks, width] = [chunkCount(vocabSize), likeliestWidth(vocabSize)];
  const found = new Float32Array(rows.length * width);
  for (const [row, logits] of rows.entries()) {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const own = logits.subarray((chunk * vocabSize) / chunks, ((chunk + 1) * vocabSize) / chunks);
      const largest = own.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY);
      found[row * width + chunk] = largest;
      found[row * width + chunks + chunk] = own.indexOf(largest);
    }
    found[row * width + 2 * chunks] = logits.reduce((sum, value) => sum + value, 0);
  }
  return found;
}

test("of equal logits the first wins, whatever the size of the vocabulary", () => {
  const sizes = fc.constantFrom(1, 2, 7, 12, 97, 256, 1000, 1009, 1155);
  const cases = sizes.chain((size) =>
    fc.array(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: size, maxLength: size }), {
      minLength: 1,
      maxLength: 3,
    }),
  );
  fc.assert(
    fc.property(cases, (rows) => {
      const size = rows[0]?.length ?? 0;
      const logits = rows.map((row) => Float32Array.from(row));
      assert.deepEqual(
        readLikeliest(summarize(logits, size), size),
        rows.map((row) => row.indexOf(Math.max(...row))),
      );
    }),
    { numRuns: 200, seed: 11 },
  );
});

test("a row with a logit that is not finite has no likeliest token", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const rows = [Float32Array.of(1, 2, 3, 4), Float32Array.of(1, value, 0, 2)];
    assert.equal(readLikeliest(summarize(rows, 4), 4), null);
  }
});

test("chunks of a real vocabulary are short", () => {
  for (const size of [32_000, 49_152, 50_257, 128_256, 151_936, 262_144]) {
    const chunks = chunkCount(size);
    assert.equal(size % chunks, 0);
    assert.ok(size / chunks <= 512 && chunks <= 4096, `${size} has ${chunks} chunks`);
  }
});
