/** Which tokenizers drop the first space of an answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dropsFirstSpace } from "../../src/gateway/gateway.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { byteTokenizer } from "../support/byte-tokenizer.js";

test("tokenizers that mark words with a space before them drop the first one, byte-level ones keep it", async () => {
  for (const [folder, drops] of [
    ["models/bookworm-7m", false],
    ["test/fixtures/text/metaspace", true],
  ] as const) {
    const tokenizer = await loadTokenizer(folder);
    assert.ok(tokenizer);
    assert.equal(dropsFirstSpace(tokenizer), drops, folder);
    await tokenizer.close();
  }
  assert.equal(dropsFirstSpace(byteTokenizer()), false);
});
