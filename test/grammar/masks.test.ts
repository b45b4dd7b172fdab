/** Masks worked out ahead, against tokens tried one by one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileRules } from "../../src/grammar/compile.js";
import { GrammarFault } from "../../src/grammar/fault.js";
import { rulesOfGbnf } from "../../src/grammar/gbnf.js";
import { type CompiledGrammar, Grammar } from "../../src/grammar/grammar.js";
import { maskWords } from "../../src/grammar/masks.js";
import { patternOf } from "../../src/grammar/pattern.js";
import { type Position, Positions } from "../../src/grammar/positions.js";
import type { Program } from "../../src/grammar/program.js";
import { rulesOfSchema } from "../../src/grammar/schema/schema.js";
import { byteVocabulary } from "./vocabularies.js";

/** Every byte, and longer tokens that end strings, objects and lists in their middle. */
const vocabulary = byteVocabulary([
  ...['"', '":', '": "', '",', '", "', '"]', '"}', '"}]', "}}", "]]", '{"', '["', "[[", '"a', 'a"', 'ab"', 'abc", "a'],
  ...[
    "ab",
    "abc",
    "abcd",
    "abcdefgh",
    "é",
    "日本",
    'é"',
    "tru",
    "true",
    "true,",
    "12",
    "123",
    "-1",
    "0.",
    "1]",
    "\\u00",
    '\\"',
  ],
  ...["aaaa", "aaaaaaaaaaaaaaaa", "null}", ", ", ": ", "a, b", " ", "  "],
]);
const bounds = { maxSize: 1_000_000, maxMaskBytes: 2 ** 24, afterSpace: false };

const ofSchema = (schema: unknown): CompiledGrammar => compileRules(rulesOfSchema(schema), vocabulary, bounds);
const ofPattern = (pattern: string): CompiledGrammar =>
  compileRules([patternOf(pattern, { whole: true })], vocabulary, bounds);
const ofGbnf = (grammar: string): CompiledGrammar => compileRules(rulesOfGbnf(grammar), vocabulary, bounds);

/** Tokens that lead on from a position, tried by their bytes. */
function triedOneByOne(positions: Positions, program: Program, position: Position): number[] {
  const { bytes, offsets } = vocabulary;
  const allowed: number[] = [];
  for (let id = 0; id + 1 < offsets.length; id++) {
    let current: Position | null = position;
    for (let i = offsets[id] ?? 0; i < (offsets[id + 1] ?? 0) && current; i++) {
      current = positions.step(current, program.classes[bytes[i] ?? 0] ?? 0);
    }
    if (current) allowed.push(id);
  }
  return allowed;
}

const grammars: Readonly<Record<string, CompiledGrammar>> = {
  "any value": ofSchema(true),
  "a counted string": ofSchema({ type: "string", maxLength: 40 }),
  "strings in objects": ofSchema({
    properties: { a: { type: "string" }, abc: { maxLength: 3 } },
    required: ["a"],
  }),
  "free keys": ofSchema({ additionalProperties: { type: "integer" }, properties: { ab: true } }),
  recursion: ofSchema({ properties: { a: { type: "array", items: { $ref: "#" } }, b: { $ref: "#" } } }),
  alternatives: ofSchema({
    anyOf: [
      { type: "array", items: { type: "string" } },
      { type: "array", items: { $ref: "#" } },
    ],
  }),
  lists: ofSchema({ items: { enum: ["a", "ab", true, 12] }, minItems: 2, maxItems: 5 }),
  "rules that end anywhere": ofGbnf('root ::= x ("," x)*  x ::= [a-z]* | "[" x "]" x'),
  "rules that may be empty": ofGbnf('root ::= w a w "." | w  w ::= " "*  a ::= "a" (w a)? b  b ::= | "b" b'),
  "a pattern": ofPattern("(a|ab|abc)*(é|日本){0,9}|.{3}"),
};

for (const [name, compiled] of Object.entries(grammars)) {
  test(`masks are those of tokens tried one by one: ${name}`, () => {
    const { program } = compiled;
    const positions = new Positions(program);
    const grammar = new Grammar(compiled, vocabulary, { maxPositionBytes: 2 ** 20 });
    const mask = grammar.emptyMask();
    let seed = 7;
    for (let text = 0; text < 40; text++) {
      let position: Position | null = positions.at(program.begin, null);
      for (let length = 0; length < 24 && position && position.stacks.length > 0; length++) {
        const allowed = triedOneByOne(positions, program, position);
        grammar.fill(mask, position);
        const masked = [...vocabulary.offsets.keys()].filter((id) => ((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1);
        assert.deepEqual(masked, allowed);
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        const id = allowed[seed % allowed.length] ?? 0;
        position = grammar.after(position, id);
      }
    }
  });
}

test("the states of a long counted string share the masks of a short one", () => {
  const [short, long] = [100, 2000].map((maxLength) => ofSchema({ type: "string", maxLength }));
  assert.equal(long?.masks.offsets.length, short?.masks.offsets.length);
});

test("masks that take too much memory are refused", () => {
  const rules = rulesOfSchema({ type: "string", maxLength: 40 });
  assert.throws(
    () => compileRules(rules, vocabulary, { ...bounds, maxMaskBytes: 8 * maskWords(vocabulary) }),
    (error: Error) => error instanceof GrammarFault && /--grammar-cache-bytes/.test(error.message),
  );
});

test("what a text allows does not depend on what is kept", () => {
  const compiled = ofSchema(true);
  const [roomy, tight] = [2 ** 20, 0].map(
    (maxBytes) => new Grammar(compiled, vocabulary, { maxPositionBytes: maxBytes }),
  );
  assert.ok(roomy && tight);
  const [a, b] = [roomy.begin(), tight.begin()];
  const [left, right] = [a.emptyMask(), b.emptyMask()];
  for (const byte of Buffer.from('{"a":[1,{"é":[[null,"x"]]}],"b":"日本"}')) {
    a.fill(left);
    b.fill(right);
    assert.deepEqual(right, left);
    a.accept(byte);
    b.accept(byte);
  }
  assert.ok(a.isOver && b.isOver);
});
