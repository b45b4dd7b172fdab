import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import type { Json } from "../../src/base/json.js";
import { repairSplit } from "../../src/text/tokenizer/split.js";

interface PreTokenizer {
  pre_tokenize(text: string, options: { section_index: number }): string[];
}

// The package's own declarations cannot be resolved by Node's rules.
const { SequencePreTokenizer: Package }: { SequencePreTokenizer: new (config: Json) => PreTokenizer } = createRequire(
  import.meta.url,
)("@huggingface/tokenizers");

const split = (config: Json, text: string): string[] =>
  new Package({ pretokenizers: [repairSplit(config)] }).pre_tokenize(text, { section_index: 0 });

// Every expected value is what `pre_tokenize_str` of the Rust library 0.23.2 gave for the same configuration.
describe("texts are split as the Rust library splits them", () => {
  const text = "a  b  12ab3abab.. c ";
  const cases: [string, Json, string[]][] = [
    ["MergedWithPrevious", { String: " " }, ["a ", " ", "b ", " ", "12ab3abab.. ", "c "]],
    ["MergedWithPrevious", { Regex: "\\d+" }, ["a  b  12", "ab3", "abab.. c "]],
    ["MergedWithPrevious", { String: "." }, ["a  b  12ab3abab.", ".", " c "]],
    ["MergedWithNext", { String: " " }, ["a", " ", " b", " ", " 12ab3abab..", " c", " "]],
    ["MergedWithNext", { Regex: "\\d+" }, ["a  b  ", "12ab", "3abab.. c "]],
    ["MergedWithNext", { String: "ab" }, ["a  b  12", "ab3", "ab", "ab.. c "]],
    ["Contiguous", { String: " " }, ["a", "  ", "b", "  ", "12ab3abab..", " ", "c", " "]],
    ["Contiguous", { String: "ab" }, ["a  b  12", "ab", "3", "abab", ".. c "]],
    ["Isolated", { String: "." }, ["a  b  12ab3abab", ".", ".", " c "]],
  ];
  for (const [behavior, pattern, pieces] of cases) {
    test(`Split ${behavior} of ${JSON.stringify(pattern)}`, () =>
      assert.deepEqual(split({ type: "Split", pattern, behavior, invert: false }, text), pieces));
  }

  const metaspace = { type: "Metaspace", replacement: "▁" };
  const spaced = "a  b c ";
  test("Metaspace splits words by default", () => {
    assert.deepEqual(split({ ...metaspace, split: true }, spaced), ["▁a", "▁", "▁b", "▁c", "▁"]);
    assert.deepEqual(split({ ...metaspace, prepend_scheme: "never" }, spaced), ["a", "▁", "▁b", "▁c", "▁"]);
    assert.deepEqual(split({ ...metaspace, prepend_scheme: "first", split: false }, spaced), ["▁a▁▁b▁c▁"]);
  });

  test("Metaspace in its old spelling, without schemes", () => {
    assert.deepEqual(split({ ...metaspace, add_prefix_space: false, split: false }, spaced), ["a▁▁b▁c▁"]);
    assert.deepEqual(split({ ...metaspace, add_prefix_space: true, split: false }, spaced), ["▁a▁▁b▁c▁"]);
  });

  test("Digits knows the digits of all scripts", () => {
    const digits = "a12½٣b 7";
    assert.deepEqual(split({ type: "Digits", individual_digits: false }, digits), ["a", "12½٣", "b ", "7"]);
    assert.deepEqual(split({ type: "Digits", individual_digits: true }, digits), ["a", "1", "2", "½", "٣", "b ", "7"]);
  });
});
