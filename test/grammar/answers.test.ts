/** Answers of the embedded model, at temperature 1, held to schemas, patterns and choices over HTTP. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { isObject } from "../../src/base/json.js";
import { bookworm, openService } from "../support/service.js";
import { cases } from "./cases.js";
import { validatorOf } from "./validator.js";

// A busy machine must not turn a refusal into a timeout.
const service = await openService({
  model: bookworm,
  maxContext: "256",
  maxBatch: "16",
  threads: "2",
  grammarTimeout: "10m",
});
after(() => service[Symbol.asyncDispose]());

interface Answered {
  readonly status: number;
  readonly text: string;
  readonly finish: string;
  readonly message: string;
  readonly tokens: number;
}

async function ask(body: object): Promise<Answered> {
  const response = await fetch(`${service.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "The answer:", temperature: 1, max_tokens: 100, ...body }),
  });
  const { choices, error, usage } = JSON.parse(await response.text());
  return {
    status: response.status,
    text: choices?.[0].text ?? "",
    finish: choices?.[0].finish_reason ?? "",
    message: error?.message ?? "",
    tokens: usage?.completion_tokens ?? 0,
  };
}

const formatOf = (schema: unknown) => ({
  response_format: { type: "json_schema", json_schema: { name: "case", strict: true, schema } },
});

/** `npm run schemas` takes all of them. */
const perKeyword = process.env.SCHEMAS === "all" ? Number.POSITIVE_INFINITY : 2;

