/** Answers, chunks, events and errors of OpenAI's routes against the schemas of OpenAI's own specification. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { LorikeetError } from "../../src/base/errors.js";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { post } from "../support/client.js";
import { openServerRig, type RigOptions } from "../support/rig.js";

const document: object = JSON.parse(readFileSync("test/fixtures/openai/schemas.json", "utf8"));
const ajv = new Ajv2020({ strict: false, allErrors: false });
ajv.addSchema(document, "openai");

/** Fails with the first fault, unless the value is valid by the schema of this name. */
function check(name: string, value: unknown): void {
  const validate = ajv.getSchema(`openai#/$defs/${name}`);
  assert.ok(validate, `the specification has ${name}`);
  assert.ok(validate(value), `${name}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(value).slice(0, 2000)}`);
}

const bytes = (text: string): number[] => [...Buffer.from(text)];
const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';
const hermes = readFileSync("test/fixtures/tools/hermes.jinja", "utf8");
const thinking = "{{ messages[-1].content }}<think>\n{# </think> #}";
const rigSaying = (text: string, chatTemplate = "bytes", more: RigOptions["script"] = {}) =>
  openServerRig({
    script: { answer: () => [...bytes(text), eosId], limits: { maxContext: 2048 }, ...more },
    tokenizer: byteTokenizer({ chatTemplate }),
  });

async function whole(url: string, path: string, body: object): Promise<unknown> {
  const response = await post(url, path, body);
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return JSON.parse(text);
}

/** The data of a stream's events, without the end marker. */
async function events(url: string, path: string, body: object): Promise<unknown[]> {
  const text = await (await post(url, path, { ...body, stream: true })).text();
  const data = [...text.matchAll(/^data: (.*)$/gm)].map(([, line = ""]) => line);
  return data.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line));
}

/** A completion's chunk has no schema of its own: until the last of a choice there is no reason and no usage yet. */
function asWhole(chunk: unknown): unknown {
  return JSON.parse(
    JSON.stringify(chunk).replaceAll('"finish_reason":null', '"finish_reason":"stop"').replace(',"usage":null', ""),
  );
}

