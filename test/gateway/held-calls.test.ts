/** Calls that grammars hold: texts drawn at random from what each format's grammar allows are calls whose arguments fit the schema. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import type { EngineRequest } from "../../src/engine/types.js";
import type { AnswerChunk, ChatChoice } from "../../src/gateway/openai/serialize.js";
import { callFormatNames } from "../../src/text/tools/formats/registry.js";
import { validatorOf } from "../grammar/validator.js";
import { byteTokenizer, eosId, vocabSize } from "../support/byte-tokenizer.js";
import { openRig, type Rig } from "../support/rig.js";

const never = new AbortController().signal;
const messages = [{ role: "user", content: "How is it?" }];
const weather = {
  type: "object",
  properties: {
    city: { type: "string" },
    unit: { type: "string", enum: ["celsius", "kelvin"] },
    days: { type: "integer", minimum: 1, maximum: 14 },
    hourly: { type: "boolean" },
  },
  required: ["city", "days"],
  additionalProperties: false,
};
const place = { type: "object", properties: { zone: { type: "string", enum: ["utc", "local"] } }, required: ["zone"] };
const schemas = { weather, "get.time": place };
const validators: Readonly<Record<string, ReturnType<typeof validatorOf>>> = {
  weather: validatorOf(weather),
  "get.time": validatorOf(place),
};
const anyObject = validatorOf({ type: "object" });
const free = { weather: anyObject, "get.time": anyObject };
const toolsOf = (strict: boolean) =>
  Object.entries(schemas).map(([name, parameters]) => ({ type: "function", function: { name, parameters, strict } }));

const everyId = Array.from({ length: vocabSize }, (_, id) => id);
const closers = [...Buffer.from('"<>{}[],:/')];
/** Texts that chance alone would never spell. */
const goals = ["\n</parameter>", "</think>", "<think>", "<escape>", "<tool_call>", '{"name": "'].map((text) => [
  ...Buffer.from(text),
]);

/** A text of a request's grammar, drawn byte by byte; later bytes rather close something. */
function* drawn({ sampling: { grammar } }: EngineRequest, seed: number): Iterable<number> {
  assert.ok(grammar, "the answer has a grammar");
  let state = seed * 7919;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const matcher = grammar.begin();
  const mask = matcher.emptyMask();
  let goal: readonly number[] = [];
  for (let count = 0; !matcher.isOver; count++) {
    if (goal.length === 0 && matcher.isComplete && random() < 0.3) break;
    matcher.fill(mask);
    const isAllowed = (id: number): boolean => (((mask[id >>> 5] ?? 0) >>> (id & 31)) & 1) === 1;
    const closing = closers.filter(isAllowed);
    const from = closing.length > 0 && random() < count / 30 ? closing : everyId.filter(isAllowed);
    if (goal.length === 0 && random() < 0.5) goal = goals[Math.floor(random() * goals.length)] ?? [];
    const [next, ...rest] = goal;
    const isWanted = next !== undefined && isAllowed(next);
    goal = isWanted ? rest : [];
    const id = isWanted ? next : from[Math.floor(random() * from.length)];
    assert.ok(id !== undefined, "a text can go on or end");
    matcher.accept(id);
    yield id;
  }
  yield eosId;
}

function templateOf(name: string): string {
  return readFileSync(`test/fixtures/tools/${name}.jinja`, "utf8");
}

const rigs = new Map<string, Promise<Rig>>();
after(async () => {
  for (const rig of rigs.values()) await (await rig)[Symbol.asyncDispose]();
});

/** One for each template: a thread compiles for each. */
function drawing(chatTemplate: string): Promise<Rig> {
  let seed = 0;
  const answer = (request: EngineRequest) => drawn(request, ++seed);
  const known = rigs.get(chatTemplate);
  const rig =
    known ??
    openRig({
      script: { answer, limits: { maxContext: 8192 } },
      tokenizer: byteTokenizer({ chatTemplate }),
      gateway: { grammarTimeoutMs: 60_000 },
    });
  rigs.set(chatTemplate, rig);
  return rig;
}

