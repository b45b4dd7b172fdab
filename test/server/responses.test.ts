/** `/v1/responses` through the official `openai` package, unchanged: whole and streamed, structured, with log-probabilities, refused and failed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import OpenAI, { type APIError } from "openai";
import { LorikeetError } from "../../src/base/errors.js";
import { gatewayDefaults } from "../../src/gateway/options.js";
import { parseResponse, responsesFormat } from "../../src/gateway/responses/input.js";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { post } from "../support/client.js";
import { openServerRig, type RigOptions, type ServerRig } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (text: string): RigOptions => ({ script: { answer: () => [...bytes(text), eosId] } });
const clientOf = (rig: ServerRig): OpenAI => new OpenAI({ baseURL: `${rig.url}/v1`, apiKey: "none", maxRetries: 0 });

/** The text of the prompt that the first sequence was given. */
const promptOf = (rig: ServerRig): string =>
  Buffer.from(rig.engine.sequences[0]?.request.promptIds.filter((id) => id < 256) ?? []).toString();

const weather = {
  type: "function" as const,
  name: "weather",
  description: "The weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: false,
};
const call = (city: string): string =>
  `<tool_call>\n{"name": "weather", "arguments": {"city": "${city}"}}\n</tool_call>`;

/** A model that thinks and calls. */
function withTools(text: string): RigOptions {
  const chatTemplate = `${readFileSync("test/fixtures/tools/hermes.jinja", "utf8")}{# <think> </think> #}`;
  const script = { answer: () => [...bytes(text), eosId], limits: { maxContext: 4096 } };
  return { script, tokenizer: byteTokenizer({ chatTemplate }) };
}

function shownItem(item: OpenAI.Responses.ResponseOutputItem): readonly [string, string] {
  if (item.type === "function_call") return [item.type, `${item.name}(${item.arguments})`];
  if (item.type === "reasoning") return [item.type, item.content?.map(({ text }) => text).join("") ?? ""];
  return [
    item.type,
    item.type === "message" ? item.content.map((part) => ("text" in part ? part.text : "")).join("") : "",
  ];
}

const textEvents = [
  "response.created",
  "response.in_progress",
  "response.output_item.added",
  "response.content_part.added",
  "response.output_text.delta",
  "response.output_text.done",
  "response.content_part.done",
  "response.output_item.done",
];