const messages = [{ role: "user", content: "hi" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];

describe("by OpenAI's specification", () => {
  test("chats are valid: whole and streamed, with log-probabilities, choices, calls and reasoning", async () => {
    const path = "/v1/chat/completions";
    const cases: readonly (readonly [string, string | undefined, object])[] = [
      ["Hé", undefined, { messages }],
      ["Hello", undefined, { messages, n: 2, logprobs: true, top_logprobs: 2, max_tokens: 2 }],
      [`So.\n${call}`, hermes, { messages, tools }],
      ["Hm.\n</think>\n\nYes.", thinking, { messages }],
    ];
    for (const [text, template, body] of cases) {
      await using rig = await rigSaying(text, template);
      check("CreateChatCompletionResponse", await whole(rig.url, path, body));
      const chunks = await events(rig.url, path, { ...body, stream_options: { include_usage: true } });
      assert.ok(chunks.length > 2);
      for (const chunk of chunks) check("CreateChatCompletionStreamResponse", chunk);
    }
  });

  test("completions are valid: whole and streamed, with log-probabilities and echo", async () => {
    await using rig = await rigSaying("Hello");
    for (const more of [{}, { n: 2, logprobs: 2 }, { echo: true, max_tokens: 2 }]) {
      const body = { prompt: "x", max_tokens: 8, ...more };
      check("CreateCompletionResponse", await whole(rig.url, "/v1/completions", body));
      const chunks = await events(rig.url, "/v1/completions", { ...body, stream_options: { include_usage: true } });
      assert.ok(chunks.length > 2);
      for (const chunk of chunks) check("CreateCompletionResponse", asWhole(chunk));
    }
  });

  test("responses and their events are valid: text, log-probabilities, structured output, cut off, stored", async () => {
    await using rig = await rigSaying('{"a":1}');
    const format = {
      type: "json_schema",
      name: "a",
      schema: { type: "object", properties: { a: { type: "integer" } } },
    };
    const cases: readonly object[] = [
      { input: "hi", instructions: "Be kind.", metadata: { a: "b" }, temperature: 0.5 },
      { input: messages, top_logprobs: 2, include: ["message.output_text.logprobs"] },
      { input: "hi", text: { format } },
      { input: "hi", max_output_tokens: 2, store: false },
    ];
    for (const body of cases) {
      check("Response", await whole(rig.url, "/v1/responses", body));
      const all = await events(rig.url, "/v1/responses", body);
      assert.ok(all.length > 6);
      for (const event of all) check("ResponseStreamEvent", event);
    }
    const { id }: { id: string } = JSON.parse(JSON.stringify(await whole(rig.url, "/v1/responses", { input: "hi" })));
    const get = async (path: string): Promise<unknown> => (await fetch(rig.url + path)).json();
    check("Response", await get(`/v1/responses/${id}`));
    check("ResponseItemList", await get(`/v1/responses/${id}/input_items`));
  });

  test("items of calls, their results and reasoning are valid, and so are their events", async () => {
    const functions = [{ type: "function", ...tools[0]?.function }];
    const cases: readonly (readonly [string, string, object])[] = [
      [`So.\n${call}${call}`, hermes, { tools: functions }],
      ["Hm.\n</think>\n\nYes.", thinking, { reasoning: { effort: "low" } }],
    ];
    for (const [text, template, more] of cases) {
      await using rig = await rigSaying(text, template);
      const body = { input: "hi", ...more };
      check("Response", await whole(rig.url, "/v1/responses", body));
      for (const event of await events(rig.url, "/v1/responses", body)) check("ResponseStreamEvent", event);
    }
  });

  test("a stream that fails ends with a valid event or a valid error", async () => {
    const failAfter = { tokens: 2, error: new Error("broken") };
    await using rig = await rigSaying("Hello", "bytes", { failAfter });
    for (const event of await events(rig.url, "/v1/responses", { input: "hi" })) check("ResponseStreamEvent", event);
    for (const path of ["/v1/chat/completions", "/v1/completions"]) {
      const body = path.includes("chat") ? { messages } : { prompt: "x" };
      check("ErrorResponse", (await events(rig.url, path, body)).at(-1));
    }
  });

  test("models are valid", async () => {
    await using rig = await openServerRig();
    await rig.adapters.add("plays");
    check("ListModelsResponse", await (await fetch(`${rig.url}/v1/models`)).json());
    check("Model", await (await fetch(`${rig.url}/v1/models/plays`)).json());
  });

  test("errors are valid, whatever is wrong", async () => {
    const full = new LorikeetError("queue_full", "The queue is full.");
    const admission = async (): Promise<never> => {
      throw full;
    };
    await using rig = await openServerRig({ script: { admission }, apiKeys: ["k"] });
    const ask = async (path: string, body: string | null, key = "k"): Promise<number> => {
      const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
      const response = await fetch(rig.url + path, body === null ? { headers } : { method: "POST", headers, body });
      check("ErrorResponse", await response.json());
      return response.status;
    };
    assert.equal(await ask("/v1/models/gone", null), 404);
    assert.equal(await ask("/v1/nowhere", null), 404);
    const routes: readonly (readonly [string, object])[] = [
      ["/v1/completions", { prompt: "x" }],
      ["/v1/chat/completions", { messages }],
      ["/v1/responses", { input: "x" }],
    ];
    for (const [path, body] of routes) {
      assert.equal(await ask(path, "{}"), 400);
      assert.equal(await ask(path, "{"), 400);
      assert.equal(await ask(path, "{}", "wrong"), 401);
      assert.equal(await ask(path, null), path === "/v1/responses" ? 426 : 405); // there it needs an upgrade
      assert.equal(await ask(path, JSON.stringify(body)), 429);
      assert.equal(await ask(path, JSON.stringify({ ...body, model: "gone" })), 404);
    }
  });
});
