/** The bounds of compiling, and what is kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CompileOutcome,
  GrammarCompiler,
  type GrammarOptions,
  grammarDefaults,
} from "../../src/grammar/compiler.js";
import { type GrammarForm, type GrammarSource, severalForm, textForm } from "../../src/grammar/source.js";

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

test("a matcher allows valid continuations, and ends where nothing may follow", async () => {
  const matcher = (await open().compiler.compile(pattern("ab?"))).begin();
  const mask = matcher.emptyMask();
  const allowed = () => {
    matcher.fill(mask);
    return [97, 98, 99].filter((id) => ((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1);
  };
  assert.deepEqual([allowed(), matcher.isComplete], [[97], false]);
  matcher.accept(97);
  assert.deepEqual([allowed(), matcher.isComplete, matcher.isOver], [[98], true, false]);
  matcher.accept(98);
  assert.deepEqual([allowed(), matcher.isComplete, matcher.isOver], [[], true, true]);
});

test("special tokens that are markers spell text of forms, and of no other grammar", async () => {
  const marked = {
    vocabSize: 258,
    bytesOf: (id: number) => (id < 256 ? [id] : id === 256 ? Buffer.from("[C]") : []),
    markerIds: [256],
  };
  const compiler = new GrammarCompiler(marked, grammarDefaults);
  const allowed = async (source: GrammarSource, afterSpace = false) => {
    const matcher = (await compiler.compile(source, {}, undefined, afterSpace)).begin();
    const mask = matcher.emptyMask();
    matcher.fill(mask);
    return [32, 91, 256, 257].filter((id) => ((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1);
  };
  const form: GrammarForm = {
    kind: "sequence",
    items: [textForm("[C]"), { kind: "source", source: { kind: "object", param: "" } }],
  };
  assert.deepEqual(await allowed({ kind: "form", form, param: "tools" }), [91, 256]);
  assert.deepEqual(await allowed({ kind: "form", form, param: "tools" }, true), [32, 91, 256]);
  assert.deepEqual(await allowed(pattern("\\[C\\].*")), [91]);
  assert.deepEqual(await allowed(pattern("\\[C\\].*"), true), [32]);
});

test("forms repeat, list and exclude texts, and name the part that is wrong", async () => {
  const { compiler } = open();
  const accepts = async (form: GrammarForm, text: string): Promise<boolean> => {
    const matcher = (await compiler.compile({ kind: "form", form, param: "tools" })).begin();
    const mask = matcher.emptyMask();
    for (const byte of Buffer.from(text)) {
      matcher.fill(mask);
      if ((((mask[byte >>> 5] ?? 0) >>> (byte & 31)) & 1) === 0) return false;
      matcher.accept(byte);
    }
    return matcher.isComplete;
  };
  const without: GrammarForm = { kind: "without", texts: ["<a>", "bb"], start: "{" };
  for (const [text, expected] of [
    ["", true],
    ["plain { <a b", true],
    ["x<a>", false],
    ["abb", false],
    [" {", false],
    ["é<<a", true],
  ] as const) {
    assert.equal(await accepts(without, text), expected, text);
  }
  const entry = (text: string, isRequired: boolean) => ({ item: textForm(text), isRequired });
  const list: GrammarForm = {
    kind: "list",
    separator: ",",
    entries: [entry("a", true), entry("b", false), entry("c", true)],
  };
  for (const [text, expected] of [
    ["a,c", true],
    ["a,b,c", true],
    ["a,b", false],
    ["a,,c", false],
  ] as const) {
    assert.equal(await accepts(list, text), expected, text);
  }
  const numbers = severalForm(
    {
      kind: "source",
      source: {
        kind: "schema",
        schema: { $ref: "#/$defs/n", $defs: { n: { type: "integer", minimum: 1 } } },
        param: "",
      },
    },
    "; ",
    true,
  );
  for (const [text, expected] of [
    ["12", true],
    ["1; 20", true],
    ["0", false],
    ["1;2", false],
  ] as const) {
    assert.equal(await accepts(numbers, text), expected, text);
  }
  const wrong: GrammarForm = {
    kind: "source",
    source: { kind: "schema", schema: { if: {} }, param: "" },
    where: "in the first part:",
  };
  await assert.rejects(accepts(wrong, ""), {
    param: "tools",
    message: "`tools` in the first part: at its root: the keyword `if` is not supported.",
  });
});

test("a grammar that takes too long to compile is refused, and the next one gets a fresh thread", async () => {
  const { compiler, outcomes } = open({ grammarTimeoutMs: 500, maxGrammarSize: 1e9 });
  await assert.rejects(compiler.compile(pattern(costly)), { code: "invalid_value", message: /--grammar-timeout/ });
  assert.ok(await compiler.compile(pattern("ab")));
  assert.deepEqual(outcomes, ["timed_out", "compiled"]);
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
  const { compiler } = open({ grammarCacheBytes: 3 * 2 ** 20 });
  for (const text of ["ab", "cd", "ef", "gh", "ij"]) await compiler.compile(pattern(text));
  assert.equal(compiler.stats().kept, 2);
  assert.ok(compiler.stats().keptBytes <= 3 * 2 ** 20);
});

test("sixteen costly grammars of one client delay another's by the one that runs", async () => {
  const { compiler } = open({ maxGrammarSize: 20_000, maxGrammarQueue: 16 });
  const [hostile, other] = [{}, {}];
  const ended: string[] = [];
  const costly = Array.from({ length: 16 }, (_, i) =>
    compiler.compile(pattern(`${"x".repeat(i)}(a|b|ab|ba){1,5000}`), hostile).catch(({ code }) => ended.push(code)),
  );
  await compiler.compile(pattern("ab"), other).then(() => ended.push("compiled"));
  assert.deepEqual(ended, ["grammar_queue_full", "invalid_value", "compiled"]);
  await Promise.all(costly);
  assert.equal(ended.filter((end) => end === "invalid_value").length, 15);
});

test("clients that wait for the same grammar share its compilation, whoever's turn comes first", async () => {
  const { compiler } = open();
  const busy = compiler.compile(pattern("busy"), {});
  const [first, second] = [{}, {}].map((client) => compiler.compile(pattern("ab"), client));
  assert.equal(compiler.stats().waiting, 2);
  assert.equal(await first, await second);
  await busy;
  assert.deepEqual([compiler.stats().kept, compiler.stats().waiting], [2, 0]);
});

test("any number of clients may wait for one grammar", async () => {
  const { compiler } = open({ maxGrammarQueue: 1 });
  const all = await Promise.all(Array.from({ length: 20 }, () => compiler.compile(pattern("ab"), {})));
  assert.equal(new Set(all).size, 1);
});

test("what nests too deeply to be compiled is the client's fault, in plain words", async () => {
  const { compiler } = open();
  const grammar = `root ::= "a"${"+".repeat(200_000)}`;
  await assert.rejects(compiler.compile({ kind: "gbnf", grammar, param: "grammar" }), {
    code: "invalid_value",
    message: /nests too deeply/,
  });
});

test("a request that ends while it waits leaves the queue", async () => {
  const { compiler, outcomes } = open();
  const busy = compiler.compile(pattern("busy"));
  const abort = new AbortController();
  const waiting = compiler.compile(pattern("ab"), {}, abort.signal);
  assert.equal(compiler.stats().waiting, 2);
  abort.abort(new Error("the client left"));
  await assert.rejects(waiting, /the client left/);
  assert.equal(compiler.stats().waiting, 1);
  await busy;
  assert.deepEqual([outcomes, compiler.stats().kept], [["rejected", "compiled"], 1]);
});

test("behind a space that the tokenizer will drop, the text is the same", async () => {
  const { compiler } = open();
  const grammar = await compiler.compile(pattern(" ?a"), {}, undefined, true);
  const matcher = grammar.begin();
  const mask = matcher.emptyMask();
  const allowed = () => {
    matcher.fill(mask);
    return [32, 97].filter((id) => ((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1);
  };
  assert.deepEqual(allowed(), [32]);
  matcher.accept(32);
  assert.deepEqual(allowed(), [32, 97]);
  matcher.accept(97);
  assert.ok(matcher.isOver);
  assert.notEqual(await compiler.compile(pattern(" ?a")), grammar);
});
