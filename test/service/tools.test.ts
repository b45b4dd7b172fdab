/** Tools on the embedded model: the openai package, a WebSocket, several choices, and what training renders. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { templateTool } from "../../src/text/tools/types.js";
import { SocketClient } from "../support/client.js";
import { bookworm, openService, type RunningService } from "../support/service.js";
import { load } from "../text/families.js";

let service: RunningService;
let client: OpenAI;
before(async () => {
  service = await openService({ model: bookworm, maxContext: "512", grammarTimeout: "10m" });
  client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none" });
});
after(() => service[Symbol.asyncDispose]());

const parameters = {
  type: "object",
  properties: { room: { enum: ["study", "hall"] }, degrees: { type: "integer", minimum: 5, maximum: 30 } },
  required: ["room", "degrees"],
  additionalProperties: false,
};
const tools: OpenAI.ChatCompletionTool[] = [
  { type: "function", function: { name: "heat", description: "Heats a room.", parameters, strict: true } },
  { type: "function", function: { name: "ring" } },
];
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "warm the study to 18 degrees." }];
const asked = { model: "bookworm-7m", messages, tools, max_tokens: 200, temperature: 1 };

function requireHeat(name: string | undefined, text: string | undefined): void {
  assert.equal(name, "heat");
  const { room, degrees, ...rest } = JSON.parse(text ?? "");
  assert.ok(["study", "hall"].includes(room) && degrees >= 5 && degrees <= 30 && Object.keys(rest).length === 0, text);
}

const named = { type: "function", function: { name: "heat" } } as const;

describe("a forced call", () => {
  test("is whole with the openai package, for each choice", async () => {
    const answer = await client.chat.completions.create({
      ...asked,
      tool_choice: named,
      n: 2,
      seed: 3,
      logprobs: true,
    });
    assert.equal(answer.choices.length, 2);
    for (const { message, finish_reason, logprobs } of answer.choices) {
      assert.deepEqual([message.content, finish_reason, message.tool_calls?.length], [null, "tool_calls", 1]);
      const [call] = message.tool_calls ?? [];
      assert.ok(call?.type === "function");
      requireHeat(call.function.name, call.function.arguments);
      assert.ok((logprobs?.content ?? []).length > 10);
    }
  });

  test("is put together by the openai package's stream, and its result goes back", async () => {
    const stream = client.chat.completions.stream({ ...asked, tool_choice: named, seed: 5 });
    const events: string[] = [];
    stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => events.push(arguments_delta));
    const { choices } = await stream.finalChatCompletion();
    const [choice] = choices;
    const [call] = choice?.message.tool_calls ?? [];
    assert.ok(choice && call?.type === "function");
    assert.equal(choice.finish_reason, "tool_calls");
    requireHeat(call.function.name, call.function.arguments);
    assert.ok(events.length > 3 && events.join("") === call.function.arguments);
    const result = { role: "tool", tool_call_id: call.id, content: "It is warm." } as const;
    const next = await client.chat.completions.create({
      ...asked,
      messages: [...messages, choice.message, result],
      tool_choice: "none",
      max_tokens: 8,
    });
    assert.equal(typeof next.choices[0]?.message.content, "string");
  });

  test("comes over a WebSocket as over HTTP", async () => {
    using socket = await SocketClient.open(service.url);
    const body = { ...asked, tool_choice: "required", parallel_tool_calls: false, seed: 7, tools: tools.slice(0, 1) };
    const frames = await socket.ask("r1", body, undefined, "chat.completions");
    const done = frames.at(-1);
    assert.equal(done?.type, "done", done?.error?.message);
    const text = JSON.stringify(frames.map(({ data }) => data?.choices ?? []));
    assert.match(text, /"finish_reason":"tool_calls"/);
    const chat = await client.chat.completions.create({ ...body, tool_choice: "required" });
    const [call] = chat.choices[0]?.message.tool_calls ?? [];
    assert.ok(call?.type === "function");
    const pieces = [...text.matchAll(/"arguments":("(?:[^"\\]|\\.)*")/g)].map(([, json = '""']) => JSON.parse(json));
    assert.equal(pieces.join(""), call.function.arguments);
  });

  test("for a schema that cannot be held to is refused", async () => {
    const bad = { type: "function" as const, function: { name: "f", parameters: { type: "object", if: {} } } };
    await assert.rejects(client.chat.completions.create({ ...asked, tools: [bad], tool_choice: "required" }), {
      status: 400,
      message: /in the parameters of `f`: at its root: the keyword `if` is not supported/,
    });
  });
});

test("the embedded template shows the functions and their parameters, and writes calls as a grammar holds them", async () => {
  const tokenizer = await load("bookworm");
  const call = { id: "c", name: "heat", arguments: '{"room":"hall","degrees":18}' };
  const shown = [
    { name: "heat", description: null, parameters, strict: false },
    { name: "now", description: null, parameters: null, strict: false },
  ].map(templateTool);
  const chat = [
    { role: "user", content: "Warm it." },
    { role: "assistant", content: "", toolCalls: [call] },
    { role: "tool", content: "Done.", toolCallId: "c" },
  ];
  assert.equal(
    tokenizer.renderChat(chat, { addGenerationPrompt: true, tools: shown }),
    "<|im_start|>tools\nheat(room, degrees)\nnow()\n<|im_end|>\n<|im_start|>user\nWarm it.<|im_end|>\n" +
      '<|im_start|>assistant\n<tool_call>\n{"name": "heat", "arguments": {"room": "hall", "degrees": 18}}\n</tool_call><|im_end|>\n' +
      "<|im_start|>tool\nDone.<|im_end|>\n<|im_start|>assistant\n",
  );
});