async function ask(rig: Rig, body: object): Promise<ChatChoice> {
  const asked = { messages, tools: toolsOf(false), max_tokens: 6000, ...body };
  const [choice] = (await (await rig.chat(asked, never)).whole()).choices;
  assert.ok(choice && "message" in choice);
  return choice;
}

/** Checks an answer's calls; returns their names. */
function requireValid({ message, finish_reason }: ChatChoice, checks = validators): string[] {
  const calls = message.tool_calls ?? [];
  assert.equal(finish_reason, calls.length > 0 ? "tool_calls" : "stop");
  return calls.map((call) => {
    const validate = checks[call.function.name];
    assert.ok(validate, `${call.function.name} is a function`);
    const value: unknown = JSON.parse(call.function.arguments);
    assert.ok(validate(value), `${call.function.arguments}: ${JSON.stringify(validate.errors)}`);
    return call.function.name;
  });
}

async function refusal(promise: Promise<unknown>): Promise<LorikeetError> {
  const error = await promise.then(
    () => null,
    (fault: unknown) => fault,
  );
  assert.ok(error instanceof LorikeetError, `refused with a LorikeetError, not ${String(error)}`);
  return error;
}

describe("forced calls", () => {
  for (const name of [...callFormatNames.filter((each) => each !== "smollm3"), "mistral-list"]) {
    test(`in the format of ${name} are well formed and fit the schema`, async () => {
      const rig = await drawing(templateOf(name));
      const lengths = new Set<number>();
      for (let i = 0; i < 4; i++) {
        const choice = await ask(rig, { tool_choice: "required" });
        assert.equal(choice.message.content, null);
        lengths.add(requireValid(choice).length);
      }
      assert.ok(!lengths.has(0) && [...lengths].some((length) => length > 1), "also several");
      const named = await ask(rig, { tool_choice: { type: "function", function: { name: "get.time" } } });
      assert.deepEqual(requireValid(named), ["get.time"]);
      assert.equal(requireValid(await ask(rig, { tool_choice: "required", parallel_tool_calls: false })).length, 1);
    });
  }

  test("are streamed while they are written", async () => {
    const rig = await drawing(templateOf("hermes"));
    const body = { messages, tools: toolsOf(false), tool_choice: "required", max_tokens: 6000, stream: true };
    const chunks: AnswerChunk[] = [];
    for await (const frame of (await rig.chat(body, never)).frames())
      if (frame.type === "chunk") chunks.push(frame.data);
    const pieces = chunks.flatMap(({ choices }) =>
      choices.flatMap((choice) => ("delta" in choice ? (choice.delta.tool_calls ?? []) : [])),
    );
    const first = pieces.filter(({ index }) => index === 0);
    assert.ok(first.length > 5 && first.every((piece, at) => (at === 0) === (piece.id !== undefined)));
    JSON.parse(first.map((piece) => piece.function.arguments).join(""));
  });

  test("may follow reasoning that the template opens or the model begins", async () => {
    const opened = `${templateOf("hermes")}{% if add_generation_prompt %}<think>\n{% endif %}{# </think> #}`;
    for (const chatTemplate of [opened, `${templateOf("hermes")}{# </think> #}`]) {
      const rig = await drawing(chatTemplate);
      let thought = 0;
      for (let i = 0; i < 6; i++) {
        const choice = await ask(rig, { tool_choice: "required" });
        assert.ok(requireValid(choice).length > 0);
        if (choice.message.reasoning_content !== undefined) thought++;
      }
      assert.ok(thought > 0);
    }
  });

  test("without arguments are empty objects, whatever the schema leaves out is allowed to be missing", async () => {
    const rig = await drawing(templateOf("hermes"));
    const tools = [{ type: "function", function: { name: "now" } }];
    const choice = await ask(rig, { tools, tool_choice: "required", parallel_tool_calls: false });
    assert.deepEqual(
      choice.message.tool_calls?.map((call) => JSON.parse(call.function.arguments)),
      [{}],
    );
  });
});

