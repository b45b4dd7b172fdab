/** The bounds of compiling, and what is kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CompileOutcome,
  GrammarCompiler,
  type GrammarOptions,
  grammarDefaults,
} from "../../src/grammar/compiler.js";
import type { GrammarSource } from "../../src/grammar/source.js";

/** Each byte is a token; the last token is none. */
const tokens = { vocabSize: 257, bytesOf: (id: number) => (id < 256 ? [id] : []) };
const costly = "(a|b|ab|ba){1,5000}(a|b){1,5000}";

const pattern = (text: string): GrammarSource => ({ kind: "pattern", pattern: text, param: "guided_regex" });

function open(options: Partial<GrammarOptions> = {}) {
  const outcomes: CompileOutcome[] = [];
  const compiler = new GrammarCompiler(tokens, { ...grammarDefaults, ...options }, (outcome) => outcomes.push(outcome));
  return { compiler, outcomes };
}

test("a grammar is compiled once, for requests at once and for later ones", async () => {
  const { compiler, outcomes } = open();
  const [a, b] = await Promise.all([compiler.compile(pattern("ab")), compiler.compile(pattern("ab"))]);
  assert.equal(a, b);
  assert.equal(await compiler.compile(pattern("ab")), a);
  assert.notEqual(await compiler.compile(pattern("ac")), a);
  assert.deepEqual(outcomes, ["compiled", "compiled", "kept", "compiled"]);
  assert.deepEqual([compiler.stats().kept, compiler.stats().waiting], [2, 0]);
});

test("a matcher allows what goes on, and ends where nothing may follow", async () => {
  const matcher = (await open().compiler.compile(pattern("ab?"))).begin();
  const allowed = () => [97, 98, 99].filter((id) => ((matcher.mask[id >>> 5] ?? 0) >>> (id & 31)) & 1);
  assert.deepEqual([allowed(), matcher.isComplete], [[97], false]);
  matcher.accept(97);
  assert.deepEqual([allowed(), matcher.isComplete, matcher.isOver], [[98], true, false]);
  matcher.accept(98);
  assert.deepEqual([allowed(), matcher.isComplete, matcher.isOver], [[], true, true]);
});

test("what takes too long is refused, and the next grammar gets a fresh thread", async () => {
  const { compiler, outcomes } = open({ grammarTimeoutMs: 20, maxGrammarSize: 1e9 });
  await assert.rejects(compiler.compile(pattern(costly)), { code: "invalid_value", message: /--grammar-timeout/ });
  assert.deepEqual(outcomes, ["timed_out"]);
});

test("what is too large is refused", async () => {
  const { compiler, outcomes } = open({ maxGrammarSize: 1000 });
  await assert.rejects(compiler.compile(pattern(costly)), { code: "invalid_value", message: /--max-grammar-size/ });
  assert.ok(await compiler.compile(pattern("ab")));
  assert.deepEqual(outcomes, ["refused", "compiled"]);
});

test("past the longest queue the newest is refused for now", async () => {
  const { compiler, outcomes } = open({ maxGrammarQueue: 1 });
  const first = compiler.compile(pattern("ab"));
  await assert.rejects(compiler.compile(pattern("cd")), { code: "grammar_queue_full" });
  await first;
  assert.deepEqual(outcomes, ["rejected", "compiled"]);
});

test("the grammars used longest ago go first", async () => {
  const { compiler } = open({ grammarCacheBytes: 1000 });
  for (const text of ["ab", "cd", "ef", "gh", "ij"]) await compiler.compile(pattern(text));
  assert.ok(compiler.stats().kept < 5);
  assert.ok(compiler.stats().keptBytes <= 1000);
});
