/** Masks worked out ahead, against tokens tried one by one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Limits } from "../../src/grammar/automaton.js";
import { GrammarFault } from "../../src/grammar/fault.js";
import { Grammar } from "../../src/grammar/grammar.js";
import { type MaskVocabulary, masksOf, maskVocabulary, maskWords } from "../../src/grammar/masks.js";
import { patternOf } from "../../src/grammar/pattern.js";
import { type Position, Positions } from "../../src/grammar/positions.js";
import { type Program, programOf } from "../../src/grammar/program.js";
import { rulesOfSchema } from "../../src/grammar/schema/schema.js";
import { spelledBytes, vocabularyTree } from "../../src/grammar/token-tree.js";

/** Every byte, and longer tokens that end strings, objects and lists in their middle. */
const vocabulary = vocabularyOf([
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
const spelled = spelledBytes(vocabulary);

function vocabularyOf(texts: readonly string[]): MaskVocabulary {
  const spellings = [
    ...Array.from({ length: 256 }, (_, byte) => Buffer.from([byte])),
    ...texts.map((text) => Buffer.from(text)),
  ];
  const offsets = [0];
  for (const { length } of spellings) offsets.push((offsets.at(-1) ?? 0) + length);
  const tokens = { bytes: Buffer.concat(spellings), offsets: Int32Array.from(offsets) };
  return maskVocabulary(tokens, vocabularyTree(tokens));
}

const schemaProgram = (schema: unknown): Program => programOf(rulesOfSchema(schema), spelled, new Limits(1_000_000));
const patternProgram = (pattern: string): Program =>
  programOf([patternOf(pattern, { whole: true })], spelled, new Limits(1_000_000));

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

const programs: Readonly<Record<string, Program>> = {
  "any value": schemaProgram(true),
  "a counted string": schemaProgram({ type: "string", maxLength: 40 }),
  "strings in objects": schemaProgram({
    properties: { a: { type: "string" }, abc: { maxLength: 3 } },
    required: ["a"],
  }),
  "free keys": schemaProgram({ additionalProperties: { type: "integer" }, properties: { ab: true } }),
  recursion: schemaProgram({ properties: { a: { type: "array", items: { $ref: "#" } }, b: { $ref: "#" } } }),
  alternatives: schemaProgram({
    anyOf: [
      { type: "array", items: { type: "string" } },
      { type: "array", items: { $ref: "#" } },
    ],
  }),
  lists: schemaProgram({ items: { enum: ["a", "ab", true, 12] }, minItems: 2, maxItems: 5 }),
  "a pattern": patternProgram("(a|ab|abc)*(é|日本){0,9}|.{3}"),
};

for (const [name, program] of Object.entries(programs)) {
  test(`masks are those of tokens tried one by one: ${name}`, () => {
    const positions = new Positions(program);
    const grammar = new Grammar({ program, masks: masksOf(program, vocabulary, 2 ** 24) }, vocabulary, 2 ** 20);
    const mask = grammar.emptyMask();
    let seed = 7;
    for (let text = 0; text < 40; text++) {
      let position: Position | null = positions.at(program.starts[0] ?? 0, null);
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
  const [short, long] = [100, 2000].map((maxLength) =>
    masksOf(schemaProgram({ type: "string", maxLength }), vocabulary, 2 ** 24),
  );
  assert.equal(long?.offsets.length, short?.offsets.length);
});

test("masks that take too much memory are refused", () => {
  const maxBytes = 8 * maskWords(vocabulary);
  assert.throws(
    () => masksOf(schemaProgram({ type: "string", maxLength: 40 }), vocabulary, maxBytes),
    (error: Error) => error instanceof GrammarFault && /--grammar-cache-bytes/.test(error.message),
  );
});

test("what a text allows does not depend on what is kept", () => {
  const program = schemaProgram(true);
  const masks = masksOf(program, vocabulary, 2 ** 24);
  const [roomy, tight] = [2 ** 20, 0].map((maxBytes) => new Grammar({ program, masks }, vocabulary, maxBytes));
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
