/** Texts that schemas allow, drawn at random over the embedded model's vocabulary, against an independent validator. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compileRules } from "../../src/grammar/compile.js";
import { grammarDefaults } from "../../src/grammar/compiler.js";
import { GrammarFault } from "../../src/grammar/fault.js";
import { Grammar } from "../../src/grammar/grammar.js";
import { rulesOfSchema } from "../../src/grammar/schema/schema.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { cases, refusals } from "./cases.js";
import { validatorOf } from "./validator.js";
import { vocabularyOf } from "./vocabularies.js";

const loaded = await loadTokenizer("models/bookworm-7m");
assert.ok(loaded);
const tokenizer = loaded;
const vocabulary = vocabularyOf(
  Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    tokenizer.specialText(id) === null ? tokenizer.tokenBytes(id) : [],
  ),
);

/** Tokens of one byte. */
const byteIds = new Map(
  Array.from({ length: tokenizer.vocabSize }, (_, id) => [tokenizer.tokenBytes(id), id] as const).flatMap(
    ([bytes, id]) => (bytes.length === 1 && bytes[0] !== undefined ? [[bytes[0], id] as const] : []),
  ),
);

/** Tokens that close a string, an object or a list. */
const closers = new Set(
  Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) => /["}\]]/.test(tokenizer.tokenText(id))),
);

function grammarOf(schema: unknown): Grammar {
  const bounds = { maxSize: grammarDefaults.maxGrammarSize, maxMaskBytes: 2 ** 26, afterSpace: false };
  return new Grammar(compileRules(rulesOfSchema(schema), vocabulary, bounds), vocabulary, {
    maxPositionBytes: 2 ** 20,
  });
}

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A text drawn token by token, or null where it does not end within `most` tokens. */
function draw(grammar: Grammar, seed: number, most: number): string | null {
  const random = randomOf(seed);
  const matcher = grammar.begin();
  const mask = matcher.emptyMask();
  const ids: number[] = [];
  while (ids.length < most) {
    if (matcher.isComplete && (matcher.isOver || random() < 0.5)) return tokenizer.decode(ids);
    matcher.fill(mask);
    const allowed: number[] = [];
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      if (((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) allowed.push(id);
    }
    assert.ok(allowed.length > 0, "a text can go on or end");
    // Late, what closes something is preferred: a text of random tokens rarely ends.
    const closing = allowed.filter((id) => closers.has(id));
    const from = closing.length > 0 && random() < ids.length / 40 ? closing : allowed;
    const id = from[Math.floor(random() * from.length)] ?? 0;
    matcher.accept(id);
    ids.push(id);
  }
  return null;
}

for (const [keyword, schemas] of Object.entries(cases)) {
  test(`whole texts of schemas with ${keyword} are valid`, () => {
    for (const schema of schemas) {
      const validate = validatorOf(schema);
      const grammar = grammarOf(schema);
      let whole = 0;
      for (let seed = 1; seed <= 20 && whole < 2; seed++) {
        const text = draw(grammar, seed * 7919, 160);
        if (text === null) continue;
        whole++;
        const value: unknown = JSON.parse(text);
        assert.ok(validate(value), `${JSON.stringify(schema)} gave ${text}: ${JSON.stringify(validate.errors)}`);
      }
      assert.ok(whole > 0, `no text of ${JSON.stringify(schema)} ended`);
    }
  });
}

function accepts(grammar: Grammar, text: string): boolean {
  const matcher = grammar.begin();
  const mask = matcher.emptyMask();
  for (const byte of Buffer.from(text)) {
    const id = byteIds.get(byte) ?? 0;
    matcher.fill(mask);
    if ((((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 0) return false;
    matcher.accept(id);
  }
  return matcher.isComplete;
}

test("documents may be printed in one line or in many", () => {
  const document = { a: [], b: [1, { c: {}, d: [[true], "x"] }], e: { f: null } };
  const named = { properties: { a: {}, b: { prefixItems: [{}, {}] }, e: { $ref: "#/$defs/e" } }, $defs: { e: {} } };
  for (const schema of [{ type: "object" }, named, { const: document }]) {
    const grammar = grammarOf(schema);
    for (const space of [undefined, 1, 2, 4, "\t"]) assert.ok(accepts(grammar, JSON.stringify(document, null, space)));
    assert.ok(accepts(grammar, '{ "a": [], "b": [1, {"c": {},"d":[ [true ], "x"]}], "e": {"f":null} }'));
    for (const text of ['{  "a": []}', '{\n\n"a": []}', '{"a" : []}', ' {"a": []}', '{"a":[ ]}', '{"a": [1,\n \t2]}']) {
      assert.ok(!accepts(grammar, text), text);
    }
  }
});

test("the schemas are two hundred and more", () => {
  assert.ok(Object.values(cases).flat().length >= 200);
});

for (const [schema, word] of refusals) {
  test(`a schema is refused by name: ${JSON.stringify(schema).slice(0, 60)}`, () => {
    assert.throws(
      () => grammarOf(schema),
      (error: Error) => error.message.includes(word),
    );
  });
}

/** Random schemas of a few keywords, which may contradict each other. */
const randomSchema = fc.letrec<{ schema: unknown }>((tie) => ({
  schema: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<unknown>({ type: "boolean" }, { type: "null" }, { enum: ["a", 1, null] }, { const: "é" }, false),
    fc.record(
      {
        type: fc.constant("integer"),
        minimum: fc.integer({ min: -50, max: 50 }),
        maximum: fc.integer({ min: -50, max: 50 }),
      },
      { requiredKeys: ["type"] },
    ),
    fc.record(
      { type: fc.constant("string"), minLength: fc.nat(3), maxLength: fc.nat(6), not: fc.constant({ const: "a" }) },
      { requiredKeys: ["type"] },
    ),
    fc.record(
      { type: fc.constant("array"), items: tie("schema"), minItems: fc.nat(2), maxItems: fc.nat(3) },
      { requiredKeys: ["type", "items"] },
    ),
    fc.record(
      {
        type: fc.constant("object"),
        properties: fc.dictionary(fc.constantFrom("a", "ab", "b"), tie("schema"), { maxKeys: 3 }),
        required: fc.subarray(["a", "b"]),
        additionalProperties: fc.boolean(),
      },
      { requiredKeys: ["type", "properties"] },
    ),
    fc.record({ anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) }),
    fc.record({ allOf: fc.array(tie("schema"), { minLength: 1, maxLength: 2 }) }),
  ),
})).schema;

test("whole texts of random schemas are valid, or the schema is refused", () => {
  let whole = 0;
  const property = fc.property(randomSchema, fc.nat(), (schema, seed) => {
    let grammar: Grammar;
    try {
      grammar = grammarOf(schema);
    } catch (error) {
      assert.ok(error instanceof GrammarFault, String(error));
      return;
    }
    const text = draw(grammar, seed, 80);
    if (text === null) return;
    whole++;
    const validate = validatorOf(schema);
    assert.ok(validate(JSON.parse(text)), `${JSON.stringify(schema)} gave ${text}`);
  });
  fc.assert(property, { numRuns: 60, seed: 7 });
  assert.ok(whole >= 15, `${whole} texts ended`);
});
