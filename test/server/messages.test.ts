/** Anthropic's Messages API with the official `@anthropic-ai/sdk`, unchanged, and on the wire. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import Anthropic, { APIError, AuthenticationError, NotFoundError } from "@anthropic-ai/sdk";
import { byteTokenizer, eosId } from "../support/byte-tokenizer.js";
import { openServerRig, type RigOptions, type ServerRig } from "../support/rig.js";

const bytes = (text: string): number[] => [...Buffer.from(text)];
const saying = (text: string, more: RigOptions["script"] = {}): RigOptions => ({
  script: { answer: () => [...bytes(text), eosId], ...more },
});
const clientOf = (rig: ServerRig, apiKey = "none"): Anthropic =>
  new Anthropic({ baseURL: rig.url, apiKey, maxRetries: 0 });
const asking = { model: "base", max_tokens: 40, messages: [{ role: "user" as const, content: "hi" }] };

function send(rig: ServerRig, body: object, path = "/v1/messages"): Promise<Response> {
  const headers = { "content-type": "application/json", "anthropic-version": "2023-06-01" };
  return fetch(rig.url + path, { method: "POST", headers, body: JSON.stringify(body) });
}

const weather = {
  name: "weather",
  description: "The weather of a city.",
  input_schema: { type: "object" as const, properties: { city: { type: "string" } }, required: ["city"] },
};
const template = readFileSync("test/fixtures/tools/hermes.jinja", "utf8");
const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';

interface ErrorBody {
  readonly type: string;
  readonly error: { readonly type: string; readonly message: string; readonly details: { readonly param: string } };
  readonly request_id: string;
}

async function refusal(rig: ServerRig, body: object, path?: string) {
  const response = await send(rig, body, path);
  const { type, error, request_id }: ErrorBody = JSON.parse(await response.text());
  assert.equal(type, "error");
  assert.equal(request_id, response.headers.get("request-id"));
  return { status: response.status, type: error.type, param: error.details.param, message: error.message };
}

describe("the @anthropic-ai/sdk package", () => {
  test("gets a whole message", async () => {
    await using rig = await openServerRig(saying("Hello, wörld", { cachedTokens: 3 }));
    const extras = { temperature: 0.5, top_k: 3 };
    const message = await clientOf(rig).messages.create({ ...asking, system: "Be kind.", ...extras });
    assert.match(message.id, /^msg_[0-9a-f]{32}$/);
    assert.deepEqual(
      { ...message, id: "", _request_id: null },
      {
        id: "",
        type: "message",
        role: "assistant",
        model: "base",
        content: [{ type: "text", text: "Hello, wörld", citations: null }],
        stop_reason: "end_turn",
        stop_sequence: null,
        stop_details: null,
        container: null,
        diagnostics: null,
        usage: {
          input_tokens: "system: Be kind.\nuser: hi\nassistant: ".length - 3,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 3,
          output_tokens: 13,
          output_tokens_details: null,
          server_tool_use: null,
          cache_creation: null,
          inference_geo: null,
          service_tier: "standard",
          speed: null,
        },
        _request_id: null,
      },
    );
    assert.ok(message._request_id);
    const { sampling, promptIds } = rig.engine.sequences[0]?.request ?? {};
    assert.deepEqual([sampling?.temperature, sampling?.topK], [0.5, 3]);
    assert.deepEqual(promptIds, bytes("system: Be kind.\nuser: hi\nassistant: "));
  });

  test("streams a message: raw, and through the helper", async () => {
    await using rig = await openServerRig(saying("one two END three"));
    const body = { ...asking, stop_sequences: ["END"] };
    const types: string[] = [];
    for await (const event of await clientOf(rig).messages.create({ ...body, stream: true })) types.push(event.type);
    assert.deepEqual(
      [...new Set(types)],
      [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
      ],
    );
    const stream = clientOf(rig).messages.stream(body);
    let text = "";
    stream.on("text", (delta) => {
      text += delta;
    });
    const message = await stream.finalMessage();
    assert.equal(text, "one two ");
    assert.deepEqual(message.content, [{ type: "text", text: "one two ", citations: null }]);
    assert.deepEqual([message.stop_reason, message.stop_sequence], ["stop_sequence", "END"]);
    assert.equal(message.usage.output_tokens, 11);
  });

  test("counts tokens as an answer's input", async () => {
    await using rig = await openServerRig();
    const { max_tokens: _, ...body } = asking;
    const { input_tokens } = await clientOf(rig).messages.countTokens({
      ...body,
      system: [{ type: "text", text: "s" }],
    });
    assert.equal(input_tokens, "system: s\nuser: hi\nassistant: ".length);
    assert.equal(rig.engine.sequences.length, 0);
  });

  test("holds an answer to a schema", async () => {
    await using rig = await openServerRig(saying('{"a":1}'));
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
    const message = await clientOf(rig).messages.create({
      ...asking,
      output_config: { effort: "high", format: { type: "json_schema", schema } },
    });
    assert.deepEqual(message.content, [{ type: "text", text: '{"a":1}', citations: null }]);
    assert.ok(rig.engine.sequences[0]?.request.sampling.grammar);
  });

  test("meets errors as the package's own classes", async () => {
    await using rig = await openServerRig({ apiKeys: ["sk-lorikeet"] });
    await assert.rejects(clientOf(rig, "sk-wrong").messages.create(asking), AuthenticationError);
    const client = clientOf(rig, "sk-lorikeet");
    assert.equal((await client.messages.create({ ...asking, max_tokens: 1 })).stop_reason, "max_tokens");
    await assert.rejects(client.messages.create({ ...asking, model: "gone" }), (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.deepEqual([error.type, error.errorCode], ["not_found_error", "model_not_found"]);
      assert.equal(error.apiMessage, "The model `gone` does not exist. This server has `base`, `alias`.");
      return true;
    });
  });

  test("meets a fault in mid-stream as an error", async () => {
    const failAfter = { tokens: 2, error: new Error("broken") };
    await using rig = await openServerRig(saying("Hello", { failAfter }));
    const stream = clientOf(rig).messages.stream(asking);
    await assert.rejects(stream.finalMessage(), (error) => error instanceof APIError && error.type === "api_error");
  });
});

describe("tools and thinking", () => {
  const calling = { ...asking, max_tokens: 200, tools: [weather] };
  const rigSaying = (text: string, chatTemplate = template): Promise<ServerRig> =>
    openServerRig({
      ...saying(text, { limits: { maxContext: 2048 } }),
      tokenizer: byteTokenizer({ chatTemplate }),
    });

  test("a call is a block of its own, whole and streamed", async () => {
    await using rig = await rigSaying(`Let me see.\n${call}${call}`);
    const used = (id: string) => ({ type: "tool_use", id, name: "weather", input: { city: "Paris" } });
    for (const message of [
      await clientOf(rig).messages.create(calling),
      await clientOf(rig).messages.stream(calling).finalMessage(),
    ]) {
      assert.equal(message.stop_reason, "tool_use");
      const [text, ...calls] = message.content;
      assert.deepEqual(text, { type: "text", text: "Let me see.", citations: null });
      const ids = calls.map((block) => (block.type === "tool_use" ? block.id : ""));
      assert.equal(new Set(ids).size, 2);
      assert.deepEqual(
        calls,
        ids.map((id) => ({ ...used(id), caller: { type: "direct" } })),
      );
    }
    const single = { ...calling, tool_choice: { type: "auto" as const, disable_parallel_tool_use: true } };
    const { content } = await clientOf(rig).messages.create(single);
    assert.equal(content.filter(({ type }) => type === "tool_use").length, 1);
  });

  test("a call that the choice asks for is held by a grammar", async () => {
    await using rig = await rigSaying(call);
    for (const choice of [{ type: "any" as const }, { type: "tool" as const, name: "weather" }]) {
      const message = await clientOf(rig).messages.create({ ...calling, tool_choice: choice });
      assert.deepEqual([message.stop_reason, message.content[0]?.type], ["tool_use", "tool_use"]);
      assert.ok(rig.engine.sequences.at(-1)?.request.sampling.grammar);
    }
    await clientOf(rig).messages.create({ ...calling, tool_choice: { type: "none" } });
    assert.equal(rig.engine.sequences.at(-1)?.request.sampling.grammar, null);
  });

  test("a call and its result are shown to the model by its own template", async () => {
    await using rig = await rigSaying("It is warm.");
    const messages: Anthropic.MessageParam[] = [
      { role: "user", content: "How is it in Paris?" },
      { role: "assistant", content: [{ type: "tool_use", id: "call_1", name: "weather", input: { city: "Paris" } }] },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "call_1", content: [{ type: "text", text: "25 degrees" }] },
          { type: "text", text: "In short?" },
        ],
      },
    ];
    const message = await clientOf(rig).messages.create({ ...calling, messages });
    assert.deepEqual(message.content, [{ type: "text", text: "It is warm.", citations: null }]);
    const prompt = Buffer.from(rig.engine.sequences[0]?.request.promptIds ?? []).toString();
    assert.match(prompt, /"name": "weather".*<tool_call>.*"city": "Paris".*25 degrees.*In short\?/s);
    const { input_tokens } = await clientOf(rig).messages.countTokens({ model: "base", messages, tools: [weather] });
    assert.equal(input_tokens, message.usage.input_tokens);
    const without = await clientOf(rig).messages.countTokens({ model: "base", messages });
    assert.ok(without.input_tokens < input_tokens);
  });

  test("thinking is a block before the text, and can be sent back", async () => {
    const thinking = "{{ messages[-1].content }}{% if enable_thinking %}<think>\n{% endif %}{# </think> #}";
    await using rig = await rigSaying("Hm.\n</think>\n\nYes.", thinking);
    const body = { ...asking, max_tokens: 100, thinking: { type: "enabled" as const, budget_tokens: 1024 } };
    const blocks = [
      { type: "thinking", thinking: "Hm.", signature: "" },
      { type: "text", text: "Yes.", citations: null },
    ];
    const whole = await clientOf(rig).messages.create(body);
    assert.deepEqual(whole.content, blocks);
    assert.ok((whole.usage.output_tokens_details?.thinking_tokens ?? 0) > 0);
    assert.deepEqual((await clientOf(rig).messages.stream(body).finalMessage()).content, blocks);
    const messages = [...asking.messages, { role: "assistant" as const, content: whole.content }, ...asking.messages];
    assert.equal((await clientOf(rig).messages.create({ ...body, messages })).stop_reason, "end_turn");
  });

  test("tools that the model's template does not show are refused", async () => {
    await using rig = await openServerRig();
    const { status, param } = await refusal(rig, { ...asking, tools: [weather] });
    assert.deepEqual([status, param], [400, "tools"]);
  });
});

describe("messages", () => {
  test("stream every event by its name, in order, and a ping while idle", async () => {
    await using rig = await openServerRig({
      ...saying("Hé", { tokenMs: 60 }),
      server: { streamKeepAliveIntervalMs: 20 },
    });
    const text = await (await send(rig, { ...asking, stream: true })).text();
    const events = text
      .trim()
      .split("\n\n")
      .map((event) => /^event: (\w+)\ndata: (\{.*\})$/.exec(event)?.slice(1) ?? assert.fail(event))
      .map(([name = "", data = ""]) => ({ name, data: JSON.parse(data) }));
    for (const { name, data } of events) assert.equal(data.type, name);
    const pings = events.filter(({ name }) => name === "ping").length;
    assert.ok(pings > 1, "an idle stream sends pings");
    const others = events.filter(({ name }) => name !== "ping").map(({ data }) => data);
    assert.equal(others[0].message.usage.input_tokens, "user: hi\nassistant: ".length);
    assert.deepEqual(others.slice(1), [
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "", citations: null } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "H" } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "é" } },
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null, stop_details: null, container: null },
        usage: {
          input_tokens: 20,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 0,
          output_tokens: 3,
          output_tokens_details: null,
          server_tool_use: null,
        },
      },
      { type: "message_stop" },
    ]);
  });

  test("without text have no block", async () => {
    await using rig = await openServerRig(saying(""));
    const whole = JSON.parse(await (await send(rig, asking)).text());
    assert.deepEqual([whole.content, whole.stop_reason], [[], "end_turn"]);
    const text = await (await send(rig, { ...asking, stream: true })).text();
    const names = [...text.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual(names, ["message_start", "message_delta", "message_stop"]);
  });

  test("join blocks and neighbours of a role, and continue the assistant's last one", async () => {
    await using rig = await openServerRig();
    const block = (text: string) => ({ type: "text", text, cache_control: { type: "ephemeral" } });
    const messages = [
      { role: "user", content: [block("a"), block("b")] },
      { role: "user", content: "c" },
      { role: "assistant", content: "so" },
    ];
    await (await send(rig, { ...asking, messages })).text();
    // The tokenizer of this test has no way to continue a message; that it is asked to shows in the missing prompt.
    assert.deepEqual(rig.engine.sequences[0]?.request.promptIds, bytes("user: a\nb\nc\nassistant: so\n"));
  });

  test("shorten to what the context has room for, and say so", async () => {
    await using rig = await openServerRig();
    const { stop_reason, usage } = JSON.parse(await (await send(rig, { ...asking, max_tokens: 4096 })).text());
    assert.deepEqual([stop_reason, usage.output_tokens], ["model_context_window_exceeded", 256 - 20]);
    const long = { ...asking, messages: [{ role: "user", content: "x".repeat(300) }] };
    assert.deepEqual((await refusal(rig, long)).type, "invalid_request_error");
  });

  test("are refused by name where they hold what is not supported", async () => {
    await using rig = await openServerRig();
    const param = async (change: object, path?: string) => {
      const { status, type, param } = await refusal(rig, { ...asking, ...change }, path);
      assert.deepEqual([status, type], [400, "invalid_request_error"]);
      return param;
    };
    assert.equal(await param({ max_tokens: null }), "max_tokens");
    assert.equal(await param({ messages: [] }), "messages");
    assert.equal(await param({ messages: [{ role: "tool", content: "x" }] }), "messages[0]");
    assert.equal(await param({ system: 5 }), "system");
    assert.equal(await param({ mcp_servers: [{}] }), "mcp_servers");
    assert.equal(await param({ thinking: { type: "on" } }), "thinking");
    assert.equal(await param({ thinking: { type: "enabled", budget_tokens: 0 } }), "thinking");
    assert.equal(await param({ tools: [{ type: "web_search_20250305", name: "web_search" }] }), "tools");
    assert.equal(await param({ tools: [{ name: "x" }] }), "tools");
    assert.equal(await param({ tools: [weather, weather] }), "tools");
    assert.equal(await param({ tool_choice: { type: "any" } }), "tool_choice");
    assert.equal(await param({ tools: [weather], tool_choice: { type: "tool", name: "x" } }), "tool_choice");
    assert.equal(await param({ tools: [weather], tool_choice: { type: "must" } }), "tool_choice");
    assert.equal(await param({ output_config: { format: { type: "xml" } } }), "output_config");
    assert.equal(await param({ max_tokens: 5 }, "/v1/messages/count_tokens"), "max_tokens");
    const image = { type: "image", source: { type: "url", url: "http://127.0.0.1/x.png" } };
    const { message } = await refusal(rig, { ...asking, messages: [{ role: "user", content: [image] }] });
    assert.match(message, /^`messages\[0\]` .* found "image" as the type in block 0 of `content`\.$/);
    assert.equal(rig.engine.sequences.length, 0);
  });

  test("name the adapter and its digest in headers, and their routes report every fault in the same form", async () => {
    await using rig = await openServerRig();
    const digest = await rig.adapters.add("plays");
    const response = await send(rig, { ...asking, model: "plays", max_tokens: 1 });
    assert.equal(response.headers.get("x-adapter-digest"), digest);
    assert.equal(JSON.parse(await response.text()).model, "plays");
    const missing = await fetch(`${rig.url}/v1/messages`);
    assert.deepEqual([missing.status, JSON.parse(await missing.text()).error.type], [405, "invalid_request_error"]);
    assert.equal((await refusal(rig, {}, "/v1/messages/batches")).type, "not_found_error");
  });
});