describe("strict functions", () => {
  test("are held to their schemas where the model decides to call", async () => {
    for (const name of ["hermes", "llama3_json"]) {
      const rig = await drawing(templateOf(name));
      const counts = new Set<number>();
      for (let i = 0; i < 16; i++) {
        const choice = await ask(rig, { tools: toolsOf(true) });
        counts.add(Math.min(1, requireValid(choice).length));
      }
      assert.deepEqual([...counts].sort(), [0, 1], "some answers call, some do not");
    }
  });

  test("leave other functions of the request free", async () => {
    const rig = await drawing(templateOf("hermes"));
    const [one, two] = toolsOf(true);
    assert.ok(one && two);
    const tools = [one, { ...two, function: { ...two.function, strict: false } }];
    for (let i = 0; i < 6; i++) requireValid(await ask(rig, { tools }), { ...validators, "get.time": anyObject });
  });

  test("stop strings still end text", async () => {
    const rig = await drawing(templateOf("hermes"));
    const stops = ["e", "a", "o", "i"];
    for (let i = 0; i < 8; i++) {
      const { message } = await ask(rig, { tools: toolsOf(true), stop: stops });
      assert.ok(!stops.some((stop) => message.content?.includes(stop)));
    }
  });
});

describe("a request's own format beside calls", () => {
  const response_format = { type: "json_schema", json_schema: { name: "answer", schema: place } };

  test("holds an answer that does not call", async () => {
    const rig = await drawing(templateOf("hermes"));
    const kinds = new Set<string>();
    for (let i = 0; i < 12; i++) {
      const isStrict = i % 2 === 0;
      const choice = await ask(rig, { tools: toolsOf(isStrict), response_format });
      if (requireValid(choice, isStrict ? validators : free).length === 0)
        assert.ok(validators["get.time"]?.(JSON.parse(choice.message.content ?? "")));
      kinds.add(choice.finish_reason ?? "");
    }
    assert.deepEqual([...kinds].sort(), ["stop", "tool_calls"]);
  });

  test("comes behind reasoning that the template opens", async () => {
    const rig = await drawing("{{ messages[0].content }}<think>\n{# </think> #}");
    for (let i = 0; i < 4; i++) {
      const { message } = await ask(rig, { tools: [], response_format });
      assert.ok(validators["get.time"]?.(JSON.parse(message.content ?? "")));
    }
  });
});

test("schemas that cannot be held are refused with the function and the keyword", async () => {
  const of = (schema: object) => [{ type: "function", function: { name: "f", parameters: schema, strict: true } }];
  for (const [name, schema, found] of [
    [
      "hermes",
      { type: "object", properties: { a: { type: "string", contentEncoding: "x" } } },
      /`tools` in the parameters of `f`: at `\/properties\/a`: the keyword `contentEncoding`/,
    ],
    ["hermes", { type: "array" }, /`f`: the `type` must be object/],
    ["functiongemma", { properties: { a: { anyOf: [{ type: "string" }] } } }, /`f`: each value must have one `type`/],
    [
      "functiongemma",
      { properties: { a: { type: "string", minLength: 1 } } },
      /`f`: the keyword `minLength` is not supported/,
    ],
    ["qwen3_coder", { patternProperties: {} }, /`f`: the keyword `patternProperties`/],
  ] as const) {
    const rig = await drawing(templateOf(name));
    const error = await refusal(ask(rig, { tools: of(schema) }));
    assert.deepEqual([error.code, error.param], ["invalid_value", "tools"], error.message);
    assert.match(error.message, found);
  }
  const rig = await drawing(templateOf("hermes"));
  const both = await refusal(ask(rig, { tool_choice: "required", allowed_token_ids: [1] }));
  assert.equal(both.param, "allowed_token_ids");
});
