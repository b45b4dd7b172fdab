import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { measureExpression } from "../../../src/adapter/format/expressions.js";
import { Faults } from "../../../src/adapter/format/faults.js";
import { PatternBudget, type PatternEntries, PatternTable } from "../../../src/adapter/format/patterns.js";
import { refusalOf } from "./helpers.js";

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

test("an expression that is not linear-time is refused by name", async () => {
  for (const pattern of ["(?=a)b", "(a)\\1", "(?<!a)b", "a)|(b", "(", "x{1001}", "("]) {
    const faults = await faultsOf([[pattern, 1]]);
    assert.match(faults, /^the pattern .* of rank_pattern is not a linear-time expression/);
    assert.ok(faults.includes(JSON.stringify(pattern)));
  }
});

test("patterns are bounded in number, length and repeats", async () => {
  assert.match(await faultsOf(Array.from({ length: 4097 }, (_, i) => [`a${i}`, 1])), /has 4097 patterns; at most 4096/);
  assert.equal(tableOf(Array.from({ length: 4096 }, (_, i) => [`a${i}`, 1])).faults.count, 0);
  assert.match(await faultsOf([["a*".repeat(513), 1]]), /has 1026 characters; at most 1024 are allowed/);
  for (const pattern of [`(${"a".repeat(900)}){1000}`, "((a{0,31}){0,31}){0,31}", "((((a{9}){9}){9}){9}){9}"]) {
    assert.match(await faultsOf([[pattern, 1]]), /too costly to compile: .* more than 32768 instructions/);
  }
});

test("all expressions of a config share one budget, counted before anything costly is compiled", async () => {
  const classes = (i: number): readonly [string, number] => [`(?i)${"[a-z]".repeat(195)}|${i}`, 8];
  assert.match(
    await faultsOf(Array.from({ length: 230 }, (_, i) => classes(i))),
    /^rank_pattern is too costly to compile/,
  );
  const faults = new Faults();
  const budget = new PatternBudget(faults, 2000);
  assert.equal(new PatternTable("rank_pattern", [classes(1)], faults, budget).lookup("x"), undefined);
  assert.equal(faults.count, 0);
  new PatternTable("alpha_pattern", [classes(2), classes(3)], faults, budget);
  assert.equal(faults.count, 1);
});

test("syntax that Python's re lacks or reads differently is refused by name", async () => {
  for (const [pattern, reason] of [
    ["(?i)\\p{L}", 'the escape "\\\\p" is not known'],
    ["\\x{61}", 'the escape "\\\\x" is not known'],
    ["\\Qa\\E", 'the escape "\\\\Q" is not known'],
    ["[[:alpha:]]", '"[:" within a class'],
    ["[\u00e9-\uffff]", "a class in brackets with other characters than ASCII"],
    ["(?<n>a)", 'the group "(?<n" is not known'],
    ["a(?i)b", 'the group "(?i)" is not known'],
    ["a++", "possessive repeats are not linear"],
    ["a**", "a repeat is repeated"],
    ["^*", "an anchor is repeated"],
    ["*a", "there is nothing to repeat"],
    ["(?:".repeat(101) + ")".repeat(101), "groups nest deeper than 100 levels"],
  ] as const) {
    const faults = await faultsOf([[pattern, 1]]);
    assert.ok(faults.includes(`is not a linear-time expression (${reason})`), faults);
  }
});

test("an expression matches what JavaScript's own would, and compiles to no more than was counted", () => {
  const leaf = fc.constantFrom("a", "b", ".", "\\.", "[ab]", "[^a]", "[a-c.]", "\\w", "\\d", "\\b", "x{", "q_proj");
  const { expression } = fc.letrec<{ expression: string }>((tie) => ({
    expression: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.tuple(tie("expression"), tie("expression")).map(([left, right]) => left + right),
      fc.tuple(tie("expression"), tie("expression")).map(([left, right]) => `(?:${left}|${right})`),
      fc
        .tuple(tie("expression"), fc.constantFrom("*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}?", "{2,}"))
        .map(([inner, repeat]) => `(${inner})${repeat}`),
    ),
  }));
  const path = fc.array(fc.constantFrom("a", "b", "c", ".", "0", "{", "q_proj"), { maxLength: 7 });
  fc.assert(
    fc.property(expression, path, (pattern, letters) => {
      const text = letters.join("");
      const budget = new PatternBudget(new Faults());
      const compiled = budget.compile(pattern, { key: "x", wrap: (source) => `^(?:${source})$` });
      assert.equal(compiled?.find(text) !== null, new RegExp(`^(?:${pattern})$`).test(text), pattern);
      const size = RE2JS.compile(pattern).programSize();
      assert.ok(size <= measureExpression(pattern).size + 2, `${pattern} takes ${size}`);
    }),
    { numRuns: 1500, seed: 1 },
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