describe("responses", () => {
  test("a fault names the parameter that the client sent", async () => {
    await using rig = await openServerRig({ ...saying("x"), gateway: { maxPromptCharacters: 300 } });
    const asked: readonly (readonly [string, object, string])[] = [
      ["/v1/responses", { input: "x".repeat(400) }, "input"],
      ["/v1/responses", { input: "x".repeat(260) }, "input"],
      ["/v1/responses", { input: "x", max_output_tokens: 255 }, "max_output_tokens"],
      ["/v1/chat/completions", { model: "base", messages: [{ role: "user", content: "x".repeat(260) }] }, "messages"],
      ["/v1/completions", { model: "base", prompt: "x".repeat(260) }, "prompt"],
      ["/generate", { inputs: "x".repeat(400) }, "inputs"],
      ["/generate", { inputs: "x", parameters: { adapter_id: "nobody" } }, "adapter_id"],
    ];
    for (const [path, body, param] of asked) {
      const answer = await post(rig.url, path, body);
      const text = await answer.text();
      assert.ok(answer.status >= 400 && answer.status < 500, text);
      assert.match(text, new RegExp(`"param":"${param}"`), `${path}: ${text}`);
    }
  });

  test("a whole response has its text, its usage and what was asked for", async () => {
    await using rig = await openServerRig(saying("Hello, wörld"));
    const response = await clientOf(rig).responses.create({
      model: "alias",
      input: "hi",
      instructions: "Be brief.",
      max_output_tokens: 40,
      metadata: { ticket: "7" },
      temperature: 0.5,
      store: false,
    });
    assert.match(response.id, /^resp_[0-9a-f]{32}$/);
    assert.equal(response.output_text, "Hello, wörld");
    assert.equal(response.status, "completed");
    assert.equal(response.model, "alias");
    assert.deepEqual(response.metadata, { ticket: "7" });
    assert.equal(response.temperature, 0.5);
    assert.equal(response.usage?.output_tokens, 13);
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    assert.match(promptOf(rig), /Be brief\.[\s\S]*hi/);
    assert.equal(rig.engine.sequences[0]?.request.sampling.temperature, 0.5);
  });

  test("a stream has every event in order, numbered, with names of server-sent events", async () => {
    await using rig = await openServerRig(saying("abc"));
    const raw = await post(rig.url, "/v1/responses", { input: "x", stream: true, store: false });
    assert.equal(raw.status, 200);
    const blocks = (await raw.text()).trim().split("\n\n");
    const events = blocks.map((block) => {
      const [, name = "", data = ""] = /^event: (\S+)\ndata: (.*)$/.exec(block) ?? [];
      const event: { type: string; sequence_number: number; delta?: string } = JSON.parse(data);
      assert.equal(event.type, name);
      return event;
    });
    assert.deepEqual(
      events.map(({ sequence_number }) => sequence_number),
      events.map((_, index) => index),
    );
    const types = events.map(({ type }) => type);
    assert.deepEqual([...new Set(types)], [...textEvents, "response.completed"]);
    assert.equal(events.map(({ delta }) => delta ?? "").join(""), "abc");
  });

  test("the client's own stream builds the same response", async () => {
    await using rig = await openServerRig(saying("abc"));
    const stream = clientOf(rig).responses.stream({ model: "base", input: "x", store: false });
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    const response = await stream.finalResponse();
    assert.deepEqual([text, response.output_text, response.status], ["abc", "abc", "completed"]);
  });

  test("a response that reaches its bound is incomplete", async () => {
    await using rig = await openServerRig(saying("abcdef"));
    const response = await clientOf(rig).responses.create({
      model: "base",
      input: "x",
      max_output_tokens: 3,
      store: false,
    });
    assert.equal(response.status, "incomplete");
    assert.deepEqual(response.incomplete_details, { reason: "max_output_tokens" });
    assert.equal(response.output_text, "abc");
    const raw = await post(rig.url, "/responses", { input: "x", max_output_tokens: 3, stream: true });
    assert.match(await raw.text(), /event: response\.incomplete\n[^\n]*\n\n$/);
  });

  test("an answer without text is an empty message", async () => {
    await using rig = await openServerRig(saying(""));
    const { output } = await clientOf(rig).responses.create({ model: "base", input: "x", store: false });
    const [message] = output;
    assert.ok(message?.type === "message");
    assert.deepEqual(message.content, [{ type: "output_text", annotations: [], logprobs: [], text: "" }]);
  });

  test("items are rendered in order, an earlier output among them", async () => {
    await using rig = await openServerRig(saying("ok"));
    const client = clientOf(rig);
    const first = await client.responses.create({ model: "base", input: "one", store: false });
    await client.responses.create({
      model: "base",
      store: false,
      input: [
        { role: "user", content: "one" },
        ...first.output.filter((item) => item.type === "message"),
        { role: "developer", content: [{ type: "input_text", text: "rule" }] },
        { role: "user", content: "two" },
      ],
    });
    const prompt = Buffer.from(rig.engine.sequences[1]?.request.promptIds.filter((id) => id < 256) ?? []).toString();
    assert.match(prompt, /one[\s\S]*ok[\s\S]*system[\s\S]*rule[\s\S]*two/);
  });

  test("log-probabilities come with the deltas and with the text", async () => {
    await using rig = await openServerRig(saying("ab"));
    const client = clientOf(rig);
    const body = { model: "base", input: "x", top_logprobs: 2, include: ["message.output_text.logprobs" as const] };
    const whole = await client.responses.create({ ...body, store: false });
    const [message] = whole.output;
    assert.ok(message?.type === "message" && message.content[0]?.type === "output_text");
    const { logprobs = [] } = message.content[0];
    assert.deepEqual(
      logprobs.map(({ token, top_logprobs }) => [token, top_logprobs.length]),
      [
        ["a", 2],
        ["b", 2],
      ],
    );
    const deltas: string[] = [];
    for await (const event of await client.responses.create({ ...body, store: false, stream: true })) {
      if (event.type === "response.output_text.delta") deltas.push(...event.logprobs.map(({ token }) => token));
    }
    assert.deepEqual(deltas, ["a", "b"]);
    const kept = await client.responses.create(body);
    const read = await client.responses.retrieve(kept.id);
    assert.ok(read.output[0]?.type === "message" && read.output[0].content[0]?.type === "output_text");
    assert.deepEqual(read.output[0].content[0].logprobs, logprobs);
  });

  test("log-probabilities beyond what is written in one turn are not stored, and the text is", async () => {
    const text = "a".repeat(2_000);
    const script = { answer: () => [...bytes(text), eosId], limits: { maxContext: 4096 } };
    await using rig = await openServerRig({ script });
    const client = clientOf(rig);
    const body = { model: "base", input: "x", top_logprobs: 8, max_output_tokens: 2_000 };
    const read = await client.responses.retrieve((await client.responses.create(body)).id);
    assert.ok(read.output[0]?.type === "message" && read.output[0].content[0]?.type === "output_text");
    assert.deepEqual([read.output_text, read.output[0].content[0].logprobs], [text, []]);
  });

  test("a format with a schema constrains the text", async () => {
    await using rig = await openServerRig(saying('{"a":1}'));
    const schema = {
      type: "object",
      properties: { a: { type: "integer" } },
      required: ["a"],
      additionalProperties: false,
    };
    const response = await clientOf(rig).responses.parse({
      model: "base",
      input: "x",
      store: false,
      text: { format: { type: "json_schema", name: "thing", schema, strict: true } },
    });
    assert.ok(rig.engine.sequences[0]?.request.sampling.grammar);
    assert.deepEqual(response.text?.format, { type: "json_schema", name: "thing", schema, strict: true });
    assert.deepEqual(response.output_parsed, { a: 1 });
  });

  test("a fault in mid-stream is a failed response with the text so far", async () => {
    const error = new LorikeetError("runtime_failed", "The run failed.");
    await using rig = await openServerRig({ script: { answer: () => bytes("abcd"), failAfter: { tokens: 2, error } } });
    const types: string[] = [];
    const stream = await clientOf(rig).responses.create({ model: "base", input: "x", store: false, stream: true });
    for await (const event of stream) {
      types.push(event.type);
      if (event.type !== "response.failed") continue;
      assert.deepEqual(event.response.error, { code: "server_error", message: "The run failed." });
      const [message] = event.response.output;
      assert.ok(message?.type === "message" && message.content[0]?.type === "output_text");
      assert.deepEqual([message.status, message.content[0].text], ["incomplete", "ab"]);
    }
    assert.equal(types.at(-1), "response.failed");
    const whole = clientOf(rig).responses.create({ model: "base", input: "x", store: false });
    await assert.rejects(whole, (fault: APIError) => fault.status === 500 && fault.code === "runtime_failed");
  });

  test("reasoning and calls are items of their own, whole and streamed", async () => {
    const answer = `<think>Which city?</think>Let me see.\n${call("Paris")}\n${call("Oslo")}`;
    await using rig = await openServerRig(withTools(answer));
    const client = clientOf(rig);
    const body = { model: "base", input: "How is it?", tools: [weather], store: false };
    const whole = await client.responses.create(body);
    const shown = [
      ["reasoning", "Which city?"],
      ["message", "Let me see."],
      ["function_call", 'weather({"city": "Paris"})'],
      ["function_call", 'weather({"city": "Oslo"})'],
    ];
    assert.deepEqual(whole.output.map(shownItem), shown);
    assert.deepEqual(new Set(whole.output.map((item) => "status" in item && item.status)), new Set(["completed"]));
    assert.equal(new Set(whole.output.map(({ id }) => id)).size, 4);
    assert.deepEqual([whole.status, whole.tools, whole.tool_choice], ["completed", [weather], "auto"]);
    const tools = [{ type: "function", name: weather.name }];
    const allowed = { type: "allowed_tools" as const, mode: "auto" as const, tools };
    const held = await client.responses.create({ ...body, tool_choice: allowed });
    assert.deepEqual([held.tools, held.tool_choice], [[weather], allowed]);
    assert.ok((whole.usage?.output_tokens_details.reasoning_tokens ?? 0) > 0);
    const stream = client.responses.stream(body);
    const events: string[] = [];
    for await (const { type } of stream) if (events.at(-1) !== type) events.push(type);
    assert.deepEqual(events, [
      ...["response.created", "response.in_progress"],
      ...["response.output_item.added", "response.content_part.added", "response.reasoning_text.delta"],
      ...["response.reasoning_text.done", "response.content_part.done", "response.output_item.done"],
      ...["response.output_item.added", "response.content_part.added", "response.output_text.delta"],
      ...["response.output_text.done", "response.content_part.done", "response.output_item.done"],
      ...["response.output_item.added", "response.function_call_arguments.delta"],
      ...["response.function_call_arguments.done", "response.output_item.done"],
      ...["response.output_item.added", "response.function_call_arguments.delta"],
      ...["response.function_call_arguments.done", "response.output_item.done", "response.completed"],
    ]);
    assert.deepEqual((await stream.finalResponse()).output.map(shownItem), shown);
  });

  test("the result of a call continues the turn that called, stored or sent back", async () => {
    await using rig = await openServerRig(withTools(`<think>Hm.</think>${call("Paris")}`));
    const client = clientOf(rig);
    const body = { model: "base", tools: [weather] };
    const first = await client.responses.create({ ...body, input: "How is it?" });
    const made = first.output.find((item) => item.type === "function_call");
    assert.ok(made);
    const result = { type: "function_call_output" as const, call_id: made.call_id, output: "rain" };
    await client.responses.create({ ...body, input: [result], previous_response_id: first.id });
    const sent = first.output.flatMap((item) =>
      item.type === "function_call" || item.type === "reasoning" ? [item] : [],
    );
    await client.responses.create({ ...body, input: [{ role: "user", content: "How is it?" }, ...sent, result] });
    const [, continued, repeated] = rig.engine.sequences.map(({ request }) =>
      Buffer.from(request.promptIds.filter((id) => id < 256)).toString(),
    );
    assert.match(continued ?? "", /How is it\?[\s\S]*"city": ?"Paris"[\s\S]*tool[\s\S]*rain/);
    assert.equal(continued, repeated);
  });

  test("truncation drops as few of the oldest turns as needed, never the rules nor the last turn", async () => {
    await using rig = await openServerRig({ script: { answer: () => [eosId], limits: { maxContext: 300 } } });
    const client = clientOf(rig);
    const turn = (name: string) => [
      { role: "user" as const, content: `${name} ${"x".repeat(40)}` },
      { role: "assistant" as const, content: `re ${name}` },
    ];
    const input = [...["one", "two", "three", "four"].flatMap(turn), { role: "user" as const, content: "last" }];
    const body = { model: "base", instructions: "Rules.", input, max_output_tokens: 10, store: false };
    await assert.rejects(client.responses.create(body), (fault: APIError) => fault.code === "context_length_exceeded");
    const response = await client.responses.create({ ...body, truncation: "auto" });
    assert.equal(response.truncation, "auto");
    const prompt = promptOf(rig);
    const kept = ["Rules.", "one", "two", "three", "four", "last"].filter((word) => prompt.includes(word));
    assert.deepEqual([kept.at(0), kept.at(-1)], ["Rules.", "last"]);
    const dropped = 6 - kept.length;
    assert.ok(dropped > 0 && kept.join().endsWith("four,last"), kept.join());
    assert.ok(!prompt.includes(`re ${["one", "two", "three"][dropped - 1]}`), "an answer goes with its question");
    const tooMuch = { ...body, input: "x".repeat(400), truncation: "auto" as const };
    await assert.rejects(
      client.responses.create(tooMuch),
      (fault: APIError) => fault.code === "context_length_exceeded",
    );
  });

  test("what is not supported is refused by name, every fault at once", async () => {
    await using rig = await openServerRig();
    const body = {
      input: [
        { type: "web_search_call", id: "ws_1", status: "completed" },
        { role: "user", content: [{ type: "input_image", image_url: "https://example.com/x.png" }] },
        { role: "tool", content: "x" },
      ],
      tools: [{ type: "web_search" }],
      truncation: "sometimes",
      conversation: "conv_1",
      text: { format: { type: "json_schema", name: "a b", schema: {} } },
      reasoning: { effort: "high", summary: "auto" },
      include: ["everything"],
      stream_options: {},
      metadata: { a: 1 },
    };
    const response = await post(rig.url, "/v1/responses", body);
    assert.equal(response.status, 400);
    const { error }: { error: { faults: string[] } } = JSON.parse(await response.text());
    for (const name of [
      ...["input[0]", "input[1]", "input[2]", "tools", "truncation", "conversation", "text.format"],
      ...["reasoning.summary", "include[0]", "stream_options", "metadata"],
    ]) {
      assert.ok(
        error.faults.some((fault) => fault.includes(`\`${name}\``)),
        `${name} in ${error.faults.join("\n")}`,
      );
    }
  });

  test("any body is read or refused with a client's fault", () => {
    const format = responsesFormat({ ...gatewayDefaults, vocabSize: 260, maxContext: 64 });
    const names = [...format.known, ...Object.keys(format.ignored), "other"];
    const part = fc.record({ type: fc.constantFrom("input_text", "output_text", "refusal", "x"), text: fc.anything() });
    const item = fc.record(
      {
        type: fc.constantFrom("message", "function_call", "function_call_output", "reasoning", "item_reference", null),
        call_id: fc.oneof(fc.string(), fc.anything()),
        name: fc.oneof(fc.string(), fc.anything()),
        arguments: fc.oneof(fc.json(), fc.string(), fc.anything()),
        output: fc.oneof(fc.string(), fc.anything()),
        role: fc.constantFrom("user", "assistant", "developer", "robot"),
        content: fc.oneof(fc.string(), fc.array(part, { maxLength: 2 }), fc.anything()),
        id: fc.anything(),
      },
      { requiredKeys: [] },
    );
    const value = fc.oneof(fc.anything({ maxDepth: 3 }), fc.array(item, { maxLength: 3 }), item, fc.string());
    const body = fc.oneof(
      fc.dictionary(fc.constantFrom(...names), value),
      fc.record({ input: fc.array(item, { minLength: 1 }) }),
    );
    fc.assert(
      fc.property(body, (sent) => {
        try {
          const { input, request } = parseResponse(format, sent);
          const { messages } = request(
            input.filter((item) => item.type === "message"),
            [],
          );
          assert.ok(messages.every(({ content }) => typeof content === "string"));
        } catch (error) {
          assert.ok(error instanceof LorikeetError && error.status === 400, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});