test("every complete answer is valid, sixteen schemas at a time", async () => {
  const schemas = Object.values(cases).flatMap((each) => each.filter(isObject).slice(0, perKeyword));
  let next = 0;
  let whole = 0;
  const faults: string[] = [];
  const takeTurns = async (): Promise<void> => {
    for (let index = next++; index < schemas.length; index = next++) {
      const schema = schemas[index];
      const { status, text, finish, message } = await ask({ ...formatOf(schema), seed: index });
      if (status !== 200) faults.push(`${JSON.stringify(schema)}: ${status} ${message}`);
      if (finish !== "stop") continue;
      whole++;
      const validate = validatorOf(schema);
      if (!validate(JSON.parse(text))) faults.push(`${JSON.stringify(schema)} gave ${text}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, takeTurns));
  assert.deepEqual(faults, []);
  assert.ok(whole > schemas.length / 2, `${whole} of ${schemas.length} answers were whole`);
});

test("rows with a grammar and rows without share a batch and do not change each other", async () => {
  const plain = { seed: 5, max_tokens: 24 };
  const held = { seed: 6, max_tokens: 24, structured_outputs: { regex: "[a-z]{30}" } };
  const alone = [await ask(plain), await ask(held)];
  const together = await Promise.all([ask(plain), ask(held), ask(plain), ask(held)]);
  assert.deepEqual(together, [...alone, ...alone]);
  assert.match(alone[1]?.text ?? "", /^[a-z]{1,30}$/);
});

test("patterns, choices and grammars, under vLLM's and llama.cpp's names", async () => {
  const choices = ["yes, of course", "no", "maybe"];
  for (const body of [{ guided_choice: choices }, { structured_outputs: { choice: choices } }]) {
    for (let seed = 0; seed < 4; seed++) {
      const { text, finish } = await ask({ ...body, seed });
      assert.equal(finish, "stop");
      assert.ok(choices.includes(text), text);
    }
  }
  for (const body of [{ guided_regex: "(ab|cd){2}x?" }, { structured_outputs: { regex: "(ab|cd){2}x?" } }]) {
    const { text, finish } = await ask(body);
    assert.equal(finish, "stop");
    assert.match(text, /^(ab|cd){2}x?$/);
  }
  for (const body of [{ response_format: { type: "json_object" } }, { structured_outputs: { json_object: true } }]) {
    const { text, finish } = await ask({ ...body, seed: 3, logit_bias: {} });
    if (finish === "stop") assert.ok(isObject(JSON.parse(text)));
    else assert.match(text, /^\{/);
  }
  const gbnf = 'root ::= "[" item ("," item)* "]"  item ::= [0-9] | root';
  for (const body of [{ guided_grammar: gbnf }, { grammar: gbnf }, { structured_outputs: { grammar: gbnf } }]) {
    const { text, finish } = await ask({ ...body, seed: 2 });
    assert.equal(finish, "stop");
    assert.ok(Array.isArray(JSON.parse(text)), text);
  }
  const json = await ask({ guided_json: JSON.stringify({ type: "integer", minimum: 3, maximum: 5 }) });
  assert.match(json.text, /^[345]$/);
});

test("an answer ends with its document: stops, stop tokens and min_tokens end none before or after", async () => {
  const schema = { type: "object", properties: { a: { const: "stop here" } }, required: ["a"] };
  const stops = { stop: ["stop", '"'], min_tokens: 100, presence_penalty: 1, logprobs: 2 };
  const { text, finish } = await ask({ ...formatOf(schema), ...stops });
  assert.equal(finish, "stop");
  assert.deepEqual(JSON.parse(text), { a: "stop here" });
  const ids = Array.from({ length: 120 }, (_, id) => id + 3);
  assert.deepEqual(JSON.parse((await ask({ ...formatOf(schema), stop_token_ids: ids })).text), { a: "stop here" });
  assert.deepEqual(JSON.parse((await ask({ ...formatOf(schema), ignore_eos: true })).text), { a: "stop here" });
});

test("an answer that is cut off by max_tokens says so", async () => {
  const { text, finish, tokens } = await ask({ guided_regex: "a{100}", max_tokens: 3 });
  assert.deepEqual([finish, tokens], ["length", 3]);
  assert.match(text, /^a+$/);
});

test("an unsupported constraint is a 400 that names it", async () => {
  const refused: readonly (readonly [object, RegExp])[] = [
    [formatOf({ type: "array", uniqueItems: true }), /json_schema\.schema.*uniqueItems/],
    [formatOf({ type: "object", properties: { a: { not: {} } } }), /`\/properties\/a`.*`not`/],
    [{ guided_regex: "(a)\\1" }, /`guided_regex` refers back/],
    [{ guided_regex: "(a|b|ab|ba){1,5000}(a|b){1,5000}" }, /too large.*--max-grammar-size/],
    [
      { structured_outputs: { grammar: "root ::= x" } },
      /`structured_outputs.grammar` at line 1, column 10: the rule `x`/,
    ],
    [{ structured_outputs: { json: {}, regex: "a" } }, /one of/],
    [{ guided_grammar: 'root ::= root "x"' }, /`guided_grammar` at line 1.*begins with itself/],
    [{ grammar: ["x"] }, /`grammar` must be a grammar in GBNF/],
    [{ guided_choice: [] }, /guided_choice/],
    [{ guided_choice: ["a"], guided_regex: "a" }, /must not both/],
    [{ guided_choice: ["a"], allowed_token_ids: [5] }, /allowed_token_ids/],
    [{ response_format: { type: "yaml" } }, /json_object.*yaml/],
    [{ response_format: { type: "json_schema", json_schema: { name: "a b", schema: {} } } }, /name/],
    [{ guided_json: '{"enum":[1e400]}' }, /numbers up to/],
    [{ guided_json: `{"const":${"[".repeat(60_000)}${"]".repeat(60_000)}}` }, /nested at most 64 levels/],
    [{ guided_regex: "x".repeat(300_000) }, /--max-grammar-characters/],
  ];
  for (const [body, message] of refused) {
    const answered = await ask(body);
    assert.equal(answered.status, 400, JSON.stringify(body).slice(0, 100));
    assert.match(answered.message, message);
  }
  assert.equal((await ask({ response_format: { type: "text" }, max_tokens: 1 })).status, 200);
});
