import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Faults } from "../src/adapter/format/faults.js";
import { type PatternEntries, PatternTable } from "../src/adapter/format/patterns.js";
import { refusalOf } from "./adapter-format-helpers.js";

function tableOf(entries: PatternEntries): { table: PatternTable; faults: Faults } {
  const faults = new Faults();
  return { table: new PatternTable("rank_pattern", entries, faults), faults };
}

async function faultsOf(entries: PatternEntries, path = "a.b"): Promise<string> {
  const { table, faults } = tableOf(entries);
  table.lookup(path);
  return (await refusalOf((async () => faults.throwIfAny("It"))())).faults.join("\n");
}

test("the first key that matches from a dot or the start to the end wins", () => {
  const { table } = tableOf([
    ["^h.0.attn", 1],
    ["attn.c_attn", 2],
    ["h.(1|2)..*c_attn", 3],
    ["c_attn", 4],
    ["h\\.3\\.mlp", 5],
  ]);
  assert.equal(table.lookup("h.0.attn"), 1);
  assert.equal(table.lookup("transformer.h.0.attn"), undefined); // ^ inside the group is the path's start
  assert.equal(table.lookup("transformer.h.1.attn.c_attn"), 2);
  assert.equal(table.lookup("transformer.h.1.xattn.c_attn"), 3); // not at a dot, so not the second
  assert.equal(table.lookup("transformer.h.9.xc_attn"), undefined);
  assert.equal(table.lookup("h.9.c_attn"), 4);
  assert.equal(table.lookup("hx3xmlp"), undefined); // escaped dots are dots
  assert.equal(table.lookup("x.h.3.mlp"), 5);
});

test("names with dots match exactly what the regular expression would", () => {
  const letter = fc.constantFrom("a", "b", "_", "-", "0", ".", "\\.");
  const key = fc.tuple(
    fc.constantFrom("", "^"),
    fc.array(letter, { minLength: 1, maxLength: 5 }),
    fc.constantFrom("", "$"),
  );
  const path = fc.array(fc.constantFrom("a", "b", "_", "-", "0", ".", "é"), { maxLength: 7 });
  fc.assert(
    fc.property(key, path, ([start, middle, end], letters) => {
      const pattern = start + middle.join("") + end;
      const text = letters.join("");
      const expected = new RegExp(`^(.*\\.)?(${pattern})$`).test(text);
      assert.equal(tableOf([[pattern, 1]]).table.lookup(text), expected ? 1 : undefined);
    }),
    { numRuns: 3000 },
  );
});

test("what is not a linear-time expression is refused by name", async () => {
  for (const pattern of ["(?=a)b", "(a)\\1", "(?<!a)b", "a)|(b", "(", "x{1001}", "("]) {
    const faults = await faultsOf([[pattern, 1]]);
    assert.match(faults, /^the pattern .* of rank_pattern is not a linear-time expression/);
    assert.ok(faults.includes(JSON.stringify(pattern)));
  }
});

test("patterns are bounded in number, length and repeats", async () => {
  assert.match(await faultsOf(Array.from({ length: 4097 }, (_, i) => [`a${i}`, 1])), /has 4097 patterns; at most 4096/);
  assert.equal(tableOf(Array.from({ length: 4096 }, (_, i) => [`a${i}`, 1])).faults.count, 0);
  assert.match(await faultsOf([["a".repeat(1025), 1]]), /is too large; at most 1024 characters/);
  assert.match(await faultsOf([[`(${"a".repeat(900)}){1000}`, 1]]), /is too large/);
  assert.match(
    await faultsOf(Array.from({ length: 300 }, (_, i) => [`(${"ab".repeat(20)}|${i}){100}`, 1])),
    /too costly to compile/,
  );
});

test("matching stays within its budget, whatever the patterns", async () => {
  const entries = Array.from({ length: 50 }, (_, i): readonly [string, number] => [
    `(.*[a-z].{${i % 9}}|.*[0-9].{9}){3}x`,
    1,
  ]);
  const { table, faults } = tableOf(entries);
  const start = performance.now();
  for (let layer = 0; layer < 10_000; layer++) table.lookup(`model.layers.${layer}.self_attn.q_proj`);
  assert.ok(performance.now() - start < 10_000);
  assert.equal(faults.count, 1);
  assert.match((await refusalOf((async () => faults.throwIfAny("It"))())).message, /too costly to match/);
});
