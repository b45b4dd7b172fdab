/** The place where a text stops being JSON. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { jsonBreak } from "../../src/base/json-break.js";

test("names the line and column of the first invalid character", () => {
  const cases: [string, string][] = [
    ['{"a": 1,}', "line 1, column 9"],
    ['{"a": 1\n "b": 2}', "line 2, column 2"],
    ["{'a': 1}", "line 1, column 2"],
    ['{"a": tru}', "line 1, column 7"],
    ['{"a": 01}', "line 1, column 8"],
    ['{"a": "x\ny"}', "line 1, column 9"],
    ['{"a": "\\x"}', "line 1, column 8"],
    ['{"😀": }', "line 1, column 7"],
    ["[1, 2", "it ends too early, at line 1, column 6"],
    ['{"a": "', "it ends too early, at line 1, column 8"],
    ["", "it ends too early, at line 1, column 1"],
    ["{} x", "line 1, column 4"],
    ["[1}", "line 1, column 3"],
    ["NaN", "line 1, column 1"],
    ['{"a" 1}', "line 1, column 6"],
  ];
  for (const [text, place] of cases) {
    assert.throws(() => JSON.parse(text));
    assert.equal(jsonBreak(text), place, text);
  }
});

test("the text before the reported place can be completed to valid JSON, also in a huge text", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(), fc.constantFrom("", "x", "}", ",", '"'), (json, seed, inserted) => {
      const at = seed % (json.length + 1);
      const text = json.slice(0, at) + inserted + json.slice(at + 1);
      try {
        JSON.parse(text);
      } catch {
        assert.match(jsonBreak(text), /line \d+, column \d+$/);
      }
    }),
    { numRuns: 2000 },
  );
  assert.match(jsonBreak(`"${"a".repeat(2_000_000)}`), /too early/);
  assert.match(jsonBreak("[".repeat(1_000_000)), /too early/);
});
